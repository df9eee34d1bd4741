//! Finding records of answers, and what of a record is public.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which records. What is given must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AttributionQuery {
    /// Of this model: a base's name, or a base with an adapter as they were asked for, `base:alias`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// That an adapter answered: the alias it was asked for by, or its generation, of which 12 digits suffice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Asked by this subject. Others than auditors and administrators see their own only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// With passages of this contributor in the prompt: a name, or a pseudonym of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contributor: Option<String>,
    /// With passages of this datanet in the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datanet: Option<String>,
    /// From this moment on: RFC 3339 in UTC, or its beginning, such as `2026-11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Of a page 1 to 200, default 50; of an export 1 to 10,000, default 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttributionList {
    /// `list`.
    pub object: String,
    /// The records, newest first.
    pub data: Vec<AttributionSummary>,
    /// Give it as `after` for the next page; null = this was the last.
    pub next: Option<String>,
}

/// A record in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttributionSummary {
    /// Names the record: `GET /v1/attributions/{id}`.
    pub id: String,
    /// When the answer was given (RFC 3339, UTC).
    pub created_at: String,
    /// Who asked.
    pub subject: String,
    /// The model as it was asked for.
    pub model: String,
    /// The base that answered.
    pub base: String,
    /// The adapter that answered; of several, the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_generation: Option<String>,
    /// The beginning of the question.
    pub question: String,
    /// The datanets that were searched.
    pub datanets: Vec<String>,
    /// Passages in the prompt.
    pub passages: u64,
    /// Parts of the answer that cite one.
    pub citations: u64,
    /// The record's entry in the log.
    pub index: u64,
}

/// What of a record is public: its entry in the log, which holds no text and no name, and the proof that it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PublicRecord {
    /// The answer.
    pub id: String,
    /// When the answer was given (RFC 3339, UTC).
    pub created_at: String,
    /// The entry, as it stands in the log. Its leaf is over its canonical JSON (RFC 8785).
    #[schema(value_type = Object)]
    pub entry: serde_json::Value,
    /// The log's key at the size of the checkpoint.
    pub key: String,
    /// The entry's place: index, audit path, and the checkpoint under which it holds, as in a proof bundle.
    #[schema(value_type = Object)]
    pub log: serde_json::Value,
    /// Numbers of the passages in the prompt that the caller contributed, or that are of datanets of the caller's own.
    pub own_passages: Vec<u64>,
}
