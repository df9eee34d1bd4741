//! Anchors: the log's checkpoints on an EVM chain.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far anchoring is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Anchoring {
    /// Whether the log is anchored at all; if not, everything else is null.
    pub enabled: bool,
    /// The chain, by its EIP-155 number.
    pub chain_id: Option<u64>,
    /// The contract's address.
    pub contract: Option<String>,
    /// The address of the account that anchors.
    pub sender: Option<String>,
    /// Whether the node answered the last question.
    pub connected: Option<bool>,
    /// The last checkpoint that is on the chain for good.
    pub anchored: Option<Anchored>,
    /// Transactions that wait for their block, or for blocks upon it.
    pub in_flight: Vec<AnchorInFlight>,
    /// Registrations that wait.
    pub waiting_registrations: u64,
    /// Spent today (UTC), in gwei of the chain's currency.
    pub spent_gwei: Option<u64>,
    /// What may be spent in a day, in gwei.
    pub budget_gwei: Option<u64>,
    /// What the account holds, in gwei; null before the first look at the chain.
    pub balance_gwei: Option<u64>,
    /// What keeps anchors from getting on, if anything does.
    pub problem: Option<String>,
    /// Set where the chain contradicts the log: nothing more is signed.
    pub alarm: Option<String>,
}

/// A checkpoint on the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Anchored {
    /// Entries of the log.
    pub size: u64,
    /// Root hash over them (hex).
    pub root: String,
    /// The transaction's hash.
    pub transaction: String,
    /// The hash of its block.
    pub block_hash: String,
    /// The height of its block.
    pub block_number: u64,
}

/// A transaction under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnchorInFlight {
    /// Entries of the checkpoint; null for a registration.
    pub size: Option<u64>,
    /// Its hash, as it was sent last.
    pub transaction: String,
    /// How often it was sent, fees rising.
    pub attempts: u64,
    /// The height of the block it is in, where it is in one that is not deep enough yet.
    pub block_number: Option<u64>,
}
