//! What goes when its time is over: rows that were copied under a grant, deleted jobs, and what a crash left.
//!
//! Copies of granted rows go when the grant has ended, and with the job's end at the latest: a cancelled one is not resumed,
//! and of a published one the log, the list of rows and the adapter are what stays. What the owner uploaded stays until the
//! job is deleted.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use cairn_trainer::{
    job::{self, JobError},
    report::Evaluation,
};

use super::{directory, right};
use crate::{
    config::Config,
    erasure::{replace, without_samples},
    error::{ApiError, Code},
    state::AppState,
    store::training::{StoredTraining, TrainingStatus},
};

/// After a job has ended: the granted rows that nothing will read any more.
pub(super) async fn after(state: &AppState, job: &StoredTraining, dir: &Path, status: TrainingStatus) {
    let done = async {
        match status {
            TrainingStatus::Succeeded | TrainingStatus::Cancelled => {
                let granted = right::Right::read(dir)?.is_some_and(|right| right.grant.is_some());
                if granted {
                    removed(&dir.join("source.jsonl"))?;
                }
            }
            TrainingStatus::Failed => forgotten(state, job, dir).await?,
            TrainingStatus::Queued | TrainingStatus::Running | TrainingStatus::Paused => {}
        }
        anyhow::Ok(())
    };
    if let Err(error) = done.await {
        tracing::error!(job = job.id, %error, "the rows of a job cannot be removed");
    }
}

/// Looks through all jobs for grants that have ended.
pub(super) async fn sweep(state: &AppState) {
    for id in found(&state.config) {
        let swept = async {
            let dir = directory(&state.config, &id);
            if right::Right::read(&dir)?.is_none_or(|right| right.forgotten || right.grant.is_none()) {
                return Ok(());
            }
            let Some(job) = state.store.training_on_record(&id, None).await? else { return Ok(()) };
            if matches!(job.status, TrainingStatus::Queued | TrainingStatus::Running) {
                // The queue sees to it.
                return Ok(());
            }
            let _moves = state.trainings.moves.lock().await;
            forgotten(state, &job, &dir).await
        };
        if let Err(error) = swept.await {
            tracing::error!(job = id, %error, "the rows of a job cannot be removed");
        }
    }
}

/// Removes all that a job has of rows whose grant has ended, and what was learnt from them but not published.
async fn forgotten(state: &AppState, job: &StoredTraining, dir: &Path) -> anyhow::Result<()> {
    let Some(right) = right::Right::read(dir)? else { return Ok(()) };
    if right.forgotten || right.grant.is_none() {
        return Ok(());
    }
    let Some(why) = right::withdrawn(state, job, dir).await.map_err(|error| anyhow::anyhow!(error.message))? else {
        return Ok(());
    };
    let paused = [TrainingStatus::Paused];
    state.store.move_training(&job.id, &paused, TrainingStatus::Failed, Some(&why)).await?;
    tracing::info!(job = job.id, why, "removing the rows of a job");
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || {
        for name in ["source.jsonl", "checkpoints", "best", "adapter"] {
            removed(&dir.join(name))?;
        }
        if job::read::<serde_json::Value>(&dir.join("provenance.json")).is_err() {
            removed(&dir.join("outcome.json"))?;
        }
        hide_samples(&dir)?;
        right::Right { forgotten: true, ..right }.write(&dir)?;
        anyhow::Ok(())
    })
    .await?
}

/// Takes rendered rows out of what a job says of its data and of its evaluation.
pub(crate) fn hide_samples(dir: &Path) -> anyhow::Result<()> {
    for name in ["validation.json", "evaluation.json"] {
        without_samples(&dir.join(name))?;
    }
    let page = dir.join("report.html");
    if page.exists() {
        let evaluation: Evaluation = job::read(&dir.join("evaluation.json"))?;
        replace(&page, evaluation.to_html().as_bytes())?;
    }
    Ok(())
}

/// Deletes a job that has ended. Of one whose adapter is on record the list of its rows stays, and what the log says of it:
/// those whose data it learnt can still ask. False where it has not ended.
pub(crate) async fn delete(state: &AppState, job: &StoredTraining) -> Result<bool, ApiError> {
    let _moves = state.trainings.moves.lock().await;
    let now = state.store.training(&job.id, None).await?;
    let now = now.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no fine-tuning job {:?}", job.id)))?;
    let dir = directory(&state.config, &job.id);
    if !now.status.ended() || super::running(&dir) {
        return Ok(false);
    }
    let on_record = now.generation.is_some() || dir.join("provenance.json").exists();
    if on_record || !state.store.delete_training(&job.id).await? {
        state.store.retire_training(&job.id).await?;
        tokio::task::spawn_blocking(move || emptied(&dir)).await.map_err(ApiError::internal)?.map_err(unremoved)?;
    } else {
        tokio::task::spawn_blocking(move || removed(&dir)).await.map_err(ApiError::internal)?.map_err(unremoved)?;
    }
    Ok(true)
}

fn unremoved(error: JobError) -> ApiError {
    ApiError::internal(cairn_trainer::told(&error))
}

/// Names of the jobs that have a directory.
pub(super) fn found(config: &Config) -> Vec<String> {
    let names = |entry: fs::DirEntry| entry.file_name().into_string().ok().filter(|name| name.starts_with("ftjob-"));
    fs::read_dir(config.data_dir.join("training")).into_iter().flatten().flatten().filter_map(names).collect()
}

/// Completes deletions that a crash interrupted, and removes what requests left that a crash kept from being answered.
pub(super) async fn leftovers(state: &AppState, (jobs, files): (Vec<String>, Vec<PathBuf>)) {
    for partial in files {
        let _ = fs::remove_file(partial);
    }
    for id in jobs {
        let dir = directory(&state.config, &id);
        let done = match state.store.training_is_retired(&id).await {
            Ok(None) => removed(&dir),
            Ok(Some(true)) => emptied(&dir),
            Ok(Some(false)) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "what a crash left of fine-tuning jobs cannot be looked through");
                return;
            }
        };
        if let Err(error) = done {
            tracing::error!(job = id, error = %cairn_trainer::told(&error), "what is left of a job cannot be removed");
        }
    }
}

/// Uploads that were never completed.
pub(super) fn partial_files(config: &Config) -> Vec<PathBuf> {
    let entries = fs::read_dir(config.data_dir.join("files")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PARTIAL)).map(|it| it.path()).collect()
}

/// How the names of files begin that are being uploaded.
pub(crate) const PARTIAL: &str = ".uploading-";

/// Removes everything but what is on record.
fn emptied(dir: &Path) -> Result<(), JobError> {
    let kept: HashSet<OsString> = ["rows.jsonl", "provenance.json"].map(OsString::from).into();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !kept.contains(&entry.file_name()) {
            removed(&entry.path())?;
        }
    }
    Ok(())
}

fn removed(path: &Path) -> Result<(), JobError> {
    let done = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match done {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(JobError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
