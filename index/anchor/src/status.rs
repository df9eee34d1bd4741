//! What is known of the anchors, for metrics and for the studio.

use cairn_anchor_proof::{Address, Word};
use serde::{Deserialize, Serialize};

/// The state of anchoring, taken after each look at the chain.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
    /// The account that pays.
    pub sender: Address,
    /// Whether the node answered the last question.
    pub connected: bool,
    /// Newest block seen.
    pub block_number: Option<u64>,
    /// Blocks, its own included, after which a transaction counts as final.
    pub confirmations: u64,
    /// What the account holds, in gwei of the chain's currency; not known before the first look.
    pub balance_gwei: Option<u64>,
    /// Size of the newest checkpoint offered.
    pub offered: Option<u64>,
    /// The last checkpoint that is on the chain for good.
    pub anchored: Option<Anchored>,
    /// Proofs of anchors that are kept.
    pub proofs: usize,
    /// When the newest checkpoint is to be sent, in seconds since 1970: past while something holds it up, `None` when it is
    /// on the chain or on its way.
    pub next_at: Option<u64>,
    /// Transactions on their way.
    pub in_flight: Vec<InFlight>,
    /// Registrations that wait.
    pub waiting: usize,
    /// Spent today (UTC), in gwei.
    pub spent_gwei: u64,
    /// What may be spent in a day, in gwei.
    pub budget_gwei: u64,
    /// What keeps anchors from getting on, if anything does.
    pub problem: Option<String>,
    /// The last look at the chain that failed since the process started, even if others went well after it.
    pub last_failure: Option<Failure>,
    /// The chain contradicts the log: nothing more must be signed.
    pub alarm: Option<String>,
    /// Counts since the process started.
    pub counts: Counts,
}

/// Counts since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Transactions that got confirmed.
    pub confirmed: u64,
    /// Transactions replaced by ones with higher fees.
    pub replaced: u64,
    /// Transactions that were in a block which then left the chain.
    pub reorganised: u64,
    /// Transactions that failed on the chain.
    pub reverted: u64,
    /// Looks at the chain that failed.
    pub failures: u64,
}

/// A look at the chain that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Why.
    pub problem: String,
}

/// A checkpoint on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchored {
    /// Entries.
    pub size: u64,
    /// Root hash.
    pub root: Word,
    /// The transaction.
    pub transaction: Word,
    /// Its block.
    pub block_hash: Word,
    /// Height of the block.
    pub block_number: u64,
    /// When it was found to be final, in seconds since 1970 by this machine's clock; older states do not have it.
    #[serde(default)]
    pub at: Option<u64>,
}

/// A transaction on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InFlight {
    /// Its number among the account's transactions.
    pub nonce: u64,
    /// Size of the checkpoint, or `None` for a registration.
    pub size: Option<u64>,
    /// Its hash, as sent last.
    pub transaction: Word,
    /// How often it was sent, fees rising.
    pub attempts: usize,
    /// Height of the block it is in, not deep enough yet.
    pub block_number: Option<u64>,
}
