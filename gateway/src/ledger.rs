//! The one writer of the transparency log, or a replica's way to it.
//!
//! A thread of its own owns the order of entries (see [`cairn_proof::log::Sequencer`]): an idle log takes an entry at once,
//! and under load answers share a checkpoint, a signature and a flush. A replica has its primary's ([`Primary`]) write.

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
    replica::{self, Primary, PrimaryError},
};

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    writer: Writer,
    outside: Outside,
    key: VerifyingKey,
    origin: Origin,
    dir: PathBuf,
}

/// Who writes.
#[derive(Clone)]
enum Writer {
    Here(Arc<Sequencer>),
    Primary(Arc<Primary>),
}

/// Why an entry was not logged. It may turn out to have been, all the same.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NotLogged {
    /// The log here did not take it.
    #[error("the entry could not be logged")]
    Here(#[source] Arc<cairn_proof::Error>),
    /// The primary did not.
    #[error("the primary did not log the entry")]
    Primary(#[source] Arc<PrimaryError>),
}

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
        Ok(Self { writer: Writer::Here(sequencer), outside, key: verifying, origin, dir })
    }

    /// The log of a replica's primary, once that answers.
    pub(crate) async fn of_primary(config: &Config, primary: Arc<Primary>) -> anyhow::Result<Self> {
        let (origin, key) = primary.log_key().await?;
        Ok(Self { writer: Writer::Primary(primary), outside: Outside::none(), key, origin, dir: config.log_dir() })
    }

    /// Appends an entry; returns once it is durable and covered by a signed checkpoint.
    pub(crate) async fn append(&self, draft: Draft) -> Result<Placed, NotLogged> {
        let sequencer = match &self.writer {
            Writer::Here(sequencer) => sequencer,
            Writer::Primary(primary) => {
                return primary.append(draft).await.map_err(|error| {
                    tracing::error!(error = %cairn_trainer::told(&error), "the primary did not log an entry");
                    NotLogged::Primary(Arc::new(error))
                });
            }
        };
        let (sender, placed) = oneshot::channel();
        // Nobody may be waiting any more; the entry stands all the same.
        let reply = move |outcome| drop(sender.send(outcome));
        sequencer.submit(draft, reply).map_err(|error| NotLogged::Here(Arc::new(error)))?;
        let outcome = placed.await.unwrap_or_else(|_| Err(Arc::new(cairn_proof::Error::WriterStopped)));
        let placed = outcome.map_err(|error| {
            tracing::error!(%error, "the log could not be written");
            NotLogged::Here(error)
        })?;
        self.outside.published();
        Ok(placed)
    }

    /// Reads from the log, off the async threads. A replica has none to read.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let Writer::Here(sequencer) = self.writer.clone() else {
            anyhow::bail!("the log is the primary's to read");
        };
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
        match &error {
            NotLogged::Here(full) if matches!(**full, cairn_proof::Error::Overloaded(_)) => Self {
                retry_after: Some(std::time::Duration::from_secs(1)),
                ..Self::new(Code::Overloaded, full.to_string())
            },
            NotLogged::Primary(refused) if matches!(**refused, PrimaryError::Refused { status: 429, .. }) => Self {
                retry_after: Some(std::time::Duration::from_secs(1)),
                ..Self::new(Code::Overloaded, "the log has more to write than it can; try again")
            },
            NotLogged::Primary(_) => replica::away(),
            NotLogged::Here(_) => Self::internal(anyhow::Error::from(error)),
        }
    }
}
