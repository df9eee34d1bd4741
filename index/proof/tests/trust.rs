//! Bundles under cosigned checkpoints and rotated keys.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use cairn_proof::bundle::{Bundle, Evidence, LogProof, Parts};
use cairn_proof::log::check;
use cairn_proof::report::verify_files;
use cairn_proof::witness::Witness;
use cairn_proof::witness::client::{Step, Submission};
use cairn_proof::{
    CosignedCheckpoint, Log, Origin, SigningKey, Trust, VerifyError, VerifyingKey, WitnessKey, verify, verify_with,
};
use common::{World, edited, origin, vkey, with, world};
use serde_json::{Value, json};

const NOW: u64 = 1_767_225_600;

struct Tower {
    _dir: tempfile::TempDir,
    witness: Witness,
}

fn tower(number: u8) -> Tower {
    let dir = tempfile::tempdir().unwrap();
    let (name, key) = (Origin::new(format!("witness{number}.example")).unwrap(), SigningKey::from_seed([number; 32]));
    Witness::init(dir.path(), &name, &key).unwrap();
    Tower { witness: Witness::open(dir.path(), name, key, &[vkey(), next_key()]).unwrap(), _dir: dir }
}

fn next_signer() -> SigningKey {
    SigningKey::from_seed([43; 32])
}

fn next_key() -> VerifyingKey {
    next_signer().verifying_key(&origin())
}

/// Has the log's checkpoint cosigned by all, as a gateway does.
fn cosign(log: &mut Log, towers: &[Tower]) {
    let mut cosigned = CosignedCheckpoint::new(log.checkpoint().clone());
    for Tower { witness, .. } in towers {
        let mut submission = Submission::new(witness.public_key(), log.checkpoint().clone(), 0);
        let cosignature = loop {
            let answer = witness.add_checkpoint(&submission.request(log.tree()).unwrap(), NOW);
            match submission.answer(answer.status, answer.body.as_bytes(), log.size()).unwrap() {
                Step::Cosigned(cosignature) => break cosignature,
                step => assert_eq!(step, Step::Again),
            }
        };
        cosigned.add(&witness.public_key(), cosignature).unwrap();
    }
    log.keep_cosigned(&cosigned).unwrap();
}

fn keys(towers: &[Tower]) -> Vec<WitnessKey> {
    towers.iter().map(|tower| tower.witness.public_key()).collect()
}

/// The golden answer under the best checkpoint that the log has by now.
fn bundle(world: &World, key: &VerifyingKey, witnesses: &[WitnessKey]) -> Vec<u8> {
    let golden = &world.bundle;
    let checkpoint = world.log.checkpoint_for(golden.log.index);
    let used = golden.datapoints.iter().filter(|datapoint| datapoint.n.is_some());
    let parts = Parts {
        key,
        record: golden.record.clone(),
        log: LogProof::under(&world.log, golden.log.index, &checkpoint, witnesses).unwrap(),
        datapoints: used
            .map(|datapoint| Evidence {
                commitment: datapoint.commitment.clone(),
                path: datapoint.inclusion.path.clone(),
                disclosed: datapoint.disclosed.clone(),
                erased: None,
            })
            .collect(),
        openings: golden.openings.clone(),
        influence: None,
        grants: Vec::new(),
    };
    Bundle::build(parts).unwrap().to_bytes().unwrap()
}

fn code(bytes: &[u8], trust: &Trust) -> String {
    verify_with(bytes, trust).map_or_else(|error| error.code().to_owned(), |_| "proved".to_owned())
}

