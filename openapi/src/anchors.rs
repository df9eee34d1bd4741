//! Anchors: the log's checkpoints on an EVM chain.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How far anchoring is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Anchoring {
    /// Whether the log is anchored at all; if not, everything else is null, 0 or empty.
    pub enabled: bool,
    /// The chain, by its EIP-155 number.
    pub chain_id: Option<u64>,
    /// The contract's address.
    pub contract: Option<String>,
    /// The address of the account that anchors.
    pub sender: Option<String>,
    /// Whether the node answered the last question.
    pub connected: Option<bool>,
    /// The newest block that the node showed; null before the first look at the chain.
    pub block_number: Option<u64>,
    /// Blocks, its own included, after which a transaction counts as final.
    pub confirmations: Option<u64>,
    /// Entries of the newest checkpoint that is to be anchored; null before the first one since the start.
    pub offered: Option<u64>,
    /// The last checkpoint that is on the chain for good.
    pub anchored: Option<Anchored>,
    /// Anchors whose proofs are kept: `GET /v1/log/anchors/history` lists them.
    pub proofs: u64,
    /// When the newest checkpoint is to be sent (RFC 3339, UTC): past while something holds it up, null when it is on the
    /// chain or on its way.
    pub next_at: Option<String>,
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
    /// The last look at the chain that failed since the gateway started, even if others went well after it.
    pub last_failure: Option<AnchorFailure>,
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
    /// When it was found to be final (RFC 3339, UTC, by the gateway's clock); null where that was not noted.
    pub at: Option<String>,
}

/// A look at the chain that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnchorFailure {
    /// When (RFC 3339, UTC).
    pub at: String,
    /// Why.
    pub problem: String,
}

/// A page of anchors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AnchorQuery {
    /// Of fewer entries than this; the `size` of the last one of a page gives the next. Default: the newest.
    pub before: Option<u64>,
    /// How many, 1 to 100; default 20.
    pub limit: Option<usize>,
}

/// Anchors whose proofs are kept, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnchorPage {
    /// The anchors.
    pub data: Vec<KeptAnchor>,
    /// Whether there are more; ask for them with `before`.
    pub has_more: bool,
}

/// An anchor whose proof is kept. An answer's bundle has the proof of the first that covers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptAnchor {
    /// Entries of the log.
    pub size: u64,
    /// Root hash over them (hex).
    pub root: String,
    /// The transaction's hash; null where the chain has transactions of a form of its own.
    pub transaction: Option<String>,
    /// The hash of its block.
    pub block_hash: String,
    /// The height of its block.
    pub block_number: u64,
    /// When the block was made (RFC 3339, UTC), by its producer.
    pub block_time: String,
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
