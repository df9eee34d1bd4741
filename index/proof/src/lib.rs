//! Proofs of attribution: records, Merkle trees, the transparency log, proof bundles and their offline verifier.
//!
//! A gateway appends one [`record::Record`] per answer to a [`log::Log`]; an auditor receives one file, a
//! [`bundle::Bundle`], and checks it with [`bundle::verify`] and the log's public key, with no network and no trust in
//! the operator. The byte layout of everything is in `docs/log-format.md`.
//!
//! What does not belong here: anything that needs a database, a model, a network or an async runtime. A verifier depends
//! on this crate alone.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod adapters;
pub mod audit;
pub mod bundle;
pub mod canonical;
pub mod checkpoint;
pub mod commitment;
pub mod cosignature;
pub mod datapoint;
mod error;
mod hash;
pub mod influence;
pub mod key;
pub mod log;
pub mod merkle;
pub mod monitor;
mod note;
pub mod record;
pub mod registration;
pub mod report;
pub mod rotation;
pub mod signer;
pub mod training;
mod trust;
pub mod uses;
pub mod witness;

pub use cairn_anchor_proof as anchor;

pub use bundle::{Bundle, VerifyError, verify, verify_with};
pub use checkpoint::{Checkpoint, Origin, SignedCheckpoint};
pub use commitment::{Opening, Salt};
pub use cosignature::{Cosignature, CosignedCheckpoint, WitnessKey};
pub use datapoint::{Commitment, DatapointFields};
pub use error::{Error, Result};
pub use hash::{Hash, leaf_hash, node_hash};
pub use key::{SigningKey, VerifyingKey};
pub use log::Log;
pub use merkle::Tree;
pub use record::{Entry, Record};
pub use report::Report;
pub use rotation::{KeyHistory, Rotation};
pub use signer::Signer;
pub use training::{TrainingBundle, TrainingEntry};
pub use trust::Trust;
