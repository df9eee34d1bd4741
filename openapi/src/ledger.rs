//! Whose data was drawn on, answer by answer: what a payout would be computed from.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which lines of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LedgerQuery {
    /// Of this datanet only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datanet: Option<String>,
    /// Of this contributor only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contributor: Option<String>,
    /// From this moment on: RFC 3339 in UTC, or its beginning, such as `2026-11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Lines after those of this answer; the last one of a page gives the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `json` (default) or `csv`.
    #[serde(default)]
    pub format: LedgerFormat,
}

/// How the ledger is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LedgerFormat {
    /// One object with lines and totals.
    #[default]
    Json,
    /// The lines, with a header.
    Csv,
}

/// Lines of the ledger, oldest first, and what they add up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ledger {
    /// The lines.
    pub lines: Vec<LedgerLine>,
    /// By contributor, datanet and month, over these lines.
    pub totals: Vec<LedgerTotal>,
    /// Whether there are more; ask for them with `after`.
    pub has_more: bool,
}

/// A contributor's part in one answer, by one datanet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerLine {
    /// When the answer was given (RFC 3339, UTC).
    pub at: String,
    /// The answer: its record is `GET /v1/attributions/{answer}`.
    pub answer: String,
    /// The datanet.
    pub datanet: String,
    /// The contributor.
    pub contributor: String,
    /// Numbers of their passages in the prompt.
    pub passages: Vec<u64>,
    /// Their part of the help that all passages were to the answer, 0 to 1; absent until it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The influence that it stands for, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats: Option<f64>,
    /// How it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The record's entry in the log.
    pub record_index: u64,
    /// The measurement's entry in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influence_index: Option<u64>,
}

/// What lines add up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerTotal {
    /// The month, such as `2026-11`.
    pub month: String,
    /// The datanet.
    pub datanet: String,
    /// The contributor.
    pub contributor: String,
    /// Answers that were given their passages.
    pub answers: u64,
    /// Of them, those whose influence is measured.
    pub measured: u64,
    /// The sum of their shares: so many answers' worth of help.
    pub share: f64,
    /// The sum of their influence, in nats.
    pub nats: f64,
}

/// A contributor as the log knows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ContributorUses {
    /// The contributor.
    pub contributor: String,
    /// Their pseudonym in the log's records.
    pub pseudonym: String,
    /// What opens the pseudonym: the salt of the commitment and the name. Who has it can tell which records are theirs.
    #[schema(value_type = Object)]
    pub opening: serde_json::Value,
    /// The log's signed word on how many records use their data.
    #[schema(value_type = Object)]
    pub statement: serde_json::Value,
}
