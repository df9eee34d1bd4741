//! Reading a whole log from its first entry on, recomputing every hash, and telling which file is at fault.
//!
//! Where a tile's hashes differ from those computed from below, one of two files was changed. For a full tile the hash
//! above tells which: it is the root of the right one. Partial tiles have none above, but all of them together make the
//! signed root, so at the end the combination that leads there tells.

use std::collections::BTreeMap;

use super::fetch::{NoTile, Tiles, perfect};
use super::{AuditError, Fault, FaultKind};
use crate::access::{AccessAudit, AccessFinding};
use crate::adapters::{AdapterAudit, AdapterFinding};
use crate::canonical::parse_strict;
use crate::error::Error;
use crate::hash::{Hash, leaf_hash, node_hash};
use crate::log::TilePath;
use crate::merkle::TILE_WIDTH;
use crate::record::Entry;

/// What a walk has seen.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) faults: Vec<Fault>,
    /// How many entries there are of each type.
    pub(crate) types: BTreeMap<String, u64>,
    pub(crate) tiles: u64,
    pub(crate) bytes: u64,
    /// Hashes computed so far of the tile that is open at each level above the entries.
    open: Vec<Vec<Hash>>,
    /// Partial tiles of which it is not known yet whether they or what is below is wrong.
    undecided: Vec<Undecided>,
    /// Entries that an undecided tile contradicts.
    disputed: Vec<(u64, Vec<u8>)>,
    access: AccessAudit,
    pub(crate) adapters: AdapterAudit,
}

/// A partial tile that differs from what is below it.
struct Undecided {
    path: TilePath,
    computed: Vec<Hash>,
    stored: Vec<Hash>,
}

impl Walk {
    /// Reads a log of `size` entries, whose signed root is `root`.
    pub(crate) fn run(tiles: &mut Tiles<'_>, size: u64, root: Hash) -> Result<Walk, AuditError> {
        let mut walk = Walk::default();
        for index in 0..size.div_ceil(TILE_WIDTH) {
            let entries = walk.entries(tiles, index)?;
            let leaves = entries.as_ref().map(|entries| entries.iter().map(|entry| leaf_hash(entry)).collect());
            let chosen = walk.tile(tiles, 0, index, leaves)?;
            // The last tile may be undecided, and then so are the entries that it contradicts.
            let disputed = walk.undecided.last().map(|last| last.stored.clone());
            for (at, (entry, leaf)) in entries.into_iter().flatten().zip(&chosen).enumerate() {
                let position = index * TILE_WIDTH + at as u64;
                if disputed.as_ref().is_some_and(|stored| stored[at] != *leaf) {
                    walk.disputed.push((position, entry));
                } else if leaf_hash(&entry) == *leaf {
                    walk.entry(tiles, position, &entry);
                }
            }
            walk.carry(tiles, 0, index, chosen)?;
        }
        walk.finish(tiles, size, root)?;
        walk.access(tiles);
        Ok(walk)
    }

    /// The entries of a bundle, or `None`, with the fault noted.
    fn entries(&mut self, tiles: &Tiles<'_>, index: u64) -> Result<Option<Vec<Vec<u8>>>, AuditError> {
        let path = tiles.path(None, index);
        let read = tiles.bytes(&path).and_then(|bytes| {
            self.bytes += bytes.len() as u64;
            path.entries(&bytes).map_err(|error| NoTile::Malformed(error.to_string()))
        });
        self.noted(read, &path)
    }

