//! The crate's error.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_anchor_proof::{Address, Word};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the value that was wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value of the configuration.
    #[error("anchor.{key}: {problem}")]
    BadConfig {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A key file that holds no key.
    #[error("{path} holds no private key: it must be one line of 64 hexadecimal digits")]
    BadKey {
        /// The file.
        path: PathBuf,
    },

    /// A private key that others may read or change.
    #[error("{path} can be read or changed by others (mode {mode:03o}); run chmod 600 on it")]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The operating system's random generator failed.
    #[error("the operating system gave no randomness: {0}")]
    NoRandomness(#[source] rand::rand_core::OsError),

    /// Reading or writing a file failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The directory is in use, or a file of it cannot be written.
    #[error("{0}")]
    Storage(#[source] cairn_proof::Error),

    /// A file of the directory cannot be read.
    #[error("{path} is damaged: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },

    /// The directory belongs to another log, contract or account.
    #[error(
        "the anchors in {path} are of {what} {found}, not of {expected}: give this one a directory of its own, and keep \
         the old one for the proofs in it"
    )]
    OtherAnchors {
        /// The state file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// As configured.
        expected: String,
        /// As in the directory.
        found: String,
    },

    /// The HTTP client could not be made.
    #[error("no HTTP client can be made: {0}")]
    Client(#[source] reqwest::Error),

    /// The node did not answer.
    #[error("the node does not answer {method}: {source}")]
    Unreachable {
        /// What was asked.
        method: &'static str,
        /// Why.
        #[source]
        source: reqwest::Error,
    },

    /// The node answered with an error.
    #[error("the node refuses {method}: {message} (code {code})")]
    Node {
        /// What was asked.
        method: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// What it says.
        message: String,
    },

    /// The node answered something that is not of the form of its interface.
    #[error("the node's answer to {method} cannot be read: {problem}")]
    BadAnswer {
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// The node is of another chain.
    #[error("the node is of chain {found}, but anchor.chain_id is {expected}")]
    OtherChain {
        /// As configured.
        expected: u64,
        /// As the node says.
        found: u64,
    },

    /// Another contract, or none, is at the address.
    #[error("the code at {0} is not that of CheckpointAnchor; `cairn anchor deploy` deploys one")]
    NotTheContract(Address),

    /// The chain has no base fee.
    #[error("the chain has no base fee (EIP-1559); only chains that have one are supported")]
    NoBaseFee,

    /// The chain asks for more than may be paid.
    #[error("the chain asks for {fee_gwei} gwei a unit of gas, anchor.max_fee_gwei is {max_fee_gwei}: anchors wait")]
    TooExpensive {
        /// What it asks for.
        fee_gwei: u64,
        /// What may be paid.
        max_fee_gwei: u64,
    },

    /// The day's budget is spent.
    #[error(
        "{committed_gwei} gwei of today's {budget_gwei} are spent or promised, and this takes up to {needed_gwei}: anchors \
         wait for tomorrow or a larger anchor.budget_gwei"
    )]
    OverBudget {
        /// Spent, and promised to transactions under way.
        committed_gwei: u64,
        /// Most this one takes.
        needed_gwei: u64,
        /// What may be spent.
        budget_gwei: u64,
    },

    /// A transaction would take more gas than allowed.
    #[error("the transaction takes {gas} gas, anchor.max_gas is {max_gas}")]
    TooMuchGas {
        /// What it takes.
        gas: u64,
        /// What it may take.
        max_gas: u64,
    },

    /// The contract refused a transaction.
    #[error("transaction {0} failed on the chain")]
    Reverted(Word),

    /// The proof that was put together does not hold, or a trie's root does not come out: the chain encodes blocks in a
    /// form this crate does not know.
    #[error("transaction {transaction} is on the chain, but no proof of it can be made: {problem}")]
    Unprovable {
        /// The transaction.
        transaction: Word,
        /// What did not fit.
        problem: String,
    },

    /// The chain holds a larger size of this log, or another root at the same size, anchored by this account: a backup
    /// was restored, or the log was forked. The error inside is for [`cairn_proof::Log::stop`].
    #[error("{0}")]
    Contradicted(#[source] Arc<cairn_proof::Error>),

    /// Registrations are refused while too many wait.
    #[error("{0} registrations wait for the chain already; try again later")]
    TooManyRegistrations(usize),

    /// The background task has ended.
    #[error("anchoring has stopped")]
    Stopped,

    /// A deployment was not in a block in time.
    #[error("transaction {transaction} is in no block after {seconds} seconds; look for it before deploying again")]
    NotMined {
        /// The transaction.
        transaction: Word,
        /// How long it was waited for.
        seconds: u64,
    },
}
