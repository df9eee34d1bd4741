//! Base models: OpenAI's list, and what Cairn knows besides.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// `list`.
    pub object: String,
    /// The models.
    pub data: Vec<Model>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// The name to write in `model`.
    pub id: String,
    /// `model`.
    pub object: String,
    /// When it was pulled (seconds since 1970).
    pub created: i64,
    /// Where it came from.
    pub owned_by: String,
    /// Of an adapter: the model that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Cairn: `chat`, `embedding` or `adapter`.
    pub kind: String,
    /// Cairn: what answers: `lane` or `mistralrs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Cairn: `unloaded`, `loading`, `loaded` or `failed`.
    pub status: String,
    /// Cairn: why it failed, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Cairn: SHA-256 over the weights that answer (hex); of an adapter, its generation.
    pub weights: String,
    /// Cairn: estimated bytes in memory when loaded.
    pub memory_bytes: u64,
    /// Cairn: longest prompt and answer together, in tokens.
    pub context_length: usize,
    /// Cairn: what was changed when the model was pulled, and why.
    #[serde(default)]
    pub normalised: Vec<String>,
}
