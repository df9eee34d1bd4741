//! Where tiles and entry bundles lie, and what is in them (C2SP tlog-tiles).
//!
//! A tile is a run of up to 256 hashes of one level, an entry bundle a run of up to 256 entries, each with its length
//! in two big-endian bytes before it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::merkle::TILE_WIDTH;

/// Name of a tile or entry bundle: `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePath {
    /// `None` for an entry bundle, the tile level otherwise.
    pub level: Option<u8>,
    /// Index within the level.
    pub index: u64,
    /// Hashes or entries in it, 1 to 256.
    pub width: u16,
}

/// The longest entry: its length must fit into two bytes.
pub const MAX_ENTRY: usize = 65_535;

impl TilePath {
    /// Every tile and bundle a log of `size` entries consists of, those of lower levels first.
    pub(crate) fn all(size: u64) -> Vec<TilePath> {
        TilePath::changed(0, size)
    }

    /// The tiles and bundles that a log of `new` entries has and one of `old` entries has not.
    pub(crate) fn changed(old: u64, new: u64) -> Vec<TilePath> {
        let mut paths = tiles(None, old, new);
        for level in 0..8u8 {
            paths.extend(tiles(Some(level), old >> (8 * level), new >> (8 * level)));
        }
        paths
    }

    /// Whether all that is in it belongs to a log of `size` entries.
    pub(crate) fn within(&self, size: u64) -> bool {
        let count = size.checked_shr(8 * u32::from(self.level.unwrap_or(0))).unwrap_or(0);
        let end = self.index.checked_mul(TILE_WIDTH).and_then(|start| start.checked_add(self.width.into()));
        end.is_some_and(|end| end <= count)
    }

    /// The same tile at its full width.
    pub(crate) fn full(self) -> TilePath {
        TilePath { width: TILE_WIDTH as u16, ..self }
    }

    /// The first `self.width` hashes or entries out of the bytes of a wider version of the tile.
    pub(crate) fn cut(&self, wider: Vec<u8>) -> Result<Vec<u8>> {
        let mut bytes = wider;
        let length = match self.level {
            Some(_) => usize::from(self.width) * 32,
            None => {
                let entries = decode(&bytes).ok_or_else(|| self.damaged("it is not a sequence of entries"))?;
                entries.iter().take(self.width.into()).map(|entry| 2 + entry.len()).sum()
            }
        };
        if bytes.len() < length {
            return Err(self.damaged("it is too short"));
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// The hashes in the tile's bytes, as many as its width says.
    pub(crate) fn hashes(&self, bytes: &[u8]) -> Result<Vec<Hash>> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        if hashes.len() != usize::from(self.width) || !rest.is_empty() {
            let problem = format!("it has {} bytes where {} hashes belong", bytes.len(), self.width);
            return Err(self.damaged(problem));
        }
        Ok(hashes.iter().copied().map(Hash::new).collect())
    }

    /// The entries in the bundle's bytes, as many as its width says.
    pub(crate) fn entries(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let entries = decode(bytes).ok_or_else(|| self.damaged("it is not a sequence of entries"))?;
        if entries.len() != usize::from(self.width) {
            return Err(self.damaged(format!("it has {} entries where {} belong", entries.len(), self.width)));
        }
        Ok(entries.into_iter().map(<[u8]>::to_vec).collect())
    }

    /// The error that this file is not what it should be.
    pub(crate) fn damaged(&self, problem: impl Into<String>) -> Error {
        Error::DamagedFile { file: self.to_string(), problem: problem.into() }
    }
}

/// The bytes of an entry bundle. No entry may exceed [`MAX_ENTRY`].
pub(crate) fn encode(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| 2 + entry.len()).sum());
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("append refuses entries beyond 65,535 bytes");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    bytes
}

/// The entries of a bundle, or `None` if its lengths do not add up.
fn decode(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        entries.push(entry);
        bytes = rest;
    }
    Some(entries)
}

