//! Evaluations on demand: queued, one at a time beside the fine-tuning jobs, each in a process of its own.
//!
//! Everything about one is in its directory, `evaluations/<id>`: what was asked for and where it stands (`evaluation-job.json`,
//! written by the queue alone once it is made), and what `cairn_trainer::job` says of the process. A file `cancel` there ends it. So
//! there is no table that could disagree, and a gateway that starts again goes on waiting for a process that outlived it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use cairn_openapi::evaluations::EvaluationRequest;
use cairn_policy::Purpose;
use cairn_trainer::{
    End,
    data::RowTemplate,
    job::{self, Entry, EvaluationSpec, JobError, Level, Outcome, Source},
    told,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    access,
    auth::Caller,
    config::Config,
    error::{ApiError, Code},
    lanes,
    state::AppState,
    store::now,
    training,
};

/// An evaluation, as its directory keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredEvaluation {
    pub(crate) id: String,
    pub(crate) owner: String,
    /// Asked for by an administrator, who may use any datanet.
    pub(crate) unbounded: bool,
    pub(crate) request: EvaluationRequest,
    /// Of the adapter; none: the base alone.
    pub(crate) generation: Option<String>,
    pub(crate) rows: usize,
    pub(crate) status: Status,
    pub(crate) error: Option<String>,
    pub(crate) created_at: String,
    pub(crate) finished_at: Option<String>,
}

/// Where an evaluation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing will happen to it any more.
    pub(crate) fn ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// Where all evaluations are.
pub(crate) fn all(config: &Config) -> PathBuf {
    config.data_dir.join("evaluations")
}

/// The directory of one.
pub(crate) fn directory(config: &Config, id: &str) -> PathBuf {
    all(config).join(id)
}

/// Checks a request, copies what it will read, and queues it.
pub(crate) async fn create(
    state: &Arc<AppState>,
    caller: &Caller,
    request: EvaluationRequest,
) -> Result<StoredEvaluation, ApiError> {
    let id = format!("{PREFIX}{}", uuid::Uuid::now_v7().simple());
    let dir = directory(&state.config, &id);
    // Until it is queued under a name of its own, it is none: what a crash leaves is swept away at the next start.
    let making = all(&state.config).join(format!("{MAKING}{id}"));
    let made = make(state, caller, request, &id, (&making, &dir)).await;
    if made.is_err() {
        let _ = tokio::fs::remove_dir_all(&making).await;
    }
    let stored = made?;
    tokio::fs::rename(&making, &dir).await.map_err(ApiError::internal)?;
    note(&dir, Level::Info, "Queued");
    state.evaluations.notify_one();
    Ok(stored)
}

async fn make(
    state: &Arc<AppState>,
    caller: &Caller,
    request: EvaluationRequest,
    id: &str,
    (making, dir): (&Path, &Path),
) -> Result<StoredEvaluation, ApiError> {
    let addressed = lanes::address(state, caller, &request.model, &[]).await?;
    let base = addressed.model.as_str().to_owned();
    // At most one: the model names it.
    let lease = lanes::lease(state, caller, &addressed, id).await?.into_iter().next().map(|(lease, _)| lease);
    let serving = state.config.models_dir.join(&base).join("serving");
    let described = cairn_lane::Description::read(&serving).map_err(|error| {
        let message = format!("{base} cannot be evaluated here: {:#}", anyhow::Error::from(error));
        ApiError::invalid("model", message)
    })?;
    let context = described.config.context_length;
    let max_length = request.max_length.unwrap_or(1024.min(context));
    if !(2..=context).contains(&max_length) {
        return Err(ApiError::invalid("max_length", format!("max_length is {max_length}; give 2 to {context}")));
    }
    if request.max_rows == Some(0) {
        return Err(ApiError::invalid("max_rows", "give at least 1, or leave it out for all rows"));
    }
    tokio::fs::create_dir_all(making).await.map_err(ApiError::internal)?;
    let source = source(state, caller, &request, making).await?;
    let to = making.join("adapter");
    if let Some(lease) = &lease {
        let saved = state.adapters.store.prepare(&lease.generation, move |adapter| {
            std::fs::create_dir_all(&to)?;
            adapter.write(&to).map_err(anyhow::Error::from)
        });
        saved.await?.map_err(ApiError::internal)?;
    }
    let named = lease.as_ref().map(|lease| {
        let generation = lease.generation.0.get(..12).unwrap_or_default();
        format!("{}:{} ({generation})", lease.base, lease.alias)
    });
    let spec = EvaluationSpec {
        base,
        serving,
        adapter: lease.as_ref().map(|_| making.join("adapter")),
        name: named.unwrap_or_else(|| format!("{}, without an adapter", addressed.model)),
        source,
        rows: request.max_rows,
        samples: request.evaluation_samples.unwrap_or(32).min(training::MOST_SAMPLES),
        max_length,
        seed: request.seed.unwrap_or(42),
        memory_limit: Some(state.config.training.memory_limit_mib << 20),
    };
    let checked = spec.clone();
    // What is wrong with the data is said now, not when its turn comes.
    let found = tokio::task::spawn_blocking(move || checked.check()).await.map_err(ApiError::internal)?;
    let found = found.map_err(|error| ApiError::invalid("evaluation_file", told(&error)))?;
    let stored = StoredEvaluation {
        id: id.to_owned(),
        owner: caller.subject.clone(),
        unbounded: caller.bounds().is_none(),
        generation: lease.map(|lease| lease.generation.0),
        rows: spec.rows.map_or(found, |most| found.div_ceil(found.div_ceil(most).max(1))),
        request,
        status: Status::Queued,
        error: None,
        created_at: now(),
        finished_at: None,
    };
    let spec = EvaluationSpec {
        adapter: spec.adapter.map(|_| dir.join("adapter")),
        source: spec.source.moved(making, dir),
        ..spec
    };
    job::write(&making.join("job.json"), &spec).map_err(ApiError::internal)?;
    job::write(&making.join(STATE), &stored).map_err(ApiError::internal)?;
    Ok(stored)
}

