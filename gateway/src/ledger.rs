//! The one writer of the transparency log.
//!
//! A thread of its own owns the order of entries. Requests that arrive while a batch is being made durable share the
//! next one: many answers, one checkpoint, one signature.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use cairn_proof::{Hash, Log, Origin, SigningKey, VerifyingKey, leaf_hash};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Pending>,
    /// Guards the log; the writer thread alone appends, others read inclusion paths.
    log: Arc<Mutex<Log>>,
    key: VerifyingKey,
    origin: Origin,
    dir: PathBuf,
}

struct Pending {
    entry: Vec<u8>,
    placed: oneshot::Sender<Result<Placed, String>>,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) index: u64,
    pub(crate) leaf: Hash,
    pub(crate) tree_size: u64,
    pub(crate) root: Hash,
}

impl Ledger {
    /// Opens the log and starts its writer.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Self> {
        let origin = Origin::new(config.origin.clone()).context("log.origin is not valid")?;
        let key = SigningKey::load(&config.signing_key()).with_context(|| {
            format!("the log's key {} cannot be read; `cairn init` makes one", config.signing_key().display())
        })?;
        let verifying = key.verifying_key(&origin);
        let dir = config.log_dir();
        let log = match &config.guard {
            Some(guard) => Log::open_guarded(&dir, key, origin.clone(), guard),
            None => Log::open(&dir, key, origin.clone()),
        };
        let log = log.context("the log cannot be opened")?;
        let log = Arc::new(Mutex::new(log));
        let (queue, receiver) = mpsc::channel(QUEUE);
        let writer = log.clone();
        std::thread::Builder::new().name("cairn-log".into()).spawn(move || write(&writer, receiver))?;
        Ok(Self { queue, log, key: verifying, origin, dir })
    }

    /// Appends an entry; returns once it is durable and covered by a signed checkpoint.
    pub(crate) async fn append(&self, entry: Vec<u8>) -> anyhow::Result<Placed> {
        let (placed, done) = oneshot::channel();
        self.queue.send(Pending { entry, placed }).await.ok().context("the log's writer has stopped")?;
        done.await.context("the log's writer has stopped")?.map_err(anyhow::Error::msg)
    }

    /// Reads from the log, off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let log = self.log.clone();
        Ok(tokio::task::spawn_blocking(move || read(&log.lock())).await?)
    }

    /// What verifiers need.
    pub(crate) fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The log's name.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where its tiles are.
    pub(crate) fn dir(&self) -> &std::path::Path {
        &self.dir
    }
}

/// Entries that may wait for the writer.
const QUEUE: usize = 1024;
/// Entries made durable together.
const BATCH: usize = 256;

fn write(log: &Mutex<Log>, mut queue: mpsc::Receiver<Pending>) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = queue.try_recv()
        {
            batch.push(next);
        }
        let entries: Vec<Vec<u8>> = batch.iter().map(|pending| pending.entry.clone()).collect();
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let outcome = {
            let mut log = log.lock();
            log.append(&entries).map(|range| (range, log.size(), log.tree().root()))
        };
        match outcome {
            Ok((range, tree_size, root)) => {
                for ((pending, index), leaf) in batch.into_iter().zip(range).zip(leaves) {
                    // Nobody may be waiting any more; the entry stands all the same.
                    let _ = pending.placed.send(Ok(Placed { index, leaf, tree_size, root }));
                }
            }
            Err(error) => {
                let message = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(error = %message, "the log could not be written");
                for pending in batch {
                    let _ = pending.placed.send(Err(message.clone()));
                }
            }
        }
    }
}
