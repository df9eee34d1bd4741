//! `[anchor]`: the log's checkpoints on a blockchain.

use std::path::{Path, PathBuf};

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The log's checkpoints on a blockchain. Anchors wait when the chain is dear or away; answers do not.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Anchor {
    /// The node's JSON-RPC address, http or https; empty: no anchors.
    pub(crate) rpc_url: String,
    /// The chain's EIP-155 id (1 is Ethereum's main chain); a node of another chain is refused.
    pub(crate) chain_id: u64,
    /// Address of the CheckpointAnchor contract; `cairn anchor deploy` deploys one.
    pub(crate) contract: String,
    /// The private key of the account that pays, which must do nothing else; `cairn anchor keygen` makes it. Empty:
    /// `anchor.key` in the data directory.
    pub(crate) key_file: PathBuf,
    /// Least time between two anchors, in seconds.
    pub(crate) interval_s: u64,
    /// Blocks, its own included, after which a transaction counts as final.
    pub(crate) confirmations: u64,
    /// Most to pay for a unit of gas, in gwei.
    pub(crate) max_fee_gwei: u64,
    /// Most to spend in a day (UTC), in gwei of the chain's currency.
    pub(crate) budget_gwei: u64,
    /// Most gas a transaction may use.
    pub(crate) max_gas: u64,
    /// Longest wait for an answer of the node, in seconds.
    pub(crate) timeout_s: u64,
    /// Time between two looks at the chain while a transaction is under way, in milliseconds.
    pub(crate) poll_ms: u64,
    /// A transaction that is in no block after this many seconds is replaced by one with a higher fee.
    pub(crate) stuck_s: u64,
}

impl Default for Anchor {
    fn default() -> Self {
        let defaults = cairn_anchor::Config::new(String::new(), 0, NO_CONTRACT, PathBuf::new());
        Self {
            rpc_url: defaults.rpc_url,
            chain_id: defaults.chain_id,
            contract: String::new(),
            key_file: defaults.key_file,
            interval_s: defaults.interval_s,
            confirmations: defaults.confirmations,
            max_fee_gwei: defaults.max_fee_gwei,
            budget_gwei: defaults.budget_gwei,
            max_gas: defaults.max_gas,
            timeout_s: defaults.timeout_s,
            poll_ms: defaults.poll_ms,
            stuck_s: defaults.stuck_s,
        }
    }
}

impl Anchor {
    /// What the anchorer takes; `None` if anchors are off. Without a contract it serves to deploy one, and nothing else.
    pub(super) fn check(self, base: &Path, data_dir: &Path) -> anyhow::Result<Option<cairn_anchor::Config>> {
        if self.rpc_url.is_empty() {
            return Ok(None);
        }
        let contract = match self.contract.is_empty() {
            true => NO_CONTRACT,
            false => cairn_anchor::Address::from_copied(&self.contract).context("anchor.contract is no address")?,
        };
        let key_file = match self.key_file.as_os_str().is_empty() {
            true => data_dir.join("anchor.key"),
            false => base.join(&self.key_file),
        };
        let config = cairn_anchor::Config {
            rpc_url: self.rpc_url,
            chain_id: self.chain_id,
            contract,
            key_file,
            interval_s: self.interval_s,
            confirmations: self.confirmations,
            max_fee_gwei: self.max_fee_gwei,
            budget_gwei: self.budget_gwei,
            max_gas: self.max_gas,
            timeout_s: self.timeout_s,
            poll_ms: self.poll_ms,
            stuck_s: self.stuck_s,
        };
        if contract != NO_CONTRACT {
            config.check()?;
        }
        Ok(Some(config))
    }
}

/// In place of a contract that is not deployed yet.
const NO_CONTRACT: cairn_anchor::Address = cairn_anchor::proof::Fixed([0; 20]);
