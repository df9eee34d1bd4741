//! The stand-alone verifier as people run it.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::golden;

fn run(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cairn-verify")).args(arguments).output().unwrap()
}

#[test]
fn exit_status_and_words() {
    let (bundle, key) = (golden("bundle.json"), golden("cairn.pub"));
    let flag = Path::new("--key");
    let output = run(&[&bundle, flag, &key]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("PROVED\n"));

    let output = run(&[flag, &key, &bundle, Path::new("--json")]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), json["verdict"].as_str()), (Some(0), Some("proved")));

    let dir = tempfile::tempdir().unwrap();
    let changed = dir.path().join("changed.json");
    let text = std::fs::read_to_string(&bundle).unwrap().replace("thirty", "ninety");
    std::fs::write(&changed, text).unwrap();
    let output = run(&[&changed, flag, &key]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("datapoints[0].disclosed.text"));
    let output = run(&[&changed, flag, &key, Path::new("--json")]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), json["code"].as_str()), (Some(1), Some("opening_mismatch")));
}

#[test]
fn trouble_is_not_a_verdict() {
    let (bundle, key) = (golden("bundle.json"), golden("cairn.pub"));
    let flag = Path::new("--key");
    let cases: [&[&Path]; 6] = [
        &[],
        &[&bundle],
        &[&bundle, flag],
        &[&bundle, flag, &bundle],
        &[Path::new("absent.json"), flag, &key],
        &[&bundle, &bundle, flag, &key],
    ];
    for arguments in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let output = run(&[Path::new("--help")]);
    assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("Exit status"));
}

#[test]
fn witnesses_are_required_by_option() {
    let (bundle, key) = (golden("bundle.json"), golden("cairn.pub"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("witnesses");
    let witness = cairn_proof::WitnessKey::of(
        &cairn_proof::Origin::new("witness.example/w1").unwrap(),
        &cairn_proof::SigningKey::from_seed([1; 32]),
    );
    std::fs::write(&file, format!("# ours\n\n{witness}\n")).unwrap();
    let (flag, witnesses, require) = (Path::new("--key"), Path::new("--witnesses"), Path::new("--require-witnesses"));
    for (required, status, words) in [
        ("0", 0, "PROVED"),
        ("1", 1, "1 of the 1 witnesses you trust must have cosigned it, but 0 did: none"),
        ("2", 2, "2 witnesses are required, but only 1 are known"),
        ("many", 2, "needs a number"),
    ] {
        let output = run(&[&bundle, flag, &key, witnesses, &file, require, Path::new(required)]);
        let text = [output.stdout, output.stderr].concat();
        assert_eq!(output.status.code(), Some(status), "{required}");
        assert!(String::from_utf8(text).unwrap().contains(words), "{required}");
    }
}
