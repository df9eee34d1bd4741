//! Reading a log's tiles back into a tree, and tidying up what a crash left.

use std::collections::HashSet;

use super::storage::Storage;
use super::tile::TilePath;
use crate::canonical::from_canonical;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::cosignature::CosignedCheckpoint;
use crate::error::{Error, Result};
use crate::hash::leaf_hash;
use crate::merkle::{TILE_WIDTH, Tree};
use crate::rotation::{KeyHistory, Rotation};

/// Name of the checkpoint's file.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// Name of the file with the last checkpoint that witnesses cosigned.
pub(crate) const COSIGNED: &str = "cosigned";

/// Name of the file with the rotations of the log's key, one a line, as they stand in the log.
pub(crate) const ROTATIONS: &str = "rotations";

/// What the files of a log say.
pub(crate) struct Loaded {
    pub(crate) tree: Tree,
    /// Entries of the last bundle, if it is not full.
    pub(crate) tail: Vec<Vec<u8>>,
}

/// Reads a checkpoint file and checks the log's signature.
pub(crate) fn read_checkpoint<S: Storage>(
    storage: &S,
    path: &str,
    keys: &KeyHistory,
) -> Result<Option<SignedCheckpoint>> {
    let Some(text) = read_text(storage, path)? else { return Ok(None) };
    let signed = SignedCheckpoint::parse(&text)?;
    keys.verify(&signed)?;
    Ok(Some(signed))
}

/// Reads the checkpoint that witnesses cosigned, and checks the log's signature.
pub(crate) fn read_cosigned<S: Storage>(storage: &S, keys: &KeyHistory) -> Result<Option<CosignedCheckpoint>> {
    read_text(storage, COSIGNED)?.map(|text| keys.open(&text)).transpose()
}

/// Reads the rotations of the log's key. Their signatures are checked by [`KeyHistory::new`].
pub(crate) fn read_rotations<S: Storage>(storage: &S) -> Result<Vec<Rotation>> {
    let text = read_text(storage, ROTATIONS)?.unwrap_or_default();
    let damaged = |error: Error| Error::DamagedFile { file: ROTATIONS.into(), problem: error.to_string() };
    let rotations: Vec<Rotation> =
        text.lines().map(|line| from_canonical(line.as_bytes())).collect::<Result<_>>().map_err(damaged)?;
    // `lines` forgives a missing last newline and CR LF, which a later append or another reader would not.
    if rotations_text(&rotations)? != text.as_bytes() {
        return Err(Error::DamagedFile {
            file: ROTATIONS.into(),
            problem: "its lines do not each end with one newline".into(),
        });
    }
    Ok(rotations)
}

/// The text of the file with these rotations.
pub(crate) fn rotations_text(rotations: &[Rotation]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for rotation in rotations {
        text.extend(rotation.to_bytes()?);
        text.push(b'\n');
    }
    Ok(text)
}

fn read_text<S: Storage>(storage: &S, path: &str) -> Result<Option<String>> {
    let Some(bytes) = storage.read(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| Error::DamagedFile { file: path.into(), problem: "it is not UTF-8".into() })
}

/// Rebuilds the tree of a checkpoint from the tiles.
///
/// Every hash tile is read and compared; of the entry bundles, the last is read and of the others the presence is
/// checked: rehashing every entry at each start would take as long as the log is old. `check` does that.
pub(crate) fn load<S: Storage>(storage: &S, checkpoint: &Checkpoint) -> Result<Loaded> {
    let present: HashSet<String> = storage.list()?.into_iter().collect();
    let mut tree = Tree::new();
    let mut bundles = Vec::new();
    for path in TilePath::all(checkpoint.size) {
        let Some(level) = path.level else {
            bundles.push(path);
            continue;
        };
        let hashes = path.hashes(&read(storage, &path)?)?;
        if level == 0 {
            tree.extend(hashes);
            continue;
        }
        let first = path.index * TILE_WIDTH;
        let below = &tree.level(level.into())[first as usize..][..hashes.len()];
        if let Some(i) = hashes.iter().zip(below).position(|(stored, computed)| stored != computed) {
            let child = TilePath { level: Some(level - 1), index: first + i as u64, width: TILE_WIDTH as u16 };
            return Err(path.damaged(format!("its hash {i} is not the root of {child}; one of the two was changed")));
        }
    }
    let root = tree.root();
    if root != checkpoint.root {
        return Err(Error::DamagedFile {
            file: CHECKPOINT.into(),
            problem: format!(
                "the tiles have root {root} at size {} but the checkpoint says {}",
                checkpoint.size, checkpoint.root
            ),
        });
    }
    if let Some(missing) = bundles.iter().find(|path| !present.contains(&path.to_string())) {
        return Err(Error::MissingFile(missing.to_string()));
    }
    let last = bundles.last().map(|path| bundle(storage, path, &tree)).transpose()?;
    let tail = last.filter(|entries| (entries.len() as u64) < TILE_WIDTH).unwrap_or_default();
    Ok(Loaded { tree, tail })
}

/// Reads an entry bundle and compares every entry with its leaf hash.
pub(crate) fn bundle<S: Storage>(storage: &S, path: &TilePath, tree: &Tree) -> Result<Vec<Vec<u8>>> {
    let entries = path.entries(&read(storage, path)?)?;
    for (index, entry) in (path.index * TILE_WIDTH..).zip(&entries) {
        if tree.leaf(index) != Some(leaf_hash(entry)) {
            return Err(path.damaged(format!("entry {index} is not the one that was logged")));
        }
    }
    Ok(entries)
}

/// Removes narrower versions of partial tiles and half-written files, and moves tiles that go beyond the checkpoint,
/// which were never acknowledged, to `aside/`: deleting them is for a person to decide.
pub(crate) fn tidy<S: Storage>(storage: &S, size: u64) -> Result<()> {
    let expected: HashSet<TilePath> = TilePath::all(size).into_iter().collect();
    for name in storage.list()? {
        let Ok(path) = name.parse::<TilePath>() else {
            if name.ends_with(".tmp") {
                storage.remove(&name)?;
            }
            continue;
        };
        if expected.contains(&path) {
            continue;
        }
        if !path.within(size)
            && let Some(bytes) = storage.read(&name)?
        {
            storage.write(&format!("aside/{name}"), &bytes)?;
        }
        storage.remove(&name)?;
    }
    Ok(())
}

fn read<S: Storage>(storage: &S, path: &TilePath) -> Result<Vec<u8>> {
    let name = path.to_string();
    storage.read(&name)?.ok_or(Error::MissingFile(name))
}
