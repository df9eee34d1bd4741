//! The decoder against reference outputs of Hugging Face transformers and PEFT, and against itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod forms;
mod golden;
mod merged;
mod rows;
mod serving;
mod support;
