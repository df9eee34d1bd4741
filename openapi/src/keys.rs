//! API keys and who a caller is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Create datanets, ingest into and grant access to those it owns.
    Steward,
    /// Ingest into datanets granted to it.
    Contributor,
    /// Train adapters on datanets granted to it.
    Trainer,
    /// Chat, embed, search.
    App,
    /// Read every attribution record, the log and the metrics.
    Auditor,
    /// Put the records of its answers into the log: another gateway, over the same datanets.
    Replica,
}

/// How much a key may be used. What is none is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyLimits {
    /// Requests to models and searches in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens, read and written, in a day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
}

/// A change of a key. What is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// What it may do from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// How much it may be used from now on: both limits anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<KeyLimits>,
}

/// A request for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Whom the key stands for; grants are given to this name. 1 to 260 of a-z, A-Z, 0-9 and `._@:+=~|-`.
    pub subject: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Days until it expires; none = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
    /// How much it may be used.
    #[serde(default)]
    pub limits: KeyLimits,
}

/// A new key. The secret is shown this once; only its hash is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The credential: `Authorization: Bearer …`.
    pub secret: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub key: Key,
}

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Names the key.
    pub id: String,
    /// Whom it stands for.
    pub subject: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
    /// When it ends to be valid (RFC 3339, UTC).
    pub expires_at: Option<String>,
    /// When it was revoked (RFC 3339, UTC).
    pub revoked_at: Option<String>,
    /// How much it may be used.
    #[serde(default)]
    pub limits: KeyLimits,
}

/// Keys, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// `list`.
    pub object: String,
    /// The keys.
    pub data: Vec<Key>,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Its subject.
    pub subject: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// `api_key`, `jwt` or `oidc`.
    pub credential: String,
    /// Datanets it may retrieve from.
    pub datanets: Vec<String>,
}
