//! Jobs: ingests that outlive their request, a closed browser and a restart.
//!
//! A job's row in the store is its truth; what is in memory is only how far it has come. One runs at a time, because
//! embedding uses every core. A job that a crash interrupted is queued again and resumes from what it had staged.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use cairn_openapi::{
    datanets::IngestQuery,
    jobs::{Job, JobState},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    convert,
    error::ApiError,
    ingest,
    state::AppState,
    store::{Store, StoreError, now},
};

/// What an ingest needs to run, also after a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IngestSpec {
    pub(crate) datanet: String,
    /// The uploaded files, inside the job's directory.
    pub(crate) files: Vec<String>,
    pub(crate) query: IngestQuery,
    /// The datanet's licence, for datapoints that name none.
    pub(crate) licence: String,
    /// The date of datapoints that name none, fixed when the job was made so that a resumed run does the same.
    pub(crate) contributed_at: String,
    /// The contribution that this adds.
    #[serde(default)]
    pub(crate) contribution: Option<String>,
}

/// A handle on the jobs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    store: Store,
    /// Guards progress of the running jobs, which is written to the store only when a stage changes.
    running: Arc<Mutex<HashMap<String, Running>>>,
    queue: mpsc::UnboundedSender<Queued>,
    /// Taken by the worker when it starts.
    receiver: Arc<Mutex<Option<mpsc::UnboundedReceiver<Queued>>>>,
    moved: watch::Sender<u64>,
}

type Queued = (Job, IngestSpec);

struct Running {
    job: Job,
    cancel: CancellationToken,
}

impl Jobs {
    pub(crate) fn new(store: Store) -> Self {
        let (queue, receiver) = mpsc::unbounded_channel();
        Self {
            store,
            running: Arc::default(),
            queue,
            receiver: Arc::new(Mutex::new(Some(receiver))),
            moved: watch::Sender::new(0),
        }
    }

    /// Queues an ingest. Its files are in `directory(config, id)` already.
    pub(crate) async fn ingest(&self, id: String, owner: &str, spec: IngestSpec) -> Result<Job, StoreError> {
        let job = Job {
            id,
            kind: "ingest".into(),
            target: spec.datanet.clone(),
            owner: owner.to_owned(),
            state: JobState::Queued,
            stage: "waiting".into(),
            done: 0,
            total: 0,
            result: None,
            error: None,
            created_at: now(),
            updated_at: now(),
        };
        self.store.create_job(&job, &serde_json::to_value(&spec)?).await?;
        self.enqueue(job.clone(), spec);
        Ok(job)
    }

    fn enqueue(&self, job: Job, spec: IngestSpec) {
        let running = Running { job: job.clone(), cancel: CancellationToken::new() };
        self.running.lock().insert(job.id.clone(), running);
        // The worker lives as long as the process.
        let _ = self.queue.send((job, spec));
    }

    /// Where a job stands now.
    pub(crate) async fn current(&self, id: &str) -> Result<Option<Job>, StoreError> {
        if let Some(running) = self.running.lock().get(id) {
            return Ok(Some(running.job.clone()));
        }
        self.store.job(id).await
    }

    /// Notices of any job's movement.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Asks a job to stop; one that has ended is left as it is.
    pub(crate) async fn cancel(&self, id: &str) -> Result<(), StoreError> {
        let queued = {
            let running = self.running.lock();
            let Some(running) = running.get(id) else { return Ok(()) };
            running.cancel.cancel();
            (running.job.state == JobState::Queued).then(|| running.job.clone())
        };
        if let Some(mut job) = queued {
            job.state = JobState::Cancelled;
            self.update(job).await?;
        }
        Ok(())
    }

    /// Records progress; the store is told when the state or the stage changes.
    fn progress(&self, id: &str, stage: &str, done: u64, total: u64) {
        if let Some(running) = self.running.lock().get_mut(id) {
            running.job.stage = stage.to_owned();
            running.job.done = done;
            running.job.total = total;
            running.job.updated_at = now();
        }
        self.moved.send_modify(|version| *version += 1);
    }

    async fn update(&self, job: Job) -> Result<(), StoreError> {
        self.store.update_job(&job).await?;
        {
            let mut running = self.running.lock();
            if job.state.ended() {
                running.remove(&job.id);
            } else if let Some(running) = running.get_mut(&job.id) {
                running.job = job;
            }
        }
        self.moved.send_modify(|version| *version += 1);
        Ok(())
    }

