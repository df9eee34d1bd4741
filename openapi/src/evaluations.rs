//! `/v1/evaluations`: a published adapter beside its base, on demand. OpenAI's `/v1/evals` is something else (graders of prompts),
//! so nothing here takes its name; fields are called as those of fine-tuning jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fine_tuning::{FineTuningError, RowTemplate};

/// What to evaluate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRequest {
    /// A base and a published adapter, as in a chat request: `base:alias`, or `base:alias@generation`. Without an adapter the base is
    /// evaluated alone.
    pub model: String,
    /// A file's id; or with `datanet:NAME` a datanet, whose rows `template` turns into examples. That takes a grant for the purpose
    /// `evaluation`.
    pub evaluation_file: String,
    /// How a row of a datanet becomes an example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<RowTemplate>,
    /// At most so many rows, evenly spread; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
    /// Rows that base and adapter answer for the comparison; default 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_samples: Option<usize>,
    /// Longer rows are cut off after so many tokens; default 1024, or the base's context where that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// The same seed gives the same intervals; default 42.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The application's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// An evaluation, under way or done. (What terms say of a request is an `Evaluation` already.)
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluationJob {
    /// Names it.
    pub id: String,
    /// `evaluation`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub status: String,
    /// Why it failed, where it did.
    pub error: Option<FineTuningError>,
    /// As it was asked for.
    pub model: String,
    /// The generation that the alias meant then; none where the base is evaluated alone.
    pub adapter_generation: Option<String>,
    /// What it is evaluated on.
    pub evaluation_file: String,
    /// Rows that are evaluated.
    pub rows: usize,
    /// Whose it is.
    pub organization_id: String,
    /// The application's own notes.
    pub metadata: Option<BTreeMap<String, String>>,
    /// How far it is, as its last event said.
    #[schema(value_type = Object)]
    pub progress: Option<serde_json::Value>,
}

/// Evaluations, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluationList {
    /// `list`.
    pub object: String,
    /// The evaluations.
    pub data: Vec<EvaluationJob>,
    /// Whether there are more.
    pub has_more: bool,
}
