//! The transparency log: an append-only sequence of entries in C2SP tlog-tiles files, with a signed checkpoint.
//!
//! ```text
//! checkpoint                       size and root, signed
//! tile/<L>/<N>[.p/<W>]             hashes, 256 a file
//! tile/entries/<N>[.p/<W>]         entries, 256 a file
//! aside/                           tiles of an append that a crash cut short
//! lock                             held by the process that appends
//! ```
//!
//! An append writes bundles and tiles durably, then the guard, then the checkpoint, and only then returns. Two
//! checkpoints that contradict each other are never signed: after any failed write the log refuses to append until it
//! is opened again, and opening starts from what is on disk.
//!
//! The guard is a second copy of the checkpoint, best on another disk. When the log's own files are behind it, a backup
//! was restored, and the log does not start.

mod check;
#[cfg(test)]
mod crash_tests;
mod load;
mod serve;
mod storage;
mod tile;

use std::ops::Range;
use std::path::Path;

pub use check::{CheckReport, check};
pub use serve::read_tile;
pub use storage::{Directory, Storage};
pub use tile::{MAX_ENTRY, TilePath};

use crate::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::key::{SigningKey, VerifyingKey};
use crate::merkle::{TILE_WIDTH, Tree};
use load::{CHECKPOINT, Loaded, load, read_checkpoint, tidy};

/// An open log. One process at a time; appends need `&mut`.
#[derive(Debug)]
pub struct Log<S = Directory> {
    storage: S,
    /// Where the second copy of the checkpoint is: a storage and the file's name in it.
    guard: Option<(S, String)>,
    key: SigningKey,
    origin: Origin,
    tree: Tree,
    /// Entries of the last bundle, while it is not full.
    tail: Vec<Vec<u8>>,
    checkpoint: SignedCheckpoint,
    /// A write failed: what is on disk is not known, so nothing more may be signed.
    uncertain: bool,
}

impl Log {
    /// Opens the log in `dir`, or creates it with a signed checkpoint of size 0.
    ///
    /// Fails, naming the file, when the checkpoint is not signed by `key` for `origin` or a tile is missing or
    /// contradicts another.
    pub fn open(dir: &Path, key: SigningKey, origin: Origin) -> Result<Log> {
        Log::start(Directory::exclusive(dir)?, None, key, origin)
    }

    /// Like [`Log::open`], with a second copy of the checkpoint in the file `guard`; refuses to start behind it.
    pub fn open_guarded(dir: &Path, key: SigningKey, origin: Origin, guard: &Path) -> Result<Log> {
        let storage = Directory::exclusive(dir)?;
        let parent = guard.parent().unwrap_or(Path::new(""));
        let name = guard.file_name().unwrap_or(CHECKPOINT.as_ref()).to_string_lossy().into_owned();
        Log::start(storage, Some((Directory::shared(parent), name)), key, origin)
    }
}

impl<S: Storage> Log<S> {
    fn start(storage: S, guard: Option<(S, String)>, key: SigningKey, origin: Origin) -> Result<Log<S>> {
        let public = key.verifying_key(&origin);
        let own = read_checkpoint(&storage, CHECKPOINT, &public)?;
        let guarded = match &guard {
            Some((storage, name)) => read_checkpoint(storage, name, &public)?,
            None => None,
        };
        let (checkpoint, loaded) = match (own, guarded) {
            (None, None) => {
                if !storage.list()?.is_empty() {
                    return Err(Error::MissingFile(CHECKPOINT.to_owned()));
                }
                let empty = Checkpoint { origin: origin.clone(), size: 0, root: Tree::new().root() };
                (SignedCheckpoint::sign(empty, &key), Loaded { tree: Tree::new(), tail: Vec::new() })
            }
            // A crash between the two writes leaves the guard ahead with all tiles there: go on from it.
            (own, Some(guarded)) if own.as_ref().is_none_or(|own| own.size() < guarded.size()) => {
                let size = own.as_ref().map_or(0, SignedCheckpoint::size);
                let behind = Error::BehindGuard { size, guard: guarded.size() };
                let loaded = load(&storage, guarded.checkpoint()).map_err(|error| match error {
                    Error::MissingFile(_) | Error::DamagedFile { .. } => behind,
                    other => other,
                })?;
                if let Some(own) = own {
                    agree(&loaded.tree, &own, false)?;
                }
                (guarded, loaded)
            }
            (Some(own), guarded) => {
                let loaded = load(&storage, own.checkpoint())?;
                if let Some(guarded) = guarded {
                    agree(&loaded.tree, &guarded, true)?;
                }
                (own, loaded)
            }
            (None, Some(_)) => unreachable!("a log without checkpoint is behind any guard"),
        };
        tidy(&storage, checkpoint.size())?;
        let Loaded { tree, tail } = loaded;
        let log = Log { storage, guard, key, origin, tree, tail, checkpoint, uncertain: false };
        log.publish(&log.checkpoint)?;
        Ok(log)
    }

