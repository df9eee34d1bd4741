//! Whether an adapter fits a base, before any engine touches it.
//!
//! The names in adapters are often local paths, so a base is recognised by what it is: architecture, the shape of every
//! layer, tokenizer and chat template. The caller describes the base in a [`Base`]; this crate knows no engine.

mod base;
mod checkpoint;
mod report;

pub use base::{Base, Stated, template_hash, tokenizer_hash};
pub use checkpoint::{CheckpointError, checkpoint};
pub use report::{Check, Outcome, Report, TensorCheck, report};
