//! Jobs: work that outlives a request, a closed browser and a restart.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Names the job.
    pub id: String,
    /// What it does, such as `ingest`.
    pub kind: String,
    /// What it works on: the datanet.
    pub target: String,
    /// Who started it.
    pub owner: String,
    /// Where it stands.
    pub state: JobState,
    /// What it is doing.
    pub stage: String,
    /// Steps done in this stage.
    pub done: u64,
    /// Steps of this stage; 0 while unknown.
    pub total: u64,
    /// What came of it, once it has succeeded.
    #[schema(value_type = Option<Object>)]
    pub result: Option<serde_json::Value>,
    /// What went wrong, once it has failed.
    pub error: Option<String>,
    /// When it was started (RFC 3339, UTC).
    pub created_at: String,
    /// When it last moved (RFC 3339, UTC).
    pub updated_at: String,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for its turn.
    Queued,
    /// At work.
    Running,
    /// Done.
    Succeeded,
    /// Given up, with the reason in `error`.
    Failed,
    /// Stopped by request.
    Cancelled,
}

impl JobState {
    /// Whether nothing will happen any more.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Jobs the caller may see, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// `list`.
    pub object: String,
    /// The jobs.
    pub data: Vec<Job>,
    /// Whether there are more; ask for them with `after`.
    #[serde(default)]
    pub has_more: bool,
}