#[test]
fn cosigned_bundles_meet_what_is_required() {
    let mut world = world();
    let towers = [tower(1), tower(2), tower(3)];
    cosign(&mut world.log, &towers);
    // The log grows on; the bundle stays under the cosigned checkpoint.
    world.log.append(&[b"later".to_vec()]).unwrap();
    let bytes = bundle(&world, &vkey(), &keys(&towers[..2]));
    let trust = |known: &[WitnessKey], required| Trust::new(vkey()).with_witnesses(known.to_vec(), required).unwrap();
    let all = keys(&towers);
    for (known, required, expected) in [
        (&all[..0], 0, "proved"),
        (&all[..1], 1, "proved"),
        (&all[..2], 2, "proved"),
        (&all[..], 2, "proved"),
        (&all[..], 3, "too_few_witnesses"),
        (&all[1..], 2, "too_few_witnesses"),
        (&all[2..], 1, "too_few_witnesses"),
    ] {
        assert_eq!(code(&bytes, &trust(known, required)), expected, "{required} of {}", known.len());
    }
    let text = verify_with(&bytes, &trust(&all, 2)).unwrap().to_text();
    assert!(text.contains("2 of the 3 witnesses you trust cosigned the checkpoint (2 required)"), "{text}");
    assert!(text.contains("witness1.example at 2026-01-01T00:00:00Z"), "{text}");
    let error = verify_with(&bytes, &trust(&all[1..], 2)).unwrap_err().to_string();
    assert!(error.contains("2 of the 2") && error.contains("witness2.example"), "{error}");
    // A bundle without cosignatures, as before.
    let plain = world.bundle.to_bytes().unwrap();
    assert_eq!(code(&plain, &trust(&all, 0)), "proved");
    assert_eq!(code(&plain, &trust(&all, 1)), "too_few_witnesses");
    // More are required than there are, or one is named twice, also under another name.
    assert!(Trust::new(vkey()).with_witnesses(all[..1].to_vec(), 2).is_err());
    let alias = WitnessKey::of(&Origin::new("alias.example").unwrap(), &SigningKey::from_seed([1; 32]));
    for twice in [all[0].clone(), alias] {
        assert!(Trust::new(vkey()).with_witnesses(vec![all[0].clone(), twice], 2).is_err());
    }
}

#[test]
fn every_byte_of_a_cosigned_bundle_is_bound() {
    let mut world = world();
    let towers = [tower(1), tower(2)];
    cosign(&mut world.log, &towers);
    let bytes = bundle(&world, &vkey(), &keys(&towers));
    // No witness is required, and still nothing may be changed.
    let trust = Trust::new(vkey());
    assert_eq!(code(&bytes, &trust), "proved");
    let text = String::from_utf8(bytes.clone()).unwrap();
    let start = text.find("\"checkpoint\"").unwrap();
    let end = start + text[start..].find("\"record\"").unwrap();
    assert!(text[start..end].contains("\"witnesses\""));
    for at in start..end {
        for mask in [1, 0x20] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert_ne!(code(&changed, &trust), "proved", "byte {at} xor {mask}");
        }
    }
    let stranger = WitnessKey::of(&Origin::new("witness1.example").unwrap(), &SigningKey::from_seed([9; 32]));
    let lines = |bundle: &mut Value| bundle["log"]["witnesses"].as_array_mut().unwrap().clone();
    let cases: [(&str, Vec<u8>); 4] = [
        ("cosignature", with(&bytes, "/log/witnesses/0", json!(stranger.to_string()))),
        ("witness_count", edited(&bytes, |b| drop(b["log"]["witnesses"].as_array_mut().unwrap().pop()))),
        ("cosignature", edited(&bytes, |b| b["log"]["witnesses"] = lines(b).into_iter().rev().collect())),
        (
            "form",
            with(&world.bundle.to_bytes().unwrap(), "/log", {
                let mut log = serde_json::to_value(&world.bundle.log).unwrap();
                log["witnesses"] = json!([]);
                log
            }),
        ),
    ];
    for (expected, changed) in cases {
        assert_eq!(code(&changed, &trust), expected);
    }
}

