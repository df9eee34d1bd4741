//! The whole-log checker: every signature, tile, entry and hash, from the files alone.

use std::path::Path;

use super::load::{CHECKPOINT, bundle, load, read_checkpoint};
use super::storage::{Directory, Storage};
use super::tile::TilePath;
use crate::checkpoint::Origin;
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::key::VerifyingKey;
use crate::record::Entry;

/// What a checked log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Name of the log.
    pub origin: Origin,
    /// Number of entries, all of them read and hashed.
    pub size: u64,
    /// Root hash, recomputed from the entries.
    pub root: Hash,
    /// Hash tiles compared.
    pub tiles: u64,
    /// Answers among the entries.
    pub records: u64,
    /// Datanet versions among the entries.
    pub snapshots: u64,
    /// Erasures among the entries.
    pub tombstones: u64,
    /// Changes of adapters among the entries.
    pub adapters: u64,
    /// Entries of no kind this version knows; they are hashed like all others.
    pub other: u64,
}

/// Checks the log in `dir` completely: the checkpoint's signature, every hash tile, and every entry against its leaf.
///
/// Works beside a running log; fails with the file that is missing or damaged.
pub fn check(dir: &Path, key: &VerifyingKey) -> Result<CheckReport> {
    let storage = Directory::shared(dir);
    let mut size = None;
    loop {
        let result = check_storage(&storage, key);
        // A file can go missing because the log grew meanwhile and replaced a partial tile: look again.
        let Err(Error::MissingFile(_) | Error::DamagedFile { .. }) = result else { return result };
        let now = read_checkpoint(&storage, CHECKPOINT, key)?.map(|checkpoint| checkpoint.size());
        if now == size {
            return result;
        }
        size = now;
    }
}

pub(crate) fn check_storage<S: Storage>(storage: &S, key: &VerifyingKey) -> Result<CheckReport> {
    let signed = read_checkpoint(storage, CHECKPOINT, key)?.ok_or_else(|| Error::MissingFile(CHECKPOINT.to_owned()))?;
    let tree = load(storage, signed.checkpoint())?.tree;
    let mut report = CheckReport {
        origin: key.origin().clone(),
        size: signed.size(),
        root: signed.root(),
        tiles: 0,
        records: 0,
        snapshots: 0,
        tombstones: 0,
        adapters: 0,
        other: 0,
    };
    for path in TilePath::all(signed.size()) {
        if path.level.is_some() {
            report.tiles += 1;
            continue;
        }
        for entry in bundle(storage, &path, &tree)? {
            match Entry::parse(&entry) {
                Ok(Entry::Record(_)) => report.records += 1,
                Ok(Entry::Snapshot(_)) => report.snapshots += 1,
                Ok(Entry::Tombstone(_)) => report.tombstones += 1,
                Ok(Entry::Adapter(_)) => report.adapters += 1,
                Err(_) => report.other += 1,
            }
        }
    }
    Ok(report)
}
