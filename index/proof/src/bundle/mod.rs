//! The proof bundle: one file that proves one answer, offline, to someone who holds the log's public key.
//!
//! The file is the canonical JSON of a [`Bundle`] and one newline, and nothing else verifies. Every value in it is
//! compared with something signed: the record with the log, datapoints with the record, openings with commitments. So a
//! bundle can be redacted, by leaving openings out, but no byte of it can be changed.

mod anchor;
mod build;
mod error;
mod grant;
mod verify;

use serde::{Deserialize, Serialize};

use crate::canonical::to_canonical;
use crate::commitment::Opening;
use crate::cosignature::{Cosignature, CosignedCheckpoint, WitnessKey};
use crate::datapoint::{Commitment, Disclosed};
use crate::error::Result;
use crate::hash::Hash;
use crate::influence::InfluenceProof;
use crate::log::{Log, Storage};
use crate::record::{Record, Tombstone};
use crate::rotation::Rotation;

pub use anchor::AnchorProof;
pub(crate) use anchor::{anchor, words};
pub use build::{Evidence, Parts};
pub use error::VerifyError;
pub use grant::{GrantEvidence, GrantProof, TermsProof};
pub(crate) use grant::{access_open, access_words};
pub(crate) use verify::{checkpoint, cosigners, opens};
pub use verify::{verify, verify_with};

/// One answer with everything that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Always `cairn/bundle/v1`.
    #[serde(rename = "type")]
    pub kind: BundleKind,
    /// The log's public key line. It must equal the key the verifier trusts; it is here so that a person can see which
    /// key to ask for.
    pub key: String,
    /// The record of the answer.
    pub record: Record,
    /// Its place in the log.
    pub log: LogProof,
    /// Datapoints among the record's candidates, in the record's order; at least those that were in the prompt.
    pub datapoints: Vec<DatapointProof>,
    /// What of the record is disclosed.
    pub openings: Openings,
    /// How much each passage mattered, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influence: Option<InfluenceProof>,
    /// The grants under which datanets were searched, in the order of the record's datanets: all of them, and no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantProof>,
}

/// The type string of a [`Bundle`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BundleKind {
    /// `cairn/bundle/v1`
    #[default]
    #[serde(rename = "cairn/bundle/v1")]
    V1,
}

/// The place of the record in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogProof {
    /// Index of the entry.
    pub index: u64,
    /// Audit path to the checkpoint's root.
    pub path: Vec<Hash>,
    /// Text of the signed checkpoint, with the signature lines of the witnesses below after the log's own.
    pub checkpoint: String,
    /// Key lines of the witnesses whose cosignatures are on the checkpoint, in the same order. Like `key` they are not
    /// trusted, only compared with what the verifier trusts; they are here so that every cosignature can be checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<String>,
    /// The changes of the log's key up to the checkpoint, in order: who trusts an earlier key can follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<RotationProof>,
    /// A root of the log on a blockchain, which covers the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<AnchorProof>,
}

/// A change of the log's key and its place in the log, which is `rotation.size`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationProof {
    /// Audit path to the checkpoint's root.
    pub path: Vec<Hash>,
    /// The entry.
    pub rotation: Rotation,
}

/// A datapoint of the answer and its place in the datanet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatapointProof {
    /// Passage number in the prompt; `null` for a candidate that was not put there.
    #[serde(deserialize_with = "nullable")]
    pub n: Option<u64>,
    /// The entry of the datanet's tree.
    pub commitment: Commitment,
    /// Its place there.
    pub inclusion: Inclusion,
    /// What of it is disclosed.
    pub disclosed: Disclosed,
    /// Follows from `disclosed` and `erased`.
    pub status: Status,
    /// The log entry that says it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<Erasure>,
}

/// A place in a datanet's tree, whose root the record holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    /// Index of the leaf, the datapoint's `seq`.
    pub index: u64,
    /// Leaves of the tree, the snapshot's `size`.
    pub size: u64,
    /// Audit path to the snapshot's root.
    pub path: Vec<Hash>,
}

