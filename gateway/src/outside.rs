//! What makes the log known outside: witnesses that cosign its checkpoints, and anchors of them on a blockchain.
//!
//! Both follow the log from a task of their own and never hold up an answer. If one of them knows another or a longer
//! history of this log, the log signs nothing more.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use cairn_anchor::{
    Anchorer, Status,
    proof::{Anchor, Registration},
};
use cairn_proof::{Log, WitnessKey, log::Sequencer, registration::Registered};
use cairn_witness::{Collector, Remote};
use tokio::sync::Notify;

use crate::{config::Config, store::datanets::Description};

/// A handle on what follows the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outside {
    anchorer: Option<Arc<Anchorer>>,
    witnesses: Arc<[WitnessKey]>,
    published: Arc<Notify>,
}

impl Outside {
    /// Starts following the log. Fails on what is wrong here; neither the node nor a witness needs to be there.
    pub(crate) fn start(config: &Config, log: Arc<Sequencer>) -> anyhow::Result<Self> {
        let origin = log.log().origin().clone();
        let anchorer = match &config.anchor {
            None => None,
            Some(anchor) => {
                let started = Anchorer::start(anchor.clone(), &config.anchors_dir(), &origin);
                Some(Arc::new(started.context("anchors cannot be started")?))
            }
        };
        let listed = &config.witnesses;
        let remotes: Vec<Remote> =
            listed.list.iter().map(|at| Remote { url: at.url.clone(), key: at.key.clone() }).collect();
        let collector = Collector::new(&remotes, listed.quorum, Duration::from_secs(listed.timeout_s))?;
        let outside = Self { anchorer, witnesses: collector.keys().into(), published: Arc::default() };
        if !outside.witnesses.is_empty() || outside.anchorer.is_some() {
            tokio::spawn(outside.clone().follow(collector, log.clone()));
            tokio::spawn(outside.clone().watch(log));
        }
        Ok(outside)
    }

    /// Where the log is another's to follow.
    pub(crate) fn none() -> Self {
        Self { anchorer: None, witnesses: Arc::new([]), published: Arc::default() }
    }

    /// To be called when the log has a new checkpoint. Never blocks.
    pub(crate) fn published(&self) {
        self.published.notify_one();
    }

    /// Keys of the witnesses that are asked; bundles show their cosignatures.
    pub(crate) fn witnesses(&self) -> &[WitnessKey] {
        &self.witnesses
    }

    /// The first anchor that covers entry `index`, once there is one. Reads a small file.
    pub(crate) fn covering(&self, index: u64) -> anyhow::Result<Option<Anchor>> {
        Ok(self.anchorer.as_ref().map(|anchorer| anchorer.covering(index)).transpose()?.flatten())
    }

    /// Anchors whose proofs are kept, of sizes below `before`, the largest first and `most` of them.
    pub(crate) async fn anchors(&self, before: Option<u64>, most: usize) -> anyhow::Result<Vec<Anchor>> {
        let Some(anchorer) = self.anchorer.clone() else { return Ok(Vec::new()) };
        Ok(tokio::task::spawn_blocking(move || anchorer.anchors(before, most)).await??)
    }

    /// How far anchors are; `None` where they are off.
    pub(crate) fn anchoring(&self) -> Option<Status> {
        self.anchorer.as_ref().map(|anchorer| anchorer.status())
    }

    /// Has something registered on the chain, where anchors are on. Never fails what asked for it.
    pub(crate) async fn register(&self, what: &Registered) {
        let Some(anchorer) = self.anchorer.clone() else { return };
        let kind = what.kind();
        let noted = match what.digest() {
            Ok(digest) => tokio::task::spawn_blocking(move || anchorer.register(kind, *digest.as_bytes())).await,
            Err(error) => return tracing::error!(%error, kind, "a registration has no canonical form"),
        };
        match noted {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, kind, "a registration on the chain cannot be noted"),
            Err(error) => tracing::error!(%error, kind, "a registration on the chain cannot be noted"),
        }
    }

    /// The proof that something was registered, once it is final. Reads a small file.
    pub(crate) fn registration(&self, of: &Registered) -> anyhow::Result<Option<Registration>> {
        let Some(anchorer) = &self.anchorer else { return Ok(None) };
        Ok(anchorer.registration(of.kind(), *of.digest()?.as_bytes())?)
    }

    /// One round after another, each for the newest checkpoint.
    async fn follow(self, collector: Collector, log: Arc<Sequencer>) {
        loop {
            let Ok(checkpoint) = with(&log, |log| log.checkpoint().clone()).await else { return };
            let mut enough = true;
            if !self.witnesses.is_empty() {
                let collected = collector.collect(checkpoint.clone(), log.clone()).await;
                enough = collected.enough;
                let kept = with(&log, move |log| match collected.alarm {
                    Some(why) => {
                        log.stop(why);
                        Ok(())
                    }
                    None if collected.enough => log.keep_cosigned(&collected.checkpoint),
                    None => Ok(()),
                });
                if let Ok(Err(error)) = kept.await {
                    tracing::error!(%error, "a cosigned checkpoint cannot be kept");
                }
            }
            if let Some(anchorer) = &self.anchorer {
                anchorer.offer(checkpoint.checkpoint());
            }
            match enough {
                true => self.published.notified().await,
                // A witness that was away must not wait for the next answer.
                false => drop(tokio::time::timeout(RETRY, self.published.notified()).await),
            }
        }
    }

    /// Stops the log when the chain contradicts it.
    async fn watch(self, log: Arc<Sequencer>) {
        if let Some(anchorer) = &self.anchorer {
            let why = anchorer.alarmed().await;
            // An error means that the runtime is shutting down.
            let _ = with(&log, move |log| log.stop(why)).await;
        }
    }
}

/// What the creation of a datanet is registered as on a chain, where anchors are on.
pub(crate) fn creation(datanet: &Description) -> Registered {
    Registered::Datanet {
        name: datanet.name.clone(),
        owner: datanet.owner.clone(),
        licence: datanet.licence.clone(),
        created_at: datanet.created_at.clone(),
    }
}

/// Reads or marks the log off the async threads: its writer may be busy with the disk.
async fn with<T: Send + 'static>(
    log: &Arc<Sequencer>,
    act: impl FnOnce(&mut Log) -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    let log = log.clone();
    tokio::task::spawn_blocking(move || act(&mut log.log())).await
}

/// After a round without a quorum.
const RETRY: Duration = Duration::from_secs(15);
