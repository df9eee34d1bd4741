//! Contributions: what others than its owner offer to a datanet.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::datanets::IngestFormat;

/// How to read what is offered, and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ContributionQuery {
    /// The file's format.
    #[param(inline)]
    pub format: IngestFormat,
    /// Contributor of datapoints that name none; default: the caller.
    pub contributor: Option<String>,
    /// Date of datapoints that name none (`2024-05-01` or RFC 3339); default: now.
    pub contributed_at: Option<String>,
    /// Source of datapoints that name none.
    pub source: Option<String>,
    /// Licence of datapoints that name none; default: the datanet's.
    pub licence: Option<String>,
    /// Which column is which field, for tables whose columns have other names: `text=body, contributor=author`, or a JSON object. A column that is
    /// no field's becomes metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<String>,
    /// Longest passage cut from prose, in characters (100 to 4,000); default 900, about 200 tokens, of which 256 are embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 100, maximum = 4000)]
    pub passage_characters: Option<usize>,
    /// Most characters that a passage repeats of the one before it; default 0, so that every word is cited from one place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passage_overlap: Option<usize>,
    /// What its reviewer should know.
    pub note: Option<String>,
    /// The contribution that this is a new version of.
    pub supersedes: Option<String>,
}

/// Where a contribution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContributionState {
    /// For the datanet's owner.
    Waiting,
    /// Accepted; its datapoints are being added.
    Ingesting,
    /// Its datapoints are in the datanet, and stay as they are.
    Accepted,
    /// Not taken, with a reason.
    Rejected,
    /// Taken back by who sent it.
    Withdrawn,
    /// Accepted, but its datapoints could not be added.
    Failed,
}

/// A contribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Contribution {
    /// Its id.
    pub id: String,
    /// The datanet.
    pub datanet: String,
    /// Who sent it.
    pub subject: String,
    /// SHA-256 of the file (hex).
    pub document: String,
    /// Its name.
    pub filename: String,
    /// What the sender says of it.
    pub note: String,
    /// Where it stands.
    pub state: ContributionState,
    /// What was found in it: how many datapoints are new, how many there already, which have to be mended, the first few.
    #[schema(value_type = Object)]
    pub report: serde_json::Value,
    /// Datapoints that were added.
    pub added: Option<u64>,
    /// Why it was rejected, or failed.
    pub reason: Option<String>,
    /// How good the reviewer found it, 0 to 100.
    pub score: Option<u8>,
    /// Who reviewed it; none where the terms accepted it.
    pub reviewed_by: Option<String>,
    /// When (RFC 3339, UTC).
    pub reviewed_at: Option<String>,
    /// The contribution that this is a new version of.
    pub supersedes: Option<String>,
    /// The job that adds its datapoints.
    pub job: Option<String>,
    /// When it was sent (RFC 3339, UTC).
    pub created_at: String,
    /// Its place in the log, once it was decided.
    pub log_index: Option<u64>,
    /// What is known of who sent it.
    pub reputation: Reputation,
}

/// What became of a contributor's earlier contributions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reputation {
    /// Accepted.
    pub accepted: u64,
    /// Rejected.
    pub rejected: u64,
    /// Mean score of those that have one.
    pub mean_score: Option<f64>,
    /// Answers that drew on their datapoints.
    pub answers: u64,
}

/// Contributions, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContributionList {
    /// `list`.
    pub object: String,
    /// The contributions.
    pub data: Vec<Contribution>,
    /// Whether there are more; ask for them with `after`.
    #[serde(default)]
    pub has_more: bool,
}

/// An owner's word on a contribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReview {
    /// Yes or no.
    pub accept: bool,
    /// Why; the contributor reads it. A no needs one.
    #[serde(default)]
    pub reason: String,
    /// How good it is, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 100)]
    pub score: Option<u8>,
}

/// A state of a datanet that the log has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotVersion {
    /// The datanet.
    pub datanet: String,
    /// From 1.
    pub number: u64,
    /// Version of its LanceDB table.
    pub lance_version: u64,
    /// Datapoints in it.
    pub size: u64,
    /// RFC 6962 root hash over their commitments, in order (hex).
    pub root: String,
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Its entry in the log.
    pub log_index: u64,
}

/// States of a datanet, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    /// `list`.
    pub object: String,
    /// The states.
    pub data: Vec<SnapshotVersion>,
}
