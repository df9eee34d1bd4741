//! The contract between the gateway and whatever generates text, the PEFT adapter format, and the adapter store.
//!
//! [`Generator`] is implemented by `cairn-base` (mistral.rs) and by `cairn-gateway`'s upstream client. This crate is a
//! leaf: it knows neither HTTP nor any engine.

pub mod compatibility;
mod generator;
mod names;
pub mod peft;
pub mod store;

pub use generator::{
    ChatMessage, Choice, Completion, Event, EventStream, FinishReason, GenerateError, Generation, Generator, Input,
    Logprob, Role, Sampling, TokenLogprobs, Usage,
};
pub use names::{AdapterGeneration, InvalidName, ModelName, WeightsHash};
