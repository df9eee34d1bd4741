//! One thread that owns the order of entries: many callers, one checkpoint for all who came meanwhile.
//!
//! An idle log sequences an entry at once. A busy one signs at most one checkpoint per [`Batching::interval`], and whoever
//! comes in between shares the next: with 200 ms, the usual figure of tile logs, that is five signatures a second and
//! five rounds of witnesses, however many entries there are.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::storage::{Directory, Storage};
use super::{Log, MAX_ENTRY};
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::record::Record;
use crate::uses::Counters;

/// How entries are gathered into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// The least time between two checkpoints.
    pub interval: Duration,
    /// A batch this large does not wait any longer.
    pub entries: usize,
    /// Entries that may wait; beyond, [`Error::Overloaded`].
    pub queue: usize,
}

/// What is to be logged.
#[derive(Clone, Debug)]
pub enum Draft {
    /// An entry as it is.
    Entry(Vec<u8>),
    /// A record whose counters of uses ([`Record::uses`]) are set when its place in the order is known; what they are in
    /// the draft does not matter.
    Record(Box<Record>),
}

/// Where an entry stands, once it is durable and under a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its index.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// Its bytes: of a record, with the counters as they were logged.
    pub entry: Vec<u8>,
    /// Size of the tree under the checkpoint it was logged with.
    pub size: u64,
    /// Root of that tree.
    pub root: Hash,
}

/// A handle on the writer of a log. The writer ends when the last handle is dropped, after what was accepted.
#[derive(Debug)]
pub struct Sequencer<S: Storage = Directory> {
    queue: Option<SyncSender<Job>>,
    log: Arc<Mutex<Log<S>>>,
    limit: usize,
    writer: Option<JoinHandle<()>>,
}

type Answer = std::result::Result<Placed, Arc<Error>>;

struct Job {
    draft: Draft,
    reply: Box<dyn FnOnce(Answer) + Send>,
}

impl<S: Storage + Send + 'static> Sequencer<S> {
    /// Starts the writer. Reads the counters of uses from the log first, from the last place they were saved on.
    pub fn start(log: Log<S>, batching: Batching) -> Result<Sequencer<S>> {
        let counters = Counters::of(&log)?;
        let log = Arc::new(Mutex::new(log));
        let (queue, jobs) = sync_channel(batching.queue);
        let mut writer = Writer { log: log.clone(), counters, batching, last: None };
        let thread = std::thread::Builder::new().name("log-writer".into());
        let writer = thread
            .spawn(move || writer.run(&jobs))
            .map_err(|source| Error::Io { path: "the log's writer thread".into(), source })?;
        Ok(Sequencer { queue: Some(queue), log, limit: batching.queue, writer: Some(writer) })
    }

    /// Hands over an entry; `reply` is called on the writer's thread once it is durable under a signed checkpoint, or has
    /// failed. After a failure the entry may turn out to have been logged or not. Never blocks.
    pub fn submit(&self, draft: Draft, reply: impl FnOnce(Answer) + Send + 'static) -> Result<()> {
        if let Draft::Entry(entry) = &draft
            && entry.len() > MAX_ENTRY
        {
            return Err(Error::EntryTooLong { position: 0, length: entry.len() });
        }
        let queue = self.queue.as_ref().ok_or(Error::WriterStopped)?;
        queue.try_send(Job { draft, reply: Box::new(reply) }).map_err(|error| match error {
            TrySendError::Full(_) => Error::Overloaded(self.limit),
            TrySendError::Disconnected(_) => Error::WriterStopped,
        })
    }

    /// Appends an entry and waits for its place.
    pub fn append(&self, draft: Draft) -> Answer {
        let (sender, answer) = sync_channel(1);
        // Nobody may be waiting any more; the entry stands all the same.
        self.submit(draft, move |placed| drop(sender.send(placed))).map_err(Arc::new)?;
        answer.recv().unwrap_or_else(|_| Err(Arc::new(Error::WriterStopped)))
    }

    /// The log, for reading proofs and for cosignatures; the writer waits meanwhile.
    pub fn log(&self) -> MutexGuard<'_, Log<S>> {
        lock(&self.log)
    }
}

