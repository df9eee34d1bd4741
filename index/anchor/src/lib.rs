//! Anchors: the log's checkpoints on an EVM chain, where the operator cannot take them back.
//!
//! [`Anchorer`] is what the gateway holds: it is offered every new checkpoint, and a background task sends the newest one
//! to the contract at the intervals of the [`Config`], follows it until it is confirmed, and keeps the proof
//! ([`cairn_anchor_proof::Anchor`]) in its directory. A node that is slow, wrong or gone delays anchors and nothing else.
//!
//! What does not belong here: checking an anchor. That is `cairn-anchor-proof`, which verifiers use without a network.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod anchorer;
mod backoff;
mod block;
mod config;
pub mod contract;
mod deploy;
mod error;
mod evidence;
mod fees;
mod flight;
mod key;
mod rlp;
mod rpc;
mod saved;
mod state;
mod status;
mod store;
mod transaction;
mod trie;

pub use anchorer::Anchorer;
pub use cairn_anchor_proof as proof;
pub use cairn_anchor_proof::{Address, Word};
pub use config::Config;
pub use deploy::deploy;
pub use error::{Error, Result};
pub use key::AccountKey;
pub use saved::Saved;
pub use status::{Anchored, Failure, InFlight, Status};
