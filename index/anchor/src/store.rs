//! The anchorer's directory.
//!
//! ```text
//! state.json                           see `state`
//! anchors/<size>.json                  proofs, the size in twenty digits
//! registrations/<kind>-<digest>.json   proofs
//! waiting/<kind>-<digest>              registrations that are not on the chain yet
//! lock                                 held by the process that anchors
//! ```
//!
//! Every file is replaced atomically and durably.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cairn_anchor_proof::{Anchor, Registration, Word};
use cairn_proof::log::{Directory, Storage as _};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::state::{Identity, State};

/// The directory of one anchorer; no other process has it.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    files: Directory,
    /// Sizes of which there is a proof; the background task adds to them.
    sizes: Mutex<BTreeSet<u64>>,
    /// Kind and digest of what is in `waiting/`; callers add, the background task removes.
    waiting: Mutex<BTreeSet<(Word, Word)>>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Store> {
        let files = Directory::exclusive(path).map_err(Error::Storage)?;
        let size = |name: &str| name.strip_suffix(".json")?.parse().ok();
        let pair = |name: &str| {
            let (kind, digest) = name.split_once('-')?;
            Some((word(kind)?, word(digest)?))
        };
        let sizes = names(&path.join(ANCHORS))?.iter().filter_map(|name| size(name)).collect();
        let waiting = names(&path.join(WAITING))?.iter().filter_map(|name| pair(name)).collect();
        Ok(Store { path: path.to_owned(), files, sizes: Mutex::new(sizes), waiting: Mutex::new(waiting) })
    }

    /// The state as it was left, or a new one.
    pub(crate) fn state(&self, identity: Identity) -> Result<State> {
        let Some(state) = self.read::<State>(STATE)? else { return Ok(State::new(identity)) };
        match identity.difference(&state.identity) {
            Some((what, expected, found)) => {
                Err(Error::OtherAnchors { path: self.path.join(STATE), what, expected, found })
            }
            None => Ok(state),
        }
    }

    pub(crate) fn save(&self, state: &State) -> Result<()> {
        self.write(STATE, state)
    }

    pub(crate) fn keep_anchor(&self, anchor: &Anchor) -> Result<()> {
        self.write(&anchor_name(anchor.size), anchor)?;
        self.sizes.lock().insert(anchor.size);
        Ok(())
    }

    /// Forgets the proof of a block that left the chain.
    pub(crate) fn drop_anchor(&self, size: u64) -> Result<()> {
        self.sizes.lock().remove(&size);
        self.files.remove(&anchor_name(size)).map_err(Error::Storage)
    }

    /// The anchor of the smallest size that is larger than `index`.
    pub(crate) fn covering(&self, index: u64) -> Result<Option<Anchor>> {
        let Some(above) = index.checked_add(1) else { return Ok(None) };
        let size = self.sizes.lock().range(above..).next().copied();
        size.map_or(Ok(None), |size| self.read(&anchor_name(size)))
    }

    /// Number of anchors that there is a proof of.
    pub(crate) fn anchor_count(&self) -> usize {
        self.sizes.lock().len()
    }

    /// The anchors of sizes below `before`, the largest first and `most` of them.
    pub(crate) fn anchors(&self, before: Option<u64>, most: usize) -> Result<Vec<Anchor>> {
        let below = before.unwrap_or(u64::MAX);
        let sizes: Vec<u64> = self.sizes.lock().range(..below).rev().take(most).copied().collect();
        // One whose block has left the chain meanwhile is not there any more.
        sizes.into_iter().filter_map(|size| self.read::<Anchor>(&anchor_name(size)).transpose()).collect()
    }

    /// Takes a registration, durably. Twice is once.
    pub(crate) fn wait_for(&self, kind: Word, digest: Word) -> Result<()> {
        let mut waiting = self.waiting.lock();
        if waiting.contains(&(kind, digest)) || self.path.join(registration_name(kind, digest)).exists() {
            return Ok(());
        }
        if waiting.len() >= MOST_WAITING {
            return Err(Error::TooManyRegistrations(waiting.len()));
        }
        self.files.write(&waiting_name(kind, digest), b"").map_err(Error::Storage)?;
        waiting.insert((kind, digest));
        Ok(())
    }

    /// All registrations that wait.
    pub(crate) fn waiting(&self) -> Vec<(Word, Word)> {
        self.waiting.lock().iter().copied().collect()
    }

    /// Number of registrations that wait.
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.lock().len()
    }

    /// A registration is on the chain: keeps its proof, if there is one.
    pub(crate) fn registered(&self, kind: Word, digest: Word, proof: Option<&Registration>) -> Result<()> {
        self.write(&registration_name(kind, digest), &proof)?;
        self.files.remove(&waiting_name(kind, digest)).map_err(Error::Storage)?;
        self.waiting.lock().remove(&(kind, digest));
        Ok(())
    }

    /// The proof of a registration.
    pub(crate) fn registration(&self, kind: Word, digest: Word) -> Result<Option<Registration>> {
        Ok(self.read::<Option<Registration>>(&registration_name(kind, digest))?.flatten())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.files.read(name).map_err(Error::Storage)? else { return Ok(None) };
        let damaged = |source| Error::Damaged { path: self.path.join(name), source };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let damaged = |source| Error::Damaged { path: self.path.join(name), source };
        let bytes = serde_json::to_vec(value).map_err(damaged)?;
        self.files.write(name, &bytes).map_err(Error::Storage)
    }
}

/// Names of the files in a directory, none if it is absent.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>> {
    let at = |source| Error::Io { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at)?,
    };
    entries.map(|entry| Ok(entry.map_err(at)?.file_name().to_string_lossy().into_owned())).collect()
}

/// A word in the name of a file.
fn word(digits: &str) -> Option<Word> {
    format!("0x{digits}").parse().ok()
}

fn anchor_name(size: u64) -> String {
    format!("{ANCHORS}/{size:020}.json")
}

fn registration_name(kind: Word, digest: Word) -> String {
    format!("registrations/{}-{}.json", hex::encode(kind.0), hex::encode(digest.0))
}

fn waiting_name(kind: Word, digest: Word) -> String {
    format!("{WAITING}/{}-{}", hex::encode(kind.0), hex::encode(digest.0))
}

pub(crate) const STATE: &str = "state.json";
pub(crate) const ANCHORS: &str = "anchors";
const WAITING: &str = "waiting";

/// Registrations that may wait while the chain cannot be reached.
const MOST_WAITING: usize = 10_000;
