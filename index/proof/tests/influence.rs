//! The entry on influence: what it must add up to, and that a bundle proves it or fails.
#![allow(clippy::unwrap_used)]

mod common;

use cairn_proof::bundle::{Bundle, LogProof};
use cairn_proof::influence::{
    InfluenceEntry, InfluenceKind, InfluenceMethod, InfluenceProof, PassageInfluence, SentenceInfluence,
};
use cairn_proof::uses::{Use, pseudonym};
use cairn_proof::{CosignedCheckpoint, Entry, Record, Salt, verify};
use common::{edited, golden, vkey, with, world};
use serde_json::json;

fn sentence(start: u64, end: u64, values: [[&str; 3]; 2], gain: &str) -> SentenceInfluence {
    let passage = |[necessity, sufficiency, shapley]: [&str; 3]| PassageInfluence {
        necessity: necessity.into(),
        sufficiency: sufficiency.into(),
        shapley: Some(shapley.into()),
        error: None,
    };
    SentenceInfluence {
        choice: 0,
        start,
        end,
        tokens: 9,
        closed_book: "-30.000000".into(),
        with_all: gain.into(),
        passages: values.map(passage).to_vec(),
        supported: true,
    }
}

fn entry(record: &Record) -> InfluenceEntry {
    let mut entry = InfluenceEntry {
        kind: InfluenceKind::V1,
        record: record.leaf().unwrap(),
        id: record.id.clone(),
        method: InfluenceMethod::Shapley,
        permutations: None,
        passage_chars: 800,
        passages: vec![1, 2],
        sentences: vec![
            sentence(
                0,
                41,
                [["9.000000", "12.000000", "10.500000"], ["1.000000", "4.000000", "2.500000"]],
                "-17.000000",
            ),
            sentence(
                42,
                58,
                [["-1.000000", "0.000000", "-0.500000"], ["0.000000", "1.000000", "0.500000"]],
                "-30.000000",
            ),
        ],
        shares: Vec::new(),
        time: "2026-02-03T04:06:00Z".into(),
    };
    entry.shares = entry.shares_of(record).unwrap();
    entry
}

/// The world's answer with counted uses, its entry on influence, and the bundle of both.
fn proved() -> (Record, Bundle) {
    let mut world = world();
    let mut record = world.bundle.record.clone();
    let mut uses: Vec<Use> = [("ada", 1), ("grace", 2)]
        .map(|(name, n)| Use {
            contributor: pseudonym(&Salt::new([n as u8; 32]), name).unwrap(),
            count: 1,
            passages: vec![n],
        })
        .to_vec();
    uses.sort_by_key(|own| own.contributor);
    record.uses = Some(uses);
    let at = world.log.append(&[record.to_bytes().unwrap()]).unwrap().start;
    let entry = entry(&record);
    let index = world.log.append(&[Entry::Influence(Box::new(entry.clone())).to_bytes().unwrap()]).unwrap().start;
    let checkpoint = CosignedCheckpoint::new(world.log.checkpoint().clone());
    let size = world.log.size();
    // The tombstone's path is under the older checkpoint of the world's own bundle.
    let mut datapoints = world.bundle.datapoints.clone();
    datapoints.retain(|datapoint| datapoint.erased.is_none());
    let bundle = Bundle {
        record: record.clone(),
        log: LogProof::under(&world.log, at, &checkpoint, &[]).unwrap(),
        influence: Some(InfluenceProof::under(&world.log, index, entry, size).unwrap()),
        datapoints,
        ..world.bundle
    };
    (record, bundle)
}

#[test]
fn the_golden_file_is_as_written() {
    let (_, bundle) = proved();
    let bytes = bundle.to_bytes().unwrap();
    if std::env::var_os("CAIRN_WRITE_GOLDEN").is_some() {
        std::fs::write(golden("influence.json"), &bytes).unwrap();
    }
    assert!(std::fs::read(golden("influence.json")).unwrap() == bytes, "influence.json differs from the golden file");
}

#[test]
fn a_bundle_says_how_much_each_passage_mattered() {
    let (_, bundle) = proved();
    let report = verify(&bundle.to_bytes().unwrap(), &vkey()).unwrap();
    let text = report.to_text();
    for words in ["exact Shapley values", "Passage 1 made the answer likelier, by 10.00 nats", "76.9 %", "23.1 %"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let shares = &bundle.influence.as_ref().unwrap().entry.shares;
    let mut parts: Vec<&str> = shares.iter().map(|share| share.share.as_str()).collect();
    parts.sort_unstable();
    assert_eq!(parts, ["0.230769", "0.769231"]);
}

#[test]
fn no_changed_byte_of_it_verifies() {
    let (_, bundle) = proved();
    let bytes = bundle.to_bytes().unwrap();
    let start = bytes.windows(11).position(|part| part == b"\"influence\"").unwrap();
    let end = bytes.windows(6).position(|part| part == b"\"key\":").unwrap();
    assert!(end > start + 1000);
    for at in start..end {
        for mask in [0x01, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert!(verify(&changed, &vkey()).is_err(), "byte {at} xor {mask:#x}");
        }
    }
}

#[test]
fn it_must_be_of_this_answer_and_add_up() {
    let (record, bundle) = proved();
    let bytes = bundle.to_bytes().unwrap();
    for (pointer, value, code) in [
        ("/influence/index", json!(0), "influence_not_in_log"),
        ("/influence/entry/shares/0/share", json!("0.500000"), "influence"),
        ("/influence/entry/sentences/0/passages/0/shapley", json!("11.500000"), "influence"),
        ("/influence/entry/sentences/0/passages/0/necessity", json!("9"), "influence"),
        ("/influence/entry/sentences/0/tokens", json!(8), "influence_not_in_log"),
        ("/influence/entry/passages", json!([1, 3]), "influence"),
        ("/influence/entry/id", json!("chatcmpl-0002"), "influence"),
        ("/influence/entry/time", json!("yesterday"), "influence"),
        ("/influence/entry/method", json!("leave_one_out"), "influence"),
    ] {
        assert_eq!(verify(&with(&bytes, pointer, value), &vkey()).unwrap_err().code(), code, "{pointer}");
    }
    let extra = edited(&bytes, |bundle| bundle["influence"]["entry"]["sentences"][0]["error"] = json!("0.000000"));
    assert_eq!(verify(&extra, &vkey()).unwrap_err().code(), "form");
    let mut other = entry(&record);
    other.sentences.swap(0, 1);
    assert!(other.to_bytes().is_err(), "out of order");
    let mut none = entry(&record);
    none.passages.clear();
    assert!(none.to_bytes().is_err(), "without passages");
}
