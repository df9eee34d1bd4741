//! What the processes of fine-tuning jobs and of evaluations have in common: a limit on memory that holds, and an end when they
//! are cancelled, whatever they are in the middle of.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use cairn_trainer::job::{self, JobError, Outcome};
use rlimit::Resource;

/// Does the job in a directory. What it cannot say in its outcome it says on standard error.
pub(super) async fn work(
    dir: PathBuf,
    run: impl FnOnce(&Path) -> Result<Outcome, JobError> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    let spec: serde_json::Value = job::read(&dir.join("job.json"))?;
    if let Some(limit) = spec["memory_limit"].as_u64() {
        // Whatever it does: loading, the peak of a step, the evaluation. Growing beyond ends it, and the gateway says why.
        let (_, hard) = Resource::DATA.get().context("the limit on memory cannot be read")?;
        let limit = limit.min(hard);
        Resource::DATA.set(limit, limit).context("the limit on memory cannot be set")?;
    }
    let cancelled = dir.join("cancel");
    std::thread::spawn(move || end_when(&cancelled));
    let done =
        tokio::task::spawn_blocking(move || run(&dir).map_err(|error| anyhow::anyhow!(job::reason(&dir, &error))));
    done.await?.map(|_| ExitCode::SUCCESS)
}

/// Ends the process some time after it was cancelled: files are there whole or not at all.
fn end_when(cancelled: &Path) {
    let mut since = None;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        if cancelled.exists() && since.get_or_insert_with(Instant::now).elapsed() > GRACE {
            std::process::exit(0);
        }
    }
}

/// How long a job may take to stop by itself.
const GRACE: Duration = Duration::from_secs(5);
