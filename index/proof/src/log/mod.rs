//! The transparency log: an append-only sequence of entries in C2SP tlog-tiles files, with a signed checkpoint.
//!
//! ```text
//! checkpoint                       size and root, signed
//! tile/<L>/<N>[.p/<W>]             hashes, 256 a file
//! tile/entries/<N>[.p/<W>]         entries, 256 a file
//! cosigned                         the last checkpoint that witnesses cosigned
//! rotations                        the rotation entries of the log's key
//! aside/                           tiles of an append that a crash cut short
//! lock                             held by the process that appends
//! ```
//!
//! An append writes bundles and tiles durably, swaps the guard from the last checkpoint to the new one, then the
//! checkpoint itself, and only then returns. Two checkpoints that contradict each other are never published: after any
//! failed write the log refuses to append until it is opened again, and opening starts from what is on disk.
//!
//! Against two writers there are a lock on the directory, tiles that are written once and never changed, and the swap,
//! which fails when the stored checkpoint is not the one this process wrote last.
//!
//! The guard is a second copy of the checkpoint, best on another disk. When the log's own files are behind it, or behind
//! what a witness has cosigned, an older backup was restored, and the log does not sign.

mod check;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
pub(crate) mod failing_disk;
mod load;
mod restore;
mod rotate;
mod sequencer;
mod serve;
mod storage;
mod tile;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use check::{CheckReport, check};
pub use sequencer::{Batching, Draft, Placed, Sequencer};
pub use serve::read_tile;
pub use storage::{Directory, Storage};
pub use tile::{MAX_ENTRY, TilePath};

use crate::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use crate::cosignature::CosignedCheckpoint;
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::key::VerifyingKey;
use crate::merkle::{TILE_WIDTH, Tree};
use crate::rotation::{KeyHistory, Rotation};
use crate::signer::Signer;
use load::{CHECKPOINT, COSIGNED, ROTATIONS, rotations_text};
use restore::{Restored, restore};

/// An open log. One process at a time; appends need `&mut`.
#[derive(Debug)]
pub struct Log<S = Directory> {
    storage: S,
    /// Where the second copy of the checkpoint is: a storage and the file's name in it.
    guard: Option<(S, String)>,
    signer: Box<dyn Signer>,
    origin: Origin,
    tree: Tree,
    /// Entries of the last bundle, while it is not full.
    tail: Vec<Vec<u8>>,
    checkpoint: SignedCheckpoint,
    cosigned: Option<CosignedCheckpoint>,
    rotations: Vec<Rotation>,
    /// A write failed: what is on disk is not known, so nothing more may be signed.
    uncertain: bool,
    /// Why nothing may be signed, ever: a witness knows another or a longer history.
    stopped: Option<Arc<Error>>,
}

impl Log {
    /// Opens the log in `dir`, or creates it with a signed checkpoint of size 0.
    ///
    /// Fails, naming the file, when the checkpoint is not signed by `signer` for `origin` or a tile is missing or
    /// contradicts another.
    pub fn open(dir: &Path, signer: impl Signer + 'static, origin: Origin) -> Result<Log> {
        Log::start(Directory::exclusive(dir)?, None, Box::new(signer), origin)
    }

    /// Like [`Log::open`], with a second copy of the checkpoint in the file `guard`; refuses to start behind it.
    pub fn open_guarded(dir: &Path, signer: impl Signer + 'static, origin: Origin, guard: &Path) -> Result<Log> {
        let storage = Directory::exclusive(dir)?;
        let parent = guard.parent().unwrap_or(Path::new(""));
        let name = guard.file_name().unwrap_or(CHECKPOINT.as_ref()).to_string_lossy().into_owned();
        Log::start(storage, Some((Directory::shared(parent), name)), Box::new(signer), origin)
    }
}

impl<S: Storage> Log<S> {
    fn start(storage: S, guard: Option<(S, String)>, signer: Box<dyn Signer>, origin: Origin) -> Result<Log<S>> {
        let Restored { tree, tail, checkpoint, cosigned, rotations } =
            restore(&storage, guard.as_ref(), signer.as_ref(), &origin)?;
        Ok(Log {
            storage,
            guard,
            signer,
            origin,
            tree,
            tail,
            checkpoint,
            cosigned,
            rotations,
            uncertain: false,
            stopped: None,
        })
    }

    /// Starts again from what is on disk, as opening does: after a failed write, when its cause is gone.
    pub fn reopen(&mut self) -> Result<()> {
        let restored = restore(&self.storage, self.guard.as_ref(), self.signer.as_ref(), &self.origin)?;
        let Restored { tree, tail, checkpoint, cosigned, rotations } = restored;
        (self.tree, self.tail, self.checkpoint) = (tree, tail, checkpoint);
        (self.cosigned, self.rotations, self.uncertain) = (cosigned, rotations, false);
        Ok(())
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
        if let Some(why) = &self.stopped {
            return Err(Error::Stopped(why.clone()));
        }
        if self.uncertain {
            return Err(Error::NeedsReopen);
        }
        if entries.is_empty() {
            return Ok(old..old);
        }
        self.advance(entries, None)?;
        Ok(old..self.size())
    }

    /// Signs nothing more, whatever is appended: a witness knows another or a longer history. Lasts until the process
    /// ends; the next start will ask the witnesses again.
    pub fn stop(&mut self, why: Arc<Error>) {
        self.stopped.get_or_insert(why);
    }

