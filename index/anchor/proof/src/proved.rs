//! What an anchor proves, in words, and on whose word the rest depends.

use serde::Serialize;

use crate::{Address, Anchor, Claim, EventProof, Header, Pins, Registration, Word};

/// An anchor in which everything holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
    /// Who called it.
    pub sender: Address,
    /// Height of the block.
    pub block_number: u64,
    /// Hash of the block.
    pub block_hash: Word,
    /// When the block was made, in seconds since 1970 by its producer.
    pub time: u64,
    /// Hash of the transaction, if it was proved.
    pub transaction: Option<Word>,
    /// Whether the block's hash was pinned; if not, nothing ties the block to the chain.
    pub on_chain: bool,
    /// What was proved, a sentence each.
    pub proved: Vec<String>,
    /// What it rests on, or does not show, a sentence each.
    pub open: Vec<String>,
}

impl Proved {
    pub(crate) fn anchor(anchor: &Anchor, claim: &Claim<'_>, block: &Header, pins: &Pins) -> Proved {
        let event = &anchor.event;
        let mut proved = Proved::of(event, block, pins);
        proved.proved.push(format!(
            "In it, contract {} says that account {} anchored log {} with {} entries and root {}.",
            event.contract,
            event.sender,
            claim.origin,
            anchor.size,
            bare(&anchor.root)
        ));
        if pins.block_hash.is_some() {
            proved.proved.push("So that tree of the log existed when the block was made.".to_owned());
        }
        if pins.contract.is_some() && pins.sender.is_some() && pins.block_hash.is_some() {
            proved.proved.push(
                "If the contract is CheckpointAnchor, that account had not anchored a larger size of this log before, nor \
                 another root at this one."
                    .to_owned(),
            );
        }
        proved
    }

    pub(crate) fn registration(registration: &Registration, block: &Header, pins: &Pins) -> Proved {
        let event = &registration.event;
        let mut proved = Proved::of(event, block, pins);
        proved.proved.push(format!(
            "In it, contract {} says that account {} registered digest {} of kind {}.",
            event.contract,
            event.sender,
            bare(&registration.digest),
            bare(&registration.kind)
        ));
        if pins.block_hash.is_some() {
            proved.proved.push("So that digest existed when the block was made.".to_owned());
        }
        proved
    }

    fn of(event: &EventProof, block: &Header, pins: &Pins) -> Proved {
        let (number, hash) = (block.number, event.block_hash);
        let transaction = event.transaction.as_ref().map(|transaction| transaction.hash);
        let mut lines = vec![format!(
            "The header hashes to block {hash}, number {number} of chain {}, and the receipt is in that block.",
            event.chain_id
        )];
        if let Some(hash) = transaction {
            lines.push(format!("It is the receipt of transaction {hash}, which is in the same block."));
        }
        let mut open = Vec::new();
        match pins.block_hash {
            Some(_) => lines.push("The block's hash is the one you gave.".to_owned()),
            None => open.push(format!(
                "Whether block {hash} is part of blockchain {chain} is for you to compare: look up block {number} of that \
                 chain in a block explorer or node that you trust. If it shows another hash, the anchor proves nothing; if \
                 it shows this one, give it to the verifier as the pinned block hash.",
                chain = event.chain_id
            )),
        }
        if pins.contract.is_none() {
            open.push(format!(
                "Any contract could have said this: compare {} with the address that the log's operator has published, \
                 and the code there with CheckpointAnchor.",
                event.contract
            ));
        }
        if pins.sender.is_none() {
            open.push(format!(
                "Anybody can anchor any log under an account of their own: compare {} with the account that the log's \
                 operator has published.",
                event.sender
            ));
        }
        if transaction.is_none() {
            open.push("The transaction's hash is not proved; the receipt is.".to_owned());
        }
        Proved {
            chain_id: event.chain_id,
            contract: event.contract,
            sender: event.sender,
            block_number: number,
            block_hash: hash,
            time: block.timestamp,
            transaction,
            on_chain: pins.block_hash.is_some(),
            proved: lines,
            open,
        }
    }
}

/// A hash as the log writes it, without 0x.
fn bare(word: &Word) -> String {
    word.to_string().split_off(2)
}
