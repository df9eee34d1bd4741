//! Anchoring on a real chain: anvil, one node a test. `CAIRN_ANVIL` names the program; without it these tests fail.

#![allow(clippy::unwrap_used)]

mod anvil;
mod bundles;
mod contract;
mod faults;
mod proofs;
mod support;
