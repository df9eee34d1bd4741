//! A real log, its root on a real chain, and a bundle that carries both.

use cairn_anchor::proof::Pins;
use cairn_proof::bundle::{Bundle, LogProof, Openings, Parts};
use cairn_proof::record::{Endpoint, Record, RecordKind, field};
use cairn_proof::{CosignedCheckpoint, Hash, Log, Salt, SigningKey, Trust, verify, verify_with};
use serde_json::json;

use crate::anvil::Anvil;
use crate::support::{Operator, anchored, origin};

fn record() -> Record {
    let salt = Salt::new([5; 32]);
    Record {
        kind: RecordKind::V1,
        id: "chatcmpl-0001".into(),
        time: "2026-02-03T04:05:06Z".into(),
        endpoint: Endpoint::ChatCompletions,
        request: salt.commit(field::REQUEST, "When must notice be given?").unwrap(),
        response: salt.commit(field::RESPONSE, "Within thirty days.").unwrap(),
        model: "small".into(),
        base_weights: Hash::of(b"weights"),
        adapter_generation: None,
        adapters: None,
        caller: salt.commit(field::CALLER, "key-1").unwrap(),
        retrieval: None,
        citations: Vec::new(),
        uses: None,
    }
}

fn others(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("entry {number}").into_bytes()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_carries_the_anchor_of_a_real_log() {
    let anvil = Anvil::start(&[]).await;
    let operator = Operator::new(&anvil).await;
    let anchorer = operator.start();
    let key = SigningKey::from_seed([42; 32]);
    let vkey = key.verifying_key(&origin());
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key, origin()).unwrap();
    log.append(&others(17)).unwrap();
    anchorer.offer(log.checkpoint().checkpoint());
    anchored(&anchorer, 17).await;
    let index = log.append(&[record().to_bytes().unwrap()]).unwrap().start;
    let at_once = CosignedCheckpoint::new(log.checkpoint().clone());
    assert!(anchorer.covering(index).unwrap().is_none(), "the anchor of 17 entries is too old for entry 17");
    log.append(&others(200)).unwrap();
    anchorer.offer(log.checkpoint().checkpoint());
    let last = anchored(&anchorer, 218).await.anchored.unwrap();
    log.append(&others(100)).unwrap();

    // Under a checkpoint that is older than the anchor, and under one that is younger.
    let anchor = anchorer.covering(index).unwrap().unwrap();
    let bundle = |log_proof: LogProof| {
        let log = log_proof.anchored(log.tree(), anchor.clone()).unwrap();
        let parts = Parts {
            key: &vkey,
            record: record(),
            log,
            datapoints: Vec::new(),
            openings: Openings::default(),
            influence: None,
            grants: Vec::new(),
        };
        Bundle::build(parts).unwrap().to_bytes().unwrap()
    };
    let older = bundle(LogProof::under(&log, index, &at_once, &[]).unwrap());
    let bytes = bundle(LogProof::of(&log, index).unwrap());

    // What a reader pins comes from the chain and from the operator, not from the file.
    let block = anvil.ask("eth_getBlockByNumber", json!([format!("{:#x}", last.block_number), false])).await;
    let pins = Pins {
        block_hash: Some(block["hash"].as_str().unwrap().parse().unwrap()),
        chain_id: Some(31337),
        contract: Some(operator.config.contract),
        sender: Some(operator.address()),
    };
    let trust = Trust::new(vkey.clone()).with_anchor(pins);
    for bytes in [&older, &bytes] {
        let report = verify_with(bytes, &trust).unwrap();
        assert!(report.anchor.as_ref().unwrap().on_chain && report.anchor.unwrap().open.is_empty());
        assert!(report.proved[3].contains("existed by then"), "{:#?}", report.proved);
    }
    let unpinned = verify(&bytes, &vkey).unwrap();
    assert!(unpinned.not_shown[0].contains(block["hash"].as_str().unwrap()), "{:#?}", unpinned.not_shown);

    // The hash of another block.
    let elsewhere = Pins { block_hash: Some(anchor.event.block_hash.0.map(|byte| !byte).into()), ..pins };
    assert_eq!(verify_with(&bytes, &Trust::new(vkey.clone()).with_anchor(elsewhere)).unwrap_err().code(), "anchor");

    let text = std::str::from_utf8(&bytes).unwrap();
    let (start, end) = (text.find("\"anchor\":").unwrap(), text.find("\"checkpoint\":").unwrap());
    assert!(end - start > 3000, "{}", end - start);
    for at in start..end {
        for mask in [0x01, 0x02, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert!(verify(&changed, &vkey).is_err(), "byte {at} xor {mask:#x}");
        }
    }
}
