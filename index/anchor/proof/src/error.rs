//! Why an anchor proves nothing.

use crate::hex::Fixed;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The first thing in an anchor that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not bytes in hexadecimal.
    #[error(
        "`{text}` is not of the form 0x and {}lower-case hexadecimal digits",
        length.map(|bytes| format!("{} ", 2 * bytes)).unwrap_or_default()
    )]
    BadHex {
        /// What was read.
        text: String,
        /// Bytes it must have, if that is fixed.
        length: Option<usize>,
    },

    /// Part of the proof cannot be read.
    #[error("the {what} is malformed: {problem}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The header is not that of the block.
    #[error("the block header hashes to {found}, not to the block hash {expected}")]
    HeaderMismatch {
        /// Block hash in the anchor.
        expected: Fixed<32>,
        /// Hash of the header.
        found: Fixed<32>,
    },

    /// A node of a proof is not the one that the node above it, or the header, names.
    #[error("the {what}: node {depth} is not the one that is named above it")]
    NodeMismatch {
        /// Which proof.
        what: &'static str,
        /// Depth of the node, 0 at the root.
        depth: usize,
    },

    /// The proof leads to another transaction.
    #[error("the transaction at that place of the block is {found}, not {expected}")]
    TransactionMismatch {
        /// Hash in the anchor.
        expected: Fixed<32>,
        /// Hash of the transaction proved.
        found: Fixed<32>,
    },

    /// The transaction did nothing.
    #[error("the transaction failed on the chain, so it anchored nothing")]
    Reverted,

    /// The receipt has no such event.
    #[error("the receipt has {count} events, so there is none at place {index}")]
    NoEvent {
        /// Place in the anchor.
        index: u64,
        /// Events of the receipt.
        count: usize,
    },

    /// The event says something else than the anchor or the checkpoint.
    #[error("the event's {what} is {found}, expected {expected}")]
    EventMismatch {
        /// Which value.
        what: &'static str,
        /// As in the anchor or the checkpoint.
        expected: String,
        /// As in the event.
        found: String,
    },

    /// The anchor is on another chain, in another block, or by somebody else than the verifier trusts.
    #[error("{what}: {expected} is trusted, but the anchor has {found}")]
    NotTrusted {
        /// Which value.
        what: &'static str,
        /// As the verifier trusts.
        expected: String,
        /// As in the anchor.
        found: String,
    },
}
