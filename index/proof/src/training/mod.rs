//! What an adapter learnt from: the log entry of a training run, and the bundle which proves that a row was used in it.
//!
//! The entry holds the root of a tree over the rows of the run, in the run's order. A row's leaf is the canonical JSON of
//! [`TrainingRow`], so the log tells nothing of a row, and whoever has a bundle sees that one row was learnt (or held out)
//! for a generation, and no other.

mod verify;

use serde::{Deserialize, Serialize};

use crate::bundle::{LogProof, VerifyError};
use crate::canonical::to_canonical;
use crate::datapoint::{Commitment, Disclosed};
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::key::VerifyingKey;
use crate::merkle::Tree;
use crate::record::is_utc;

pub use verify::{TrainingReport, verify_training};

/// An adapter was trained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingEntry {
    /// Always `cairn/training/v1`.
    #[serde(rename = "type")]
    pub kind: TrainingKind,
    /// The job. After a crash an entry can occur twice with the same job: it is one run.
    pub job: String,
    /// The base model's name.
    pub base: String,
    /// SHA-256 identifying the base model's weights.
    pub base_weights: Hash,
    /// The adapter that came of it (SHA-256 of its configuration and weights).
    pub generation: Hash,
    /// All hyper-parameters, as the text of a JSON object; the seed is among them.
    pub config: String,
    /// Where the rows came from.
    pub sources: Vec<TrainingSource>,
    /// The rows.
    pub rows: TrainingRows,
    /// Who had it trained.
    pub owner: String,
    /// When it ended, RFC 3339 in UTC.
    pub time: String,
}

/// Where rows came from, and by what right they were used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSource {
    /// The datanet; none for a file that the owner uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datanet: Option<String>,
    /// Datapoints in the snapshot that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Root of that snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Hash>,
    /// SHA-256 of the uploaded file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Hash>,
    /// The consent in force.
    pub consent: Consent,
    /// Leaf hash of the [`crate::access::GrantEntry`] by which the rows were used; none where no grant was needed, and in
    /// entries from before grants were named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Hash>,
}

/// By what right rows were used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// The datanet's grant of training to the run's owner.
    Grant,
    /// An administrator's run.
    Operator,
    /// The run's owner also owns the datanet, or brought the file.
    Own,
}

/// The rows of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRows {
    /// Rows that were learnt.
    pub learnt: u64,
    /// Rows that were held out for evaluation.
    pub held_out: u64,
    /// Root of the tree over all of them.
    pub root: Hash,
}

/// A row of a run; its canonical JSON is a leaf of the run's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRow {
    /// Its identity: `datanet/id`, or `line <n>` of a file.
    pub row: String,
    /// Of a datapoint the hash of its leaf in the datanet, of a line the SHA-256 of what it says.
    pub leaf: Hash,
    /// Whether it was held out for evaluation instead of being learnt.
    pub held_out: bool,
}

/// The type string of a [`TrainingEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrainingKind {
    /// `cairn/training/v1`
    #[default]
    #[serde(rename = "cairn/training/v1")]
    V1,
}

/// One row of a training run with everything that proves it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingBundle {
    /// Always `cairn/training-bundle/v1`.
    #[serde(rename = "type")]
    pub kind: TrainingBundleKind,
    /// The log's public key line, as in a [`crate::Bundle`].
    pub key: String,
    /// The entry of the run.
    pub entry: TrainingEntry,
    /// Its place in the log.
    pub log: LogProof,
    /// The row.
    pub row: TrainingRow,
    /// Index of the row in the run's tree.
    pub index: u64,
    /// Audit path to `entry.rows.root`.
    pub path: Vec<Hash>,
    /// The datapoint that the row was made from, where it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datapoint: Option<TrainingDatapoint>,
}

/// The datapoint that a row was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingDatapoint {
    /// The entry of the datanet's tree; its leaf hash is the row's `leaf`.
    pub commitment: Commitment,
    /// What of it is disclosed.
    pub disclosed: Disclosed,
}

/// The type string of a [`TrainingBundle`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrainingBundleKind {
    /// `cairn/training-bundle/v1`
    #[default]
    #[serde(rename = "cairn/training-bundle/v1")]
    V1,
}

impl TrainingEntry {
    /// Says what in an entry contradicts itself.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::InconsistentRecord(what.to_owned()));
        if self.rows.learnt == 0 {
            return wrong("a training run learnt no row");
        }
        if self.sources.is_empty() {
            return wrong("a training run has no source");
        }
        for source in &self.sources {
            let datanet = source.datanet.is_some();
            if (datanet, datanet, !datanet) != (source.size.is_some(), source.root.is_some(), source.file.is_some()) {
                return wrong("a training run's source is a datanet with size and root, or a file");
            }
            if source.grant.is_some() && !(datanet && source.consent == Consent::Grant) {
                return wrong("a training run's source names a grant, but is not a datanet used by one");
            }
            // Whether the grant held is a question about the entry's time.
            if source.grant.is_some() && !is_utc(&self.time) {
                return wrong("a training run that names a grant needs a time in UTC");
            }
        }
        Ok(())
    }
}

impl TrainingRow {
    /// The leaf hash in the run's tree.
    pub fn hash(&self) -> Result<Hash> {
        Ok(leaf_hash(&to_canonical(self)?))
    }
}

impl TrainingRows {
    /// The summary of rows, in the run's order, and their tree.
    pub fn of(rows: &[TrainingRow]) -> Result<(TrainingRows, Tree)> {
        let mut tree = Tree::new();
        for row in rows {
            tree.push(row.hash()?);
        }
        let held_out = rows.iter().filter(|row| row.held_out).count() as u64;
        Ok((TrainingRows { learnt: rows.len() as u64 - held_out, held_out, root: tree.root() }, tree))
    }

    /// All rows.
    pub fn count(&self) -> u64 {
        self.learnt + self.held_out
    }
}

impl TrainingBundle {
    /// Puts a bundle together and verifies it, so that none leaves the gateway that would fail. `path` is the row's audit
    /// path in the run's tree.
    pub fn build(
        key: &VerifyingKey,
        entry: TrainingEntry,
        log: LogProof,
        (row, index, path): (TrainingRow, u64, Vec<Hash>),
        datapoint: Option<TrainingDatapoint>,
    ) -> std::result::Result<TrainingBundle, VerifyError> {
        let kind = TrainingBundleKind::V1;
        let bundle = TrainingBundle { kind, key: key.to_string(), entry, log, row, index, path, datapoint };
        verify_training(&bundle.to_bytes().map_err(VerifyError::Form)?, &crate::Trust::new(key.clone()))?;
        Ok(bundle)
    }

    /// The file: canonical JSON and one newline.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = to_canonical(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