/// Copies the rows into `dir`.
async fn source(
    state: &Arc<AppState>,
    caller: &Caller,
    request: &EvaluationRequest,
    dir: &Path,
) -> Result<Source, ApiError> {
    let path = dir.join("source.jsonl");
    match (request.evaluation_file.strip_prefix("datanet:"), &request.template) {
        (Some(name), Some(template)) => {
            training::export::datanet(state, caller, (name, Purpose::Evaluation), &path).await?;
            let template = RowTemplate::new(template.system.as_deref(), &template.user, &template.assistant)
                .map_err(|error| ApiError::invalid("template", error.to_string()))?;
            Ok(Source::Rows { path, template })
        }
        (Some(_), None) => Err(ApiError::invalid(
            "template",
            "rows of a datanet need a template, such as {\"user\": \"Define: {title}\", \"assistant\": \"{text}\"}",
        )),
        (None, Some(_)) => Err(ApiError::invalid("template", "a file has its own format; a template is for datanets")),
        (None, None) => {
            training::export::file(state, caller, "evaluation_file", &request.evaluation_file, &path).await?;
            Ok(Source::File { path })
        }
    }
}

/// One evaluation of `owner` (`None`: anyone's).
pub(crate) fn find(config: &Config, id: &str, owner: Option<&str>) -> Option<StoredEvaluation> {
    // An id is a name of ours and nothing that could lead elsewhere.
    let name = id.strip_prefix(PREFIX)?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let dir = directory(config, id);
    let mut stored: StoredEvaluation = job::read(&dir.join(STATE)).ok()?;
    if stored.status == Status::Queued && dir.join("cancel").exists() {
        stored.status = Status::Cancelled;
    }
    owner.is_none_or(|owner| stored.owner == owner).then_some(stored)
}

/// Ids of all evaluations, oldest first: they are UUIDs of version 7.
pub(crate) fn ids(config: &Config) -> Vec<String> {
    let names = std::fs::read_dir(all(config)).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut ids: Vec<String> = names.filter(|name| name.starts_with(PREFIX)).collect();
    ids.sort_unstable();
    ids
}

/// Asks one to end; false when it had.
pub(crate) fn cancel(config: &Config, stored: &StoredEvaluation) -> Result<bool, ApiError> {
    if stored.status.ended() {
        return Ok(false);
    }
    std::fs::write(directory(config, &stored.id).join("cancel"), b"").map_err(ApiError::internal)?;
    Ok(true)
}

