//! Bundles with an anchor, on a block made up here: without a pinned hash anybody can make one. `cairn-anchor` has the same on
//! a real chain.
//!
//! After an intended change of format, `CAIRN_WRITE_GOLDEN=1 cargo test -p cairn-proof` writes the golden file anew.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use cairn_proof::anchor::{Anchor, EventProof, Fixed, Pins, Word, anchored_topic, origin_hash};
use cairn_proof::bundle::{Bundle, LogProof};
use cairn_proof::{Hash, Trust, VerifyError, verify, verify_with};
use common::{World, edited, golden, origin, vkey, with, world};
use serde_json::{Value, json};
use sha3::Digest as _;

const CHAIN: u64 = 31337;
const TIME: u64 = 1_770_163_200;

/// RLP of a string of bytes, or of a list whose items are encoded already.
fn rlp(short: u8, bytes: &[u8]) -> Vec<u8> {
    let length: Vec<u8> = bytes.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    match bytes {
        [one] if short == 0x80 && *one < 0x80 => vec![*one],
        _ if bytes.len() < 56 => [&[short + bytes.len() as u8], bytes].concat(),
        _ => [&[short + 55 + length.len() as u8], length.as_slice(), bytes].concat(),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    rlp(0x80, bytes)
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    rlp(0xc0, &items.concat())
}

fn keccak(bytes: &[u8]) -> Word {
    Fixed(sha3::Keccak256::digest(bytes).into())
}

fn word(number: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&number.to_be_bytes());
    word
}

/// A block with one transaction, by which account 0x22… has contract 0x11… say that the log had this root.
fn anchor(size: u64, root: Hash) -> Anchor {
    let (contract, sender) = ([0x11; 20], [0x22; 20]);
    let topics =
        [anchored_topic().0, [&[0; 12][..], &sender].concat().try_into().unwrap(), origin_hash(origin().as_str()).0];
    let data = [word(size), *root.as_bytes(), word(CHAIN)].concat();
    let event = list(&[string(&contract), list(&topics.map(|topic| string(&topic))), string(&data)]);
    let receipt = list(&[string(&[1]), string(&[0x52, 0x08]), string(&[0; 256]), list(&[event])]);
    // The trie of one item is a leaf whose path is all of its key, RLP(0).
    let leaf = list(&[string(&[0x20, 0x80]), string(&[&[2][..], &receipt].concat())]);
    let mut fields = vec![string(&[7; 32]); 15];
    fields[5] = string(&keccak(&leaf).0);
    fields[8] = string(&[12]);
    fields[11] = string(&TIME.to_be_bytes()[4..]);
    let header = list(&fields);
    let event = EventProof {
        chain_id: CHAIN,
        contract: Fixed(contract),
        sender: Fixed(sender),
        block_hash: keccak(&header),
        header: header.into(),
        position: 0,
        receipt: vec![leaf.into()],
        log_index: 0,
        transaction: None,
    };
    Anchor { size, root: Fixed(*root.as_bytes()), event }
}

/// The golden answer with the log's root at `size` anchored.
fn bundle(world: &World, size: u64) -> Bundle {
    let log = LogProof::of(&world.log, world.bundle.log.index).unwrap();
    let anchor = anchor(size, world.log.tree().root_at(size).unwrap());
    Bundle { log: log.anchored(world.log.tree(), anchor).unwrap(), ..world.bundle.clone() }
}

fn pins(bundle: &Bundle) -> Pins {
    let event = &bundle.log.anchor.as_ref().unwrap().anchor.event;
    Pins {
        block_hash: Some(event.block_hash),
        chain_id: Some(CHAIN),
        contract: Some(event.contract),
        sender: Some(event.sender),
    }
}

fn code(bytes: &[u8], trust: &Trust) -> &'static str {
    verify_with(bytes, trust).map_or_else(|error| error.code(), |_| "proved")
}

#[test]
fn it_proves_what_is_pinned_and_says_what_is_not() {
    let world = world();
    let bundle = bundle(&world, 262);
    let bytes = bundle.to_bytes().unwrap();
    if std::env::var_os("CAIRN_WRITE_GOLDEN").is_some() {
        std::fs::write(golden("anchored.json"), &bytes).unwrap();
    }
    assert!(std::fs::read(golden("anchored.json")).unwrap() == bytes, "anchored.json differs from the golden file");

    let report = verify(&bytes, &vkey()).unwrap();
    let block = bundle.log.anchor.as_ref().unwrap().anchor.event.block_hash.to_string();
    assert!(!report.anchor.as_ref().unwrap().on_chain);
    assert!(report.proved[3].contains("of this block alone") && !report.to_text().contains("existed by then"));
    for what in [block.as_str(), &Fixed([0x11; 20]).to_string(), &Fixed([0x22; 20]).to_string()] {
        assert!(report.not_shown.iter().any(|line| line.contains(what)), "{what}: {:#?}", report.not_shown);
    }

    let report = verify_with(&bytes, &Trust::new(vkey()).with_anchor(pins(&bundle))).unwrap();
    let proved = report.anchor.unwrap();
    assert!(proved.on_chain && proved.block_number == 12 && proved.time == TIME);
    let words = "The first 262 entries of the log, with this record as entry 260, were made public in block 12 of \
                 blockchain 31337, whose time is 2026-02-04T00:00:00Z: the record existed by then";
    assert!(report.proved[3].starts_with(words), "{}", report.proved[3]);
    assert!(!report.not_shown.iter().any(|line| line.contains(&block)), "{:#?}", report.not_shown);
}

