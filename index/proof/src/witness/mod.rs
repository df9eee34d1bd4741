//! Witnesses (C2SP tlog-witness): independent parties that remember the last checkpoint of a log, and cosign the next one
//! only after a proof that it goes on from there. Who requires their cosignatures cannot be shown another history than
//! they were.
//!
//! No HTTP here: [`Witness::add_checkpoint`] takes the body of a `POST /add-checkpoint` and returns status, content type
//! and body; [`client::Submission`] makes that body and reads the answer.

pub mod client;
mod request;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::checkpoint::Origin;
use crate::cosignature::{Cosignature, WitnessKey};
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::key::{SigningKey, VerifyingKey};
use crate::log::{Directory, Storage};
use crate::merkle::{Tree, verify_consistency};
use crate::note::Note;

pub use request::{AddCheckpoint, LONGEST_REQUEST};
use request::{Head, head};

/// A witness and what it has cosigned. Share it between threads: requests are served one at a time.
#[derive(Debug)]
pub struct Witness<S: Storage = Directory> {
    name: Origin,
    key: SigningKey,
    /// The keys trusted for each log, by origin.
    logs: HashMap<String, Vec<VerifyingKey>>,
    /// One file a log, with the last checkpoint cosigned. The lock makes comparing and replacing it one step.
    state: Mutex<S>,
}

/// What to answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
}

impl Witness {
    /// Makes the state directory of a new witness. Fails if there is one.
    pub fn init(dir: &Path, name: &Origin, key: &SigningKey) -> Result<()> {
        let state = Directory::exclusive(dir)?;
        let line = format!("{}\n", WitnessKey::of(name, key));
        state.swap(MARKER, None, line.as_bytes())
    }

    /// Opens the witness for these logs; a log has several keys while its key is being rotated.
    ///
    /// Fails on a directory that was not initialised: a witness that forgot what it cosigned could cosign a fork.
    pub fn open(dir: &Path, name: Origin, key: SigningKey, logs: &[VerifyingKey]) -> Result<Witness> {
        if !dir.join(MARKER).exists() {
            return Err(Error::NotAWitness(dir.to_owned()));
        }
        Witness::start(Directory::exclusive(dir)?, name, key, logs)
    }
}