    fn cancellation(&self, id: &str) -> Option<CancellationToken> {
        self.running.lock().get(id).map(|running| running.cancel.clone())
    }
}

/// The directory of a job's files.
pub(crate) fn directory(config: &crate::config::Config, id: &str) -> PathBuf {
    config.jobs_dir().join(id)
}

/// Starts the worker and queues what a restart interrupted.
pub(crate) async fn start(state: Arc<AppState>) -> Result<(), StoreError> {
    // Files that were only to be looked at when the process was killed.
    let examined = state.config.examined_dir();
    match tokio::fs::remove_dir_all(&examined).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, directory = %examined.display(), "files of an earlier process could not be removed");
        }
        _ => {}
    }
    ingest::rejections::tidy(&state.config).await;
    for (mut job, spec) in state.store.unfinished_jobs().await? {
        tracing::info!(job = job.id, "resuming a job that a restart interrupted");
        job.state = JobState::Queued;
        state.jobs.enqueue(job, serde_json::from_value(spec)?);
    }
    let receiver = state.jobs.receiver.lock().take();
    if let Some(mut receiver) = receiver {
        tokio::spawn(async move {
            while let Some((job, spec)) = receiver.recv().await {
                run(&state, job, spec).await;
            }
        });
    }
    Ok(())
}

async fn run(state: &Arc<AppState>, mut job: Job, spec: IngestSpec) {
    let Some(cancel) = state.jobs.cancellation(&job.id) else { return };
    job.state = JobState::Running;
    let outcome = match state.jobs.update(job.clone()).await {
        Ok(()) => add(state, &job.id, &spec, cancel.clone()).await,
        Err(error) => Err(error.into()),
    };
    job = state.jobs.current(&job.id).await.ok().flatten().unwrap_or(job);
    match outcome {
        Ok(result) => {
            job.state = JobState::Succeeded;
            job.stage = "done".into();
            job.result = Some(result);
        }
        Err(_) if cancel.is_cancelled() => job.state = JobState::Cancelled,
        Err(error) => {
            job.state = JobState::Failed;
            job.error = Some(error.message);
        }
    }
    tracing::info!(job = job.id, state = ?job.state, "job ended");
    if let Some(contribution) = &spec.contribution
        && let Err(error) = crate::contributions::ended(state, contribution, &job).await
    {
        // Left as running in the store, it is resumed at the next start.
        tracing::error!(%error, "a contribution's end could not be written");
        return;
    }
    let directory = directory(&state.config, &job.id);
    if let Err(error) = state.jobs.update(job).await {
        // Left as running in the store, it is resumed at the next start.
        tracing::error!(%error, "a job's end could not be written");
        return;
    }
    if let Err(error) = tokio::fs::remove_dir_all(&directory).await {
        tracing::warn!(%error, directory = %directory.display(), "a job's files could not be removed");
    }
}

async fn add(
    state: &Arc<AppState>,
    id: &str,
    spec: &IngestSpec,
    cancel: CancellationToken,
) -> Result<serde_json::Value, ApiError> {
    let directory = directory(&state.config, id);
    let jobs = state.jobs.clone();
    let of_job = id.to_owned();
    let datanet = spec.datanet.parse().map_err(convert::index_error)?;
    let options = ingest::options(spec, &directory, cancel, move |stage, done, total| {
        jobs.progress(&of_job, stage, done, total);
    });
    // Taking the text out of a document may last a while.
    state.jobs.progress(id, "reading", 0, 0);
    let drafts = ingest::drafts(spec, &directory).await?;
    let report = state.index.ingest(&datanet, drafts, options).await.map_err(convert::index_error)?;
    ingest::rejections::keep(&state.config, id, &report).await?;
    if report.is_rejected() {
        let lines: Vec<String> =
            report.rejected.iter().take(20).map(|it| format!("line {}: {}", it.line, it.reason)).collect();
        let more = match report.rejected_total > lines.len() as u64 {
            true => format!("\nAll of them are listed at /v1/jobs/{id}/rejections"),
            false => String::new(),
        };
        let message = format!(
            "{} datapoints are not valid, so nothing was added. Mend them and ingest again:\n{}{more}",
            report.rejected_total,
            lines.join("\n")
        );
        return Err(ApiError::new(crate::error::Code::InvalidRequest, message));
    }
    ingest::originals::keep(&state.config, spec, &directory).await?;
    crate::record::append_snapshot(state, &report.snapshot).await?;
    serde_json::to_value(&report).map_err(ApiError::internal)
}
