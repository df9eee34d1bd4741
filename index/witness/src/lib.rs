//! Witnesses (C2SP tlog-witness) over HTTP: a server that cosigns the checkpoints of the logs it is told of, and the
//! client that collects cosignatures for a log.
//!
//! What a witness checks and remembers, and what bytes go over the wire, is in `cairn_proof::witness`. Here are ports,
//! limits, time-outs, and who is asked when.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
mod config;
mod error;
mod limit;
mod pages;
mod server;

pub use client::{Collected, Collector, History, Remote};
pub use config::{Config, Limits, LogConfig};
pub use error::{Error, Result};
pub use server::{Server, init, run};
