//! Golden files, and every way we could think of to change a bundle.
//!
//! After an intended change of format, `CAIRN_WRITE_GOLDEN=1 cargo test -p cairn-proof` writes the golden files anew.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use cairn_proof::bundle::{Bundle, Status};
use cairn_proof::{Origin, SigningKey, VerifyError, verify};
use common::{edited, golden, vkey, with, world};
use serde_json::{Value, json};

#[test]
fn golden_files_are_as_written() {
    let world = world();
    let files = [
        ("bundle.json", world.bundle.to_bytes().unwrap()),
        ("checkpoint", world.log.checkpoint().to_string().into_bytes()),
        ("cairn.pub", format!("{}\n", vkey()).into_bytes()),
    ];
    for (name, bytes) in files {
        if std::env::var_os("CAIRN_WRITE_GOLDEN").is_some() {
            fs::write(golden(name), &bytes).unwrap();
        }
        assert!(fs::read(golden(name)).unwrap() == bytes, "{name} differs from the golden file");
    }
}

#[test]
fn the_golden_bundle_proves_what_it_should() {
    let report = verify(&golden_bundle(), &vkey()).unwrap();
    assert_eq!((report.log_index, report.log_size), (260, 265));
    let statuses: Vec<Status> = report.datapoints.iter().map(|datapoint| datapoint.status).collect();
    assert_eq!(statuses, [Status::Disclosed, Status::Withheld, Status::Erased]);
    assert_eq!(report.citations[0].text.as_deref(), Some("Notice must be given within thirty days \u{1f5d3}"));
    assert_eq!(report.citations[1].text.as_deref(), Some("thirty days \u{1f5d3}, in writing [1]"));
    let text = report.to_text();
    for words in ["PROVED", "entry 260", "Passage 1", "withheld", "erased on 2026-03-01", "contributor 3", "the caller"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn no_flipped_byte_verifies() {
    let bytes = golden_bundle();
    let key = vkey();
    for at in 0..bytes.len() {
        // One bit, the bit of upper case, the bit beyond ASCII, and all.
        for mask in [0x01, 0x20, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert!(verify(&changed, &key).is_err(), "byte {at} xor {mask:#x}");
        }
    }
}

#[test]
fn no_deleted_inserted_or_replaced_byte_verifies() {
    let bytes = golden_bundle();
    let key = vkey();
    for at in 0..=bytes.len() {
        for byte in [b' ', b'\n', b'0'] {
            let mut changed = bytes.clone();
            changed.insert(at, byte);
            assert!(verify(&changed, &key).is_err(), "{byte} inserted at {at}");
            if at < bytes.len() && bytes[at] != byte {
                changed.remove(at + 1);
                assert!(verify(&changed, &key).is_err(), "byte {at} replaced by {byte}");
            }
        }
        if at < bytes.len() {
            let mut changed = bytes.clone();
            changed.remove(at);
            assert!(verify(&changed, &key).is_err(), "byte {at} deleted");
            assert!(verify(&bytes[..at], &key).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn every_changed_value_is_named() {
    let bytes = golden_bundle();
    let zero = "0".repeat(64);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/type", json!("cairn/bundle/v2"), "form"),
        ("/key", json!(SigningKey::from_seed([1; 32]).verifying_key(&common::origin()).to_string()), "wrong_key"),
        ("/log/index", json!(259), "record_not_in_log"),
        ("/log/index", json!(265), "record_not_in_log"),
        ("/log/path/0", json!(zero), "record_not_in_log"),
        ("/log/path", json!([]), "record_not_in_log"),
        ("/log/checkpoint", json!("x"), "checkpoint"),
        ("/record/model", json!("large"), "record_not_in_log"),
        ("/record/citations", json!([]), "record_not_in_log"),
        ("/record/citations/0/n", json!(7), "record"),
        ("/record/retrieval/candidates/3/vector_score", json!("0.900000"), "record_not_in_log"),
        ("/record/retrieval/datanets/0/root", json!(zero), "record_not_in_log"),
        ("/datapoints/0/n", json!(2), "number_mismatch"),
        ("/datapoints/0/n", Value::Null, "number_mismatch"),
        ("/datapoints/0/commitment/licence", json!("MIT"), "leaf_mismatch"),
        ("/datapoints/0/commitment/seq", json!(0), "leaf_mismatch"),
        ("/datapoints/0/commitment/seq", json!(5), "datapoint_not_in_record"),
        ("/datapoints/0/inclusion/index", json!(4), "number_mismatch"),
        ("/datapoints/0/inclusion/size", json!(8), "number_mismatch"),
        ("/datapoints/0/inclusion/path/1", json!(zero), "not_in_snapshot"),
        ("/datapoints/0/disclosed/text/value", json!("Other."), "opening_mismatch"),
        ("/datapoints/0/disclosed/text/salt", json!(zero), "opening_mismatch"),
        ("/datapoints/0/disclosed/metadata/value/weight", json!(0.2), "opening_mismatch"),
        ("/datapoints/0/disclosed", json!({}), "status_mismatch"),
        ("/datapoints/0/status", json!("withheld"), "status_mismatch"),
        ("/datapoints/1/status", json!("erased"), "status_mismatch"),
        ("/datapoints/2/status", json!("withheld"), "status_mismatch"),
        ("/datapoints/2/erased/index", json!(262), "tombstone_not_in_log"),
        ("/datapoints/2/erased/path/0", json!(zero), "tombstone_not_in_log"),
        ("/datapoints/2/erased/tombstone/time", json!("2027-01-01T00:00:00Z"), "tombstone_not_in_log"),
        ("/datapoints/2/erased/tombstone/seq", json!(6), "tombstone_mismatch"),
        ("/openings/request/value/model", json!("large"), "opening_mismatch"),
        ("/openings/response/salt", json!(zero), "opening_mismatch"),
        ("/openings/query/value", json!("Notice period"), "opening_mismatch"),
        ("/openings/request", Value::Null, "form"),
    ];
    for (pointer, value, code) in cases {
        let error = verify(&with(&bytes, pointer, value), &vkey()).unwrap_err();
        assert_eq!(error.code(), code, "{pointer}: {error}");
        assert!(error.to_string().len() > 20);
    }
}

#[test]
fn structure_is_bound_too() {
    let bytes = golden_bundle();
    let list = |bundle: &mut Value| bundle["datapoints"].as_array_mut().unwrap().clone();
    let cases: [(&str, Vec<u8>); 8] = [
        ("datapoint_missing", edited(&bytes, |b| drop(b["datapoints"].as_array_mut().unwrap().remove(1)))),
        ("datapoint_order", edited(&bytes, |b| b["datapoints"].as_array_mut().unwrap().swap(0, 2))),
        (
            "datapoint_order",
            edited(&bytes, |b| {
                let all = list(b);
                b["datapoints"].as_array_mut().unwrap().insert(1, all[0].clone())
            }),
        ),
        ("form", edited(&bytes, |b| b["note"] = json!("x"))),
        ("form", edited(&bytes, |b| b["datapoints"][0]["disclosed"]["name"] = json!("x"))),
        (
            "opening_mismatch",
            edited(&bytes, |b| b["datapoints"][1]["disclosed"] = b["datapoints"][0]["disclosed"].clone()),
        ),
        (
            "opening_mismatch",
            edited(&bytes, |b| {
                let text = b["datapoints"][0]["disclosed"]["text"].clone();
                b["datapoints"][0]["disclosed"]["source"] = text;
            }),
        ),
        ("tombstone_mismatch", edited(&bytes, |b| b["datapoints"][1]["erased"] = b["datapoints"][2]["erased"].clone())),
    ];
    for (code, changed) in cases {
        let error = verify(&changed, &vkey()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[test]
fn a_redacted_bundle_still_proves_the_rest() {
    let bytes = golden_bundle();
    let redacted = edited(&bytes, |bundle| {
        bundle["openings"] = json!({});
        bundle["datapoints"].as_array_mut().unwrap().pop();
        bundle["datapoints"][0]["disclosed"].as_object_mut().unwrap().remove("contributor");
    });
    let report = verify(&redacted, &vkey()).unwrap();
    assert!(report.citations.iter().all(|quote| quote.text.is_none()));
    assert!(report.not_shown[0].contains("the request, the response, the search query, the caller"));
    assert!(!report.to_text().contains("contributor 3"));
}

#[test]
fn only_the_trusted_key_counts() {
    let bytes = golden_bundle();
    let other = SigningKey::from_seed([1; 32]).verifying_key(&common::origin());
    assert!(matches!(verify(&bytes, &other), Err(VerifyError::WrongKey { .. })));
    let renamed = common::key().verifying_key(&Origin::new("other.example.com").unwrap());
    assert!(matches!(verify(&bytes, &renamed), Err(VerifyError::WrongKey { .. })));
    // Naming the other key in the bundle does not help: it did not sign the checkpoint.
    let error = verify(&with(&bytes, "/key", json!(other.to_string())), &other).unwrap_err();
    assert!(matches!(error, VerifyError::Checkpoint(_)), "{error}");
}

#[test]
fn citations_must_lie_within_the_answer() {
    // The whole world again with a response that is shorter than what is cited.
    for (response, code) in [
        (json!([{"message": {"content": "Short."}}]), "citation_outside"),
        (json!([{"message": {"content": null}}]), "no_such_choice"),
        (json!([]), "no_such_choice"),
        (json!("text"), "no_such_choice"),
        (json!({"choices": [{"text": "a".repeat(56)}]}), "citation_outside"),
    ] {
        assert_eq!(build_with_response(&response).unwrap_err().code(), code, "{response}");
    }
    build_with_response(&json!({"choices": [{"text": "a".repeat(57)}]})).unwrap();
    build_with_response(&json!([{"message": {"content": "\u{1f600}".repeat(57)}}])).unwrap();
}

/// A bundle for a log of one entry: the golden record, but for another response.
fn build_with_response(response: &Value) -> Result<Bundle, VerifyError> {
    use cairn_proof::bundle::{Evidence, LogProof, Openings, Parts};
    let golden: Bundle = serde_json::from_slice(&golden_bundle()).unwrap();
    let salt = cairn_proof::Salt::new([9; 32]);
    let mut record = golden.record;
    record.response = salt.commit("response", response).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut log = cairn_proof::Log::open(dir.path(), common::key(), common::origin()).unwrap();
    log.append(&[record.to_bytes().unwrap()]).unwrap();
    let datapoints = golden.datapoints.into_iter().take(2);
    Bundle::build(Parts {
        key: &vkey(),
        log: LogProof::of(&log, 0).unwrap(),
        record,
        datapoints: datapoints
            .map(|d| Evidence {
                commitment: d.commitment,
                path: d.inclusion.path,
                disclosed: d.disclosed,
                erased: None,
            })
            .collect(),
        openings: Openings { response: Some(salt.open("response", response.clone())), ..Openings::default() },
        influence: None,
        grants: Vec::new(),
    })
}

fn golden_bundle() -> Vec<u8> {
    fs::read(golden("bundle.json")).unwrap()
}
