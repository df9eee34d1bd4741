//! The trainer against references that were computed elsewhere, and against itself and the lane.

#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod golden;
mod quantization;
mod runs;
mod served;
mod support;
