//! The background task that anchors, and the handle on it.

mod follow;
mod plan;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_anchor_proof::{Anchor, Registration, Word};
use cairn_proof::Checkpoint;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::backoff;
use crate::config::Config;
use crate::contract;
use crate::error::{Error, Result};
use crate::fees;
use crate::flight::{Flight, Line};
use crate::key::AccountKey;
use crate::rpc::Rpc;
use crate::state::{Identity, State, origin_hash};
use crate::status::{Counts, Failure, InFlight, Status};
use crate::store::Store;

/// A handle on the task that anchors a log's checkpoints. The task ends when the handle is dropped, at any point: a later
/// start goes on from there.
#[derive(Debug)]
pub struct Anchorer {
    store: Arc<Store>,
    log: String,
    offers: watch::Sender<Option<Offer>>,
    wake: Arc<Notify>,
    status: watch::Receiver<Status>,
    alarm: watch::Receiver<Option<Arc<cairn_proof::Error>>>,
    task: Option<JoinHandle<()>>,
}

/// The newest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    size: u64,
    root: Word,
}

impl Anchorer {
    /// Starts anchoring the log `origin`, keeping state and proofs in `dir`. Fails on what is wrong here: configuration,
    /// key, directory. The node need not be there.
    ///
    /// Needs a running tokio runtime.
    pub fn start(config: Config, dir: &Path, origin: &cairn_proof::Origin) -> Result<Anchorer> {
        config.check()?;
        let key = AccountKey::load(&config.key_file)?;
        let log = origin.to_string();
        let identity =
            Identity { chain_id: config.chain_id, contract: config.contract, sender: key.address(), log: log.clone() };
        let store = Arc::new(Store::open(dir)?);
        let state = store.state(identity)?;
        let line = Line { chain_id: config.chain_id, contract: config.contract, origin: origin_hash(&log), key };
        let rpc = Rpc::new(&config)?;
        let (offers, offered) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let (alarm_sender, alarm) = watch::channel(None);
        let seen = Seen::default();
        let (status_sender, status) = watch::channel(status(&line, &config, &state, &seen, &store));
        let task = Task {
            config,
            line,
            log: log.clone(),
            rpc,
            store: store.clone(),
            state,
            offered,
            wake: wake.clone(),
            status: status_sender,
            alarm: alarm_sender,
            seen,
        };
        let task = tokio::spawn(task.run());
        Ok(Anchorer { store, log, offers, wake, status, alarm, task: Some(task) })
    }

    /// Offers a checkpoint: the newest one is anchored when the next is due. Never blocks; a checkpoint of another log or
    /// one smaller than what was offered before is not taken.
    pub fn offer(&self, checkpoint: &Checkpoint) {
        if checkpoint.origin.as_str() != self.log {
            return;
        }
        let offer = Offer { size: checkpoint.size, root: Word::from(*checkpoint.root.as_bytes()) };
        let taken = self.offers.send_if_modified(|newest| {
            let newer = newest.is_none_or(|newest| offer.size > newest.size);
            if newer {
                *newest = Some(offer);
            }
            newer
        });
        if taken {
            self.wake.notify_one();
        }
    }

    /// Has a digest registered, such as that of a datanet's creation (`kind` names what it is, such as
    /// `cairn/datanet/v1`). When this returns, it is on disk and survives a restart; twice is once. Takes as long as
    /// writing a small file.
    pub fn register(&self, kind: &str, digest: [u8; 32]) -> Result<()> {
        self.store.wait_for(kind_hash(kind), Word::from(digest))?;
        self.wake.notify_one();
        Ok(())
    }

    /// The proof of a registration, once it is final.
    pub fn registration(&self, kind: &str, digest: [u8; 32]) -> Result<Option<Registration>> {
        self.store.registration(kind_hash(kind), Word::from(digest))
    }

    /// The first anchor that covers entry `index`, once there is one.
    pub fn covering(&self, index: u64) -> Result<Option<Anchor>> {
        self.store.covering(index)
    }

    /// Anchors that are kept, of sizes below `before`, the largest first and `most` of them. Reads a small file for each.
    pub fn anchors(&self, before: Option<u64>, most: usize) -> Result<Vec<Anchor>> {
        self.store.anchors(before, most)
    }

    /// What is known of the anchors.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The status as it changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Resolves when the chain contradicts the log, with an error for [`cairn_proof::Log::stop`]; otherwise never.
    pub async fn alarmed(&self) -> Arc<cairn_proof::Error> {
        let mut alarm = self.alarm.clone();
        let raised = alarm.wait_for(Option::is_some).await.ok().and_then(|raised| raised.clone());
        match raised {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }

    /// Ends the task and waits until the directory is free.
    pub async fn stop(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The error says that it was aborted.
            let _ = task.await;
        }
    }
}

