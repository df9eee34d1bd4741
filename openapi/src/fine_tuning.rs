//! `/v1/files` and `/v1/fine_tuning/jobs`, as OpenAI has them, with local methods and datanets added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// An uploaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileObject {
    /// Names it.
    pub id: String,
    /// `file`.
    pub object: String,
    /// Its size.
    pub bytes: u64,
    /// Seconds since 1970.
    pub created_at: i64,
    /// As it was called.
    pub filename: String,
    /// `fine-tune`, or `fine-tune-results` of what a job left.
    pub purpose: String,
    /// `processed`.
    pub status: String,
}

/// Files, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileList {
    /// `list`.
    pub object: String,
    /// The files.
    pub data: Vec<FileObject>,
    /// Whether there are more; ask for them with `after`.
    pub has_more: bool,
}

/// Which files to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FileQuery {
    /// Those of one purpose. `fine-tune-results`, of what jobs left, are listed only where they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The id after which to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many, 1 to 10000; default 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `desc` by the time they were made, or `asc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// Something was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// What.
    pub id: String,
    /// What it was.
    pub object: String,
    /// true.
    pub deleted: bool,
}

/// What to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FineTuningRequest {
    /// The base model.
    pub model: String,
    /// A file's id; or with `datanet:NAME` a datanet, whose rows `template` turns into examples.
    pub training_file: String,
    /// Another file to evaluate on; without it a part of the training data is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_file: Option<String>,
    /// The alias of the adapter; without it the job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// How, with every option.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<TrainingMethod>,
    /// OpenAI's older place for a few options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperparameters: Option<Hyperparameters>,
    /// Everything random follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How a row of a datanet becomes an example: fields in braces, such as `{title}`, `{text}`, `{contributor}` or a field
    /// of its metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<RowTemplate>,
    /// The part that is held out for evaluation, 0 to 0.5; default 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
    /// Held-out examples that base and adapter answer for the comparison; default 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_samples: Option<usize>,
    /// The application's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// How a row of a datanet becomes an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RowTemplate {
    /// Instructions, the same for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What is asked, such as `Define: {title}`.
    pub user: String,
    /// What is learnt, such as `{text}`.
    pub assistant: String,
}

/// How an adapter is trained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingMethod {
    /// `qlora`, `lora`, or OpenAI's `supervised`, which is `qlora`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `fast`, `balanced` or `thorough`; default balanced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Options that differ from the preset; docs/training.md lists them.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schema(value_type = Object)]
    pub options: serde_json::Map<String, serde_json::Value>,
    /// OpenAI's place for the options of `supervised`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<SupervisedMethod>,
}

/// OpenAI's `supervised`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SupervisedMethod {
    /// Its options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperparameters: Option<Hyperparameters>,
}

/// OpenAI's options; `"auto"` is the preset's value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hyperparameters {
    /// Passes over the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub n_epochs: Option<serde_json::Value>,
    /// Examples of one optimizer step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub batch_size: Option<serde_json::Value>,
    /// Factor on the preset's learning rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub learning_rate_multiplier: Option<serde_json::Value>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningJob {
    /// Names it.
    pub id: String,
    /// `fine_tuning.job`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// When it will end, by its pace so far.
    pub estimated_finish: Option<i64>,
    /// Why it failed, where it did.
    pub error: Option<FineTuningError>,
    /// The adapter, to write in `model`, once there is one.
    pub fine_tuned_model: Option<String>,
    /// The base.
    pub model: String,
    /// Whose it is.
    pub organization_id: String,
    /// `queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub status: String,
    /// What it learns from.
    pub training_file: String,
    /// What it is evaluated on, where a file was given.
    pub validation_file: Option<String>,
    /// Once there is an adapter: metrics by step (CSV), the evaluation (JSON) and its report (HTML), for `/v1/files/{id}/content`.
    pub result_files: Vec<String>,
    /// Tokens so far.
    pub trained_tokens: Option<u64>,
    /// How it is trained, all options resolved.
    #[schema(value_type = Object)]
    pub method: serde_json::Value,
    /// OpenAI's older form of some options; `learning_rate_multiplier` is the rate divided by the preset's.
    #[schema(value_type = Object)]
    pub hyperparameters: serde_json::Value,
    /// Everything random follows from it.
    pub seed: u64,
    /// Always empty.
    pub integrations: Vec<String>,
    /// The application's own notes.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Cairn: where it stands, as its last event said.
    #[schema(value_type = Object)]
    pub progress: Option<serde_json::Value>,
    /// Cairn: the adapter's generation, once it is in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_generation: Option<String>,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningError {
    /// `job_failed`.
    pub code: String,
    /// In words.
    pub message: String,
    /// The field at fault, where one is.
    pub param: Option<String>,
}

/// Jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningList {
    /// `list`.
    pub object: String,
    /// The jobs.
    pub data: Vec<FineTuningJob>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Something happened in a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningEvent {
    /// Names it.
    pub id: String,
    /// `fine_tuning.job.event`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// In words.
    pub message: String,
    /// `message` or `metrics`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Figures.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}

/// Events, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningEvents {
    /// `list`.
    pub object: String,
    /// The events.
    pub data: Vec<FineTuningEvent>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A checkpoint of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningCheckpoint {
    /// Names it.
    pub id: String,
    /// `fine_tuning.job.checkpoint`.
    pub object: String,
    /// Seconds since 1970.
    pub created_at: i64,
    /// The job.
    pub fine_tuning_job_id: String,
    /// Names it as OpenAI does. A checkpoint is for resuming and is not served: what answers is the job's `fine_tuned_model`.
    pub fine_tuned_model_checkpoint: String,
    /// After this step.
    pub step_number: u64,
    /// Its figures.
    #[schema(value_type = Object)]
    pub metrics: serde_json::Value,
}

/// Checkpoints that a job can be resumed from, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FineTuningCheckpoints {
    /// `list`.
    pub object: String,
    /// The checkpoints.
    pub data: Vec<FineTuningCheckpoint>,
    /// The first of them.
    pub first_id: Option<String>,
    /// The last of them: what `after` takes for the next page.
    pub last_id: Option<String>,
    /// Whether there are more.
    pub has_more: bool,
}

/// Which part of a list to give.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The id after which to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many, 1 to 1000; default 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Of events: follow them as server-sent events, from the first one, until the job has ended.
    #[serde(default)]
    pub stream: bool,
}

/// Which row is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RowQuery {
    /// `datanet/id`, or `line N` of a file.
    pub row: String,
}
