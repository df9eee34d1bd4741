//! `/v1/completions`: text continued with no template, as OpenAI has it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    adapters::WeightedAdapter,
    attribution::{Attribution, AttributionOptions},
    chat::{OneOrMany, StreamOptions, Usage},
    retrieval::RetrievalOptions,
};

/// A request to continue text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionRequest {
    /// The model, as `GET /v1/models` lists it.
    pub model: String,
    /// What to continue: one text (or an array of one).
    pub prompt: OneOrMany,
    /// Cairn: an adapter on the model, `alias` or `alias@generation`; the same as `model: "base:alias"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Cairn: several adapters at once, with their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<WeightedAdapter>,
    /// Cairn: datanets to retrieve passages from; they are put before the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datanets: Vec<String>,
    /// Cairn: how passages are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<RetrievalOptions>,
    /// Cairn: what is measured about the answer beside its citations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<AttributionOptions>,
    /// Seconds from now after which the answer is of no more use: it is then broken off (503 `timeout`), also while it waits
    /// for its turn. At most the server's own `server.timeout_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// 0 (greedy) to 2; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling, above 0 to 1; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Cairn: only the k most probable tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Cairn: drop tokens less probable than this times the most probable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// How many continuations, 1 to 8; default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Server-sent events as the text is made.
    #[serde(default)]
    pub stream: bool,
    /// Options of streaming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// The text ends before the first of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<OneOrMany>,
    /// Upper bound on generated tokens; default 16, as at OpenAI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// -2 to 2; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// -2 to 2; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Token id to a bias of -100 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Same seed, same request: same text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Alternatives per token, 0 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<usize>,
    /// Begin the answer with the prompt.
    #[serde(default)]
    pub echo: bool,
    /// The application's own name for its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Everything else that was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// Continued text: a whole answer, or one event of a streamed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionResponse {
    /// Names the answer.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The model that answered.
    pub model: String,
    /// Changes when the weights do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_fingerprint: Option<String>,
    /// The continuations.
    pub choices: Vec<CompletionChoice>,
    /// Tokens used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Cairn: what the text drew on, with its receipt; when streaming, in the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
}

/// One continuation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionChoice {
    /// From 0.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Log-probabilities, where asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length` at the end, else null.
    pub finish_reason: Option<String>,
}

/// Log-probabilities in the shape of the completions endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionLogprobs {
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// ln P of each.
    pub token_logprobs: Vec<f32>,
    /// The most probable tokens at each place.
    #[schema(value_type = Vec<Object>)]
    pub top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Where each token begins in the text (Unicode scalar values).
    pub text_offset: Vec<usize>,
}
