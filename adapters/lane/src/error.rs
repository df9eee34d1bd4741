//! Why a model cannot be loaded, an adapter not attached, or a step not made.

use std::path::PathBuf;

/// Why a decoder could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Neither form of a model is in the directory.
    #[error("{} holds neither a .gguf file nor config.json with .safetensors files", .0.display())]
    NoModel(PathBuf),
    /// A family the lane does not know.
    #[error("{0:?} models are outside the adapter lane, which serves llama, mistral, qwen2 and qwen3")]
    Family(String),
    /// A field is missing or of another kind.
    #[error("{field} is missing from the model's configuration, or is not {expected}")]
    Field {
        /// Its name.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A field asks for mathematics that the lane does not have.
    #[error("{field} = {value} changes what the model computes, and the adapter lane does not know how")]
    Unsupported {
        /// Its name.
        field: String,
        /// Its value.
        value: String,
    },
    /// A tensor is missing.
    #[error("tensor {0} is missing from the model")]
    MissingTensor(String),
    /// A tensor that no part of the decoder reads.
    #[error("tensor {0} has no place in the decoder, so the model would be computed wrongly")]
    UnknownTensor(String),
    /// A tensor of another shape than the configuration says.
    #[error("tensor {name} has shape {actual:?}, and the configuration says {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// As found.
        actual: Vec<usize>,
        /// As configured.
        expected: Vec<usize>,
    },
    /// A file is damaged.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Weights cannot be brought into a form.
    #[error("tensor {name} cannot be stored so")]
    Form {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: cairn_matrix::MatrixError,
    },
}

/// Why an adapter does not fit the base.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// A module that the decoder does not have, or cannot adapt.
    #[error("the adapter changes {0}, which this base does not have or the adapter lane cannot change")]
    Module(String),
    /// A tensor of another shape than the base's.
    #[error("{name} has shape {actual:?} and the base's is {expected:?}")]
    Shape {
        /// The module.
        name: String,
        /// [outputs, inputs] of the adapter.
        actual: Vec<usize>,
        /// [outputs, inputs] of the base.
        expected: Vec<usize>,
    },
}

/// Why a step cannot be made. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A token that is not in the vocabulary.
    #[error("token {token} is not one of the vocabulary's {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// Tokens there are.
        vocabulary: usize,
    },
    /// A sequence would outgrow the context.
    #[error("a sequence of {tokens} tokens is longer than the model's context of {context}")]
    Context {
        /// Tokens it would have.
        tokens: usize,
        /// The most it may have.
        context: usize,
    },
}