impl<S: Storage> Witness<S> {
    fn start(state: S, name: Origin, key: SigningKey, logs: &[VerifyingKey]) -> Result<Witness<S>> {
        let expected = WitnessKey::of(&name, &key).to_string();
        let found = state.read(MARKER)?.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned());
        match found {
            None => return Err(Error::NotAWitness(MARKER.into())),
            Some(found) if found != expected => return Err(Error::OtherWitness { expected, found }),
            Some(_) => (),
        }
        let mut of_origin: HashMap<String, Vec<VerifyingKey>> = HashMap::new();
        for log in logs {
            of_origin.entry(log.origin().to_string()).or_default().push(log.clone());
        }
        let witness = Witness { name, key, logs: of_origin, state: Mutex::new(state) };
        // Damaged state is found now rather than at the first request.
        for origin in witness.logs.keys() {
            witness.latest(origin)?;
        }
        Ok(witness)
    }

    /// The witness's public key, for those who rely on it.
    pub fn public_key(&self) -> WitnessKey {
        WitnessKey::of(&self.name, &self.key)
    }

    /// The last checkpoint cosigned of a log: its text with the log's signature and this witness's.
    pub fn latest(&self, origin: &str) -> Result<Option<String>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.read(&state, origin)?.map(|last| last.text))
    }

    /// Serves the body of a `POST /add-checkpoint`; `now` is in seconds since 1970.
    ///
    /// The new state is durable before the answer is returned.
    pub fn add_checkpoint(&self, body: &[u8], now: u64) -> Answer {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(error) => return plain(400, error),
        };
        match self.consider(&request, now) {
            Ok(answer) => answer,
            Err(error) => plain(500, error),
        }
    }

    /// The checks in the order of the specification.
    fn consider(&self, request: &AddCheckpoint, now: u64) -> Result<Answer> {
        let checked = Note::parse(&request.checkpoint).and_then(|note| Ok((head(note.body)?, note)));
        let (head, note) = match checked {
            Ok(checked) => checked,
            Err(error) => return Ok(plain(400, error)),
        };
        let Some(keys) = self.logs.get(head.origin) else {
            return Ok(plain(404, "this witness does not know that log"));
        };
        let signed_by_log = |(at, signature): (usize, &crate::note::NoteSignature<'_>)| {
            let bytes: &[u8; 64] = signature.bytes.as_slice().try_into().ok()?;
            let trusted = |key: &VerifyingKey| {
                signature.name == key.origin().as_str()
                    && signature.key_id == key.key_id()
                    && key.verifies(note.body.as_bytes(), bytes)
            };
            keys.iter().any(trusted).then(|| note.lines[at])
        };
        let Some(line) = note.signatures.iter().enumerate().find_map(signed_by_log) else {
            return Ok(plain(403, "the checkpoint is not signed by a key this witness trusts for that log"));
        };
        if request.old > head.size {
            return Ok(plain(400, "the old size is larger than the checkpoint's"));
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.read(&state, head.origin)?.unwrap_or_default();
        if request.old != last.size {
            return Ok(size(last.size));
        }
        // A tree that was never cosigned is taken as it is, but an empty one has but one root.
        if head.size == 0 && head.root != Tree::new().root() {
            return Ok(plain(422, "the root is not that of an empty tree"));
        }
        if last.size == head.size && last.time > 0 && last.root != head.root {
            self.keep_evidence(&state, &request.checkpoint);
            return Ok(size(last.size));
        }
        let root = if last.size == 0 { Tree::new().root() } else { last.root };
        if verify_consistency(last.size, &root, head.size, &head.root, &request.proof).is_err() {
            self.keep_evidence(&state, &request.checkpoint);
            return Ok(plain(422, "the consistency proof does not lead from the last checkpoint to this one"));
        }
        // Time does not run backwards, whatever the clock does.
        let cosignature = WitnessKey::cosign(&self.name, &self.key, note.body, now.clamp(last.time, i64::MAX as u64));
        let text = format!("{}\n{line}{cosignature}", note.body);
        state.write(&file(head.origin), text.as_bytes())?;
        let content_type = "text/plain; charset=utf-8";
        Ok(Answer { status: 200, content_type, body: cosignature.to_string() })
    }

    fn read(&self, state: &S, origin: &str) -> Result<Option<Last>> {
        let name = file(origin);
        let Some(bytes) = state.read(&name)? else { return Ok(None) };
        let damaged = |problem: &str| Error::DamagedFile { file: name.clone(), problem: problem.to_owned() };
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8"))?;
        let note = Note::parse(&text)?;
        let Head { origin: found, size, root } = head(note.body)?;
        let cosignatures = note.signatures.iter().filter_map(Cosignature::from_note);
        let own = cosignatures.into_iter().find(|cosignature| self.public_key().verifies(note.body, cosignature));
        let own = own.ok_or_else(|| damaged("this witness did not cosign it"))?;
        if found != origin {
            return Err(damaged("it is of another log"));
        }
        Ok(Some(Last { size, root, time: own.time.max(1), text }))
    }

    /// A checkpoint that the log signed and that contradicts the last one proves misbehaviour: it is kept, the last one
    /// of each size. Failing to keep it must not hide the answer.
    fn keep_evidence(&self, state: &S, checkpoint: &str) {
        let bounded = Hash::of(checkpoint.as_bytes()).as_bytes()[0] % MOST_EVIDENCE;
        let _ = state.write(&format!("evidence/{bounded:02}"), checkpoint.as_bytes());
    }
}

/// What a witness has cosigned last of a log.
#[derive(Default)]
struct Last {
    size: u64,
    root: Hash,
    /// When; 0 if never.
    time: u64,
    text: String,
}

/// Name of the file with a log's last checkpoint: a hash, because an origin may hold any character.
fn file(origin: &str) -> String {
    format!("logs/{}", Hash::of(origin.as_bytes()))
}

fn plain(status: u16, why: impl std::fmt::Display) -> Answer {
    Answer { status, content_type: "text/plain; charset=utf-8", body: format!("{why}\n") }
}

fn size(size: u64) -> Answer {
    Answer { status: 409, content_type: "text/x.tlog.size", body: format!("{size}\n") }
}

/// Name of the file that makes a directory a witness's; it holds the witness's key line.
const MARKER: &str = "witness";

/// Contradicting checkpoints that are kept: a log that misbehaves must not fill the disk.
const MOST_EVIDENCE: u8 = 16;
