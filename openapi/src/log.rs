//! The transparency log, for auditors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An entry, where the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedEntry {
    /// Its place.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: String,
    /// Entries under the checkpoint that it was logged with.
    pub tree_size: u64,
    /// Root of that tree.
    pub root: String,
    /// It as it stands in the log: a record with its counters of uses.
    pub entry: String,
}

/// What is needed to verify proofs of this log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogKey {
    /// The log's origin.
    pub origin: String,
    /// The verifier key in C2SP form; save it as `cairn.pub`, from a source you trust, once.
    pub key: String,
    /// Every change of that key, in order, as the log's entries say it: each is signed by the key before and the key after, so
    /// whoever trusts one of them need trust nobody else for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub rotations: Vec<serde_json::Value>,
}
