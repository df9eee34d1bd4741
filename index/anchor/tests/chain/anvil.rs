//! A node of a chain of its own, as long as the value lives.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A running anvil; it is killed when this is dropped.
pub(crate) struct Anvil {
    process: Child,
    pub(crate) url: String,
}

impl Anvil {
    /// Starts one with more options.
    pub(crate) async fn start(options: &[&str]) -> Anvil {
        Anvil::start_on(free_port(), options).await
    }

    pub(crate) async fn start_on(port: u16, options: &[&str]) -> Anvil {
        let binary = binary();
        let process = Command::new(binary)
            .args(["--port", &port.to_string(), "--silent", "--chain-id", "31337"])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let anvil = Anvil { process, url: format!("http://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(30);
        while anvil.try_ask("eth_chainId", json!([])).await.is_none() {
            assert!(Instant::now() < deadline, "anvil does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anvil
    }

    /// Asks the node, which must answer.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.try_ask(method, params).await.unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The whole answer, errors included; `None` without one.
    pub(crate) async fn try_ask(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = reqwest::Client::new().post(&self.url).json(&body).send().await.ok()?;
        answer.json().await.ok()
    }

    pub(crate) async fn mine(&self, blocks: u64) {
        self.ask("anvil_mine", json!([blocks])).await;
    }

    /// Transactions that an account has in the chain.
    pub(crate) async fn count(&self, account: impl ToString) -> u64 {
        let count = self.ask("eth_getTransactionCount", json!([account.to_string(), "latest"])).await;
        u64::from_str_radix(count.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The program that `./test` fetched.
fn binary() -> PathBuf {
    let given = std::env::var_os("CAIRN_ANVIL");
    let path = given.map(PathBuf::from).filter(|path| path.is_file());
    path.expect(
        "set CAIRN_ANVIL to the path of anvil: run ./test, which fetches it (npm package @foundry-rs/anvil-linux-amd64, see \
         tests/anvil), or install Foundry (https://getfoundry.sh)",
    )
}