#[test]
fn no_changed_byte_of_it_verifies() {
    let bytes = bundle(&world(), 262).to_bytes().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    let (start, end) = (text.find("\"anchor\":").unwrap(), text.find("\"checkpoint\":").unwrap());
    assert!(end - start > 2000);
    let key = vkey();
    for at in start..end {
        for mask in [0x01, 0x02, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert!(verify(&changed, &key).is_err(), "byte {at} xor {mask:#x}");
        }
        let mut without = bytes.clone();
        without.remove(at);
        assert!(verify(&without, &key).is_err(), "byte {at} deleted");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let world = world();
    let bundle = bundle(&world, 262);
    let (bytes, bare) = (bundle.to_bytes().unwrap(), world.bundle.to_bytes().unwrap());
    let trust = Trust::new(vkey());
    assert_eq!(code(&bare, &trust), "proved");
    assert_eq!(code(&bare, &trust.clone().with_anchor(Pins::default())), "no_anchor");
    for pins in [
        Pins { block_hash: Some(Fixed([0; 32])), ..pins(&bundle) },
        Pins { chain_id: Some(1), ..pins(&bundle) },
        Pins { contract: Some(Fixed([0x22; 20])), ..pins(&bundle) },
        Pins { sender: Some(Fixed([0x11; 20])), ..pins(&bundle) },
    ] {
        assert_eq!(code(&bytes, &trust.clone().with_anchor(pins)), "anchor");
    }
    let zero = "0".repeat(64);
    for (pointer, value, expected) in [
        ("/log/anchor/path/0", json!(zero), "not_anchored"),
        ("/log/anchor/path", json!([]), "not_anchored"),
        ("/log/anchor/anchor/size", json!(263), "anchor"),
        ("/log/anchor/anchor/root", json!(format!("0x{zero}")), "anchor"),
        ("/log/anchor/anchor/event/position", json!(1), "anchor"),
        ("/log/anchor/anchor/event/transaction", Value::Null, "form"),
        ("/log/anchor", Value::Null, "form"),
    ] {
        let changed = match pointer.ends_with("transaction") {
            true => edited(&bytes, |b| b["log"]["anchor"]["anchor"]["event"]["transaction"] = value),
            false => with(&bytes, pointer, value),
        };
        assert_eq!(code(&changed, &trust), expected, "{pointer}");
    }
    // A well-made anchor of another tree: the record is not under it.
    let other = |size: u64| {
        let mut changed = bundle.clone();
        changed.log.anchor.as_mut().unwrap().anchor = anchor(size, Hash::of(b"another history"));
        verify(&changed.to_bytes().unwrap(), &vkey()).unwrap_err()
    };
    assert_eq!(other(262).code(), "not_anchored");
    assert!(matches!(other(265), VerifyError::AnchorContradicts { size: 265, .. }));
    // One that is too old for the record, or of a log that this one is not yet.
    let log = || LogProof::of(&world.log, 260).unwrap();
    let root = |size| world.log.tree().root_at(size).unwrap();
    assert!(log().anchored(world.log.tree(), anchor(260, root(260))).is_err());
    assert!(log().anchored(world.log.tree(), anchor(262, root(261))).is_err());
    assert!(log().anchored(world.log.tree(), anchor(266, root(265))).is_err());
}

#[test]
fn options_require_it() {
    let (bundle, bare, key) = (golden("anchored.json"), golden("bundle.json"), golden("cairn.pub"));
    let run = |bundle: &Path, options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-verify"));
        let output = command.arg(bundle).arg("--key").arg(&key).args(options).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let text: Value = serde_json::from_slice(&std::fs::read(&bundle).unwrap()).unwrap();
    let block = text["log"]["anchor"]["anchor"]["event"]["block_hash"].as_str().unwrap();
    let capitals = block.to_uppercase();
    let (contract, sender) = (Fixed([0x11; 20]).to_string(), Fixed([0x22; 20]).to_string());
    for (bundle, options, status, words) in [
        (&bundle, &["--anchor"][..], 0, "of this block alone"),
        (&bundle, &["--anchor-block", block], 0, "existed by then"),
        (&bundle, &["--anchor-block", &capitals, "--anchor-chain", "31337"], 0, "existed by then"),
        (&bundle, &["--anchor-contract", &contract, "--anchor-sender", &sender], 0, "of this block alone"),
        (&bundle, &["--anchor-contract", &sender], 1, "is trusted, but the anchor has"),
        (&bundle, &["--anchor-chain", "1"], 1, "chain id: 1 is trusted"),
        (&bare, &["--anchor"], 1, "you require an anchor"),
        (&bare, &["--anchor-chain", "31337"], 1, "you require an anchor"),
        (&bundle, &["--anchor-block", "12"], 2, "--anchor-block: `12` is not of the form 0x and 64"),
        (&bundle, &["--anchor-chain"], 2, "--anchor-chain needs a number"),
    ] {
        let (code, text) = run(bundle, options);
        assert_eq!(code, Some(status), "{options:?}: {text}");
        assert!(text.contains(words), "{options:?}: {text}");
    }
}
