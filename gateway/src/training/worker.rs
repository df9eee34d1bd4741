//! The process of a job: started, looked after, ended; and what it meant when it was gone.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context;
use cairn_trainer::{
    End,
    job::{self, Level, Outcome},
};
use serde_json::Value;

use super::{note, right};
use crate::{state::AppState, store::training::StoredTraining};

/// Waits for a job's outcome, starting its process as often as it is killed.
pub(super) async fn attend(state: &AppState, job: &StoredTraining, dir: &Path) -> anyhow::Result<Outcome> {
    let mut deaths = 0;
    loop {
        if let Some(outcome) = outcome(dir)? {
            return Ok(outcome);
        }
        let mut process = None;
        if !running(dir) {
            refuse_without_right(state, job, dir).await?;
            process = Some(spawn(dir)?);
            tracing::info!(job = job.id, "started a training process");
        }
        let status = watch(state, job, dir, &mut process).await?;
        if outcome(dir)?.is_some() {
            continue;
        }
        if dir.join("cancel").exists() {
            return Ok(Outcome::stopped(End::Cancelled));
        }
        if let Some(reason) = failure(dir, status) {
            anyhow::bail!("{reason}");
        }
        let said = last_words(dir);
        deaths += 1;
        anyhow::ensure!(
            deaths < MOST_DEATHS,
            "its process was killed {deaths} times; the last checkpoint stays, and resuming goes on from it{}{said}",
            if said.is_empty() { "" } else { ". It said at last: " },
        );
        note(dir, Level::Warn, "The process was killed; going on from the last checkpoint", Value::Null);
    }
}

/// Returns when a job's process is gone, with its exit status where it is a child of this gateway. An error where the right to
/// the data went first: then the process was ended.
async fn watch(
    state: &AppState,
    job: &StoredTraining,
    dir: &Path,
    process: &mut Option<Child>,
) -> anyhow::Result<Option<ExitStatus>> {
    for look in 1_u64.. {
        tokio::time::sleep(LOOK).await;
        match process {
            Some(process) => {
                if let Some(status) = process.try_wait()? {
                    return Ok(Some(status));
                }
            }
            None if !running(dir) => return Ok(None),
            None => {}
        }
        if look.is_multiple_of(RIGHT_EVERY)
            && let Err(error) = refuse_without_right(state, job, dir).await
        {
            end(dir, process).await;
            return Err(error);
        }
    }
    Ok(None)
}

/// An error where a job may not learn from its data any more. That nobody can say is none: it is asked again.
pub(super) async fn refuse_without_right(state: &AppState, job: &StoredTraining, dir: &Path) -> anyhow::Result<()> {
    match right::withdrawn(state, job, dir).await {
        Ok(None) => Ok(()),
        Ok(Some(why)) => anyhow::bail!("{why}; the run was ended, and what it had copied is removed"),
        Err(error) => {
            tracing::warn!(job = job.id, %error, "the right to a job's data cannot be looked up");
            Ok(())
        }
    }
}

/// Ends a job's process and waits until it is gone. It ends by itself soon after it is told to, whatever it does.
async fn end(dir: &Path, process: &mut Option<Child>) {
    if let Err(error) = std::fs::write(dir.join("cancel"), b"") {
        tracing::warn!(%error, dir = %dir.display(), "a training process cannot be told to end");
    }
    for _ in 0..ENDING {
        let gone = match process {
            Some(process) => process.try_wait().is_ok_and(|status| status.is_some()),
            None => !running(dir),
        };
        if gone {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    match process {
        Some(process) => {
            let _ = process.kill();
            let _ = process.wait();
        }
        None => tracing::error!(dir = %dir.display(), "a training process does not end; kill it"),
    }
}

/// How a job ended; none where it has not.
pub(super) fn outcome(dir: &Path) -> anyhow::Result<Option<Outcome>> {
    Outcome::read(dir).context("the job's outcome cannot be read")
}

/// Why a process that is gone without an outcome failed; none where it was killed from outside, and can go on.
pub(crate) fn failure(dir: &Path, status: Option<ExitStatus>) -> Option<String> {
    let said = last_words(dir);
    if OUT_OF_MEMORY.iter().any(|words| said.contains(words)) {
        return Some(over_memory(dir));
    }
    match status {
        Some(status) if status.code().is_some() && said.is_empty() => Some(format!(
            "its process ended by itself ({status}) and could not say why; is there room on the disk? What was written before \
             is not lost"
        )),
        Some(status) if status.code().is_some() => {
            Some(format!("its process failed ({status}): {}", said.trim_start_matches("error: ")))
        }
        // Of one that another gateway started there is no status.
        None if said.contains("error: ") || said.contains("panicked at") => Some(format!("its process failed: {said}")),
        _ => None,
    }
}

fn over_memory(dir: &Path) -> String {
    let spec = job::read::<Value>(&dir.join("job.json")).unwrap_or_default();
    let limit = spec["memory_limit"].as_u64();
    let limit = limit.map_or_else(|| "it".to_owned(), |limit| format!("{} MiB", limit >> 20));
    let last = job::last_event(dir, |_| true).ok().flatten();
    let after = last.map(|entry| format!(" (it had come to: {})", entry.message)).unwrap_or_default();
    format!(
        "it needed more memory than the {limit} that training.memory_limit_mib allowed it when it was made{after}; begin \
         another with qlora, a smaller batch_size or max_length, or a higher limit"
    )
}

/// What a job's process said on its standard error: the end of it, and no paths of this machine.
fn last_words(dir: &Path) -> String {
    let said = std::fs::read(dir.join(LOG)).unwrap_or_default();
    let from = said.len().saturating_sub(LONGEST);
    let text = String::from_utf8_lossy(&said[from..]);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: run with"));
    lines.collect::<Vec<_>>().join("; ").replace(&format!("{}/", dir.display()), "")
}

/// Whether a process works on a job: it holds the lock for as long as it lives.
pub(crate) fn running(dir: &Path) -> bool {
    File::open(dir.join("lock")).is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Starts `cairn train --worker DIR`, in a group of its own: it outlives the gateway.
fn spawn(dir: &Path) -> anyhow::Result<Child> {
    use std::os::unix::process::CommandExt;
    // Of this process alone: what an earlier one said was told then.
    let log = File::create(dir.join(LOG)).context("the training process's log cannot be written")?;
    Command::new(std::env::current_exe()?)
        .args(["train", "--worker"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("the training process cannot be started")
}

/// What is said in a process that the system gives no more memory, as RLIMIT_DATA has it: by Rust, and where threads need stacks.
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of", "ThreadPoolBuildError"];
const LOG: &str = "process.log";
/// Bytes of it that are told.
const LONGEST: usize = 2000;
/// How often a process is looked after.
const LOOK: Duration = Duration::from_millis(200);
/// Looks between two at the right.
const RIGHT_EVERY: u64 = 5;
/// Looks that a process has to end: longer than it takes by itself.
const ENDING: u32 = 100;
/// Times that a job's process may be killed before the job fails.
const MOST_DEATHS: usize = 5;
