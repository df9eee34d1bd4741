//! A log, an account with money, a deployed contract, and waiting for a status.

use std::path::Path;
use std::time::Duration;

use cairn_anchor::{AccountKey, Anchorer, Config, Status, deploy};
use cairn_proof::{Checkpoint, Hash, Origin, Tree, leaf_hash};
use serde_json::json;

use crate::anvil::Anvil;

pub(crate) const LOG: &str = "example.com/log";

/// An account and a directory to anchor with.
pub(crate) struct Operator {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: Config,
}

impl Operator {
    /// With money, and the contract deployed.
    pub(crate) async fn new(anvil: &Anvil) -> Operator {
        let mut operator = Operator::without_contract(anvil).await;
        operator.config.contract = deploy(&operator.config, Duration::from_secs(10)).await.unwrap();
        operator
    }

    pub(crate) async fn without_contract(anvil: &Anvil) -> Operator {
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join("account.key");
        let key = AccountKey::generate().unwrap();
        key.save(&key_file).unwrap();
        anvil.ask("anvil_setBalance", json!([key.address(), "0xde0b6b3a7640000"])).await;
        let config: Config = serde_json::from_value(json!({
            "rpc_url": anvil.url,
            "chain_id": 31337,
            "contract": "0x0000000000000000000000000000000000000001",
            "key_file": key_file,
            "interval_s": 0,
            "confirmations": 1,
            "poll_ms": 30,
            "timeout_s": 5,
            "stuck_s": 3600,
        }))
        .unwrap();
        Operator { dir, config }
    }

    pub(crate) fn start(&self) -> Anchorer {
        Anchorer::start(self.config.clone(), &self.state(), &origin()).unwrap()
    }

    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("anchors")
    }

    pub(crate) fn address(&self) -> cairn_anchor::Address {
        AccountKey::load(&self.config.key_file).unwrap().address()
    }
}

pub(crate) fn origin() -> Origin {
    Origin::new(LOG).unwrap()
}

/// The checkpoint of a log of numbered entries; another `salt` is another history.
pub(crate) fn checkpoint(salt: u64, size: u64) -> Checkpoint {
    Checkpoint { origin: origin(), size, root: root(salt, size) }
}

pub(crate) fn root(salt: u64, size: u64) -> Hash {
    let tree: Tree = (0..size).map(|i| leaf_hash(format!("{salt} {i}").as_bytes())).collect();
    tree.root()
}

/// Waits until the status is as wanted.
pub(crate) async fn until(anchorer: &Anchorer, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut watch = anchorer.watch();
    let reached = tokio::time::timeout(Duration::from_secs(30), watch.wait_for(|status| wanted(status))).await;
    match reached {
        Ok(status) => status.unwrap().clone(),
        Err(_) => panic!("{what}: still {:#?}", anchorer.status()),
    }
}

/// Waits until this size is anchored for good.
pub(crate) async fn anchored(anchorer: &Anchorer, size: u64) -> Status {
    until(anchorer, &format!("size {size}"), |status| status.anchored.is_some_and(|last| last.size == size)).await
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