    /// Compares a tile with the hashes computed from below it, and returns those that are right as far as is known.
    fn tile(
        &mut self,
        tiles: &mut Tiles<'_>,
        level: u8,
        index: u64,
        computed: Option<Vec<Hash>>,
    ) -> Result<Vec<Hash>, AuditError> {
        let path = tiles.path(Some(level), index);
        let stored = tiles.hashes(level, index).map(<[Hash]>::to_vec);
        let stored = self.noted(stored, &path)?;
        self.tiles += 1;
        self.bytes += stored.as_ref().map_or(0, |hashes| 32 * hashes.len() as u64);
        let (computed, stored) = match (computed, stored) {
            (Some(computed), Some(stored)) if computed != stored => (computed, stored),
            // With both lost nothing above can be right either; the faults are noted.
            (computed, stored) => {
                return Ok(computed.or(stored).unwrap_or_else(|| vec![Hash::default(); path.width.into()]));
            }
        };
        if path != path.full() {
            self.undecided.push(Undecided { path, computed: computed.clone(), stored });
            return Ok(computed);
        }
        let above =
            tiles.hashes(level + 1, index / TILE_WIDTH).ok().map(|hashes| hashes[(index % TILE_WIDTH) as usize]);
        if above == Some(perfect(&stored)) {
            self.below_changed(tiles, &path, &computed, &stored);
            return Ok(stored);
        }
        let tile_changed = above == Some(perfect(&computed));
        self.tile_changed(
            &path,
            &computed,
            &stored,
            if tile_changed { FaultKind::Changed } else { FaultKind::Unclear },
        );
        Ok(computed)
    }

    /// Hands the root of a full tile to the level above.
    fn carry(&mut self, tiles: &mut Tiles<'_>, level: u8, index: u64, hashes: Vec<Hash>) -> Result<(), AuditError> {
        if self.open.len() <= usize::from(level) {
            self.open.push(Vec::new());
        }
        if (hashes.len() as u64) < TILE_WIDTH {
            self.open[usize::from(level)] = hashes;
            return Ok(());
        }
        self.open[usize::from(level)].clear();
        let above = usize::from(level) + 1;
        if self.open.len() <= above {
            self.open.push(Vec::new());
        }
        self.open[above].push(perfect(&hashes));
        if (self.open[above].len() as u64) < TILE_WIDTH {
            return Ok(());
        }
        let computed = std::mem::take(&mut self.open[above]);
        let (level, index) = (level + 1, index / TILE_WIDTH);
        let chosen = self.tile(tiles, level, index, Some(computed))?;
        self.carry(tiles, level, index, chosen)
    }

    /// Compares the partial tiles above the entries and the root, and decides which of the undecided are wrong.
    fn finish(&mut self, tiles: &mut Tiles<'_>, size: u64, root: Hash) -> Result<(), AuditError> {
        for level in 1..self.open.len() {
            if !self.open[level].is_empty() {
                let computed = self.open[level].clone();
                self.tile(tiles, level as u8, size >> (8 * level) >> 8, Some(computed))?;
            }
        }
        let undecided = std::mem::take(&mut self.undecided);
        // There is at most one partial tile a level, so at most 2^8 combinations.
        let right = (0..1u32 << undecided.len()).find(|mask| {
            let mut open = self.open.clone();
            for (i, Undecided { path, stored, .. }) in undecided.iter().enumerate() {
                if mask >> i & 1 == 1 {
                    open[usize::from(path.level.unwrap_or(0))] = stored.clone();
                }
            }
            edge_root(&open) == root
        });
        for (i, Undecided { path, computed, stored }) in undecided.iter().enumerate() {
            match right {
                Some(mask) if mask >> i & 1 == 1 => self.below_changed(tiles, path, computed, stored),
                Some(_) => {
                    self.tile_changed(path, computed, stored, FaultKind::Changed);
                    if path.level == Some(0) {
                        let right = std::mem::take(&mut self.disputed);
                        right.iter().for_each(|(position, entry)| self.entry(tiles, *position, entry));
                    }
                }
                None => self.tile_changed(path, computed, stored, FaultKind::Unclear),
            }
        }
        if right.is_none() {
            let problem = format!("the entries lead to root {}, but {root} was signed", edge_root(&self.open));
            self.fault(FaultKind::Root, 0, "checkpoint".to_owned(), problem);
        }
        Ok(())
    }

    /// Checks the form of an entry that is the one that was logged.
    fn entry(&mut self, tiles: &Tiles<'_>, position: u64, entry: &[u8]) {
        let kind = parse_strict(entry).ok().and_then(|value| Some(value.get("type")?.as_str()?.to_owned()));
        let read = Entry::parse(entry).and_then(|entry| {
            self.adapters.add(position, &entry);
            self.access.add(position, &entry)
        });
        match read {
            // A kind that this version does not know is hashed like all others, and counted under its name.
            Ok(()) | Err(Error::UnknownEntryType(Some(_))) => {
                *self.types.entry(kind.unwrap_or_default()).or_default() += 1;
            }
            Err(error) => {
                let path = tiles.path(None, position / TILE_WIDTH).to_string();
                self.fault(
                    FaultKind::Entry,
                    position,
                    path,
                    format!("entry {position} is no entry of a Cairn log: {error}"),
                );
            }
        }
    }

