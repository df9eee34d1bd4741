//! [`StoreError`]: why the store refused or failed.

use crate::{InvalidName, compatibility::Report, peft::FormatError};

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A name or reference is not well-formed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// There is no such adapter, or the caller may not see it.
    #[error("adapter {reference:?} does not exist on {base:?}, or is not shared with you")]
    NotFound {
        /// The base.
        base: String,
        /// What was asked for.
        reference: String,
    },
    /// The caller may use it but not change it.
    #[error("adapter {name:?} belongs to {owner:?}; only its owner or an administrator may change it")]
    NotOwner {
        /// The alias.
        name: String,
        /// Its owner.
        owner: String,
    },
    /// Another owner has the alias.
    #[error("the name {name:?} is taken on {base:?}; choose another")]
    Taken {
        /// The base.
        base: String,
        /// The alias.
        name: String,
    },
    /// A prefix names several generations.
    #[error("{prefix:?} is the beginning of several generations; give more digits")]
    Ambiguous {
        /// The prefix.
        prefix: String,
    },
    /// The generation serves traffic.
    #[error("generation {generation} is served by alias {alias:?}; publish another generation there first")]
    InUse {
        /// The generation.
        generation: String,
        /// An alias that has it as its current or canary generation.
        alias: String,
    },
    /// The generation is waiting for its last lease before it is removed.
    #[error("generation {generation} is being deleted; try again when the requests that use it have ended")]
    BeingDeleted {
        /// The generation.
        generation: String,
    },
    /// There is nothing to go back to.
    #[error("alias {name:?} has no earlier generation that still exists")]
    NothingEarlier {
        /// The alias.
        name: String,
    },
    /// A percentage outside 1 to 99.
    #[error("a canary takes 1 to 99 percent of the traffic, not {0}; publish it to give it all")]
    Percent(u8),
    /// The owner's quota is used up.
    #[error(
        "{owner:?} would have {count} generations of {bytes} bytes; the quota is {max_count} of {max_bytes} bytes: delete some first"
    )]
    OverQuota {
        /// The owner.
        owner: String,
        /// Generations there would be.
        count: u64,
        /// Bytes there would be.
        bytes: u64,
        /// The most that are allowed.
        max_count: u64,
        /// The most bytes that are allowed.
        max_bytes: u64,
    },
    /// The archive cannot be unpacked, or must not be.
    #[error("the archive was refused: {0}")]
    Archive(String),
    /// It is no adapter in the PEFT format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It does not fit the base.
    #[error("the adapter does not fit {}: {}", .0.base, summary(&.0.reasons))]
    Incompatible(Box<Report>),
    /// The stored weights are not those that were uploaded.
    #[error(
        "the stored files of generation {generation} are not what was uploaded; restore them from a backup or upload them again"
    )]
    Corrupt {
        /// The generation.
        generation: String,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] cairn_database::Error),
    /// It is no address of an object store.
    #[error("{0:?} is no address of an object store; give one such as s3://bucket/prefix, or a directory")]
    Address(String),
    /// The object store failed.
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
    /// A file of the staging directory could not be read or written.
    #[error("the staging directory could not be used")]
    Staging(#[from] std::io::Error),
    /// A stored value does not read back.
    #[error("a stored value is damaged")]
    Damaged(#[from] serde_json::Error),
    /// A worker thread ended by a panic or the runtime is shutting down.
    #[error("a background task did not complete")]
    Task(#[from] tokio::task::JoinError),
}

/// The first reasons, and how many more there are.
fn summary(reasons: &[String]) -> String {
    let shown = reasons.iter().take(4).map(String::as_str).collect::<Vec<_>>().join("; ");
    match reasons.len().saturating_sub(4) {
        0 => shown,
        more => format!("{shown}; and {more} more reasons, which a dry run lists"),
    }
}

impl StoreError {
    pub(crate) fn not_found(base: &str, reference: impl Into<String>) -> Self {
        Self::NotFound { base: base.to_owned(), reference: reference.into() }
    }
}
