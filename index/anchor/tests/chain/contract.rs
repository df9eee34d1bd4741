//! The contract's rules, and that its code is what its source compiles to.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cairn_anchor::proof::origin_hash;
use serde_json::{Value, json};

use crate::anvil::Anvil;
use crate::support::{LOG, Operator};

const ANCHOR: &str = "70c127c6";
const HEADS: &str = "e3b33594";

fn word(number: u64) -> String {
    format!("{number:064x}")
}

fn anchor(size: u64, root: u64) -> String {
    format!("0x{ANCHOR}{}{}{}", &origin_hash(LOG).to_string()[2..], word(size), word(root))
}

/// Sends a call from one of anvil's own accounts, which must succeed. The node answers before it has made the block.
async fn send(anvil: &Anvil, from: &Value, to: &str, data: String) {
    let hash = anvil.ask("eth_sendTransaction", json!([{"from": from, "to": to, "data": data}])).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    let receipt = loop {
        let receipt = anvil.ask("eth_getTransactionReceipt", json!([hash])).await;
        if !receipt.is_null() {
            break receipt;
        }
        assert!(Instant::now() < deadline, "{hash} is in no block");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(receipt["status"], "0x1", "{receipt}");
}

fn keccak(text: &str) -> String {
    origin_hash(text).to_string().split_off(2)
}

#[tokio::test]
async fn a_head_never_moves_back() {
    let anvil = Anvil::start(&[]).await;
    let contract = Operator::new(&anvil).await.config.contract.to_string();
    let accounts = anvil.ask("eth_accounts", json!([])).await;
    let (first, second) = (&accounts[0], &accounts[1]);
    let to = contract.as_str();
    send(&anvil, first, to, anchor(10, 1)).await;
    // The same again is no error.
    send(&anvil, first, to, anchor(10, 1)).await;
    for (size, root, error) in [
        (9, 1, format!("7909d0cc{}{}", word(10), word(9))), // SmallerSize(10, 9)
        (0, 1, format!("7909d0cc{}{}", word(10), word(0))),
        (10, 2, format!("{}{}{}", &keccak("OtherRoot(uint64,bytes32,bytes32)")[..8], word(10), word(1))),
        (11, 0, keccak("NoRoot()")[..8].to_owned()),
    ] {
        let call = json!([{"from": first, "to": to, "data": anchor(size, root)}, "latest"]);
        let answer = anvil.try_ask("eth_call", call).await.unwrap();
        let data = answer["error"]["data"].as_str().unwrap_or_else(|| panic!("size {size}, root {root}: {answer}"));
        assert!(data.starts_with(&format!("0x{error}")), "size {size}, root {root}: {data}, expected {error}");
    }
    send(&anvil, first, to, anchor(11, 3)).await;
    // Another account has a head of its own, and moves nobody else's.
    send(&anvil, second, to, anchor(5, 9)).await;
    for (account, size, root) in [(first, 11, 3), (second, 5, 9)] {
        let account = account.as_str().unwrap().trim_start_matches("0x");
        let data = format!("0x{HEADS}{account:0>64}{}", &origin_hash(LOG).to_string()[2..]);
        let head = anvil.ask("eth_call", json!([{"to": to, "data": data}, "latest"])).await;
        assert_eq!(head, format!("0x{}{}", word(size), word(root)));
    }
}

#[test]
fn the_checked_in_code_is_what_the_source_compiles_to() {
    if Command::new("npm").arg("--version").output().is_err() {
        eprintln!("skipped: there is no npm");
        return;
    }
    // A copy, so that nothing is written beside the sources.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contracts");
    std::fs::create_dir_all(&copy).unwrap();
    for file in ["package.json", "package-lock.json", "build.mjs", "CheckpointAnchor.sol", "CheckpointAnchor.json"] {
        std::fs::copy(source.join(file), copy.join(file)).unwrap();
    }
    let npm = |arguments: &[&str]| Command::new("npm").args(arguments).current_dir(&copy).output().unwrap();
    if !copy.join("node_modules/solc").exists() {
        let installed = npm(&["ci", "--silent", "--no-audit"]);
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    }
    let checked = npm(&["run", "check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    // And the comparison can fail.
    let artifact = copy.join("CheckpointAnchor.json");
    let changed = std::fs::read_to_string(&artifact).unwrap().replacen("6080604052", "6080604053", 1);
    std::fs::write(&artifact, changed).unwrap();
    assert!(!npm(&["run", "check"]).status.success());
}
