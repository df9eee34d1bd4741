//! `/v1/embeddings`, as OpenAI has it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::{OneOrMany, Usage};

/// A request for embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingRequest {
    /// The embedding model.
    pub model: String,
    /// One text or up to 256.
    pub input: OneOrMany,
    /// `float` (default) or `base64` (little-endian f32).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<String>,
    /// Only the model's own number of dimensions is supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// The application's own name for its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Embeddings, in the order of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingResponse {
    /// `list`.
    pub object: String,
    /// One a text.
    pub data: Vec<Embedding>,
    /// The model.
    pub model: String,
    /// Tokens used.
    pub usage: Usage,
}

/// One embedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Embedding {
    /// `embedding`.
    pub object: String,
    /// Place in the input, from 0.
    pub index: usize,
    /// The vector, of length 1.
    pub embedding: Vector,
}

/// A vector in either encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Float(Vec<f32>),
    /// Base64 of little-endian f32.
    Base64(String),
}
