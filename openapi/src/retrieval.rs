//! Retrieval: how passages are chosen, and what was considered.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How passages are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetrievalMode {
    /// Vector and full text, fused by their weighted scores.
    #[default]
    Hybrid,
    /// Embedding similarity alone.
    Vector,
    /// Full text (BM25) alone.
    FullText,
}

/// How the best candidates are put in order once more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rerank {
    /// They stay as the fusion ranks them.
    #[default]
    None,
    /// The best 20 are read once more beside the query, token by token, with the embedding model; both scores count alike. About
    /// 0.2 s on two cores.
    LateInteraction,
    /// The best 20 are read once more by the gateway's cross-encoder, together with the query; its score decides. Refused where the
    /// gateway has none (`retrieval.cross_encoder` of its configuration).
    CrossEncoder,
}

/// How passages are chosen for an answer. Every field has a default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetrievalOptions {
    /// Passages that enter the prompt (1 to 20); default from the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 20)]
    pub top_k: Option<usize>,
    /// Candidates asked of each source before fusion (1 to 50).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 50)]
    pub candidates: Option<usize>,
    /// How passages are found.
    #[serde(default)]
    pub mode: RetrievalMode,
    /// How the best of them are put in order once more.
    #[serde(default)]
    pub rerank: Rerank,
    /// What to search for; default: the last user message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Only these rows: a filter over `id`, `contributor`, `contributed_at`, `licence`, `source` and `metadata.NAME`, such as
    /// `metadata.topic = "storage" and not contributor = "Ada"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only what was contributed at this moment or later (a date or RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only what was contributed before this moment (a date or RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// At most so many of one contributor's datapoints among the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub per_contributor: Option<usize>,
    /// Leave out what scores less than this after fusion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_score: Option<f64>,
}

/// A search of datanets without an answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// What to search for.
    pub query: String,
    /// Which datanets; default: every one the caller may read.
    #[serde(default)]
    pub datanets: Vec<String>,
    /// How many results (1 to 50); default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 50)]
    pub top_k: Option<usize>,
    /// How they are found.
    #[serde(default)]
    pub mode: RetrievalMode,
    /// How the best of them are put in order once more.
    #[serde(default)]
    pub rerank: Rerank,
    /// Only these rows: a filter over `id`, `contributor`, `contributed_at`, `licence`, `source` and `metadata.NAME`, such as
    /// `metadata.topic = "storage" and not contributor = "Ada"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only what was contributed at this moment or later (a date or RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only what was contributed before this moment (a date or RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// At most so many of one contributor's datapoints among the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub per_contributor: Option<usize>,
    /// Leave out what scores less than this after fusion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_score: Option<f64>,
}

/// Results, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchResponse {
    /// Always `list`.
    pub object: String,
    /// What was searched for.
    pub query: String,
    /// The results.
    pub data: Vec<Candidate>,
}

/// A datapoint that was considered, with why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// The datanet it belongs to.
    pub datanet: String,
    /// Its id there.
    pub id: String,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Who contributed it.
    pub contributor: String,
    /// When it was contributed (a date or RFC 3339).
    pub contributed_at: String,
    /// Where it came from.
    pub source: Option<String>,
    /// Its licence.
    pub licence: String,
    /// Free metadata.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// Leaf hash of its commitment (hex): what the proof is about.
    pub leaf: String,
    /// Why it was retrieved.
    pub why: Why,
}

/// Why a datapoint was retrieved: each source's score and rank, and the fusion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Place after fusion, from 1.
    pub rank: usize,
    /// Weighted sum of the cosine similarity, the BM25 score (as a part of the best one) and the phrase score.
    pub fused_score: f64,
    /// Of the neighbouring words of the query, the part that are neighbours here too, 0 to 1; none where only one search
    /// ran, or the query is one word.
    #[serde(default)]
    pub phrase_score: Option<f64>,
    /// Cosine similarity of the embeddings; none where only full text is searched.
    pub vector_score: Option<f64>,
    /// Place in the vector search, from 1.
    pub vector_rank: Option<usize>,
    /// BM25 score, where the full-text search found it.
    pub text_score: Option<f64>,
    /// Place in the full-text search, from 1.
    pub text_rank: Option<usize>,
    /// Score by late interaction, where that was asked for and it was among the best: these are in the order of its sum with
    /// `fused_score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f64>,
    /// Words of the query found in the datapoint.
    pub matched_terms: Vec<String>,
    /// Why it is not among the results, though it was found: `minimum_score` or `contributor_cap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}
