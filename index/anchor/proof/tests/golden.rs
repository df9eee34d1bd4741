//! An anchor that a real node's blocks gave, checked and changed without one.

#![allow(clippy::unwrap_used)]

use cairn_anchor_proof::{Anchor, Bytes, Claim, Error, Fixed, Pins, TransactionProof};

const GOLDEN: &str = include_str!("golden/anchor.json");

fn golden() -> Anchor {
    serde_json::from_str(GOLDEN).unwrap()
}

fn claim(anchor: &Anchor) -> Claim<'static> {
    Claim { origin: "example.com/log", size: anchor.size, root: anchor.root.0 }
}

fn check(anchor: &Anchor) -> Result<(), Error> {
    anchor.verify(&claim(&golden()), &Pins::default()).map(drop)
}

#[test]
fn it_verifies_and_says_what_it_rests_on() {
    let anchor = golden();
    let event = &anchor.event;
    let unpinned = anchor.verify(&claim(&anchor), &Pins::default()).unwrap();
    assert!(!unpinned.on_chain);
    assert!(unpinned.open[0].contains(&event.block_hash.to_string()), "{unpinned:#?}");
    let pins = Pins {
        block_hash: Some(event.block_hash),
        chain_id: Some(31337),
        contract: Some(event.contract),
        sender: Some(event.sender),
    };
    let pinned = anchor.verify(&claim(&anchor), &pins).unwrap();
    assert!(pinned.on_chain && pinned.open.is_empty() && pinned.proved.len() > unpinned.proved.len());
    assert_eq!(format!("{}\n", serde_json::to_string(&anchor).unwrap()), GOLDEN, "one spelling");
}

#[test]
fn no_bit_of_it_is_free() {
    let anchor = golden();
    check(&anchor).unwrap();
    let flip = |bytes: &Bytes, at: usize, bit: u8| {
        let mut bytes = bytes.as_slice().to_vec();
        bytes[at] ^= 1 << bit;
        Bytes::from(bytes)
    };
    let refused = |change: &dyn Fn(&mut Anchor)| {
        let mut changed = anchor.clone();
        change(&mut changed);
        assert_ne!(changed, anchor);
        assert!(check(&changed).is_err(), "{changed:#?}");
    };
    let bits = |length: usize| (0..length).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    let event = &anchor.event;
    for (at, bit) in bits(event.header.as_slice().len()) {
        refused(&|a| a.event.header = flip(&event.header, at, bit));
    }
    for (number, node) in event.receipt.iter().enumerate() {
        for (at, bit) in bits(node.as_slice().len()) {
            refused(&|a| a.event.receipt[number] = flip(node, at, bit));
        }
    }
    let transaction = event.transaction.as_ref().unwrap();
    for (number, node) in transaction.proof.iter().enumerate() {
        for (at, bit) in bits(node.as_slice().len()) {
            refused(&|a| a.event.transaction.as_mut().unwrap().proof[number] = flip(node, at, bit));
        }
    }
    for (at, bit) in bits(32) {
        refused(&|a| a.root.0[at] ^= 1 << bit);
        refused(&|a| a.event.block_hash.0[at] ^= 1 << bit);
        refused(&|a| a.event.transaction.as_mut().unwrap().hash.0[at] ^= 1 << bit);
        if at < 20 {
            refused(&|a| a.event.contract.0[at] ^= 1 << bit);
            refused(&|a| a.event.sender.0[at] ^= 1 << bit);
        }
    }
    for bit in 0..64 {
        refused(&|a| a.size ^= 1 << bit);
        refused(&|a| a.event.chain_id ^= 1 << bit);
        refused(&|a| a.event.position ^= 1 << bit);
        refused(&|a| a.event.log_index ^= 1 << bit);
    }
    refused(&|a| a.event.receipt.push(event.receipt[0].clone()));
    refused(&|a| a.event.receipt.clear());
    refused(&|a| a.event.transaction.as_mut().unwrap().proof.push(Bytes::default()));
    refused(&|a| a.event.transaction = Some(TransactionProof { hash: Fixed([0; 32]), proof: Vec::new() }));
    // A receipt where a transaction must be, and the other way round.
    refused(&|a| a.event.receipt = transaction.proof.clone());
    refused(&|a| a.event.transaction.as_mut().unwrap().proof = event.receipt.clone());
    // Leaving the transaction out is redaction: less is proved, and it says so.
    let mut without = anchor.clone();
    without.event.transaction = None;
    let proved = without.verify(&claim(&anchor), &Pins::default()).unwrap();
    assert!(proved.transaction.is_none() && proved.open.iter().any(|line| line.contains("not proved")));
}

#[test]
fn other_spellings_and_members_are_refused() {
    let upper = GOLDEN.replacen("\"contract\":\"0x", "\"contract\":\"0X", 1);
    let extra = GOLDEN.replacen("{\"size\"", "{\"note\":1,\"size\"", 1);
    let inner = GOLDEN.replacen("{\"chain_id\"", "{\"note\":1,\"chain_id\"", 1);
    let short = GOLDEN.replacen("\"root\":\"0x", "\"root\":\"0x0", 1);
    let capital = GOLDEN.replacen("\"header\":\"0xf9", "\"header\":\"0xF9", 1);
    for bad in [upper, extra, inner, short, capital] {
        assert_ne!(bad, GOLDEN);
        assert!(serde_json::from_str::<Anchor>(&bad).is_err(), "{bad}");
    }
}
