//! Anchoring on a real chain: anvil, fetched from npm, one node a test.
//!
//! Without npm, or on another machine than Linux on x86-64, these tests say so and pass; with `CAIRN_ANVIL=<binary>` they
//! use that.

#![allow(clippy::unwrap_used)]

mod anvil;
mod bundles;
mod contract;
mod faults;
mod proofs;
mod support;
