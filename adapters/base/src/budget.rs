//! How much memory models may take together, and how much they do.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// A number of bytes, given out in [`Reservation`]s.
pub(crate) struct Budget {
    total: u64,
    /// Bytes of reservations that exist. Written by `reserve` and by their drop.
    used: AtomicU64,
    changed: Notify,
}

/// Bytes that were given out; they go back when this is dropped.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self { total, used: AtomicU64::new(0), changed: Notify::new() })
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// None where they do not fit now.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.total);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Reservation { budget: self.clone(), bytes })
    }

    /// Completes when something changed after this was called: `enable` it before looking.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Says that those who wait should look again.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_out_never_exceeds_the_total_and_comes_back() {
        let budget = Budget::new(10);
        let (six, four) = (budget.reserve(6).unwrap(), budget.reserve(4).unwrap());
        assert!(budget.reserve(1).is_none());
        drop(six);
        assert_eq!(budget.used(), 4);
        assert!(budget.reserve(u64::MAX).is_none());
        assert!(budget.reserve(6).is_some());
        drop(four);
        assert_eq!(budget.used(), 0);
    }
}
