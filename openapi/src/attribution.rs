//! What an answer drew on, and the receipt that proves it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::retrieval::Candidate;

/// The top-level `attribution` object of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attribution {
    /// Names the record: `GET /v1/attributions/{id}`.
    pub id: String,
    /// The adapter that answered: SHA-256 of its configuration and weights; absent = the base alone. Of several, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_generation: Option<String>,
    /// All adapters, where several answered or one not at weight 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<AdapterShare>,
    /// The passages that were in the prompt, by their number there. Empty when nothing was retrieved.
    pub datapoints: Vec<Passage>,
    /// Everything that retrieval considered, best first, without texts.
    pub candidates: Vec<Candidate>,
    /// Which parts of the answer rest on which passage.
    pub citations: Vec<Citation>,
    /// How much each passage mattered, where that is or was measured; it is completed after the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influence: Option<Influence>,
    /// Where the record stands in the transparency log.
    pub receipt: Receipt,
}

/// What is to be found out about an answer beside its citations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributionOptions {
    /// How the influence of passages is measured; default from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influence: Option<InfluenceMethod>,
    /// Whether the answer waits for the measurement instead of being completed by it later.
    #[serde(default)]
    pub wait: bool,
}

/// How the influence of passages is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceMethod {
    /// Not at all.
    None,
    /// What the answer loses without each passage, and gains by it alone.
    LeaveOneOut,
    /// Shapley values too: exact up to five passages, sampled above.
    Shapley,
}

/// How much each passage mattered to an answer, measured by how likely the answer is with and without it. In nats: 1 means
/// e times likelier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Influence {
    /// How far the measurement is.
    pub status: InfluenceStatus,
    /// How it is done.
    pub method: InfluenceMethod,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The influence of each passage on the whole answer.
    pub passages: Vec<PassageInfluence>,
    /// The influence on each sentence of the answer.
    pub sentences: Vec<SentenceInfluence>,
    /// Whose passages helped.
    pub contributors: Vec<ContributorShare>,
    /// The entry in the transparency log that completes the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}

/// How far a measurement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceStatus {
    /// Others come first.
    Waiting,
    /// Under way.
    Measuring,
    /// Done, and logged.
    Measured,
    /// It cannot be had.
    Failed,
}

/// The influence of a passage on the whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PassageInfluence {
    /// The passage's number.
    pub n: u64,
    /// Its Shapley value, or what is lost without it.
    pub nats: f64,
    /// Its part of the help that all passages were, 0 to 1.
    pub share: f64,
}

/// The influence of the passages on a sentence of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SentenceInfluence {
    /// Which choice of the answer, from 0.
    pub choice: u64,
    /// First character (Unicode scalar values).
    pub start: u64,
    /// One past the last character.
    pub end: u64,
    /// Its tokens.
    pub tokens: u64,
    /// ln P of the sentence without any passage.
    pub closed_book: f64,
    /// ln P of the sentence with all passages.
    pub with_all: f64,
    /// Whether it is cited, or any passage made it likelier by 0.1 nats a token.
    pub supported: bool,
    /// Each passage.
    pub passages: Vec<OnSentence>,
}

/// The influence of one passage on one sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OnSentence {
    /// The passage's number.
    pub n: u64,
    /// What the sentence loses without it.
    pub necessity: f64,
    /// What it alone gives to the sentence.
    pub sufficiency: f64,
    /// Its Shapley value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapley: Option<f64>,
    /// The standard error of the Shapley value, where it is sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

/// A contributor's part of the passages' help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContributorShare {
    /// The contributor.
    pub contributor: String,
    /// 0 to 1.
    pub share: f64,
    /// The influence that it stands for.
    pub nats: f64,
}

/// An adapter among several that answered together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdapterShare {
    /// SHA-256 of its configuration and weights.
    pub generation: String,
    /// The weight that the request gave it.
    pub weight: f32,
}

/// A datapoint that was in the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Passage {
    /// Its number in the prompt, which `[n]` in the answer refers to.
    pub n: usize,
    /// Whether the answer cites it, by marker or by overlap.
    pub cited: bool,
    /// Whether only its beginning fitted into the prompt.
    pub truncated: bool,
    /// The datapoint, with its text and why it was retrieved.
    #[serde(flatten)]
    pub datapoint: Candidate,
}

/// A span of an answer that rests on a passage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Citation {
    /// Which choice of the answer, from 0.
    pub choice: usize,
    /// The passage's number.
    pub n: usize,
    /// First character (Unicode scalar values).
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// How it is known.
    pub kind: CitationKind,
    /// `marker`: 1; `overlap`: the part of the span's three-word sequences that stand in the passage.
    pub score: f64,
}

/// How a citation is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CitationKind {
    /// The model wrote `[n]`.
    Marker,
    /// The sentence repeats the passage, whether or not the model said so.
    Overlap,
}

/// Where a record stands in the transparency log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The log's origin, as in its checkpoints.
    pub log: String,
    /// The record's index in the log.
    pub index: u64,
    /// Leaf hash of the record (hex).
    pub leaf: String,
    /// Size of the tree that includes it.
    pub tree_size: u64,
    /// That tree's root hash (hex).
    pub root: String,
    /// Where the record is.
    pub record_url: String,
    /// Where the proof bundle is.
    pub proof_url: String,
}

/// A stored record with what the caller may see of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttributionRecord {
    /// Names the record.
    pub id: String,
    /// When the answer was given (RFC 3339, UTC).
    pub created_at: String,
    /// The log entry itself, which holds commitments only.
    #[schema(value_type = Object)]
    pub record: serde_json::Value,
    /// The request as it was received.
    #[schema(value_type = Object)]
    pub request: serde_json::Value,
    /// The answer's choices.
    #[schema(value_type = Object)]
    pub response: serde_json::Value,
    /// The attribution as it was returned.
    pub attribution: Attribution,
}
