//! Where an auditor reads a log from: paths as they are served, and what lies there.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::AuditError;
use crate::error::Error;
use crate::hash::{Hash, node_hash};
use crate::log::{TilePath, read_tile};
use crate::merkle::TILE_WIDTH;

/// The files of a log by the paths under which it serves them: `checkpoint`, `tile/0/x001/067`, `tile/entries/000.p/12`.
///
/// Contract: `Ok(None)` says that the log has no such file, which an auditor reports as the log's fault; an error says
/// that it is not known whether it has, as when the network fails. Retries are the implementation's business.
pub trait Fetch {
    /// The bytes at a path.
    fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>;
}

/// A log in a local directory: its own, or a copy.
#[derive(Clone, Debug)]
pub struct LocalLog(pub PathBuf);

/// The hash tiles of a log of some size, read when they are needed.
pub(crate) struct Tiles<'a> {
    fetch: &'a dyn Fetch,
    size: u64,
    /// The tile read last at each level.
    last: HashMap<u8, (u64, Vec<Hash>)>,
}

/// Why there are no hashes for a tile.
pub(crate) enum NoTile {
    /// It could not be read.
    Trouble(AuditError),
    /// It is not there.
    Missing,
    /// It is not what a tile must be.
    Malformed(String),
}

impl Fetch for LocalLog {
    fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        if path.starts_with("tile/") {
            return match read_tile(&self.0, path) {
                Ok(bytes) => Ok(Some(bytes)),
                // A partial tile that cannot be cut from the wider one is as good as absent.
                Err(Error::NoSuchTile(_) | Error::DamagedFile { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            };
        }
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path: self.0.join(path), source }.into()),
        }
    }
}

impl<'a> Tiles<'a> {
    pub(crate) fn new(fetch: &'a dyn Fetch, size: u64) -> Tiles<'a> {
        Tiles { fetch, size, last: HashMap::new() }
    }

    /// The path of tile `index` of a level, as wide as it is in a log of this size; `None` is the level of entries.
    pub(crate) fn path(&self, level: Option<u8>, index: u64) -> TilePath {
        let count = self.size >> (8 * u32::from(level.unwrap_or(0)));
        TilePath { level, index, width: (count - index * TILE_WIDTH).min(TILE_WIDTH) as u16 }
    }

    /// The bytes of a tile.
    pub(crate) fn bytes(&self, path: &TilePath) -> Result<Vec<u8>, NoTile> {
        let name = path.to_string();
        let bytes =
            self.fetch.fetch(&name).map_err(|source| NoTile::Trouble(AuditError::Fetch { path: name, source }))?;
        bytes.ok_or(NoTile::Missing)
    }

    /// The hashes of tile `index` of a level.
    pub(crate) fn hashes(&mut self, level: u8, index: u64) -> Result<&[Hash], NoTile> {
        if self.last.get(&level).is_none_or(|(last, _)| *last != index) {
            let path = self.path(Some(level), index);
            let hashes = path.hashes(&self.bytes(&path)?).map_err(|error| NoTile::Malformed(error.to_string()))?;
            self.last.insert(level, (index, hashes));
        }
        Ok(&self.last[&level].1)
    }

    /// The proof that the first `old` entries are a prefix of all, as in RFC 6962, section 2.1.2, and the root of those.
    pub(crate) fn consistency(&mut self, old: u64) -> Result<(Hash, Vec<Hash>), NoTile> {
        let root = self.range(0, old)?;
        if old == 0 || old == self.size {
            return Ok((root, Vec::new()));
        }
        let mut proof = Vec::new();
        let (mut low, mut high, mut known) = (0, self.size, true);
        while high != old {
            let middle = low + split(high - low);
            if old <= middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
                known = false;
            }
        }
        if !known {
            proof.push(self.range(low, high)?);
        }
        proof.reverse();
        Ok((root, proof))
    }

    /// `MTH(D[low:high])` of RFC 6962, for the ranges its recursion meets.
    fn range(&mut self, low: u64, high: u64) -> Result<Hash, NoTile> {
        let size = high - low;
        if size == 0 {
            return Ok(Hash::of(b""));
        }
        if !size.is_power_of_two() {
            let k = split(size);
            return Ok(node_hash(&self.range(low, low + k)?, &self.range(low + k, high)?));
        }
        // A perfect subtree lies within one tile of the level whose hashes it is made of.
        let level = (size.trailing_zeros() / 8) as u8;
        let (first, count) = (low >> (8 * level), (size >> (8 * level)) as usize);
        let hashes = self.hashes(level, first / TILE_WIDTH)?;
        Ok(perfect(&hashes[(first % TILE_WIDTH) as usize..][..count]))
    }
}

/// Root of the perfect tree over a power of two of hashes, by plain hashing: an auditor shares no tree with the log.
pub(crate) fn perfect(hashes: &[Hash]) -> Hash {
    match hashes {
        [only] => *only,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect(left), &perfect(right))
        }
    }
}

/// The largest power of two smaller than `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}