/// How much of a datapoint a bundle shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// At least one field is opened.
    Disclosed,
    /// No field is opened.
    Withheld,
    /// No field is opened, and the log says that none can be any more.
    Erased,
}

/// The log entry by which a datapoint was erased, under the bundle's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Index of the entry in the log.
    pub index: u64,
    /// Audit path to the root of the bundle's checkpoint.
    pub path: Vec<Hash>,
    /// The entry.
    pub tombstone: Tombstone,
}

/// The openings of the record's own commitments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Openings {
    /// The request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Opening>,
    /// The response's choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Opening>,
    /// The text that was searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Opening>,
    /// Who called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Opening>,
    /// The filter that narrowed the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Opening>,
}

impl Bundle {
    /// The file: canonical JSON and one newline.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = to_canonical(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl LogProof {
    /// The place of entry `index` under the log's current checkpoint.
    pub fn of<S: Storage>(log: &Log<S>, index: u64) -> Result<LogProof> {
        LogProof::under(log, index, &CosignedCheckpoint::new(log.checkpoint().clone()), &[])
    }

    /// The place of entry `index` under a checkpoint of the log, such as [`Log::checkpoint_for`] gives, with those of its
    /// cosignatures that are by `witnesses`.
    pub fn under<S: Storage>(
        log: &Log<S>,
        index: u64,
        checkpoint: &CosignedCheckpoint,
        witnesses: &[WitnessKey],
    ) -> Result<LogProof> {
        let (tree, size) = (log.tree(), checkpoint.signed().size());
        let mut shown = CosignedCheckpoint::new(checkpoint.signed().clone());
        for witness in witnesses {
            if let Some(cosignature) = checkpoint.by(witness) {
                shown.add(witness, cosignature.clone())?;
            }
        }
        let key_of = |cosignature: &Cosignature| {
            let key = witnesses.iter().find(|witness| shown.by(witness) == Some(cosignature));
            key.map(WitnessKey::to_string)
        };
        let prove = |rotation: &Rotation| {
            Ok(RotationProof { path: tree.inclusion(rotation.size, size)?, rotation: rotation.clone() })
        };
        let rotations = log.rotations().iter().filter(|rotation| rotation.size < size);
        Ok(LogProof {
            index,
            path: tree.inclusion(index, size)?,
            witnesses: shown.cosignatures().iter().filter_map(key_of).collect(),
            rotations: rotations.map(prove).collect::<Result<_>>()?,
            checkpoint: shown.to_string(),
            anchor: None,
        })
    }
}

impl Erasure {
    /// The place of the tombstone logged as entry `index`; take it under the same checkpoint as the [`LogProof`].
    pub fn of<S: Storage>(log: &Log<S>, index: u64, tombstone: Tombstone) -> Result<Erasure> {
        Ok(Erasure { index, path: log.inclusion(index)?, tombstone })
    }

    /// The place of the tombstone under the checkpoint of this size.
    pub fn under<S: Storage>(log: &Log<S>, index: u64, tombstone: Tombstone, size: u64) -> Result<Erasure> {
        Ok(Erasure { index, path: log.tree().inclusion(index, size)?, tombstone })
    }
}

impl DatapointProof {
    /// The status that follows from what is there.
    pub fn derived_status(&self) -> Status {
        status(&self.disclosed, self.erased.as_ref())
    }
}

/// Status by what is disclosed and whether the log says the datapoint is erased.
fn status(disclosed: &Disclosed, erased: Option<&Erasure>) -> Status {
    match (disclosed.is_empty(), erased) {
        (false, _) => Status::Disclosed,
        (true, Some(_)) => Status::Erased,
        (true, None) => Status::Withheld,
    }
}

/// Deserialises an optional field that must be there, if only as `null`.
fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<u64>, D::Error> {
    Option::deserialize(deserializer)
}
