//! From a finished run to an adapter that answers.

use std::path::Path;

use anyhow::Context;
use cairn_adapters::store::{Caller as StoreCaller, Source as AdapterSource, Upload};
use cairn_trainer::{
    End,
    job::{Level, Outcome},
};
use serde_json::json;

use super::{note, provenance, worker::refuse_without_right};
use crate::{
    state::AppState,
    store::training::{StoredTraining, TrainingStatus},
};

/// What a job's outcome makes of it; an adapter that is whole is published. `Trainings::moves` is held meanwhile, so nobody
/// can cancel what is being published.
pub(super) async fn finish(
    state: &AppState,
    job: &StoredTraining,
    dir: &Path,
    outcome: Outcome,
) -> anyhow::Result<TrainingStatus> {
    if let Some(error) = outcome.error {
        anyhow::bail!("{error}");
    }
    match outcome.end {
        Some(End::Paused) => return Ok(TrainingStatus::Paused),
        Some(End::Cancelled) => return Ok(TrainingStatus::Cancelled),
        _ => anyhow::ensure!(outcome.adapter, "the run ended without an adapter"),
    }
    // Asked for when there was nothing left to stop: what was promised then is kept.
    if dir.join("cancel").exists() {
        return Ok(TrainingStatus::Cancelled);
    }
    if dir.join("pause").exists() {
        return Ok(TrainingStatus::Paused);
    }
    // The gateway may have been down when the right went.
    refuse_without_right(state, job, dir).await?;
    let by = StoreCaller { subject: job.owner.clone(), admin: false };
    let base = state.adapters.base(&job.base).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let source = AdapterSource::Directory(dir.join("adapter"));
    let done = state.adapters.store.upload(Upload { source, base, owner: job.owner.clone() }, &by).await?;
    // In the log before anyone can use it: no adapter answers whose training is not on record.
    let provenance = provenance::record(state, job, dir, &done.generation.0).await?;
    let alias = job.alias.parse().context("the job's alias is no name for an adapter")?;
    state.adapters.store.publish(&job.base, &alias, &done.generation.0, &by).await?;
    state.adapters.log_changes().await?;
    state.store.training_generation(&job.id, &done.generation.0).await?;
    let message = format!("The adapter answers as {}:{}", job.base, job.alias);
    note(
        dir,
        Level::Info,
        &message,
        json!({"event": "published", "generation": done.generation.0, "log_index": provenance.log_index}),
    );
    Ok(TrainingStatus::Succeeded)
}