impl Drop for Anchorer {
    fn drop(&mut self) {
        // What is not on disk yet can be done again: the state is written before anything is sent.
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Task {
    config: Config,
    line: Line,
    log: String,
    rpc: Rpc,
    store: Arc<Store>,
    state: State,
    offered: watch::Receiver<Option<Offer>>,
    wake: Arc<Notify>,
    status: watch::Sender<Status>,
    alarm: watch::Sender<Option<Arc<cairn_proof::Error>>>,
    seen: Seen,
}

/// What is known only since the process started.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The node was asked who it is since it last failed to answer.
    node_checked: bool,
    connected: bool,
    block_number: Option<u64>,
    balance_gwei: Option<u64>,
    problem: Option<String>,
    last_failure: Option<Failure>,
    alarm: Option<String>,
    counts: Counts,
    /// Looks that failed in a row.
    failures: u32,
}

impl Task {
    async fn run(mut self) {
        loop {
            if self.has_work() {
                let outcome = self.look().await;
                self.note(outcome);
            }
            self.publish();
            self.pause().await;
        }
    }

    /// One look at the chain: where the transactions are, and what is to be sent.
    async fn look(&mut self) -> Result<()> {
        self.check_node().await?;
        let block = self.rpc.latest().await?;
        self.seen.connected = true;
        self.seen.block_number = Some(block.number());
        self.follow(&block).await?;
        let planned = self.plan(&block).await;
        let balance = self.rpc.balance(self.line.key.address()).await?;
        self.seen.balance_gwei = Some(fees::gwei(balance));
        planned
    }

    /// The node is of the right chain and has the contract: asked again after every failure, since another may have
    /// taken its place.
    async fn check_node(&mut self) -> Result<()> {
        if self.seen.node_checked {
            return Ok(());
        }
        let found = self.rpc.chain_id().await?;
        if found != self.config.chain_id {
            return Err(Error::OtherChain { expected: self.config.chain_id, found });
        }
        if self.rpc.code(self.config.contract).await? != contract::deployed_bytecode() {
            return Err(Error::NotTheContract(self.config.contract));
        }
        self.seen.node_checked = true;
        Ok(())
    }

    fn note(&mut self, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                self.seen.problem = None;
                self.seen.failures = 0;
            }
            Err(error) => {
                if let Error::Contradicted(why) = &error {
                    tracing::error!(error = %why, "the chain contradicts the log");
                    self.seen.alarm = Some(why.to_string());
                    self.alarm.send_replace(Some(why.clone()));
                } else if self.seen.problem.as_deref() != Some(error.to_string().as_str()) {
                    tracing::warn!(%error, "anchoring does not get on");
                }
                if matches!(error, Error::Unreachable { .. } | Error::BadAnswer { .. }) {
                    self.seen.connected = false;
                }
                self.seen.node_checked = false;
                self.seen.problem = Some(error.to_string());
                self.seen.last_failure = Some(Failure { at: now(), problem: error.to_string() });
                self.seen.failures = self.seen.failures.saturating_add(1);
                self.seen.counts.failures += 1;
            }
        }
    }

    fn publish(&self) {
        let offered = self.offered.borrow().map(|offer| offer.size);
        let now = now();
        let next_at = self.due_in(now).map(|wait| now.saturating_add(wait.as_secs()));
        let known = status(&self.line, &self.config, &self.state, &self.seen, &self.store);
        self.status.send_replace(Status { offered, next_at, ..known });
    }

    /// Waits for the next look. While nothing is under way or due, the node is left in peace.
    async fn pause(&self) {
        if self.seen.failures > 0 {
            return tokio::time::sleep(backoff::delay(self.config.poll(), self.seen.failures)).await;
        }
        if !self.state.flights.is_empty() {
            return tokio::time::sleep(self.config.poll()).await;
        }
        let due = self.due_in(now()).unwrap_or(Duration::MAX);
        tokio::select! {
            () = self.wake.notified() => (),
            () = tokio::time::sleep(due) => (),
        }
    }

    fn has_work(&self) -> bool {
        !self.state.flights.is_empty() || self.store.waiting_count() > 0 || self.due_in(now()) == Some(Duration::ZERO)
    }

    fn save(&self) -> Result<()> {
        self.store.save(&self.state)
    }
}

/// All but what depends on the checkpoints that were offered.
fn status(line: &Line, config: &Config, state: &State, seen: &Seen, store: &Store) -> Status {
    Status {
        chain_id: line.chain_id,
        contract: line.contract,
        sender: line.key.address(),
        connected: seen.connected,
        block_number: seen.block_number,
        confirmations: config.confirmations,
        balance_gwei: seen.balance_gwei,
        offered: None,
        anchored: state.anchored,
        proofs: store.anchor_count(),
        next_at: None,
        in_flight: state.flights.iter().filter_map(in_flight).collect(),
        waiting: store.waiting_count(),
        spent_gwei: state.spent.on(now()),
        budget_gwei: config.budget_gwei,
        problem: seen.problem.clone(),
        last_failure: seen.last_failure.clone(),
        alarm: seen.alarm.clone(),
        counts: seen.counts,
    }
}

fn in_flight(flight: &Flight) -> Option<InFlight> {
    let size = match flight.call {
        contract::Call::Anchor { size, .. } => Some(size),
        contract::Call::Register { .. } => None,
    };
    Some(InFlight {
        nonce: flight.nonce,
        size,
        transaction: flight.last()?.hash,
        attempts: flight.attempts.len(),
        block_number: flight.mined.map(|mined| mined.block_number),
    })
}

fn kind_hash(kind: &str) -> Word {
    cairn_anchor_proof::kind(kind)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
