//! A gateway as a process: a data directory, `cairn serve` on a free port, and the command line beside it.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Client, database, guardian::Guardian, inputs::models_dir};

/// How a gateway is set up.
#[derive(Default)]
pub struct Setup {
    copy_of: Option<PathBuf>,
    settings: Vec<(String, String)>,
}

impl Setup {
    /// A new data directory, made by `cairn init`, with the default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of a data directory instead.
    pub fn copy_of(mut self, data: &Path) -> Self {
        self.copy_of = Some(data.to_owned());
        self
    }

    /// Sets a key of the configuration, such as `models.preload`.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.settings.push((variable(key), value.into()));
        self
    }

    /// Makes the data directory and starts the gateway; returns when it is ready.
    pub fn start(self) -> Gateway {
        let mut gateway = self.prepare();
        gateway.start();
        gateway
    }

    /// Makes the data directory only.
    pub fn prepare(self) -> Gateway {
        let dir = tempfile::Builder::new().prefix("cairn-e2e-").tempdir().expect("a temporary directory can be made");
        let mut settings = vec![
            (variable("data.dir"), dir.path().join("data").to_string_lossy().into_owned()),
            (variable("models.dir"), models_dir().to_string_lossy().into_owned()),
            // Every answer would be scored again many times; tests that are about it say so.
            (variable("attribution.influence"), "none".to_owned()),
        ];
        let database = database::server().map(|server| {
            let name = database::create(&server, self.copy_of.as_deref());
            settings.push((variable("database.url"), format!("{server}/{name}")));
            settings.push((variable("database.connections"), "4".to_owned()));
            name
        });
        settings.extend(self.settings);
        let guardian = Guardian::of_directory(dir.path());
        let gateway =
            Gateway { server: None, url: String::new(), settings, log: dir.path().join("serve.log"), guardian, dir };
        match self.copy_of {
            Some(from) => copy_tree(&from, &gateway.data()),
            None => {
                let made = gateway.cli(&["init"]);
                assert!(made.ok(), "cairn init failed: {made}");
            }
        }
        if let Some(name) = database {
            database::note(&gateway.data(), &name);
        }
        gateway
    }
}

/// A gateway with its data directory. Dropping it kills the process and removes the directory.
pub struct Gateway {
    server: Option<Server>,
    url: String,
    settings: Vec<(String, String)>,
    log: PathBuf,
    #[allow(dead_code, reason = "held for its Drop")]
    guardian: Guardian,
    dir: TempDir,
}

struct Server {
    child: Child,
    #[allow(dead_code, reason = "held for its Drop")]
    guardian: Guardian,
}

/// A server beside a gateway.
pub struct Beside {
    child: Child,
    #[allow(dead_code, reason = "held for its Drop")]
    guardian: Guardian,
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs.
pub struct Started {
    child: Child,
    #[allow(dead_code, reason = "held for its Drop")]
    guardian: Guardian,
}

impl Started {
    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIGINT cannot be sent");
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("our child can be waited for").is_some()
    }

    /// Waits for its end.
    pub fn finish(self) -> Finished {
        let output = self.child.wait_with_output().expect("our child can be waited for");
        finished(output)
    }
}