#[test]
fn either_key_verifies_across_a_rotation() {
    let mut world = world();
    let before = world.bundle.to_bytes().unwrap();
    let towers = [tower(1)];
    cosign(&mut world.log, &towers);
    let rotation = world.log.rotate(next_signer(), "2026-05-06T07:08:09Z".into()).unwrap();
    assert_eq!((rotation.size, world.log.size()), (265, 266));
    let after = bundle(&world, &next_key(), &keys(&towers));
    let (old, new) = (Trust::new(vkey()), Trust::new(next_key()));

    // The bundle from after the rotation carries it, so both keys lead there.
    assert_eq!((code(&after, &old), code(&after, &new)), ("proved".into(), "proved".into()));
    let text = verify_with(&after, &old).unwrap().to_text();
    assert!(text.contains("follows from the key you trust") && text.contains("changed by entry 265"), "{text}");
    // One from before it knows nothing of the new key: its holder needs the rotation from elsewhere.
    assert_eq!((code(&before, &old), code(&before, &new)), ("proved".into(), "wrong_key".into()));
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (dir.path().join("cairn.pub"), dir.path().join("bundle.json"));
    let rotation = String::from_utf8(rotation.to_bytes().unwrap()).unwrap();
    fs::write(&file, format!("{}\n{rotation}\n", next_key())).unwrap();
    for bytes in [&before, &after] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(verify_files(&path, &file).unwrap().exit_code(), 0);
    }
    // An unrelated key is led nowhere, whatever the bundle carries.
    let stranger = Trust::new(SigningKey::from_seed([44; 32]).verifying_key(&origin()));
    assert_eq!(code(&after, &stranger), "rotation");

    // The log goes on under the new key: cosigned again, and checked with either.
    cosign(&mut world.log, &towers);
    let cosigned = bundle(&world, &next_key(), &keys(&towers));
    let required = Trust::new(vkey()).with_witnesses(keys(&towers), 1).unwrap();
    assert_eq!(code(&cosigned, &required), "proved");
    for key in [vkey(), next_key()] {
        let report = check(world.dir.path(), &key).unwrap();
        assert_eq!((report.size, report.rotations), (266, 1));
    }
}

#[test]
fn a_rotation_in_a_bundle_is_bound() {
    let mut world = world();
    world.log.rotate(next_signer(), "2026-05-06T07:08:09Z".into()).unwrap();
    let bytes = bundle(&world, &next_key(), &[]);
    let zero = "0".repeat(64);
    for trust in [Trust::new(vkey()), Trust::new(next_key())] {
        for (pointer, value, expected) in [
            ("/log/rotations/0/path/0", json!(zero), "rotation_not_in_log"),
            ("/log/rotations/0/rotation/time", json!("2026-05-06T07:08:10Z"), "rotation"),
            ("/log/rotations/0/rotation/size", json!(264), "rotation"),
            ("/log/rotations/0/rotation/previous", json!(next_key().to_string()), "rotation"),
            ("/key", json!(vkey().to_string()), "wrong_key"),
        ] {
            assert_eq!(code(&with(&bytes, pointer, value), &trust), expected, "{pointer}");
        }
    }
    let without = edited(&bytes, |bundle| drop(bundle["log"].as_object_mut().unwrap().remove("rotations")));
    assert_eq!(code(&without, &Trust::new(vkey())), "wrong_key");
    assert_eq!(code(&without, &Trust::new(next_key())), "proved", "it needs no rotation");
    // The old key has no say any more: a checkpoint it signs beyond the rotation is refused.
    let late = cairn_proof::SignedCheckpoint::sign(world.log.checkpoint().checkpoint().clone(), &common::key());
    for (key, trust) in [(vkey(), Trust::new(vkey())), (next_key(), Trust::new(next_key()))] {
        let forged = edited(&bytes, |bundle| {
            bundle["log"]["checkpoint"] = json!(late.to_string());
            bundle["key"] = json!(key.to_string());
        });
        let error = verify_with(&forged, &trust).unwrap_err();
        assert!(matches!(error, VerifyError::Checkpoint(_)), "{error}");
    }
    verify(&bytes, &next_key()).unwrap();
}
