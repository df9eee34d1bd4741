//! Collecting cosignatures for a log: all witnesses are asked at once, and none can hold up the others for long.
//!
//! ```text
//! let collector = Collector::new(witnesses, quorum, timeout)?;
//! let collected = collector.collect(checkpoint, history).await;     // in a task beside the answers, never before one
//! if let Some(why) = collected.alarm { log.stop(why) }
//! if collected.enough { log.keep_cosigned(&collected.checkpoint) }
//! ```

use std::sync::Arc;
use std::time::Duration;

use cairn_proof::log::{Sequencer, Storage};
use cairn_proof::witness::client::{LONGEST_ANSWER, Step, Submission};
use cairn_proof::{Cosignature, CosignedCheckpoint, Log, SignedCheckpoint, Tree, WitnessKey};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::{Error, Result};

/// A witness to ask.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// Its submission prefix: `add-checkpoint` is below it.
    pub url: String,
    /// Its verifier key line.
    pub key: String,
}

/// Where consistency proofs come from.
///
/// Contract: the tree is of the checkpoint that is collected for, or a later one of the same log. It is called on a thread
/// that may block.
pub trait History: Send + Sync + 'static {
    /// Shows the log's tree as it is now.
    fn with_tree(&self, read: &mut dyn FnMut(&Tree));
}

/// Asks witnesses, and remembers how far each has come. After a restart that costs one more request.
#[derive(Debug)]
pub struct Collector {
    http: reqwest::Client,
    witnesses: Vec<Arc<Known>>,
    quorum: usize,
    timeout: Duration,
}

/// What came of a round.
#[derive(Debug)]
pub struct Collected {
    /// The checkpoint with the cosignatures that came in time.
    pub checkpoint: CosignedCheckpoint,
    /// Whether there are as many as the quorum.
    pub enough: bool,
    /// Witnesses that did not cosign, and why.
    pub failed: Vec<(String, Arc<Error>)>,
    /// A witness knows another or a longer history of this log: [`cairn_proof::Log::stop`] takes this.
    pub alarm: Option<Arc<cairn_proof::Error>>,
}

#[derive(Debug)]
struct Known {
    endpoint: String,
    key: WitnessKey,
    /// Size it cosigned last, as far as is known. Held during a submission: there is one at a time for each witness.
    seen: Mutex<u64>,
}

impl Collector {
    /// Will ask these witnesses, of which `quorum` are needed; one is waited for up to `timeout`.
    pub fn new(witnesses: &[Remote], quorum: usize, timeout: Duration) -> Result<Collector> {
        let bad = |key: &str, problem: String| Error::BadConfig { key: key.to_owned(), problem };
        let mut known: Vec<Arc<Known>> = Vec::new();
        for Remote { url, key } in witnesses {
            let key: WitnessKey = key.parse().map_err(|error| bad("witnesses.key", format!("{error}")))?;
            if known.iter().any(|other| other.key == key) {
                return Err(bad("witnesses.key", format!("{key} is there twice")));
            }
            let parsed = reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            parsed.ok_or_else(|| bad("witnesses.url", format!("`{url}` is not an http or https address")))?;
            let endpoint = format!("{}/add-checkpoint", url.trim_end_matches('/'));
            known.push(Arc::new(Known { endpoint, key, seen: Mutex::new(0) }));
        }
        if quorum > known.len() {
            return Err(bad("quorum", format!("{quorum} witnesses are required, but {} are listed", known.len())));
        }
        let http = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
        Ok(Collector { http: http.build().map_err(Error::Client)?, witnesses: known, quorum, timeout })
    }

    /// The witnesses' keys.
    pub fn keys(&self) -> Vec<WitnessKey> {
        self.witnesses.iter().map(|witness| witness.key.clone()).collect()
    }

