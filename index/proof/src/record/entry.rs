//! The kinds of log entry, told apart by their `type`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Record;
use crate::access::{AccessEntry, ContributionEntry, GrantEntry, TermsEntry};
use crate::canonical::{from_canonical, parse_strict, to_canonical};
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::influence::InfluenceEntry;
use crate::rotation::Rotation;
use crate::training::TrainingEntry;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// One answer.
    Record(Box<Record>),
    /// A new version of a datanet.
    Snapshot(SnapshotEntry),
    /// A datapoint was erased.
    Tombstone(Tombstone),
    /// An adapter, or what an alias means, changed.
    Adapter(Box<AdapterEntry>),
    /// The log's key changed.
    Rotation(Box<Rotation>),
    /// An adapter was trained.
    Training(Box<TrainingEntry>),
    /// How much each passage mattered to an answer was measured.
    Influence(Box<InfluenceEntry>),
    /// A datanet's terms were published.
    Terms(Box<TermsEntry>),
    /// Access was asked for, decided on or revoked.
    Access(Box<AccessEntry>),
    /// Access was granted.
    Grant(Box<GrantEntry>),
    /// What was offered to a datanet was accepted or rejected.
    Contribution(Box<ContributionEntry>),
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

/// What was done to an adapter. Members that do not apply to the action are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterEntry {
    /// Always `cairn/adapter/v1`.
    #[serde(rename = "type")]
    pub kind: AdapterKind,
    /// Names this change for ever: an entry with the same key repeats it.
    pub key: String,
    /// `upload`, `publish`, `rollback`, `canary`, `unpublish`, `delete`, `visibility`, `grant` or `revoke`.
    pub action: String,
    /// The base model.
    pub base: String,
    /// The alias it was done to; none for upload and delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The owner of the alias or generation.
    pub owner: String,
    /// The generation (SHA-256 of configuration and weights) that was uploaded or deleted, or that the alias means now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Hash>,
    /// The generation the alias meant before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Hash>,
    /// The generation that takes part of the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Hash>,
    /// Its part, 1 to 99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Who may use the alias from now on: `private`, `granted` or `public`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<String>,
    /// Who was granted or denied the alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who did it.
    pub actor: String,
    /// When, RFC 3339 in UTC.
    pub at: String,
}

/// The type string of an [`AdapterEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdapterKind {
    /// `cairn/adapter/v1`
    #[default]
    #[serde(rename = "cairn/adapter/v1")]
    V1,
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
            Some("cairn/adapter/v1") => Ok(Entry::Adapter(Box::new(from_canonical(bytes)?))),
            Some("cairn/rotation/v1") => {
                let rotation: Rotation = from_canonical(bytes)?;
                rotation.verify()?;
                Ok(Entry::Rotation(Box::new(rotation)))
            }
            Some("cairn/training/v1") => {
                let training: TrainingEntry = from_canonical(bytes)?;
                training.check()?;
                Ok(Entry::Training(Box::new(training)))
            }
            Some("cairn/influence/v1") => {
                let influence: InfluenceEntry = from_canonical(bytes)?;
                influence.check()?;
                Ok(Entry::Influence(Box::new(influence)))
            }
            Some("cairn/terms/v1") => {
                let terms: TermsEntry = from_canonical(bytes)?;
                terms.check()?;
                Ok(Entry::Terms(Box::new(terms)))
            }
            Some("cairn/access/v1") => {
                let event: AccessEntry = from_canonical(bytes)?;
                event.check()?;
                Ok(Entry::Access(Box::new(event)))
            }
            Some("cairn/grant/v1") => {
                let grant: GrantEntry = from_canonical(bytes)?;
                grant.check()?;
                Ok(Entry::Grant(Box::new(grant)))
            }
            Some("cairn/contribution/v1") => {
                let contribution: ContributionEntry = from_canonical(bytes)?;
                contribution.check()?;
                Ok(Entry::Contribution(Box::new(contribution)))
            }
            other => Err(Error::UnknownEntryType(other.map(str::to_owned))),
        }
    }

    /// The canonical JSON: the bytes to append to the log.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        match self {
            Entry::Record(record) => record.to_bytes(),
            Entry::Snapshot(snapshot) => to_canonical(snapshot),
            Entry::Tombstone(tombstone) => to_canonical(tombstone),
            Entry::Adapter(adapter) => to_canonical(adapter.as_ref()),
            Entry::Rotation(rotation) => rotation.to_bytes(),
            Entry::Training(training) => {
                training.check()?;
                to_canonical(training.as_ref())
            }
            Entry::Influence(influence) => influence.to_bytes(),
            Entry::Terms(terms) => terms.to_bytes(),
            Entry::Access(event) => {
                event.check()?;
                to_canonical(event.as_ref())
            }
            Entry::Grant(grant) => grant.to_bytes(),
            Entry::Contribution(contribution) => {
                contribution.check()?;
                to_canonical(contribution.as_ref())
            }
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

impl From<TrainingEntry> for Entry {
    fn from(training: TrainingEntry) -> Entry {
        Entry::Training(Box::new(training))
    }
}

impl From<TermsEntry> for Entry {
    fn from(terms: TermsEntry) -> Entry {
        Entry::Terms(Box::new(terms))
    }
}

impl From<AccessEntry> for Entry {
    fn from(event: AccessEntry) -> Entry {
        Entry::Access(Box::new(event))
    }
}

impl From<GrantEntry> for Entry {
    fn from(grant: GrantEntry) -> Entry {
        Entry::Grant(Box::new(grant))
    }
}

impl From<ContributionEntry> for Entry {
    fn from(contribution: ContributionEntry) -> Entry {
        Entry::Contribution(Box::new(contribution))
    }
}

impl From<Tombstone> for Entry {
    fn from(tombstone: Tombstone) -> Entry {
        Entry::Tombstone(tombstone)
    }
}
