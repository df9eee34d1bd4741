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
