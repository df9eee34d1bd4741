//! How much was used, by day, subject and model.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which lines of the usage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// From this day on (UTC), such as `2026-11-23`; default 30 days ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// To this day, included; default today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of this subject only. Others than auditors and administrators see their own only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Of this model only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Usage, latest day first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// `list`.
    pub object: String,
    /// A line for each day, subject, key and model; at most 10,000.
    pub data: Vec<UsageLine>,
    /// Whether there are more than are shown; ask for fewer days.
    pub has_more: bool,
}

/// What a subject had of a model in a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageLine {
    /// The day (UTC).
    pub day: String,
    /// Who.
    pub subject: String,
    /// By which API key; absent for tokens of an identity provider, and for answers from before keys were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The base, or `base:alias`; of embeddings the embedding model.
    pub model: String,
    /// Requests that were answered.
    pub requests: u64,
    /// Tokens that were read.
    pub prompt_tokens: u64,
    /// Tokens that were written.
    pub completion_tokens: u64,
}
