//! The witness as a process of its own, over a real port: what it answers, what it remembers when it is killed, and the
//! client that collects from several.

#![allow(clippy::unwrap_used)]

mod client;
mod protocol;
mod support;