/// Paths of one level when it grows from `old` to `new` hashes.
fn tiles(level: Option<u8>, old: u64, new: u64) -> Vec<TilePath> {
    let mut paths: Vec<TilePath> =
        (old / TILE_WIDTH..new / TILE_WIDTH).map(|index| TilePath { level, index, width: TILE_WIDTH as u16 }).collect();
    let width = (new % TILE_WIDTH) as u16;
    if width > 0 && old != new {
        paths.push(TilePath { level, index: new / TILE_WIDTH, width });
    }
    paths
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "tile/{level}")?,
            None => write!(f, "tile/entries")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups[1..].iter().rev() {
            write!(f, "/x{group:03}")?;
        }
        write!(f, "/{:03}", groups[0])?;
        if u64::from(self.width) < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = Error;

    /// Accepts only the one spelling of a path, so nothing outside a log's tiles can be named.
    fn from_str(path: &str) -> Result<TilePath> {
        let parsed = parse(path).filter(|tile| tile.to_string() == path);
        parsed.ok_or_else(|| Error::BadTilePath(path.chars().take(100).collect()))
    }
}

fn parse(path: &str) -> Option<TilePath> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = match level {
        "entries" => None,
        number => Some(number.parse().ok().filter(|level| *level < 64)?),
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (number, width.parse().ok().filter(|width| (1..256).contains(width))?),
        None => (rest, TILE_WIDTH as u16),
    };
    let mut index = 0u64;
    for group in number.split('/') {
        let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
        index = index.checked_mul(1000)?.checked_add(group)?;
    }
    Some(TilePath { level, index, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (path, level, index, width) in [
            ("tile/0/000", Some(0), 0, 256),
            ("tile/0/x001/x234/067", Some(0), 1_234_067, 256),
            ("tile/63/x001/000.p/1", Some(63), 1000, 1),
            ("tile/entries/999.p/255", None, 999, 255),
            ("tile/entries/x018/x446/x744/x073/x709/x551/615", None, u64::MAX, 256),
        ] {
            let tile = TilePath { level, index, width };
            assert_eq!(tile.to_string(), path);
            assert_eq!(path.parse::<TilePath>().unwrap(), tile);
            if let (Some(level), true) = (level, index < 1 << 40) {
                let theirs = tlog_tiles::Tile::new(8, level, index, width.into(), false).path();
                assert_eq!(theirs.replacen("tile/8/", "tile/", 1), path);
            }
        }
    }

    #[test]
    fn only_well_formed_paths_are_accepted() {
        for path in [
            "",
            "checkpoint",
            "/tile/0/000",
            "tile/0/../../checkpoint",
            "tile/0/..",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/001/000",
            "tile/0/x000/001",
            "tile/0/x001/",
            "tile/0/x001/x000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000/",
            "tile/0/+00",
            "tile/entries/000.p/5/",
            "tile/data/000",
            "tile/0/000\0",
            "tile/entries/x018/x446/x744/x073/x709/x551/616",
            "tile//000",
            "tile/0/xx01/000",
            "tile/+0/000",
        ] {
            assert!(path.parse::<TilePath>().is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_log_grows_by_the_tiles_another_implementation_names() {
        for old in (0..1500).step_by(7).chain([65_535, 65_536]) {
            for new in [old, old + 1, old + 255, old + 256, old + 600, old + 66_000] {
                let mut theirs: Vec<String> =
                    tlog_tiles::Tile::new_tiles(8, old, new).iter().map(|t| t.path()).collect();
                let ours = TilePath::changed(old, new).into_iter().filter(|tile| tile.level.is_some());
                let mut ours: Vec<String> = ours.map(|t| t.to_string().replacen("tile/", "tile/8/", 1)).collect();
                theirs.sort();
                ours.sort();
                assert_eq!(ours, theirs, "{old} to {new}");
            }
        }
        // The example in the specification: 70,000 entries.
        assert_eq!(TilePath::all(70_000).iter().filter(|tile| tile.level.is_some()).count(), 273 + 1 + 1 + 1 + 1);
    }

    #[test]
    fn bundles_round_trip_and_are_cut() {
        let entries = vec![b"one".to_vec(), Vec::new(), vec![7; MAX_ENTRY]];
        let bytes = encode(&entries);
        assert_eq!(&bytes[..5], b"\0\x03one");
        let path = TilePath { level: None, index: 0, width: 3 };
        assert_eq!(path.entries(&bytes).unwrap(), entries);
        assert!(path.entries(&bytes[..bytes.len() - 1]).is_err());
        let two = TilePath { width: 2, ..path };
        assert_eq!(two.cut(bytes.clone()).unwrap(), encode(&entries[..2]));
        assert!(two.entries(&bytes).is_err());
        let hash = TilePath { level: Some(0), index: 0, width: 1 };
        assert_eq!(hash.cut(vec![1; 64]).unwrap(), [1; 32]);
        assert!(hash.hashes(&[1; 33]).is_err());
    }
}