/// Works through the queue for as long as the gateway runs.
pub(crate) fn start(state: Arc<AppState>) {
    for entry in std::fs::read_dir(all(&state.config)).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(MAKING) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    tokio::spawn(async move {
        loop {
            match step(&state).await {
                Ok(true) => {}
                Ok(false) => state.evaluations.notified().await,
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "evaluations are held up");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    });
}

/// Does one to its end; false when none waits.
async fn step(state: &Arc<AppState>) -> anyhow::Result<bool> {
    let waiting: Vec<StoredEvaluation> = ids(&state.config)
        .iter()
        .filter_map(|id| find(&state.config, id, None))
        .filter(|stored| !stored.status.ended())
        .collect();
    // One that was running when the gateway stopped comes first.
    let next = waiting.iter().find(|stored| stored.status == Status::Running).or_else(|| waiting.first());
    let Some(mut stored) = next.cloned() else { return Ok(false) };
    let dir = directory(&state.config, &stored.id);
    stored.status = Status::Running;
    job::write(&dir.join(STATE), &stored)?;
    (stored.status, stored.error) = match attend(state, &stored, &dir).await {
        Ok(Outcome { end: Some(End::Cancelled), .. }) => (Status::Cancelled, None),
        Ok(Outcome { error: Some(error), .. }) => (Status::Failed, Some(error)),
        Ok(_) => (Status::Succeeded, None),
        Err(error) => {
            let error = format!("{error:#}");
            note(&dir, Level::Error, &error);
            (Status::Failed, Some(error))
        }
    };
    if let Some(error) = &stored.error {
        tracing::warn!(evaluation = stored.id, %error, "an evaluation failed");
    }
    stored.finished_at = Some(now());
    job::write(&dir.join(STATE), &stored)?;
    Ok(true)
}

/// Waits for the outcome, starting the process as often as it is killed.
async fn attend(state: &AppState, stored: &StoredEvaluation, dir: &Path) -> anyhow::Result<Outcome> {
    for _ in 0..MOST_DEATHS {
        if let Some(outcome) = Outcome::read(dir)? {
            return Ok(outcome);
        }
        let mut process = if training::running(dir) { None } else { Some(spawn(dir)?) };
        loop {
            if let Some(outcome) = Outcome::read(dir)? {
                return Ok(outcome);
            }
            let gone = match &mut process {
                Some(process) => process.try_wait()?.is_some(),
                None => !training::running(dir),
            };
            // It may have ended between the two looks.
            if gone && Outcome::read(dir)?.is_none() {
                break;
            }
            if let Some(datanet) = withdrawn(state, stored).await? {
                std::fs::write(dir.join("cancel"), b"")?;
                anyhow::bail!("evaluation on datanet {datanet} is no longer granted to {}; it was ended", stored.owner);
            }
            tokio::time::sleep(LOOK).await;
        }
        note(dir, Level::Warn, "The process was killed; beginning anew");
    }
    anyhow::bail!("its process was killed {MOST_DEATHS} times; is there memory for it (training.memory_limit_mib)?")
}

/// The datanet that is evaluated on, if the owner may no longer do so.
async fn withdrawn(state: &AppState, stored: &StoredEvaluation) -> anyhow::Result<Option<String>> {
    let Some(datanet) = stored.request.evaluation_file.strip_prefix("datanet:").filter(|_| !stored.unbounded) else {
        return Ok(None);
    };
    let owner = Caller { subject: stored.owner.clone(), roles: Vec::new(), credential: "job", key: None };
    match access::permitted(state, &owner, datanet, Purpose::Evaluation).await {
        Ok(_) => Ok(None),
        Err(error) if matches!(error.code, Code::InsufficientScope | Code::DatanetNotFound) => {
            Ok(Some(datanet.to_owned()))
        }
        Err(error) => Err(anyhow::anyhow!(error.message)),
    }
}

/// Starts `cairn eval --worker DIR`, in a group of its own: it outlives the gateway.
fn spawn(dir: &Path) -> anyhow::Result<Child> {
    use std::os::unix::process::CommandExt;
    let log = File::options().create(true).append(true).open(dir.join("process.log"))?;
    Command::new(std::env::current_exe()?)
        .args(["eval", "--worker"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("the evaluation's process cannot be started")
}

fn note(dir: &Path, level: Level, message: &str) {
    let entry = Entry { at: chrono::Utc::now().timestamp(), level, message: message.to_owned(), data: Value::Null };
    let noted: Result<(), JobError> = job::append(dir, &entry);
    if let Err(error) = noted {
        tracing::warn!(error = %told(&error), "an event of an evaluation is lost");
    }
}

/// What ids begin with.
const PREFIX: &str = "eval-";
/// What directories begin with until they are an evaluation.
const MAKING: &str = ".making-";
const STATE: &str = "evaluation-job.json";
/// How often a process is looked after.
const LOOK: Duration = Duration::from_millis(200);
/// How long the queue waits after what should not happen, such as a full disk.
const AGAIN: Duration = Duration::from_secs(5);
/// Times that a process may be killed before the evaluation fails.
const MOST_DEATHS: usize = 3;
