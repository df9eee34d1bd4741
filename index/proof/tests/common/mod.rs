//! A small world with fixed keys, salts and times: a datanet, a log, one answer and its bundle.
#![allow(clippy::unwrap_used, dead_code)]

pub(crate) mod access;

use std::path::{Path, PathBuf};

use cairn_proof::bundle::{Bundle, Erasure, Evidence, LogProof, Openings, Parts};
use cairn_proof::canonical::fixed;
use cairn_proof::datapoint::{Commitment, DatapointFields, Field};
use cairn_proof::record::{
    Candidate, Citation, CitationKind, Endpoint, Entry, Record, RecordKind, Retrieval, Snapshot, SnapshotEntry,
    SnapshotKind, Tombstone, TombstoneKind, field,
};
use cairn_proof::{Hash, Log, Origin, Salt, SigningKey, Tree, VerifyingKey};
use serde_json::{Value, json};

pub(crate) const ANSWER: &str = "Notice must be given within thirty days \u{1f5d3}, in writing [1].";

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) log: Log,
    pub(crate) bundle: Bundle,
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed([42; 32])
}

pub(crate) fn origin() -> Origin {
    Origin::new("cairn.example.com/log").unwrap()
}

pub(crate) fn vkey() -> VerifyingKey {
    key().verifying_key(&origin())
}

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn fields(seq: u64) -> DatapointFields {
    DatapointFields {
        datanet: "tenancy-law".into(),
        id: format!("dp-{seq}"),
        seq,
        contributor: format!("contributor {seq}"),
        contributed_at: "2026-01-02".into(),
        source: (seq != 2).then(|| format!("https://example.com/{seq}")),
        licence: "CC-BY-4.0".into(),
        metadata: json!({"page": seq, "weight": 0.1}),
        text: format!("Text of datapoint {seq}: notice within thirty days, \"in writing\"."),
    }
}

fn salt(seq: u64) -> Salt {
    Salt::new([seq as u8 + 1; 32])
}

fn candidate(leaf: Hash, seq: u64, rank: Option<u64>, in_prompt: Option<u64>) -> Candidate {
    Candidate {
        datanet: "tenancy-law".into(),
        leaf,
        seq,
        rank,
        in_prompt,
        vector_score: Some(fixed(0.8125 - seq as f64 / 100.0)),
        vector_rank: Some(seq + 1),
        text_score: (seq == 3).then(|| fixed(4.5)),
        text_rank: (seq == 3).then_some(1),
        phrase_score: None,
        fused_score: rank.map(|rank| fixed(1.0 / (60.0 + rank as f64))),
        rerank_score: None,
        left_out: None,
    }
}

/// An answer with two passages in the prompt, one shown in full and one withheld, and two candidates that were not
/// used, of which one has been erased since. The record is entry 260 of the log, the tombstone entry 261.
pub(crate) fn world() -> World {
    let commitments: Vec<Commitment> = (0..7).map(|seq| Commitment::new(&fields(seq), &salt(seq)).unwrap()).collect();
    let tree: Tree = commitments.iter().map(|commitment| commitment.leaf().unwrap()).collect();
    let leaf = |seq: u64| tree.leaf(seq).unwrap();

    let own = Salt::new([200; 32]);
    let request = json!({"model": "small", "messages": [{"role": "user", "content": "When must notice be given?"}]});
    let response = json!([{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}]);
    let record = Record {
        kind: RecordKind::V1,
        id: "chatcmpl-0001".into(),
        time: "2026-02-03T04:05:06Z".into(),
        endpoint: Endpoint::ChatCompletions,
        request: own.commit(field::REQUEST, &request).unwrap(),
        response: own.commit(field::RESPONSE, &response).unwrap(),
        model: "small".into(),
        base_weights: Hash::of(b"weights"),
        adapter_generation: Some("tenancy@7".into()),
        adapters: None,
        caller: own.commit(field::CALLER, "key-1").unwrap(),
        retrieval: Some(Retrieval {
            query: own.commit(field::QUERY, "notice period").unwrap(),
            mode: "hybrid".into(),
            top_k: 2,
            candidates_per_source: 4,
            datanets: vec![Snapshot {
                name: "tenancy-law".into(),
                lance_version: 9,
                size: 7,
                root: tree.root(),
                access: None,
            }],
            candidates: vec![
                candidate(leaf(3), 3, Some(1), Some(1)),
                candidate(leaf(6), 6, Some(2), Some(2)),
                candidate(leaf(2), 2, Some(3), None),
                candidate(leaf(0), 0, None, None),
            ],
            filter: None,
            rerank: None,
        }),
        citations: vec![
            Citation { choice: 0, n: 1, start: 0, end: 41, kind: CitationKind::Marker, score: None },
            Citation { choice: 0, n: 2, start: 28, end: 57, kind: CitationKind::Overlap, score: Some(fixed(0.75)) },
        ],
        uses: None,
    };
    let tombstone = Tombstone {
        kind: TombstoneKind::V1,
        datanet: "tenancy-law".into(),
        seq: 2,
        leaf: leaf(2),
        time: "2026-03-01T00:00:00Z".into(),
    };

    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), origin()).unwrap();
    let snapshots = (0..260).map(|version| {
        Entry::from(SnapshotEntry {
            kind: SnapshotKind::V1,
            datanet: "tenancy-law".into(),
            lance_version: version,
            size: version,
            root: Hash::of(&version.to_be_bytes()),
            time: "2026-01-31T00:00:00Z".into(),
        })
    });
    let snapshots: Vec<Vec<u8>> = snapshots.map(|entry| entry.to_bytes().unwrap()).collect();
    log.append(&snapshots).unwrap();
    let index = log.append(&[record.to_bytes().unwrap()]).unwrap().start;
    let erased = log.append(&[Entry::from(tombstone.clone()).to_bytes().unwrap()]).unwrap().start;
    log.append(&snapshots[..3]).unwrap();

    let evidence = |seq: u64, shown: &[Field], erased: Option<Erasure>| Evidence {
        commitment: commitments[seq as usize].clone(),
        path: tree.inclusion(seq, 7).unwrap(),
        disclosed: fields(seq).disclose(&salt(seq), shown),
        erased,
    };
    let bundle = Bundle::build(Parts {
        key: &vkey(),
        record,
        log: LogProof::of(&log, index).unwrap(),
        datapoints: vec![
            evidence(2, &[], Some(Erasure::of(&log, erased, tombstone).unwrap())),
            evidence(6, &[], None),
            evidence(3, &Field::ALL, None),
        ],
        openings: Openings {
            request: Some(own.open(field::REQUEST, request)),
            response: Some(own.open(field::RESPONSE, response)),
            query: Some(own.open(field::QUERY, json!("notice period"))),
            caller: None,
            filter: None,
        },
        influence: None,
        grants: Vec::new(),
    });
    World { dir, log, bundle: bundle.unwrap() }
}

/// The bundle's file with the value at `pointer` replaced, in canonical form again.
pub(crate) fn with(bytes: &[u8], pointer: &str, value: Value) -> Vec<u8> {
    edited(bytes, |bundle| *bundle.pointer_mut(pointer).unwrap() = value)
}

/// The bundle's file after a change to its JSON, in canonical form again.
pub(crate) fn edited(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut bundle: Value = serde_json::from_slice(bytes).unwrap();
    change(&mut bundle);
    let mut bytes = cairn_proof::canonical::to_canonical(&bundle).unwrap();
    bytes.push(b'\n');
    bytes
}
