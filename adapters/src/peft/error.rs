//! [`FormatError`]: why something is not a PEFT adapter that can be served, and how to mend it.

use std::path::PathBuf;

/// Why an adapter was refused. Every message names the file, field or tensor, and says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A file that must be there is not.
    #[error("{file} is missing; save the adapter with PEFT's save_pretrained(dir), which writes it")]
    MissingFile {
        /// Which file.
        file: &'static str,
    },
    /// The weights are a pickle, which can run code when it is opened.
    #[error(
        "{file:?} holds pickled weights, which can run code when opened; save again with safe_serialization=True \
         (adapter_model.safetensors) and leave this file out"
    )]
    Pickle {
        /// The file's name.
        file: String,
    },
    /// A file could not be read or written.
    #[error("{path:?} could not be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is larger than the limit.
    #[error("{what} has {actual} bytes and the limit is {limit}; raise the adapters' limits or train fewer modules")]
    TooLarge {
        /// The file or what it unpacks to.
        what: &'static str,
        /// Its bytes.
        actual: u64,
        /// The most that is allowed.
        limit: u64,
    },
    /// There are more tensors than the limit.
    #[error("the adapter has {actual} tensors and the limit is {limit}")]
    TooManyTensors {
        /// How many there are.
        actual: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// adapter_config.json is not JSON of the expected form.
    #[error("adapter_config.json does not parse; it must be the object that PEFT writes")]
    ConfigSyntax(#[source] serde_json::Error),
    /// A field of adapter_config.json has a value that cannot be used.
    #[error("adapter_config.json: {field} = {value}: {reason}")]
    ConfigField {
        /// The field.
        field: String,
        /// Its value as JSON.
        value: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// adapter_model.safetensors is damaged.
    #[error("adapter_model.safetensors is damaged; save the adapter again")]
    Damaged(#[source] safetensors::SafeTensorError),
    /// A tensor that this format does not have.
    #[error("tensor {name:?} is unknown: {reason}")]
    UnknownTensor {
        /// Its name in the file.
        name: String,
        /// Why, and how to mend it.
        reason: String,
    },
    /// A tensor that must be there is not.
    #[error("tensor {name:?} is missing: {reason}")]
    MissingTensor {
        /// The name it would have in the file.
        name: String,
        /// Why it is needed, and how to mend it.
        reason: String,
    },
    /// A tensor of an element type that weights do not have.
    #[error("tensor {name:?} has type {dtype}; weights are F32, F16 or BF16: convert it before saving")]
    Dtype {
        /// Its name in the file.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor of the wrong shape.
    #[error(
        "tensor {name:?} has shape {actual:?}, expected {expected}; the configuration and the weights do not belong together"
    )]
    Shape {
        /// Its name in the file.
        name: String,
        /// Its shape.
        actual: Vec<usize>,
        /// What was expected, in words.
        expected: String,
    },
    /// A rank over the limit.
    #[error("{what} is {rank} and the highest rank served here is {limit}; train with a smaller r or raise the limit")]
    Rank {
        /// The field or tensor.
        what: String,
        /// Its rank.
        rank: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// A value that is not a finite number.
    #[error("tensor {name:?} holds {value} at element {index}; training diverged: go back to an earlier checkpoint")]
    NotFinite {
        /// Its name in the file.
        name: String,
        /// Where, counting from 0 in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },
}
