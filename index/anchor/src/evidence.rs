//! Putting together the proof of an event: the block is fetched once it is final, and its tries are built again.
//!
//! ```text
//! header       = the fields the node gives, in RLP; must hash to the block's hash
//! receipts     = each [type] RLP[status, cumulative gas, bloom, logs], in a trie by RLP(position); must have receiptsRoot
//! transactions = each as it was signed, in a trie by RLP(position); must have transactionsRoot
//! ```

use cairn_anchor_proof::{
    Anchor, Claim, EventProof, Pins, Registration, TransactionProof, Word, anchored_topic, keccak, registered_topic,
};
use serde_json::Value;

use crate::block;
use crate::contract::{Call, padded};
use crate::error::{Error, Result};
use crate::flight::Line;
use crate::rlp;
use crate::rpc::{Receipt, Rpc};
use crate::trie;

/// What a transaction put on the chain.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    Anchor(Anchor),
    Registration(Registration),
}

/// Proves the event of a confirmed call, and checks the proof as its readers will.
pub(crate) async fn prove(rpc: &Rpc, line: &Line, log: &str, call: &Call, receipt: &Receipt) -> Result<Evidence> {
    let transaction = receipt.transaction_hash;
    let wrong = |problem: String| Error::Unprovable { transaction, problem };
    let block = rpc.full_block(receipt.block_hash).await?;
    let transactions = block["transactions"].as_array().cloned().unwrap_or_default();
    let hashes: Vec<Word> = transactions.iter().filter_map(|sent| hash_of(&sent["hash"])).collect();
    let receipts = rpc.block_receipts(receipt.block_hash, &hashes).await?;
    let topic = match call {
        Call::Anchor { .. } => anchored_topic(),
        Call::Register { .. } => registered_topic(),
    };
    let event = event(line, receipt, &block, &transactions, &receipts, topic).map_err(wrong)?;
    let pins = Pins {
        block_hash: Some(receipt.block_hash),
        chain_id: Some(line.chain_id),
        contract: Some(line.contract),
        sender: Some(line.key.address()),
    };
    let (evidence, checked) = match call {
        Call::Anchor { size, root } => {
            let anchor = Anchor { size: *size, root: *root, event };
            let checked = anchor.verify(&Claim { origin: log, size: *size, root: root.0 }, &pins);
            (Evidence::Anchor(anchor), checked)
        }
        Call::Register { kind, digest } => {
            let registration = Registration { kind: *kind, digest: *digest, event };
            let checked = registration.verify(&pins);
            (Evidence::Registration(registration), checked)
        }
    };
    checked.map_err(|error| wrong(error.to_string()))?;
    Ok(evidence)
}

fn event(
    line: &Line,
    receipt: &Receipt,
    block: &Value,
    transactions: &[Value],
    receipts: &[Value],
    topic: Word,
) -> Result<EventProof, String> {
    let header = block::header(block)?;
    if keccak(&header) != receipt.block_hash.0 {
        return Err("the header's fields do not hash to the block's hash".to_owned());
    }
    let root = |name: &str| hash_of(&block[name]).ok_or(format!("the header's {name} cannot be read"));
    let position = receipt.position();
    let own = usize::try_from(position).ok().and_then(|position| receipts.get(position));
    let own = own.ok_or("the block has fewer receipts than transactions")?;
    let sender = padded(&line.key.address().0);
    let is_own = |log: &Value| {
        let topic_at = |place: usize| hash_of(&log["topics"][place]);
        rlp::bytes(&log["address"]).is_some_and(|address| address == line.contract.0)
            && (topic_at(0), topic_at(1)) == (Some(topic), Some(sender))
    };
    let logs = own["logs"].as_array().map_or(&[][..], Vec::as_slice);
    let log_index = logs.iter().position(is_own).ok_or("the receipt has no event of the contract")?;
    let encoded = receipts.iter().map(block::receipt).collect::<Result<Vec<_>, _>>()?;
    let proof = trie::proof(&encoded, position, root("receiptsRoot")?);
    let proof = proof.ok_or("the receipts do not have the header's root")?;
    // Some chains have transactions that Ethereum does not; then the receipt is proved and the transaction's hash is not.
    let signed: Option<Vec<Vec<u8>>> = transactions.iter().map(|sent| block::transaction(sent).ok()).collect();
    let transactions_root = root("transactionsRoot")?;
    let transaction = signed.and_then(|signed| trie::proof(&signed, position, transactions_root));
    Ok(EventProof {
        chain_id: line.chain_id,
        contract: line.contract,
        sender: line.key.address(),
        block_hash: receipt.block_hash,
        header: header.into(),
        position,
        receipt: proof,
        log_index: log_index as u64,
        transaction: transaction.map(|proof| TransactionProof { hash: receipt.transaction_hash, proof }),
    })
}

fn hash_of(value: &Value) -> Option<Word> {
    Some(Word::from(<[u8; 32]>::try_from(rlp::bytes(value)?).ok()?))
}