impl Default for Batching {
    /// 200 ms, 1024 entries, 4096 waiting.
    fn default() -> Batching {
        Batching { interval: Duration::from_millis(200), entries: 1024, queue: 4096 }
    }
}

impl<S: Storage> Drop for Sequencer<S> {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has answered nobody; its callers saw that.
            let _ = writer.join();
        }
    }
}

struct Writer<S: Storage> {
    log: Arc<Mutex<Log<S>>>,
    counters: Counters,
    batching: Batching,
    /// When the last checkpoint was signed.
    last: Option<Instant>,
}

impl<S: Storage> Writer<S> {
    fn run(&mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let batch = self.gather(first, jobs);
            self.write(batch);
            self.last = Some(Instant::now());
        }
        // A start from here reads fewer entries. Failing costs only that.
        let _ = self.counters.save(&lock(&self.log));
    }

    /// Waits for companions until a checkpoint is due, or the batch is full.
    fn gather(&self, first: Job, jobs: &Receiver<Job>) -> Vec<Job> {
        let due = self.last.map_or_else(Instant::now, |last| last + self.batching.interval);
        let mut batch = vec![first];
        while batch.len() < self.batching.entries.max(1) {
            match jobs.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(job) => batch.push(job),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        batch
    }

    fn write(&mut self, batch: Vec<Job>) {
        let shared = self.log.clone();
        let mut log = lock(&shared);
        if let Err(error) = self.recover(&mut log) {
            let error = Arc::new(error);
            return batch.into_iter().for_each(|job| (job.reply)(Err(error.clone())));
        }
        let mut counters = self.counters.draft();
        let (mut entries, mut replies) = (Vec::new(), Vec::new());
        for job in batch {
            match finish(job.draft, &mut counters) {
                Ok(entry) => {
                    entries.push(entry);
                    replies.push(job.reply);
                }
                Err(error) => (job.reply)(Err(Arc::new(error))),
            }
        }
        let changed = counters.finish();
        match log.append(&entries) {
            Ok(range) => {
                self.counters.commit(changed, range.end);
                if self.counters.save_is_due() {
                    let _ = self.counters.save(&log);
                }
                let (size, root) = (log.size(), log.checkpoint().root());
                drop(log);
                for ((index, entry), reply) in range.zip(entries).zip(replies) {
                    reply(Ok(Placed { index, leaf: leaf_hash(&entry), entry, size, root }));
                }
            }
            Err(error) => {
                drop(log);
                let error = Arc::new(error);
                replies.into_iter().for_each(|reply| reply(Err(error.clone())));
            }
        }
    }

    /// After a failed write, starts again from what is on disk, so that a full disk that was emptied needs no restart.
    fn recover(&mut self, log: &mut Log<S>) -> Result<()> {
        if log.uncertain {
            log.reopen()?;
            self.counters = Counters::of(log)?;
        }
        Ok(())
    }
}

/// The bytes of an entry. A record that is refused takes no number.
fn finish(draft: Draft, counters: &mut crate::uses::Draft<'_>) -> Result<Vec<u8>> {
    let mut record = match draft {
        Draft::Entry(entry) => return Ok(entry),
        Draft::Record(record) => record,
    };
    let before = counters.mark();
    counters.number(&mut record);
    let bytes = record.to_bytes().and_then(|bytes| match bytes.len() {
        0..=MAX_ENTRY => Ok(bytes),
        length => Err(Error::EntryTooLong { position: 0, length }),
    });
    if bytes.is_err() {
        counters.back_to(before);
    }
    bytes
}

/// The log, also after a panic of another thread that held it: its own state says whether it may be written.
fn lock<S>(log: &Mutex<Log<S>>) -> MutexGuard<'_, Log<S>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
