//! A transaction on its way into the chain.

use cairn_anchor_proof::{Address, Bytes, Word};
use serde::{Deserialize, Serialize};

use crate::contract::Call;
use crate::fees::Fees;
use crate::key::AccountKey;
use crate::transaction::Transaction;

/// One place in the account's order of transactions. It may be tried several times, with rising fees; the chain takes
/// one of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flight {
    pub(crate) nonce: u64,
    pub(crate) call: Call,
    pub(crate) gas_limit: u64,
    /// All that were ever sent, the last with the highest fees.
    pub(crate) attempts: Vec<Attempt>,
    /// The block that one of them is in, not deep enough yet.
    pub(crate) mined: Option<Mined>,
    /// Whether a node was given the last attempt since this process started, or since it vanished.
    #[serde(skip)]
    pub(crate) delivered: bool,
}

/// A signed transaction.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attempt {
    pub(crate) hash: Word,
    pub(crate) raw: Bytes,
    pub(crate) fees: Fees,
    /// When it was signed, in seconds since 1970.
    pub(crate) at: u64,
}

/// A place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mined {
    pub(crate) transaction: Word,
    pub(crate) block_hash: Word,
    pub(crate) block_number: u64,
}

/// What all transactions of an anchorer have in common.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) chain_id: u64,
    pub(crate) contract: Address,
    /// keccak256 of the log's origin.
    pub(crate) origin: Word,
    pub(crate) key: AccountKey,
}

impl Flight {
    pub(crate) fn new(nonce: u64, call: Call, gas_limit: u64) -> Flight {
        Flight { nonce, call, gas_limit, attempts: Vec::new(), mined: None, delivered: false }
    }

    /// Signs another attempt.
    pub(crate) fn attempt(&mut self, line: &Line, fees: Fees, at: u64) {
        let transaction = Transaction {
            chain_id: line.chain_id,
            nonce: self.nonce,
            fees,
            gas_limit: self.gas_limit,
            to: Some(line.contract),
            data: self.call.data(line.origin),
        };
        let (hash, raw) = line.key.sign(&transaction);
        self.attempts.push(Attempt { hash, raw: raw.into(), fees, at });
        self.delivered = false;
    }

    /// The last attempt.
    pub(crate) fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// Most it can cost, in gwei.
    pub(crate) fn most_gwei(&self) -> u64 {
        self.last().map_or(0, |attempt| attempt.fees.most_gwei(self.gas_limit))
    }
}
