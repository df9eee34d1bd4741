//! What enters the log: one [`Record`] per answer, and rarer kinds of [`Entry`].
//!
//! An entry is public, so it holds no personal data in clear: request, response, query and caller are salted
//! commitments ([`crate::commitment`]) under the record's own salt, with the field names in [`field`].

mod check;
mod entry;

use serde::{Deserialize, Serialize};

use crate::hash::Hash;
use crate::uses::Use;

pub(crate) use check::{instant, is_utc, seconds};
pub use entry::{AdapterEntry, AdapterKind, Entry, SnapshotEntry, SnapshotKind, Tombstone, TombstoneKind};

/// Field names from which the salts of a record's commitments are derived.
pub mod field {
    /// The request body as received.
    pub const REQUEST: &str = "request";
    /// The response's `choices` array as sent (or the object that holds it).
    pub const RESPONSE: &str = "response";
    /// The text that was searched for.
    pub const QUERY: &str = "query";
    /// The key or subject that called.
    pub const CALLER: &str = "caller";
    /// The filter that narrowed the search.
    pub const FILTER: &str = "filter";
}

/// One answer: who asked (committed), what the model was, what was retrieved, what was cited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Always `cairn/record/v1`.
    #[serde(rename = "type")]
    pub kind: RecordKind,
    /// Id of the answer, such as `chatcmpl-…`.
    pub id: String,
    /// When it was given, RFC 3339 in UTC (`…Z`).
    pub time: String,
    /// The endpoint that was called.
    pub endpoint: Endpoint,
    /// Commitment to the request body, field name [`field::REQUEST`].
    pub request: Hash,
    /// Commitment to the response, field name [`field::RESPONSE`].
    pub response: Hash,
    /// Name of the model as the caller gave it.
    pub model: String,
    /// SHA-256 identifying the base model's weights.
    pub base_weights: Hash,
    /// The adapter's immutable generation, if one was attached.
    #[serde(deserialize_with = "present")]
    pub adapter_generation: Option<String>,
    /// Commitment to the caller, field name [`field::CALLER`].
    pub caller: Hash,
    /// What was retrieved, if the answer drew on datanets.
    #[serde(deserialize_with = "present")]
    pub retrieval: Option<Retrieval>,
    /// Which spans of the answer rest on which passages.
    pub citations: Vec<Citation>,
    /// Whose datapoints were put before the model, with the running count of each contributor's uses in this log
    /// ([`crate::uses`]), in the order of the pseudonyms. Absent in records from before there were counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<Vec<Use>>,
    /// Where several adapters were attached, or one not at weight 1: all of them, the first being `adapter_generation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapters: Option<Vec<AdapterShare>>,
}

/// An adapter among several that answered together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterShare {
    /// Its immutable generation.
    pub generation: String,
    /// The weight that the request gave it, as scores are written ([`crate::canonical::fixed`]).
    pub weight: String,
}

/// The type string of a [`Record`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordKind {
    /// `cairn/record/v1`
    #[default]
    #[serde(rename = "cairn/record/v1")]
    V1,
}

/// An endpoint that produces records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// `chat.completions`
    #[serde(rename = "chat.completions")]
    ChatCompletions,
    /// `completions`
    #[serde(rename = "completions")]
    Completions,
}

/// How passages were found and which were considered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retrieval {
    /// Commitment to the query, field name [`field::QUERY`].
    pub query: Hash,
    /// How was searched, such as `hybrid`, `vector` or `text`.
    pub mode: String,
    /// Passages asked for.
    pub top_k: u64,
    /// Candidates taken from each source before fusion.
    pub candidates_per_source: u64,
    /// The datanet snapshots searched, each name once.
    pub datanets: Vec<Snapshot>,
    /// Every datapoint considered.
    pub candidates: Vec<Candidate>,
    /// Commitment to the caller's filter, field name [`field::FILTER`], where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Hash>,
    /// By what method the candidates were ordered anew, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank: Option<String>,
}

/// One version of a datanet, as searched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The datanet.
    pub name: String,
    /// Version of its LanceDB table.
    pub lance_version: u64,
    /// Datapoints in it.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
    /// By what right it was searched. Absent in records from before that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// By what right a datanet was searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "basis", rename_all = "lowercase", deny_unknown_fields)]
pub enum Access {
    /// A grant that the log holds.
    Grant {
        /// Leaf hash of its [`crate::access::GrantEntry`].
        grant: Hash,
    },
    /// The caller owns the datanet.
    Owner,
    /// Anyone may.
    Public,
    /// The caller runs the gateway.
    Administrator,
}

/// A datapoint that was considered, and why. Scores are strings of [`crate::canonical::fixed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Its datanet, one of [`Retrieval::datanets`].
    pub datanet: String,
    /// Its leaf hash in the datanet's tree.
    pub leaf: Hash,
    /// Its position there.
    pub seq: u64,
    /// Final rank from 1, if it was ranked.
    #[serde(deserialize_with = "present")]
    pub rank: Option<u64>,
    /// Passage number in the prompt from 1, if it was put there.
    #[serde(deserialize_with = "present")]
    pub in_prompt: Option<u64>,
    /// Similarity of the embeddings.
    #[serde(deserialize_with = "present")]
    pub vector_score: Option<String>,
    /// Rank by that similarity.
    #[serde(deserialize_with = "present")]
    pub vector_rank: Option<u64>,
    /// Full-text score.
    #[serde(deserialize_with = "present")]
    pub text_score: Option<String>,
    /// Rank by that score.
    #[serde(deserialize_with = "present")]
    pub text_rank: Option<u64>,
    /// How far the words of the query stand here in its order; missing where that was not part of the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrase_score: Option<String>,
    /// Score after fusion.
    #[serde(deserialize_with = "present")]
    pub fused_score: Option<String>,
    /// Score by [`Retrieval::rerank`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<String>,
    /// Why it was kept out of the prompt, where a rule did that and not its rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

/// The rule that kept a datapoint out of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// Its score is below the least that was asked for.
    MinimumScore,
    /// Its contributor has as many passages as one may.
    ContributorCap,
}

/// A span of the answer that rests on a passage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    /// Position of the choice in the response.
    pub choice: u64,
    /// Passage number, the `in_prompt` of a candidate.
    pub n: u64,
    /// Start of the span in Unicode scalar values.
    pub start: u64,
    /// End of the span, exclusive.
    pub end: u64,
    /// How the citation was established.
    pub kind: CitationKind,
    /// How strong it is, if that was measured.
    #[serde(deserialize_with = "present")]
    pub score: Option<String>,
}

/// How a citation was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CitationKind {
    /// The model wrote `[n]`.
    Marker,
    /// Words of the span occur in the passage.
    Overlap,
}

impl Retrieval {
    /// The snapshot of a datanet.
    pub fn snapshot(&self, datanet: &str) -> Option<&Snapshot> {
        self.datanets.iter().find(|snapshot| snapshot.name == datanet)
    }
}

/// Deserialises an optional field that must be there, if only as `null`: serde takes absence for `null` otherwise.
pub(crate) fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}
