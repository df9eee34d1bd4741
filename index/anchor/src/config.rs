//! How and how often to anchor.

use std::path::PathBuf;
use std::time::Duration;

use cairn_anchor_proof::Address;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// The section `[anchor]` of the gateway's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's JSON-RPC address, http or https.
    pub rpc_url: String,
    /// The chain's EIP-155 id; a node of another chain is refused.
    pub chain_id: u64,
    /// Address of the deployed CheckpointAnchor contract.
    #[serde(deserialize_with = "copied")]
    pub contract: Address,
    /// File with the account's private key, as 64 hexadecimal digits; its mode must be 0600 or 0640. The account must
    /// be used for nothing else, because its transactions are numbered.
    pub key_file: PathBuf,
    /// Least time between two anchors, in seconds; a checkpoint that is no larger than the last is not anchored again.
    #[serde(default = "defaults::interval_s")]
    pub interval_s: u64,
    /// Blocks, its own included, after which a transaction counts as final.
    #[serde(default = "defaults::confirmations")]
    pub confirmations: u64,
    /// Most to pay for a unit of gas, in gwei; while the chain asks for more, anchors wait.
    #[serde(default = "defaults::max_fee_gwei")]
    pub max_fee_gwei: u64,
    /// Most to spend in a day (UTC), in gwei of the chain's currency; beyond it anchors wait for the next day.
    #[serde(default = "defaults::budget_gwei")]
    pub budget_gwei: u64,
    /// Most gas a transaction may use.
    #[serde(default = "defaults::max_gas")]
    pub max_gas: u64,
    /// Longest wait for an answer of the node, in seconds.
    #[serde(default = "defaults::timeout_s")]
    pub timeout_s: u64,
    /// Time between two looks at the chain while a transaction is under way, in milliseconds.
    #[serde(default = "defaults::poll_ms")]
    pub poll_ms: u64,
    /// A transaction that is in no block after this many seconds is replaced by one with a higher fee.
    #[serde(default = "defaults::stuck_s")]
    pub stuck_s: u64,
}

impl Config {
    /// With the defaults of all that can have one.
    pub fn new(rpc_url: String, chain_id: u64, contract: Address, key_file: PathBuf) -> Config {
        Config {
            rpc_url,
            chain_id,
            contract,
            key_file,
            interval_s: defaults::interval_s(),
            confirmations: defaults::confirmations(),
            max_fee_gwei: defaults::max_fee_gwei(),
            budget_gwei: defaults::budget_gwei(),
            max_gas: defaults::max_gas(),
            timeout_s: defaults::timeout_s(),
            poll_ms: defaults::poll_ms(),
            stuck_s: defaults::stuck_s(),
        }
    }

    /// Checks what the types do not.
    pub fn check(&self) -> Result<()> {
        let bad = |key, problem| Err(Error::BadConfig { key, problem });
        match reqwest::Url::parse(&self.rpc_url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => (),
            _ => return bad("rpc_url", "it must be an http or https address"),
        }
        if self.chain_id == 0 || self.chain_id >= 1 << 53 {
            return bad("chain_id", "it must be between 1 and 2^53");
        }
        if self.contract == Address::from([0; 20]) {
            return bad("contract", "it must be the address of a deployed CheckpointAnchor");
        }
        for (key, value) in [
            ("confirmations", self.confirmations),
            ("timeout_s", self.timeout_s),
            ("poll_ms", self.poll_ms),
            ("stuck_s", self.stuck_s),
            ("max_fee_gwei", self.max_fee_gwei),
            ("budget_gwei", self.budget_gwei),
            ("max_gas", self.max_gas),
        ] {
            if value == 0 {
                return bad(key, "it must be at least 1");
            }
        }
        if self.max_fee_gwei > 1_000_000_000 {
            return bad("max_fee_gwei", "it must be at most 1000000000, a whole coin for a unit of gas");
        }
        Ok(())
    }

    /// Most to pay for a unit of gas, in wei.
    pub(crate) fn max_fee(&self) -> u64 {
        self.max_fee_gwei * GWEI
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }
}

/// An address as people copy it from an explorer.
fn copied<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Address, D::Error> {
    Address::from_copied(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// Wei in a gwei.
pub(crate) const GWEI: u64 = 1_000_000_000;

mod defaults {
    pub(super) fn interval_s() -> u64 {
        3600
    }
    pub(super) fn confirmations() -> u64 {
        12
    }
    pub(super) fn max_fee_gwei() -> u64 {
        30
    }
    /// 0.02 of a coin: some 24 anchors at 17 gwei.
    pub(super) fn budget_gwei() -> u64 {
        20_000_000
    }
    pub(super) fn max_gas() -> u64 {
        500_000
    }
    pub(super) fn timeout_s() -> u64 {
        10
    }
    pub(super) fn poll_ms() -> u64 {
        5000
    }
    pub(super) fn stuck_s() -> u64 {
        180
    }
}