    /// Asks all witnesses at once. Returns when all have answered, or shortly after a quorum has, or at the time-out.
    pub async fn collect(&self, checkpoint: SignedCheckpoint, history: Arc<dyn History>) -> Collected {
        let mut pending: FuturesUnordered<_> = self
            .witnesses
            .iter()
            .map(|witness| {
                let asked = self.ask(witness.clone(), checkpoint.clone(), history.clone());
                async move { (witness, asked.await) }
            })
            .collect();
        let mut collected = Collected {
            checkpoint: CosignedCheckpoint::new(checkpoint.clone()),
            enough: self.quorum == 0,
            failed: Vec::new(),
            alarm: None,
        };
        let mut answered = Vec::new();
        let mut deadline = tokio::time::Instant::now() + self.timeout;
        while let Ok(Some((witness, outcome))) = tokio::time::timeout_at(deadline, pending.next()).await {
            answered.push(witness.key.clone());
            match outcome.and_then(|cosignature| Ok(collected.checkpoint.add(&witness.key, cosignature)?)) {
                Ok(()) => (),
                Err(error) => collected.fail(witness, error),
            }
            if !collected.enough && collected.checkpoint.cosignatures().len() >= self.quorum {
                collected.enough = true;
                deadline = deadline.min(tokio::time::Instant::now() + LINGER);
            }
        }
        for witness in self.witnesses.iter().filter(|witness| !answered.contains(&witness.key)) {
            collected.fail(witness, Error::TimedOut(witness.key.name().to_string()));
        }
        collected
    }

    /// One witness, by as many requests as it takes to meet where it stands.
    async fn ask(
        &self,
        witness: Arc<Known>,
        checkpoint: SignedCheckpoint,
        history: Arc<dyn History>,
    ) -> Result<Cosignature> {
        let mut seen = witness.seen.lock().await;
        let size = checkpoint.size();
        let mut submission = Submission::new(witness.key.clone(), checkpoint, *seen);
        loop {
            let asked = submission.clone();
            let (body, log_size) = blocking(history.clone(), move |tree| (asked.request(tree), tree.len())).await;
            let (status, answer) = self.post(&witness, body?).await?;
            match submission.answer(status, &answer, log_size)? {
                Step::Cosigned(cosignature) => {
                    *seen = size;
                    return Ok(cosignature);
                }
                Step::Again => continue,
                Step::Outrun => return Err(Error::Outrun(witness.key.name().to_string())),
            }
        }
    }

    async fn post(&self, witness: &Known, body: Vec<u8>) -> Result<(u16, Vec<u8>)> {
        let unreachable = |source| Error::Unreachable { witness: witness.key.name().to_string(), source };
        let mut response = self.http.post(&witness.endpoint).body(body).send().await.map_err(unreachable)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            answer.extend_from_slice(&chunk);
            // One byte too many is enough for the submission to refuse it.
            if answer.len() > LONGEST_ANSWER {
                break;
            }
        }
        Ok((response.status().as_u16(), answer))
    }
}

impl Collected {
    fn fail(&mut self, witness: &Known, error: Error) {
        let name = witness.key.name().to_string();
        match error {
            Error::Witness(
                why @ (cairn_proof::Error::BehindWitness { .. } | cairn_proof::Error::ForkedFromWitness { .. }),
            ) => {
                tracing::error!(witness = name, error = %why, "a witness contradicts the log");
                let text = Arc::new(why);
                self.alarm.get_or_insert(text);
            }
            error => {
                tracing::warn!(witness = name, %error, "no cosignature");
                self.failed.push((name, Arc::new(error)));
            }
        }
    }
}

impl History for Tree {
    fn with_tree(&self, read: &mut dyn FnMut(&Tree)) {
        read(self);
    }
}

impl<S: Storage + Send + 'static> History for Sequencer<S> {
    fn with_tree(&self, read: &mut dyn FnMut(&Tree)) {
        read(self.log().tree());
    }
}

impl<S: Storage + Send + 'static> History for parking_lot::Mutex<Log<S>> {
    fn with_tree(&self, read: &mut dyn FnMut(&Tree)) {
        read(self.lock().tree());
    }
}

/// Reads the tree off the async threads: the log may be busy writing.
async fn blocking<T: Send + 'static>(history: Arc<dyn History>, read: impl Fn(&Tree) -> T + Send + 'static) -> T {
    let reading = tokio::task::spawn_blocking(move || {
        let mut result = None;
        history.with_tree(&mut |tree| result = Some(read(tree)));
        result
    });
    reading.await.ok().flatten().expect("a history shows its tree and does not panic")
}

/// How long others are waited for once there is a quorum.
const LINGER: Duration = Duration::from_millis(500);
