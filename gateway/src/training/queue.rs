//! The queue: oldest first, as many at once as `training.jobs_at_once`; those that were running when the gateway stopped go on.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use cairn_trainer::job::Level;
use serde_json::Value;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use super::{directory, forget, note, publish, worker};
use crate::{
    state::AppState,
    store::{
        StoreError,
        training::{StoredTraining, TrainingStatus},
    },
};

/// Works through the queue for as long as the gateway runs.
pub(crate) fn start(state: Arc<AppState>) {
    // Before anyone can make another job.
    let found = (forget::found(&state.config), forget::partial_files(&state.config));
    tokio::spawn(async move {
        forget::leftovers(&state, found).await;
        let mut going = Going::default();
        let mut swept: Option<Instant> = None;
        loop {
            if let Err(error) = fill(&state, &mut going).await {
                tracing::error!(%error, "fine-tuning jobs are held up");
            }
            if swept.is_none_or(|swept| swept.elapsed() > SWEEP) {
                forget::sweep(&state).await;
                swept = Some(Instant::now());
            }
            tokio::select! {
                Some(ended) = going.tasks.join_next_with_id() => going.ended(&state, ended).await,
                () = state.trainings.queued.notified() => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
    });
}

/// Jobs that are being attended to.
#[derive(Default)]
struct Going {
    tasks: JoinSet<()>,
    jobs: HashMap<Id, String>,
}

impl Going {
    fn begin(&mut self, state: &Arc<AppState>, job: StoredTraining) {
        let id = job.id.clone();
        let state = state.clone();
        let task = self.tasks.spawn(async move { attend(&state, &job).await });
        self.jobs.insert(task.id(), id);
    }

    fn has(&self, job: &str) -> bool {
        self.jobs.values().any(|id| id == job)
    }

    async fn ended(&mut self, state: &AppState, ended: Result<(Id, ()), JoinError>) {
        let (task, panicked) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error.to_string())),
        };
        let Some(job) = self.jobs.remove(&task) else { return };
        if let Some(error) = panicked {
            tracing::error!(job, error, "a fine-tuning job could not be attended to");
            let message = "the server failed; its log says why";
            let from = [TrainingStatus::Running];
            let _ = state.store.move_training(&job, &from, TrainingStatus::Failed, Some(message)).await;
        }
    }
}

/// Attends to what runs, and lets others begin while there is room.
async fn fill(state: &Arc<AppState>, going: &mut Going) -> Result<(), StoreError> {
    let mut live = state.store.live_trainings().await?;
    live.sort_by_key(|job| job.status != TrainingStatus::Running);
    for job in live {
        if going.has(&job.id) {
            continue;
        }
        if job.status == TrainingStatus::Queued {
            if going.jobs.len() >= state.config.training.jobs_at_once {
                return Ok(());
            }
            let from = [TrainingStatus::Queued];
            if !state.store.move_training(&job.id, &from, TrainingStatus::Running, None).await? {
                // Cancelled in between.
                continue;
            }
        }
        going.begin(state, job);
    }
    Ok(())
}

/// Brings one job to its end or pause.
async fn attend(state: &AppState, job: &StoredTraining) {
    let dir = directory(&state.config, &job.id);
    let attended = worker::attend(state, job, &dir).await;
    let _moves = state.trainings.moves.lock().await;
    let done = match attended {
        Ok(outcome) => publish::finish(state, job, &dir, outcome).await,
        Err(error) => Err(error),
    };
    if let Err(error) = conclude(state, job, &dir, done).await {
        // It is still running by the store: it is looked at again, after a while.
        tracing::error!(job = job.id, %error, "the end of a fine-tuning job cannot be written down");
        tokio::time::sleep(IDLE).await;
    }
}

async fn conclude(
    state: &AppState,
    job: &StoredTraining,
    dir: &Path,
    done: anyhow::Result<TrainingStatus>,
) -> Result<(), StoreError> {
    let (status, error) = match done {
        Ok(status) => (status, None),
        Err(error) => (TrainingStatus::Failed, Some(format!("{error:#}"))),
    };
    if let Some(error) = &error {
        tracing::warn!(job = job.id, %error, "a fine-tuning job failed");
        note(dir, Level::Error, error, Value::Null);
    }
    state.store.move_training(&job.id, &[TrainingStatus::Running], status, error.as_deref()).await?;
    forget::after(state, job, dir, status).await;
    Ok(())
}

/// How often the queue is looked at when nobody says that there is something.
const IDLE: Duration = Duration::from_secs(5);
/// How often it is looked whether grants have ended that jobs had copied rows under.
const SWEEP: Duration = Duration::from_secs(30);
