//! A chain of its own: anvil, as long as the value lives.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{gateway::free_port, guardian::Guardian, inputs::given};

/// A running anvil; it is killed when this is dropped.
pub struct Anvil {
    process: Child,
    #[allow(dead_code, reason = "held for its Drop")]
    guardian: Guardian,
    url: String,
}

impl Anvil {
    /// Its EIP-155 number.
    pub const CHAIN: &str = "31337";

    /// Starts one, which makes a block for each transaction.
    ///
    /// # Panics
    /// There is none, or it does not answer.
    pub async fn start() -> Self {
        let listen = free_port();
        let (_, port) = listen.rsplit_once(':').expect("an address has a port");
        let process = Command::new(given("CAIRN_ANVIL", "anvil (npm package @foundry-rs/anvil-linux-amd64)"))
            .args(["--port", port, "--silent", "--chain-id", Self::CHAIN])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("anvil can be started");
        let anvil = Self { guardian: Guardian::of_process(process.id()), process, url: format!("http://{listen}") };
        let deadline = Instant::now() + Duration::from_secs(30);
        while anvil.answer("eth_chainId", json!([])).await.is_none() {
            assert!(Instant::now() < deadline, "anvil does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anvil
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks it.
    ///
    /// # Panics
    /// It does not answer, or with an error.
    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params).await.unwrap_or_else(|| panic!("{method}: anvil does not answer"));
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn answer(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let client = reqwest::Client::builder().no_proxy().build().ok()?;
        client.post(&self.url).json(&body).send().await.ok()?.json().await.ok()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
