//! The trainer against references that were computed elsewhere, and against itself and the lane.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod cases;
mod golden;
mod peft;
mod quantization;
mod runs;
mod served;
mod support;
