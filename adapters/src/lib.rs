//! The contract between the gateway and whatever generates text, the PEFT adapter format, and the adapter store.
//!
//! [`Generator`] is implemented by `cairn-base` (mistral.rs); `cairn-lane` serves the same requests with adapters. What both
//! engines do alike is here too: choosing tokens ([`sample`]) and ending at stop strings ([`StopBuffer`]). This crate is a
//! leaf: it knows neither HTTP nor any engine.

pub mod compatibility;
mod generator;
mod names;
pub mod peft;
pub mod sample;
mod stop;
pub mod store;
mod tools;

pub use generator::{
    AdapterShare, ChatMessage, Choice, Completion, Event, EventStream, FinishReason, GenerateError, Generation,
    Generator, Input, Logprob, Role, Sampling, ScoredToken, TokenLogprobs, Usage,
};
pub use names::{AdapterGeneration, InvalidName, ModelName, WeightsHash};
pub use stop::{Ready, StopBuffer};
pub use tools::{ResponseFormat, Tool, ToolCall, ToolChoice};
