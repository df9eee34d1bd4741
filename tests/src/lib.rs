//! A real gateway on a real port with a data directory of its own, for end-to-end tests.
//!
//! `./test` prepares what the tests are given ([`models_dir`], [`dictionaries_dir`]); nothing here sleeps for a fixed
//! time: whatever is waited for is polled, with a limit. Tests of one crate alone belong into that crate.

mod anvil;
mod client;
mod database;
mod gateway;
mod guardian;
mod inputs;
mod prepared;
mod verify;

pub use anvil::*;
pub use client::*;
pub use gateway::*;
pub use inputs::*;
pub use prepared::*;
pub use verify::*;

/// A name that no other test of this run uses.
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
