//! The kinds of log entry, told apart by their `type`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Record;
use crate::canonical::{from_canonical, parse_strict, to_canonical};
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// One answer.
    Record(Box<Record>),
    /// A new version of a datanet.
    Snapshot(SnapshotEntry),
    /// A datapoint was erased.
    Tombstone(Tombstone),
}

/// A datanet reached a new version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotEntry {
    /// Always `cairn/snapshot/v1`.
    #[serde(rename = "type")]
    pub kind: SnapshotKind,
    /// The datanet.
    pub datanet: String,
    /// Version of its LanceDB table.
    pub lance_version: u64,
    /// Datapoints in it.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// A datapoint's salt and plaintext were destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// Always `cairn/tombstone/v1`.
    #[serde(rename = "type")]
    pub kind: TombstoneKind,
    /// The datanet.
    pub datanet: String,
    /// Position of the datapoint in it.
    pub seq: u64,
    /// Its leaf hash.
    pub leaf: Hash,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// The type string of a [`SnapshotEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotKind {
    /// `cairn/snapshot/v1`
    #[default]
    #[serde(rename = "cairn/snapshot/v1")]
    V1,
}

/// The type string of a [`Tombstone`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TombstoneKind {
    /// `cairn/tombstone/v1`
    #[default]
    #[serde(rename = "cairn/tombstone/v1")]
    V1,
}

impl Entry {
    /// Reads an entry, which must be exactly canonical JSON of a known type and free of contradictions.
    pub fn parse(bytes: &[u8]) -> Result<Entry> {
        let value = parse_strict(bytes)?;
        match value.get("type").and_then(Value::as_str) {
            Some("cairn/record/v1") => {
                let record: Record = from_canonical(bytes)?;
                record.check()?;
                Ok(Entry::Record(Box::new(record)))
            }
            Some("cairn/snapshot/v1") => Ok(Entry::Snapshot(from_canonical(bytes)?)),
            Some("cairn/tombstone/v1") => Ok(Entry::Tombstone(from_canonical(bytes)?)),
            other => Err(Error::UnknownEntryType(other.map(str::to_owned))),
        }
    }

    /// The canonical JSON: the bytes to append to the log.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        match self {
            Entry::Record(record) => record.to_bytes(),
            Entry::Snapshot(snapshot) => to_canonical(snapshot),
            Entry::Tombstone(tombstone) => to_canonical(tombstone),
        }
    }

    /// The leaf hash in the log's tree.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&self.to_bytes()?))
    }
}

impl From<Record> for Entry {
    fn from(record: Record) -> Entry {
        Entry::Record(Box::new(record))
    }
}

impl From<SnapshotEntry> for Entry {
    fn from(snapshot: SnapshotEntry) -> Entry {
        Entry::Snapshot(snapshot)
    }
}

impl From<Tombstone> for Entry {
    fn from(tombstone: Tombstone) -> Entry {
        Entry::Tombstone(tombstone)
    }
}
