//! The transparency log, for auditors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is needed to verify proofs of this log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogKey {
    /// The log's origin.
    pub origin: String,
    /// The verifier key in C2SP form; save it as `cairn.pub`, from a source you trust, once.
    pub key: String,
}