    /// Notes what entries say against each other, unless some are lost or changed: an accusation needs them all.
    fn access(&mut self, tiles: &Tiles<'_>) {
        if self.faults.iter().any(|fault| fault.kind != FaultKind::Entry) {
            return;
        }
        for AccessFinding { position, problem } in self.access.findings().to_vec() {
            let path = tiles.path(None, position / TILE_WIDTH).to_string();
            self.fault(FaultKind::Access, position, path, problem);
        }
        for AdapterFinding { position, problem } in self.adapters.findings() {
            let path = tiles.path(None, position / TILE_WIDTH).to_string();
            self.fault(FaultKind::Adapter, position, path, problem);
        }
    }

    fn tile_changed(&mut self, path: &TilePath, computed: &[Hash], stored: &[Hash], kind: FaultKind) {
        let (at, position) = first_difference(path, computed, stored);
        let what = match kind {
            FaultKind::Changed => "the tile was changed",
            _ => "the tile or what is below it was changed",
        };
        let problem = format!("its hash {at} is {}, but what is below it gives {}: {what}", stored[at], computed[at]);
        self.fault(kind, position, path.to_string(), problem);
    }

    /// The tile is right, so what its hashes were computed from is not.
    fn below_changed(&mut self, tiles: &Tiles<'_>, path: &TilePath, computed: &[Hash], stored: &[Hash]) {
        let (at, position) = first_difference(path, computed, stored);
        let child = path.index * TILE_WIDTH + at as u64;
        let (below, problem) = match path.level {
            Some(level) if level > 0 => {
                let problem = format!(
                    "it has root {}, but {} was signed: it and all below it were changed",
                    computed[at], stored[at]
                );
                (tiles.path(Some(level - 1), child), problem)
            }
            _ => {
                let problem = format!(
                    "entry {child} has leaf hash {}, but {} was logged: the entry was changed",
                    computed[at], stored[at]
                );
                (tiles.path(None, path.index), problem)
            }
        };
        self.fault(FaultKind::Changed, position, below.to_string(), problem);
    }

    /// Passes on what was read, or notes why there is nothing.
    fn noted<T>(&mut self, read: Result<T, NoTile>, path: &TilePath) -> Result<Option<T>, AuditError> {
        let (kind, problem) = match read {
            Ok(read) => return Ok(Some(read)),
            Err(NoTile::Trouble(trouble)) => return Err(trouble),
            Err(NoTile::Missing) => (FaultKind::Missing, "it is missing or too short".to_owned()),
            Err(NoTile::Malformed(problem)) => (FaultKind::Changed, problem),
        };
        self.fault(kind, first_entry(path, 0), path.to_string(), problem);
        Ok(None)
    }

    fn fault(&mut self, kind: FaultKind, position: u64, path: String, problem: String) {
        self.faults.push(Fault { kind, position, path, problem });
    }
}

/// The first hash that differs, and the first entry it is about.
fn first_difference(path: &TilePath, a: &[Hash], b: &[Hash]) -> (usize, u64) {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(0);
    (at, first_entry(path, at as u64))
}

/// The first entry under hash `at` of a tile.
fn first_entry(path: &TilePath, at: u64) -> u64 {
    (path.index * TILE_WIDTH + at) << (8 * u32::from(path.level.unwrap_or(0)))
}

/// The root of a log from the hashes of its partial tiles, those of the entries first.
fn edge_root(open: &[Vec<Hash>]) -> Hash {
    let mut peaks = Vec::new();
    for hashes in open.iter().rev() {
        let mut rest = hashes.as_slice();
        while !rest.is_empty() {
            let (peak, after) = rest.split_at(1 << rest.len().ilog2());
            peaks.push(perfect(peak));
            rest = after;
        }
    }
    let folded = peaks.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
    folded.unwrap_or_else(|| Hash::of(b""))
}
