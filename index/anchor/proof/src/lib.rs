//! Anchors: proofs that a block of an EVM chain holds a checkpoint of a transparency log, checked offline.
//!
//! ```text
//! block hash = keccak256(header)
//! header     → receiptsRoot → receipt of the transaction → event Anchored(sender, origin, size, root, chain id)
//! header     → transactionsRoot → the transaction, whose hash names it
//! ```
//!
//! [`Anchor::verify`] follows that path from a block hash down. That the block is part of the chain cannot be seen from
//! it: [`Pins::block_hash`] is a hash the verifier got from a node or a block explorer that it trusts.
//!
//! What does not belong here: anything that talks to a chain (that is `cairn-anchor`). A verifier depends on this crate
//! alone; it hashes with Keccak and reads RLP, and needs no curve and no network.

mod block;
mod error;
mod event;
mod hex;
mod proved;
mod rlp;
pub mod trie;

use serde::{Deserialize, Serialize};

pub use block::Header;
pub use error::{Error, Result};
pub use event::{anchored_topic, registered_topic};
pub use hex::{Bytes, Fixed};
pub use proved::Proved;

/// An account or a contract.
pub type Address = Fixed<20>;
/// A hash or a topic.
pub type Word = Fixed<32>;

/// A checkpoint on a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Entries of the log.
    pub size: u64,
    /// Root hash of its tree.
    pub root: Word,
    /// Where the chain says so.
    pub event: EventProof,
}

/// A digest on a chain, such as that of a datanet's creation or a contributor's registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// What kind of thing the digest is of; [`kind`] makes it from a name.
    pub kind: Word,
    /// The digest.
    pub digest: Word,
    /// Where the chain says so.
    pub event: EventProof,
}

/// The place of an event of the contract in a chain, with everything that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventProof {
    /// The chain, by its EIP-155 id.
    pub chain_id: u64,
    /// The contract that emitted the event.
    pub contract: Address,
    /// Who called the contract.
    pub sender: Address,
    /// Hash of the block.
    pub block_hash: Word,
    /// RLP of the block's header.
    pub header: Bytes,
    /// Place of the transaction in the block.
    pub position: u64,
    /// Merkle-Patricia proof of the receipt, from the header's `receiptsRoot` on; its last node holds the receipt.
    pub receipt: Vec<Bytes>,
    /// Place of the event in the receipt.
    pub log_index: u64,
    /// The transaction. Absent where its hash could not be proved: a chain may have transactions of its own form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionProof>,
}

/// The hash of a transaction and its place in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionProof {
    /// Its hash, by which explorers find it.
    pub hash: Word,
    /// Merkle-Patricia proof from the header's `transactionsRoot` on; its last node holds the transaction.
    pub proof: Vec<Bytes>,
}

/// The checkpoint that an anchor must be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Name of the log.
    pub origin: &'a str,
    /// Entries.
    pub size: u64,
    /// Root hash.
    pub root: [u8; 32],
}

/// What a verifier knows from elsewhere; whatever is set must be so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Hash of the block, from a node or an explorer the verifier trusts.
    pub block_hash: Option<Word>,
    /// The chain.
    pub chain_id: Option<u64>,
    /// The contract, whose code the verifier or somebody it trusts has read.
    pub contract: Option<Address>,
    /// The account that anchors for the log's operator.
    pub sender: Option<Address>,
}

impl Anchor {
    /// Checks that the anchor is one of the checkpoint `claim`, in the block it names, and that the pins hold.
    pub fn verify(&self, claim: &Claim<'_>, pins: &Pins) -> Result<Proved> {
        equal("size", &claim.size, &self.size)?;
        equal("root", &Word::from(claim.root), &self.root)?;
        let block = self.event.block()?;
        let event = event::Anchored::read(&self.event.log(&block)?)?;
        equal("origin", &origin_hash(claim.origin), &event.origin)?;
        equal("size", &self.size, &event.size)?;
        equal("root", &self.root, &event.root)?;
        self.event.agrees(event.sender, event.chain_id)?;
        self.event.trusted(pins)?;
        Ok(Proved::anchor(self, claim, &block, pins))
    }
}

impl Registration {
    /// Checks that the block it names holds the registration, and that the pins hold.
    pub fn verify(&self, pins: &Pins) -> Result<Proved> {
        let block = self.event.block()?;
        let event = event::Registered::read(&self.event.log(&block)?)?;
        equal("kind", &self.kind, &event.kind)?;
        equal("digest", &self.digest, &event.digest)?;
        self.event.agrees(event.sender, event.chain_id)?;
        self.event.trusted(pins)?;
        Ok(Proved::registration(self, &block, pins))
    }
}

impl EventProof {
    /// The header, which must be that of the block; the transaction, if it is there, is in the block.
    fn block(&self) -> Result<Header> {
        let found = Word::from(keccak(self.header.as_slice()));
        if found != self.block_hash {
            return Err(Error::HeaderMismatch { expected: self.block_hash, found });
        }
        let header = Header::read(&self.header)?;
        if let Some(transaction) = &self.transaction {
            let what = "proof of the transaction";
            let bytes = trie::value(&header.transactions_root.0, self.position, &transaction.proof, what)?;
            let found = Word::from(keccak(bytes));
            if found != transaction.hash {
                return Err(Error::TransactionMismatch { expected: transaction.hash, found });
            }
        }
        Ok(header)
    }

    /// The event, from the receipt that is in the block.
    fn log(&self, header: &Header) -> Result<event::Log<'_>> {
        let receipt = trie::value(&header.receipts_root.0, self.position, &self.receipt, "proof of the receipt")?;
        let log = event::Log::of_receipt(receipt, self.log_index)?;
        equal("contract", &self.contract, &log.address)?;
        Ok(log)
    }

    fn agrees(&self, sender: Address, chain_id: u64) -> Result<()> {
        equal("sender", &self.sender, &sender)?;
        equal("chain id", &self.chain_id, &chain_id)
    }

    fn trusted(&self, pins: &Pins) -> Result<()> {
        pinned("block hash", pins.block_hash, self.block_hash)?;
        pinned("chain id", pins.chain_id, self.chain_id)?;
        pinned("contract", pins.contract, self.contract)?;
        pinned("sender", pins.sender, self.sender)
    }
}

/// What stands for a log's name on the chain: keccak256 of its origin.
pub fn origin_hash(origin: &str) -> Word {
    Word::from(keccak(origin.as_bytes()))
}

/// What stands for a kind of registration on the chain, such as `cairn/datanet/v1`: keccak256 of its name.
pub fn kind(name: &str) -> Word {
    Word::from(keccak(name.as_bytes()))
}

impl<const N: usize> From<[u8; N]> for Fixed<N> {
    fn from(bytes: [u8; N]) -> Fixed<N> {
        Fixed(bytes)
    }
}

/// Keccak-256 as Ethereum uses it, which is not SHA3-256.
pub fn keccak(bytes: &[u8]) -> [u8; 32] {
    use sha3::Digest as _;
    sha3::Keccak256::digest(bytes).into()
}

fn equal<T: PartialEq + ToString>(what: &'static str, expected: &T, found: &T) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::EventMismatch { what, expected: expected.to_string(), found: found.to_string() })
}

fn pinned<T: PartialEq + ToString>(what: &'static str, pin: Option<T>, found: T) -> Result<()> {
    match pin {
        Some(expected) if expected != found => {
            Err(Error::NotTrusted { what, expected: expected.to_string(), found: found.to_string() })
        }
        _ => Ok(()),
    }
}