    /// Keeps a checkpoint that witnesses cosigned, durably, if it is newer than the last one kept or the same with more
    /// cosignatures. It must be one of this log. That enough witnesses signed it is for the caller to judge.
    pub fn keep_cosigned(&mut self, cosigned: &CosignedCheckpoint) -> Result<()> {
        let mut kept = cosigned.clone();
        let signed = kept.signed();
        self.keys()?.verify(signed)?;
        let (expected, found) = (self.tree.root_at(signed.size())?, signed.root());
        if expected != found {
            return Err(Error::RootMismatch { expected, found });
        }
        match &self.cosigned {
            Some(last) if last.signed().size() > signed.size() => return Ok(()),
            Some(last) if last.signed().size() == signed.size() => kept.merge(last),
            _ => (),
        }
        if self.cosigned.as_ref() != Some(&kept) {
            self.storage.write(COSIGNED, kept.to_string().as_bytes())?;
            self.cosigned = Some(kept);
        }
        Ok(())
    }

    /// Number of entries under the checkpoint.
    pub fn size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// The latest signed checkpoint; its `Display` is the text to serve.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// The last checkpoint kept by [`Log::keep_cosigned`].
    pub fn cosigned(&self) -> Option<&CosignedCheckpoint> {
        self.cosigned.as_ref()
    }

    /// The best checkpoint to prove entry `index` under: the cosigned one, if it covers the entry, or else the latest.
    pub fn checkpoint_for(&self, index: u64) -> CosignedCheckpoint {
        // Not one by an earlier key, from which a verifier who trusts the present one would have to be led back.
        let least = self.rotations.last().map_or(index, |rotation| rotation.size.max(index));
        let cosigned = self.cosigned.as_ref().filter(|cosigned| cosigned.signed().size() > least);
        cosigned.cloned().unwrap_or_else(|| CosignedCheckpoint::new(self.checkpoint.clone()))
    }

    /// The rotations of the log's key, in order.
    pub fn rotations(&self) -> &[Rotation] {
        &self.rotations
    }

    /// The keys of this log and the sizes at which they sign.
    pub fn keys(&self) -> Result<KeyHistory> {
        KeyHistory::new(&self.verifying_key(), &self.rotations)
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
        self.signer.verifying_key(&self.origin)
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

    pub(crate) fn storage(&self) -> &S {
        &self.storage
    }

    pub(crate) fn signer(&self) -> &dyn Signer {
        self.signer.as_ref()
    }

    /// Appends, under a checkpoint by the present key or, with `turn`, by another.
    fn advance(&mut self, entries: &[Vec<u8>], turn: Option<&Turn>) -> Result<()> {
        let old = self.size();
        self.tree.extend(entries.iter().map(|entry| leaf_hash(entry)));
        self.uncertain = true;
        match self.persist(old, entries, turn) {
            Ok((checkpoint, tail)) => {
                self.checkpoint = checkpoint;
                self.tail = tail;
                self.uncertain = false;
                self.drop_superseded(old);
                Ok(())
            }
            Err(error) => {
                self.tree.truncate(old);
                Err(error)
            }
        }
    }

    /// Writes everything an append needs; the tree holds the new leaves already.
    fn persist(&self, old: u64, entries: &[Vec<u8>], turn: Option<&Turn>) -> Result<(SignedCheckpoint, Vec<Vec<u8>>)> {
        self.unmoved()?;
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
            self.stage(path.to_string(), &bytes)?;
        }
        let mut signer = self.signer.as_ref();
        if let Some(turn) = turn {
            signer = turn.next.as_ref();
            self.storage.write(ROTATIONS, &rotations_text(&turn.rotations)?)?;
        }
        let checkpoint = Checkpoint { origin: self.origin.clone(), size: new, root: self.tree.root() };
        let checkpoint = SignedCheckpoint::sign_by(checkpoint, signer)?;
        self.publish(&checkpoint)?;
        let full = ((new / TILE_WIDTH - first) * TILE_WIDTH) as usize;
        Ok((checkpoint, open.split_off(full)))
    }

    /// Notices another writer before anything of its is touched.
    fn unmoved(&self) -> Result<()> {
        let present = self.storage.read(CHECKPOINT)?;
        if present.as_deref() == Some(self.checkpoint.to_string().as_bytes()) {
            return Ok(());
        }
        Err(Error::CheckpointMoved(CHECKPOINT.into()))
    }

    /// Writes a tile or bundle, which never changes once it is there: other content under its name is another writer's.
    fn stage(&self, name: String, bytes: &[u8]) -> Result<()> {
        match self.storage.read(&name)? {
            None => self.storage.write(&name, bytes),
            Some(present) if present == bytes => Ok(()),
            Some(_) => Err(Error::TileTaken(name)),
        }
    }

    /// Replaces the last checkpoint by the new one: in the guard first, so that it is never behind what was seen.
    fn publish(&self, checkpoint: &SignedCheckpoint) -> Result<()> {
        let (old, new) = (self.checkpoint.to_string(), checkpoint.to_string());
        if let Some((storage, name)) = &self.guard {
            storage.swap(name, Some(old.as_bytes()), new.as_bytes())?;
        }
        self.storage.swap(CHECKPOINT, Some(old.as_bytes()), new.as_bytes())
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

/// A change of key in the making.
#[derive(Debug)]
struct Turn {
    next: Box<dyn Signer>,
    /// All rotations, the new one last.
    rotations: Vec<Rotation>,
}
