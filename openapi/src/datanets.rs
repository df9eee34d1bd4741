//! Datanets: permissioned datasets and their datapoints.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::access::AccessBasis;

/// Who may retrieve from a datanet without a grant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Its owner and whoever holds a grant; for all others it does not exist.
    #[default]
    Private,
    /// Everyone with a credential.
    Public,
}

/// A request to create a datanet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDatanet {
    /// 1 to 64 of a-z, 0-9, `_`, `-`, beginning with a letter or digit.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub title: String,
    /// What it holds.
    #[serde(default)]
    pub description: String,
    /// Licence of datapoints that name none, such as `GFDL-1.3`.
    #[serde(default)]
    pub licence: String,
    /// Who may retrieve without a grant.
    #[serde(default)]
    pub visibility: Visibility,
}

/// A datanet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Datanet {
    /// Its name.
    pub name: String,
    /// For people.
    pub title: String,
    /// What it holds.
    pub description: String,
    /// Licence of datapoints that name none.
    pub licence: String,
    /// Who may retrieve without a grant.
    pub visibility: Visibility,
    /// Who created it.
    pub owner: String,
    /// When (RFC 3339, UTC).
    pub created_at: String,
    /// Why the caller may use it.
    #[serde(default)]
    pub access: AccessBasis,
    /// Version of its published terms; none: only its owner gives access.
    #[serde(default)]
    pub terms_version: Option<u64>,
    /// Its present state.
    pub snapshot: Snapshot,
}

/// Which datanets are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DatanetQuery {
    /// Also those that the caller may only ask for.
    #[serde(default)]
    pub on_request: bool,
}

/// The state of a datanet that proofs refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Number of datapoints.
    pub size: u64,
    /// RFC 6962 root hash over their commitments, in order (hex).
    pub root: String,
    /// The LanceDB table version it is bound to.
    pub lance_version: u64,
}

/// Datanets the caller may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DatanetList {
    /// `list`.
    pub object: String,
    /// The datanets.
    pub data: Vec<Datanet>,
}

/// One datapoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Datapoint {
    /// The datanet it belongs to.
    pub datanet: String,
    /// Its id there.
    pub id: String,
    /// Its place there, from 0.
    pub seq: u64,
    /// Its text.
    pub text: String,
    /// Who contributed it.
    pub contributor: String,
    /// When (a date or RFC 3339).
    pub contributed_at: String,
    /// Where it came from.
    pub source: Option<String>,
    /// Its licence.
    pub licence: String,
    /// Free metadata.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// SHA-256 of the text (hex).
    pub content_hash: String,
    /// Leaf hash of its commitment (hex).
    pub leaf: String,
}

/// A page of datapoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DatapointPage {
    /// `list`.
    pub object: String,
    /// The datapoints, in order.
    pub data: Vec<Datapoint>,
    /// Pass as `after` for the next page; null at the end.
    pub next: Option<u64>,
}

/// Which page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// Datapoints from this place on; default 0.
    pub after: Option<u64>,
    /// How many, 1 to 200; default 50.
    pub limit: Option<usize>,
}

/// The format of a file to ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum IngestFormat {
    /// One JSON object a line: id, text, contributor, contributed_at, source, licence, metadata.
    Jsonl,
    /// A header row; the column `text` is required, unknown columns become metadata.
    Csv,
    /// Markdown, cut into passages along its headings.
    Markdown,
    /// Plain text, cut into passages along its paragraphs.
    Text,
    /// A dictd dictionary: the `.index` file and the `.dict` or `.dict.dz` file.
    Dictd,
    /// A table: a column `text` is required, unknown columns become metadata.
    Parquet,
    /// A web page, cut into passages along its headings.
    Html,
    /// A Word document, cut into passages along its headings.
    Docx,
    /// A PDF with text in it, cut into passages.
    Pdf,
}

/// What is done with datapoints that nearly repeat others: of the same file, or of the datanet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NearDuplicates {
    /// They are not looked for.
    Ignore,
    /// They are named in the report.
    #[default]
    Report,
    /// They are named in the report and left out.
    Refuse,
}

