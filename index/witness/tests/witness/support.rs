//! A witness process, and a log to submit.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cairn_proof::witness::AddCheckpoint;
use cairn_proof::{Checkpoint, Origin, SignedCheckpoint, SigningKey, Tree, WitnessKey, leaf_hash};
use cairn_witness::Remote;

pub(crate) const LOG: &str = "example.com/log";

/// A directory with a witness's configuration, key and state; the process, while it runs.
pub(crate) struct Process {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) url: String,
    pub(crate) key: WitnessKey,
    child: Option<Child>,
}

impl Process {
    /// A new witness, running; `more` goes into its configuration before the logs.
    pub(crate) async fn start(name: &str, more: &str) -> Process {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = log_key().verifying_key(&origin());
        let config = format!(
            "name = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\nkey_file = \"witness.key\"\nstate_dir = \"state\"\n{more}\n\
             [[logs]]\norigin = \"{LOG}\"\nkeys = [\"{log}\"]\n"
        );
        std::fs::write(dir.path().join("witness.toml"), config).unwrap();
        let made = command("init", &dir).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let key = String::from_utf8(made.stdout).unwrap().trim().parse().unwrap();
        let mut process = Process { dir, url: format!("http://127.0.0.1:{port}"), key, child: None };
        process.restart().await;
        process
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = Some(command("run", &self.dir).stderr(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while reqwest::get(format!("{}/healthz", self.url)).await.is_err() {
            assert!(Instant::now() < deadline, "it does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn remote(&self) -> Remote {
        Remote { url: self.url.clone(), key: self.key.to_string() }
    }

    pub(crate) async fn post(&self, body: Vec<u8>) -> Reply {
        let response = reqwest::Client::new().post(format!("{}/add-checkpoint", self.url)).body(body).send().await;
        Reply::of(response.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::of(reqwest::get(format!("{}{path}", self.url)).await.unwrap()).await
    }

    /// The command that would start a second process on the same state.
    pub(crate) fn command(&self, verb: &str) -> Command {
        command(verb, &self.dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An HTTP answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) retry_after: bool,
    pub(crate) body: String,
}

impl Reply {
    async fn of(response: reqwest::Response) -> Reply {
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let content_type = header("content-type").unwrap_or_default();
        let retry_after = header("retry-after").is_some();
        let status = response.status().as_u16();
        Reply { status, content_type, retry_after, body: response.text().await.unwrap() }
    }
}

fn command(verb: &str, dir: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn-witness"));
    command.args([verb, "--config"]).arg(dir.path().join("witness.toml"));
    command
}

pub(crate) fn origin() -> Origin {
    Origin::new(LOG).unwrap()
}

pub(crate) fn log_key() -> SigningKey {
    SigningKey::from_seed([5; 32])
}

/// A log of numbered entries; another `salt` is another history.
pub(crate) fn tree(salt: u64, size: u64) -> Tree {
    (0..size).map(|i| leaf_hash(format!("{salt} {i}").as_bytes())).collect()
}

pub(crate) fn signed(tree: &Tree, size: u64) -> SignedCheckpoint {
    SignedCheckpoint::sign(Checkpoint { origin: origin(), size, root: tree.root_at(size).unwrap() }, &log_key())
}

pub(crate) fn request(tree: &Tree, old: u64, new: u64) -> Vec<u8> {
    let proof = tree.consistency(old, new).unwrap();
    AddCheckpoint { old, proof, checkpoint: signed(tree, new).to_string() }.to_bytes()
}
