//! [`Lease`]: holds one generation from a request's admission to its last token.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::AliasName;
use crate::AdapterGeneration;

/// A pinned generation. Whatever happens to the alias meanwhile, these weights stay until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The generation.
    pub generation: AdapterGeneration,
    /// The base.
    pub base: String,
    /// The alias it was asked for by.
    pub alias: AliasName,
    /// It was chosen as the canary.
    pub canary: bool,
    /// Released on drop of the last clone.
    pub(crate) _pin: Arc<Pin>,
}

/// Counts of leases by generation row, in memory: none survives the process, and no request does either.
#[derive(Debug)]
pub(crate) struct Leases {
    /// Written by `resolve` (count), `Pin::drop` (count) and `delete` (doomed, deletions); held for a few instructions.
    state: Mutex<State>,
    /// Tells the store's task which row has lost its last lease.
    removals: UnboundedSender<i64>,
}

#[derive(Debug, Default)]
struct State {
    counts: HashMap<i64, usize>,
    /// Rows to be removed when their count reaches zero.
    doomed: HashSet<i64>,
    /// How many deletions have been committed. A lease read from the database before the latest one may be of a row that
    /// is already being removed, so it must be read again.
    deletions: u64,
}

impl Leases {
    pub(crate) fn new(removals: UnboundedSender<i64>) -> Self {
        Self { state: Mutex::default(), removals }
    }

    /// To be read before the row is, and given to [`Leases::pin`].
    pub(crate) fn deletions(&self) -> u64 {
        self.state.lock().deletions
    }

    /// Pins a row read as ready; none when a deletion was committed since, so that the row must be read again.
    pub(crate) fn pin(self: &Arc<Self>, row: i64, deletions: u64) -> Option<Arc<Pin>> {
        let mut state = self.state.lock();
        if state.deletions != deletions {
            return None;
        }
        *state.counts.entry(row).or_default() += 1;
        Some(Arc::new(Pin { row, leases: Arc::clone(self) }))
    }

    /// After the row's deletion was committed: have it removed now, or by its last lease.
    pub(crate) fn doom(&self, row: i64) {
        let mut state = self.state.lock();
        state.deletions += 1;
        if state.counts.contains_key(&row) {
            state.doomed.insert(row);
        } else {
            self.remove(row);
        }
    }

    fn remove(&self, row: i64) {
        // Without a receiver the store is gone; the next one to open removes the row.
        self.removals.send(row).ok();
    }
}

/// One count.
#[derive(Debug)]
pub(crate) struct Pin {
    row: i64,
    leases: Arc<Leases>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.leases.state.lock();
        let Some(count) = state.counts.get_mut(&self.row) else { return };
        *count -= 1;
        if *count == 0 {
            state.counts.remove(&self.row);
            if state.doomed.remove(&self.row) {
                self.leases.remove(self.row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn leases() -> (Arc<Leases>, UnboundedReceiver<i64>) {
        let (sender, receiver) = unbounded_channel();
        (Arc::new(Leases::new(sender)), receiver)
    }

    #[test]
    fn a_row_read_before_a_deletion_is_not_pinned_after_it() {
        let (leases, mut removed) = leases();
        let deletions = leases.deletions(); // here a request reads row 7 as ready,
        leases.doom(7); // and before it pins the row, the row is deleted
        assert_eq!(removed.try_recv(), Ok(7));
        assert!(leases.pin(7, deletions).is_none());
        assert!(leases.pin(8, leases.deletions()).is_some(), "read again, it pins what there is now");
    }

    #[test]
    fn the_last_clone_of_a_pin_removes_the_row_once() {
        let (leases, mut removed) = leases();
        let first = leases.pin(7, leases.deletions()).unwrap();
        let second = leases.pin(7, leases.deletions()).unwrap();
        let clone = Arc::clone(&first);
        leases.doom(7);
        drop(first);
        drop(second);
        assert!(removed.try_recv().is_err(), "a clone still holds it");
        drop(clone);
        assert_eq!(removed.try_recv(), Ok(7));
        assert!(removed.try_recv().is_err());
    }
}
