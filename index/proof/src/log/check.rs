//! The whole-log checker: every signature, tile, entry and hash, from the files alone.

use std::path::Path;

use super::load::{CHECKPOINT, ROTATIONS, bundle, load, read_checkpoint, read_rotations};
use super::storage::{Directory, Storage};
use super::tile::TilePath;
use crate::checkpoint::Origin;
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::key::VerifyingKey;
use crate::merkle::TILE_WIDTH;
use crate::record::Entry;
use crate::rotation::KeyHistory;
use crate::uses::UseAudit;

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
    /// Training runs among the entries.
    pub trainings: u64,
    /// Measurements of influence among the entries.
    pub influences: u64,
    /// Published versions of terms among the entries.
    pub terms: u64,
    /// Requests for access, and what became of them, among the entries.
    pub accesses: u64,
    /// Grants among the entries.
    pub grants: u64,
    /// Contributions among the entries.
    pub contributions: u64,
    /// Changes of the log's key among the entries.
    pub rotations: u64,
    /// Contributors whose uses are counted.
    pub contributors: u64,
    /// Their uses, counted without a gap.
    pub uses: u64,
    /// Entries of no kind this version knows; they are hashed like all others.
    pub other: u64,
}

/// Checks the log in `dir` completely: the checkpoint's signature, every hash tile, every entry against its leaf, the
/// changes of the log's key, and that no contributor's uses have a gap.
///
/// `key` is the log's key now or at any time before: the log's rotations must lead from one to the other.
/// Works beside a running log; fails with the file that is missing or damaged.
pub fn check(dir: &Path, key: &VerifyingKey) -> Result<CheckReport> {
    let storage = Directory::shared(dir);
    let mut size = None;
    loop {
        let result = check_storage(&storage, key);
        // A file can go missing because the log grew meanwhile and replaced a partial tile: look again.
        let Err(Error::MissingFile(_) | Error::DamagedFile { .. }) = result else { return result };
        let keys = KeyHistory::new(key, &read_rotations(&storage)?)?;
        let now = read_checkpoint(&storage, CHECKPOINT, &keys)?.map(|checkpoint| checkpoint.size());
        if now == size {
            return result;
        }
        size = now;
    }
}

pub(crate) fn check_storage<S: Storage>(storage: &S, key: &VerifyingKey) -> Result<CheckReport> {
    let rotations = read_rotations(storage)?;
    let keys = KeyHistory::new(key, &rotations)?;
    let signed =
        read_checkpoint(storage, CHECKPOINT, &keys)?.ok_or_else(|| Error::MissingFile(CHECKPOINT.to_owned()))?;
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
        trainings: 0,
        influences: 0,
        terms: 0,
        accesses: 0,
        grants: 0,
        contributions: 0,
        rotations: 0,
        contributors: 0,
        uses: 0,
        other: 0,
    };
    let mut uses = UseAudit::default();
    let mut rotated = rotations.iter().filter(|rotation| rotation.size < signed.size());
    for path in TilePath::all(signed.size()) {
        if path.level.is_some() {
            report.tiles += 1;
            continue;
        }
        for (index, entry) in (path.index * TILE_WIDTH..).zip(bundle(storage, &path, &tree)?) {
            match Entry::parse(&entry) {
                Ok(Entry::Record(record)) => {
                    uses.add(index, &record)?;
                    report.records += 1;
                }
                Ok(Entry::Rotation(rotation)) => {
                    // An entry that merely looks like a rotation changed no key, and must not seem to have.
                    if rotated.next() != Some(&*rotation) || rotation.size != index {
                        let problem = format!("it does not hold the rotation that is entry {index}");
                        return Err(Error::DamagedFile { file: ROTATIONS.into(), problem });
                    }
                    report.rotations += 1;
                }
                Ok(Entry::Snapshot(_)) => report.snapshots += 1,
                Ok(Entry::Tombstone(_)) => report.tombstones += 1,
                Ok(Entry::Adapter(_)) => report.adapters += 1,
                Ok(Entry::Training(_)) => report.trainings += 1,
                Ok(Entry::Influence(_)) => report.influences += 1,
                Ok(Entry::Terms(_)) => report.terms += 1,
                Ok(Entry::Access(_)) => report.accesses += 1,
                Ok(Entry::Grant(_)) => report.grants += 1,
                Ok(Entry::Contribution(_)) => report.contributions += 1,
                Err(_) => report.other += 1,
            }
        }
    }
    if let Some(absent) = rotated.next() {
        let problem = format!("entry {} is not the rotation it holds", absent.size);
        return Err(Error::DamagedFile { file: ROTATIONS.into(), problem });
    }
    (report.contributors, report.uses) = (uses.contributors(), uses.uses());
    Ok(report)
}
