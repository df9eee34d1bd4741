//! Anchoring on a real chain: anvil, fetched from npm, one node a test.
//!
//! Without npm, or on another machine than Linux on x86-64, these tests fail and say so; `CAIRN_ANVIL=<binary>` names another.

#![allow(clippy::unwrap_used)]

mod anvil;
mod bundles;
mod contract;
mod faults;
mod proofs;
mod support;
