//! Base models through mistral.rs, on tiny checkpoints whose reference outputs transformers computed.
//!
//! One binary for every topic, because each links all of mistral.rs.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test, with the place in it")]

mod gguf;
mod golden;
mod pulling;
mod sampling;
mod server;
mod serving;
mod support;