/// What a command did.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Gateway {
    /// Sets a key of the configuration from the next start on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((variable(key), value.to_owned()));
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Panics
    /// It ends or is not ready in time; the message has the end of its log.
    pub fn start(&mut self) {
        if let Err(status) = self.try_start() {
            panic!("the gateway did not start ({status}); its log ends:\n{}", self.log_tail());
        }
    }

    /// Starts the process; its exit status if it ends instead of getting ready.
    pub fn try_start(&mut self) -> Result<(), ExitStatus> {
        assert!(self.server.is_none(), "the gateway is running already");
        // The port is free now; whoever takes it in between makes this try fail, so there are several.
        for _ in 0..3 {
            let listen = free_port();
            self.url = format!("http://{listen}");
            let log = File::options().create(true).append(true).open(&self.log).expect("the log can be opened");
            let mut command = self.command(&cairn());
            command.arg("serve").env(variable("server.listen"), &listen);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let child = command.spawn().expect("the gateway can be started");
            let mut server = Server { guardian: Guardian::of_process(child.id()), child };
            match server.ready(&listen) {
                Ok(()) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(_) if self.log_tail().contains("cannot listen on") => {}
                Err(status) => return Err(status),
            }
        }
        panic!("no free port was found in three tries; the gateway's log ends:\n{}", self.log_tail());
    }

    /// Ends the process as an operator does, and waits for it.
    ///
    /// # Panics
    /// It does not end in time, or not with success.
    pub fn stop(&mut self) {
        self.terminate();
        self.wait_stopped();
    }

    /// Asks the process to end (SIGTERM), without waiting.
    pub fn terminate(&self) {
        let server = self.server.as_ref().expect("the gateway is running");
        let sent = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIGTERM cannot be sent");
    }

    /// Waits until the process has ended after [`Gateway::terminate`].
    ///
    /// # Panics
    /// It does not end in time, or not with success.
    pub fn wait_stopped(&mut self) {
        let mut server = self.server.take().expect("the gateway was running");
        let status = poll(Duration::from_secs(60), || server.child.try_wait().expect("our child can be waited for"));
        match status {
            Some(status) => assert!(status.success(), "the gateway ended with {status}:\n{}", self.log_tail()),
            None => {
                let _ = server.child.kill();
                panic!("the gateway did not end within a minute of SIGTERM:\n{}", self.log_tail());
            }
        }
    }

    /// Waits until the process has ended by itself, with a failure.
    ///
    /// # Panics
    /// It does not, or ends with success.
    pub fn wait_failed(&mut self) {
        let mut server = self.server.take().expect("the gateway was running");
        let status = poll(Duration::from_secs(60), || server.child.try_wait().expect("our child can be waited for"));
        assert!(status.is_some_and(|status| !status.success()), "{status:?}:\n{}", self.log_tail());
    }

    /// Kills the process (SIGKILL): nothing of it can be finished or cleaned up.
    pub fn kill9(&mut self) {
        let mut server = self.server.take().expect("the gateway is running");
        server.child.kill().expect("our child can be killed");
        server.child.wait().expect("our child can be waited for");
    }

    /// Stops and starts.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A directory of the test's own, removed with the gateway.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The log's public key, as verifiers get it.
    pub fn public_key(&self) -> PathBuf {
        self.data().join("cairn.pub")
    }

    /// A caller with the administrator's key.
    pub fn admin(&self) -> Client {
        let key = fs::read_to_string(self.data().join("admin.key")).expect("cairn init writes admin.key");
        self.client(key.trim())
    }

    /// A caller with this credential.
    pub fn client(&self, credential: &str) -> Client {
        Client::new(&self.url, Some(credential), &self.log)
    }

    /// A caller without a credential.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.url, None, &self.log)
    }

    /// A caller with a new API key for a new subject, and that subject.
    pub async fn caller(&self, roles: &[&str]) -> (Client, String) {
        let subject = crate::unique("subject");
        let made = self.admin().post("/v1/keys", serde_json::json!({"subject": subject, "roles": roles})).await.ok();
        (self.client(made["secret"].as_str().expect("a key has a secret")), subject)
    }

    /// Runs `cairn` with this gateway's configuration and address.
    pub fn cli(&self, arguments: &[&str]) -> Finished {
        self.cli_with(arguments, &[])
    }

    /// Runs `cairn` with more environment variables.
    pub fn cli_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
        let mut command = self.command(&cairn());
        command.args(arguments).envs(variables.iter().copied());
        if !self.url.is_empty() {
            command.env("CAIRN_URL", &self.url);
        }
        finish(command)
    }

    /// Runs `cairn` so that no file may grow beyond so many KiB: an error for whoever writes one, as a full disk is.
    pub fn cli_with_small_files(&self, arguments: &[&str], kib: u64) -> Finished {
        let mut command = self.command(Path::new("bash"));
        let limited = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(limited).arg(cairn()).args(arguments);
        finish(command)
    }

    /// Starts `cairn` as a server beside this gateway; it ends when what is returned is dropped.
    pub fn beside(&self, arguments: &[&str]) -> Beside {
        let mut command = self.command(&cairn());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("a server can be started");
        Beside { guardian: Guardian::of_process(child.id()), child }
    }

    /// Starts a command that is to be interrupted, or read while it runs.
    pub fn started(&self, arguments: &[&str]) -> Started {
        let mut command = self.command(&cairn());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("a command can be started");
        Started { guardian: Guardian::of_process(child.id()), child }
    }

    /// Runs `cairn-verify`, with nothing of this gateway's configuration.
    pub fn cairn_verify(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(binary("cairn-verify"));
        command.args(arguments).current_dir(self.dir.path());
        finish(command)
    }

    /// The end of the gateway's log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// A command without the caller's own Cairn variables, in the test's directory, where no cairn.toml is.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAIRN_")) {
            command.env_remove(name);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.child.kill();
            let _ = server.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the gateway's log ends:\n{}", self.log_tail());
        }
    }
}

impl Server {
    fn ready(&mut self, listen: &str) -> Result<(), ExitStatus> {
        let outcome = poll(Duration::from_secs(120), || {
            if let Some(status) = self.child.try_wait().expect("our child can be waited for") {
                return Some(Err(status));
            }
            answers_ready(listen).then_some(Ok(()))
        });
        outcome.unwrap_or_else(|| {
            let _ = self.child.kill();
            panic!("the gateway is not ready after two minutes")
        })
    }
}

impl Finished {
    /// Whether it ended with success.
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// Its exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// It failed or printed something else.
    pub fn json(&self) -> serde_json::Value {
        assert!(self.ok(), "the command failed: {self}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nstdout:\n{}\nstderr:\n{}", self.status, self.stdout, self.stderr)
    }
}

/// The `cairn` to test: `CAIRN_BIN`, else the one built beside this test.
fn cairn() -> PathBuf {
    std::env::var_os("CAIRN_BIN").map_or_else(|| binary("cairn"), PathBuf::from)
}

/// A binary of the workspace. The test executable is in `<target>/debug/deps`.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its executable");
    let debug = test.parent().and_then(Path::parent).expect("tests are in <target>/<profile>/deps");
    let path = debug.join(name);
    assert!(path.is_file(), "{} is not built; run ./test, or cargo build --workspace --bins", path.display());
    path
}

fn variable(key: &str) -> String {
    format!("CAIRN__{}", key.to_uppercase().replace('.', "__"))
}

/// An address on this machine with a port that is free now.
pub fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a bound listener has an address").to_string()
}

fn answers_ready(listen: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(listen)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Asks until there is an answer or the time is over.
fn poll<T>(most: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + most;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn finish(mut command: Command) -> Finished {
    let output = command.stdin(Stdio::null()).output();
    finished(output.unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}")))
}

fn finished(Output { status, stdout, stderr }: Output) -> Finished {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Finished { status, stdout: text(stdout), stderr: text(stderr) }
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} cannot be copied", from.display());
}

/// The last lines of a file.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