    /// Appends entries and returns their indices, once they are durable and under a signed checkpoint.
    ///
    /// A batch costs one checkpoint, so batching is what makes a busy log fast. An entry beyond [`MAX_ENTRY`] bytes
    /// refuses the whole batch before anything is written. After any other error the log must be opened again; the
    /// batch may then turn out to have been logged or not.
    pub fn append(&mut self, entries: &[Vec<u8>]) -> Result<Range<u64>> {
        let old = self.size();
        if let Some((position, entry)) = entries.iter().enumerate().find(|(_, entry)| entry.len() > MAX_ENTRY) {
            return Err(Error::EntryTooLong { position, length: entry.len() });
        }
        if self.uncertain {
            return Err(Error::NeedsReopen);
        }
        if entries.is_empty() {
            return Ok(old..old);
        }
        self.tree.extend(entries.iter().map(|entry| leaf_hash(entry)));
        self.uncertain = true;
        match self.persist(old, entries) {
            Ok((checkpoint, tail)) => {
                self.checkpoint = checkpoint;
                self.tail = tail;
                self.uncertain = false;
                self.drop_superseded(old);
                Ok(old..self.size())
            }
            Err(error) => {
                self.tree.truncate(old);
                Err(error)
            }
        }
    }

    /// Number of entries under the checkpoint.
    pub fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// The latest signed checkpoint; its `Display` is the text to serve.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// The tree over all entries.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Name of the log.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The public key that verifies the checkpoints.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.verifying_key(&self.origin)
    }

    /// The bytes of an entry.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>> {
        let size = self.size();
        if index >= size {
            return Err(Error::OutOfRange { what: "index", value: index, size });
        }
        let position = (index % TILE_WIDTH) as usize;
        if index / TILE_WIDTH == size / TILE_WIDTH {
            return Ok(self.tail[position].clone());
        }
        let path = TilePath { level: None, index: index / TILE_WIDTH, width: TILE_WIDTH as u16 };
        let name = path.to_string();
        let bytes = self.storage.read(&name)?.ok_or(Error::MissingFile(name))?;
        let entry = path.entries(&bytes)?.swap_remove(position);
        if self.tree.leaf(index) != Some(leaf_hash(&entry)) {
            return Err(path.damaged(format!("entry {index} is not the one that was logged")));
        }
        Ok(entry)
    }

    /// The audit path of an entry to the root of the current checkpoint.
    pub fn inclusion(&self, index: u64) -> Result<Vec<Hash>> {
        self.tree.inclusion(index, self.size())
    }

    /// Writes everything an append needs; the tree holds the new leaves already.
    fn persist(&self, old: u64, entries: &[Vec<u8>]) -> Result<(SignedCheckpoint, Vec<Vec<u8>>)> {
        let mut open: Vec<Vec<u8>> = self.tail.clone();
        open.extend_from_slice(entries);
        let first = old / TILE_WIDTH;
        let new = self.tree.len();
        for path in TilePath::changed(old, new) {
            let width = usize::from(path.width);
            let bytes = match path.level {
                None => tile::encode(&open[((path.index - first) * TILE_WIDTH) as usize..][..width]),
                Some(level) => {
                    let hashes = &self.tree.level(level.into())[(path.index * TILE_WIDTH) as usize..][..width];
                    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
                }
            };
            self.storage.write(&path.to_string(), &bytes)?;
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: new, root: self.tree.root() };
        let checkpoint = SignedCheckpoint::sign(checkpoint, &self.key);
        self.publish(&checkpoint)?;
        let full = ((new / TILE_WIDTH - first) * TILE_WIDTH) as usize;
        Ok((checkpoint, open.split_off(full)))
    }

    /// Writes the checkpoint where it is not yet: to the guard first, so that the guard is never behind what was seen.
    fn publish(&self, checkpoint: &SignedCheckpoint) -> Result<()> {
        let text = checkpoint.to_string().into_bytes();
        let places = self.guard.iter().map(|(storage, name)| (storage, name.as_str()));
        for (storage, name) in places.chain([(&self.storage, CHECKPOINT)]) {
            if storage.read(name)?.as_ref() != Some(&text) {
                storage.write(name, &text)?;
            }
        }
        Ok(())
    }

    /// Removes the partial tiles that the append from `old` on has replaced by wider ones. They can be cut from those
    /// at any time, and failing to remove them does no harm, so errors are left to the next opening.
    fn drop_superseded(&self, old: u64) {
        let size = self.size();
        let bundle = TilePath { level: None, index: old / TILE_WIDTH, width: (old % TILE_WIDTH) as u16 };
        let tiles = (0..8u8).map(|level| {
            let count = old >> (8 * level);
            let width = (count % TILE_WIDTH) as u16;
            // Unless the level has grown, its partial tile is still the current one.
            let width = if count == size >> (8 * level) { 0 } else { width };
            TilePath { level: Some(level), index: count / TILE_WIDTH, width }
        });
        for path in tiles.chain([bundle]).filter(|path| path.width > 0) {
            let _ = self.storage.remove(&path.to_string());
        }
    }
}

/// Checks that the checkpoint that is behind, own or guard, is one of the tree that the other one led to.
fn agree(tree: &Tree, older: &SignedCheckpoint, older_is_guard: bool) -> Result<()> {
    let (size, found) = (older.size(), tree.root_at(older.size())?);
    let (guard, log) = if older_is_guard { (older.root(), found) } else { (found, older.root()) };
    if guard == log { Ok(()) } else { Err(Error::GuardMismatch { size, guard, log }) }
}
