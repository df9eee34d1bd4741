//! The one writer of the transparency log.
//!
//! A thread of its own owns the order of entries (see [`cairn_proof::log::Sequencer`]): an idle log takes an entry at once,
//! and under load answers share a checkpoint, a signature and a flush.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use cairn_proof::{
    Hash, Log, Origin, SigningKey, VerifyingKey,
    log::{Batching, Draft, Placed, Sequencer},
    uses::{Counters, UseStatement},
};
use tokio::sync::oneshot;

use crate::{
    config::Config,
    error::{ApiError, Code},
    outside::Outside,
};

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    sequencer: Arc<Sequencer>,
    outside: Outside,
    key: VerifyingKey,
    origin: Origin,
    dir: PathBuf,
}

/// Why an entry was not logged. It may turn out to have been, all the same.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the entry could not be logged")]
pub(crate) struct NotLogged(#[source] Arc<cairn_proof::Error>);

impl Ledger {
    /// Opens the log and starts its writer, and what follows it. To be called on the runtime that serves.
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
        let sequencer = Sequencer::start(log, Batching::default()).context("the log's writer cannot be started")?;
        let sequencer = Arc::new(sequencer);
        let outside = Outside::start(config, sequencer.clone())?;
        Ok(Self { sequencer, outside, key: verifying, origin, dir })
    }

    /// Appends an entry; returns once it is durable and covered by a signed checkpoint.
    pub(crate) async fn append(&self, draft: Draft) -> Result<Placed, NotLogged> {
        let (sender, placed) = oneshot::channel();
        // Nobody may be waiting any more; the entry stands all the same.
        let reply = move |outcome| drop(sender.send(outcome));
        self.sequencer.submit(draft, reply).map_err(|error| NotLogged(Arc::new(error)))?;
        let outcome = placed.await.unwrap_or_else(|_| Err(Arc::new(cairn_proof::Error::WriterStopped)));
        let placed = outcome.map_err(|error| {
            tracing::error!(%error, "the log could not be written");
            NotLogged(error)
        })?;
        self.outside.published();
        Ok(placed)
    }

    /// Reads from the log, off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let sequencer = self.sequencer.clone();
        Ok(tokio::task::spawn_blocking(move || read(&sequencer.log())).await?)
    }

    /// The log's signed word on how many records use a contributor's data.
    pub(crate) async fn statement(&self, contributor: Hash) -> anyhow::Result<UseStatement> {
        let state = move |log: &Log| UseStatement::sign(log, &Counters::of(log)?, contributor);
        Ok(self.read(state).await??)
    }

    /// Witnesses and anchors.
    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
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

impl From<NotLogged> for ApiError {
    fn from(error: NotLogged) -> Self {
        match &*error.0 {
            cairn_proof::Error::Overloaded(_) => Self {
                retry_after: Some(std::time::Duration::from_secs(1)),
                ..Self::new(Code::Overloaded, error.0.to_string())
            },
            _ => Self::internal(anyhow::Error::from(error)),
        }
    }
}
