//! `[models]`: base models, and which engine answers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Base models.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Models {
    /// Where pulled models are; empty: `models` inside the data directory.
    pub(crate) dir: PathBuf,
    /// Models to load at the start rather than with the first request.
    pub(crate) preload: Vec<String>,
    /// Memory that loaded models may take together, in MiB; the least recently used is unloaded to make room.
    pub(crate) memory_budget_mib: u64,
    /// What answers: "auto" (on the CPU the adapter lane for the families that it knows, mistral.rs for the others; with
    /// "cuda" or "metal" mistral.rs), "lane" (other families are refused) or "mistralrs" (requests with adapters then load
    /// the model a second time, into the lane).
    pub(crate) engine: EngineChoice,
    /// What a request does while its model is being loaded: "wait" or "unavailable" (503 with Retry-After).
    pub(crate) when_loading: WhenLoading,
    /// Retry-After while loading or overloaded, in seconds.
    pub(crate) retry_after_s: u64,
    /// Requests that may be in the engines at once; more are answered 429. A caller may have as many as there are places left, so
    /// that nobody takes them all: half of them for one who is alone.
    pub(crate) max_in_flight: usize,
    /// Quantize safetensors models while they are loaded: a name that mistral.rs knows, such as "Q8_0"; empty: as they are.
    pub(crate) quantize: String,
    /// The embedding model, as pulled.
    pub(crate) embedding: String,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            preload: Vec::new(),
            memory_budget_mib: 8192,
            engine: EngineChoice::Auto,
            when_loading: WhenLoading::Wait,
            retry_after_s: 5,
            max_in_flight: 256,
            quantize: String::new(),
            embedding: "all-minilm-l6-v2".into(),
        }
    }
}

/// What a request does while its model is being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhenLoading {
    /// It waits.
    Wait,
    /// It is answered 503 with Retry-After.
    Unavailable,
}

/// Which engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineChoice {
    /// The faster one, by measurement.
    Auto,
    /// The adapter lane.
    Lane,
    /// mistral.rs.
    MistralRs,
}
