//! Pausing, cancelling and resuming.

use cairn_trainer::job::{self, Outcome};

use super::{directory, forget, unkept};
use crate::{
    error::ApiError,
    state::AppState,
    store::training::{StoredTraining, TrainingStatus},
};

/// Asks a job to stop: at its next checkpoint (`pause`) or at once (`cancel`). False where there is nothing to stop.
pub(crate) async fn stop(state: &AppState, job: &StoredTraining, pause: bool) -> Result<bool, ApiError> {
    let to = if pause { TrainingStatus::Paused } else { TrainingStatus::Cancelled };
    let _moves = state.trainings.moves.lock().await;
    let waiting: &[TrainingStatus] =
        if pause { &[TrainingStatus::Queued] } else { &[TrainingStatus::Queued, TrainingStatus::Paused] };
    let dir = directory(&state.config, &job.id);
    if state.store.move_training(&job.id, waiting, to, None).await? {
        forget::after(state, job, &dir, to).await;
        return Ok(true);
    }
    let running = state.store.training(&job.id, None).await?.is_some_and(|job| job.status == TrainingStatus::Running);
    if running {
        let name = if pause { "pause" } else { "cancel" };
        std::fs::write(dir.join(name), b"").map_err(|error| ApiError::file(&error))?;
    }
    Ok(running)
}

/// Puts a paused job, or one that failed, back into the queue. False where it is neither.
pub(crate) async fn resume(state: &AppState, job: &StoredTraining) -> Result<bool, ApiError> {
    let from = [TrainingStatus::Paused, TrainingStatus::Failed];
    let _moves = state.trainings.moves.lock().await;
    let now = state.store.training(&job.id, None).await?;
    if !now.is_some_and(|now| from.contains(&now.status)) {
        return Ok(false);
    }
    let dir = directory(&state.config, &job.id);
    // A run that came to its end and only was not published is not run again.
    let finished = Outcome::read(&dir).is_ok_and(|outcome| outcome.is_some_and(|it| it.adapter && it.error.is_none()));
    if !finished {
        // Without room for a reason it would fail again, and could not say why.
        job::reserve(&dir).map_err(unkept)?;
        let _ = std::fs::remove_file(dir.join("outcome.json"));
    }
    for name in ["pause", "cancel"] {
        let _ = std::fs::remove_file(dir.join(name));
    }
    let moved = state.store.move_training(&job.id, &from, TrainingStatus::Queued, None).await?;
    state.trainings.queued.notify_one();
    Ok(moved)
}