/// How to read the uploaded file, and what to assume where it is silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct IngestQuery {
    /// The file's format.
    #[param(inline)]
    pub format: IngestFormat,
    /// Contributor of datapoints that name none.
    pub contributor: Option<String>,
    /// Date of datapoints that name none (`2024-05-01` or RFC 3339); default: now.
    pub contributed_at: Option<String>,
    /// Source of datapoints that name none.
    pub source: Option<String>,
    /// Licence of datapoints that name none; default: the datanet's.
    pub licence: Option<String>,
    /// Add what is valid though something else is not; default: all or nothing.
    #[serde(default)]
    pub keep_good: bool,
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
    /// What is done with datapoints that nearly repeat others.
    #[serde(default)]
    #[param(inline)]
    pub near_duplicates: NearDuplicates,
}

/// What adding a file would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Examination {
    /// Datapoints in it.
    pub read: u64,
    /// Those that would be added.
    pub new: u64,
    /// Those that are there already, or twice in it.
    pub duplicates: u64,
    /// What has to be mended, the first 1,000.
    pub rejected: Vec<Rejection>,
    /// How many have to be mended in all.
    pub rejected_total: u64,
    /// What nearly repeats something, the first 1,000.
    pub near_duplicates: Vec<NearDuplicate>,
    /// How many do in all.
    pub near_duplicates_total: u64,
    /// The columns of a table, for mapping them to fields.
    pub columns: Vec<String>,
    /// The first of them, also where they have to be mended.
    pub first: Vec<Sample>,
}

/// A datapoint that cannot be added as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rejection {
    /// Its line in the file, from 1; 0 if it is about the file.
    pub line: u64,
    /// What is wrong and how to mend it.
    pub reason: String,
}

/// A datapoint that nearly repeats another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NearDuplicate {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Its id.
    pub id: String,
    /// The id of the one that it repeats.
    pub of: String,
    /// Of the three-word sequences of both, the part that is common, 0.8 to 1.
    pub similarity: f64,
}

/// A datapoint as it would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// Its id; empty where it follows from a text that is not valid.
    pub id: String,
    /// Its text, or how it begins.
    pub text: String,
    /// Who contributed it; empty where nobody is named.
    pub contributor: String,
    /// Its licence.
    pub licence: String,
}

/// Which datapoints are meant; without any, all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TrainedOnQuery {
    /// One datapoint, by its id.
    pub datapoint: Option<String>,
    /// Those of one contributor.
    pub contributor: Option<String>,
}

/// Adapters that were trained on datapoints of a datanet, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrainedOnList {
    /// `list`.
    pub object: String,
    /// One a training run.
    pub data: Vec<TrainedOnEntry>,
}

/// A training run and how many of the datapoints asked for it used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrainedOnEntry {
    /// The fine-tuning job.
    pub job: String,
    /// Whose it is.
    pub owner: String,
    /// The base.
    pub base: String,
    /// The alias it was published under.
    pub alias: String,
    /// The adapter, once it is in the store: SHA-256 of its configuration and weights.
    pub generation: Option<String>,
    /// Datapoints that were learnt.
    pub learnt: u64,
    /// Datapoints that were held out for evaluation.
    pub held_out: u64,
    /// When it ended (RFC 3339, UTC).
    pub finished_at: Option<String>,
}

/// What is to be erased from a datanet: datapoints by their ids, or everything of a contributor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErasureRequest {
    /// Ids of datapoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datapoints: Vec<String>,
    /// A contributor, all of whose datapoints go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contributor: Option<String>,
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Erasure {
    /// The datanet.
    pub datanet: String,
    /// When (RFC 3339, UTC), as the tombstones say.
    pub erased_at: String,
    /// Each datapoint.
    pub erased: Vec<Tombstone>,
    /// Answers whose kept attribution named one of them, and does no longer.
    pub answers: u64,
    /// Adapters that were trained on one of them: what was learnt stays in their weights until they are deleted.
    pub adapters: Vec<TrainedOnEntry>,
}

/// An erased datapoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tombstone {
    /// Its id.
    pub datapoint: String,
    /// Its place in the datanet.
    pub seq: u64,
    /// Leaf hash of its commitment (hex), which stays.
    pub leaf: String,
    /// The tombstone's entry in the log.
    pub log_index: u64,
}
