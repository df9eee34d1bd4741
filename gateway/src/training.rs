//! Fine-tuning jobs: queued, one at a time, each in a process of its own.
//!
//! A job's directory (`training/<id>`, see `cairn_trainer::job`) is all that gateway and process share, so either can die:
//! the process goes on while the gateway restarts, and a killed process is started again from its last checkpoint. What is
//! only here is the queue, who may do what, and the way from a finished run to an adapter in the store.

pub(crate) mod provenance;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use cairn_adapters::store::{Caller as StoreCaller, Source as AdapterSource, Upload};
use cairn_openapi::{
    access::AccessBasis,
    fine_tuning::{FineTuningRequest, Hyperparameters},
};
use cairn_policy::Purpose;
use cairn_proof::training::{Consent, TrainingSource};
use cairn_trainer::{
    End, TrainOptions,
    data::RowTemplate,
    job::{self, Entry, Level, Outcome, Source, Spec},
};
use serde_json::{Map, Value, json};

use crate::{
    access,
    auth::Caller,
    config::Config,
    error::{ApiError, Code},
    state::AppState,
    store::{
        now,
        training::{StoredTraining, TrainingStatus},
    },
};

/// The directory of a job.
pub(crate) fn directory(config: &Config, id: &str) -> PathBuf {
    config.data_dir.join("training").join(id)
}

/// Where an uploaded file is.
pub(crate) fn file_path(config: &Config, id: &str) -> PathBuf {
    config.data_dir.join("files").join(id)
}

/// Checks a request, writes what the job needs, and queues it.
pub(crate) async fn create(
    state: &Arc<AppState>,
    caller: &Caller,
    request: FineTuningRequest,
) -> Result<StoredTraining, ApiError> {
    let id = format!("ftjob-{}", uuid::Uuid::now_v7().simple());
    let dir = directory(&state.config, &id);
    let alias = request.suffix.clone().unwrap_or_else(|| id.clone());
    let parsed = alias.parse::<cairn_adapters::store::AliasName>();
    let name = parsed.map_err(|error| ApiError::invalid("suffix", error.to_string()))?;
    state.adapters.store.available(&request.model, &name, &caller.subject).await?;
    let made = async {
        tokio::fs::create_dir_all(&dir).await.map_err(ApiError::internal)?;
        let mut spec = spec(state, caller, &request, &dir).await?;
        // What is wrong with the data is said now, not when its turn comes.
        let into = dir.clone();
        tokio::task::spawn_blocking(move || {
            let (ready, _) = job::plan(&mut spec).map_err(|error| unusable(&error))?;
            job::write(&into.join("validation.json"), &ready.prepared.report).map_err(ApiError::internal)?;
            job::write(&into.join("job.json"), &spec).map_err(ApiError::internal)
        })
        .await
        .map_err(ApiError::internal)??;
        let stored = StoredTraining {
            id: id.clone(),
            owner: caller.subject.clone(),
            base: request.model.clone(),
            alias,
            unbounded: caller.bounds().is_none(),
            request: serde_json::to_value(&request).map_err(ApiError::internal)?,
            status: TrainingStatus::Queued,
            error: None,
            generation: None,
            created_at: now(),
            started_at: None,
            finished_at: None,
        };
        state.store.create_training(&stored).await?;
        Ok(stored)
    };
    let made: Result<StoredTraining, ApiError> = made.await;
    if made.is_err() {
        // Nothing of a refused request stays.
        let _ = tokio::fs::remove_dir_all(&dir).await;
    }
    let stored = made?;
    note(&dir, Level::Info, "Queued", Value::Null);
    state.trainings.notify_one();
    Ok(stored)
}

/// What is found in the data, and what the run will take, without starting anything.
pub(crate) async fn preview(
    state: &Arc<AppState>,
    caller: &Caller,
    request: &FineTuningRequest,
) -> Result<Value, ApiError> {
    let dir = tempfile::Builder::new().prefix("preview-").tempdir_in(&state.config.data_dir);
    let dir = dir.map_err(ApiError::internal)?;
    let mut spec = spec(state, caller, request, dir.path()).await?;
    let limit = state.config.training.memory_limit_mib << 20;
    tokio::task::spawn_blocking(move || {
        let (ready, forecast) = job::plan(&mut spec).map_err(|error| unusable(&error))?;
        let report = &ready.prepared.report;
        let config = cairn_lane::Description::read(&spec.serving)
            .map_err(|error| ApiError::invalid("model", format!("{:#}", anyhow::Error::from(error))))?
            .config;
        let options = &spec.options;
        let refused = |error: cairn_trainer::TrainError| ApiError::invalid("method", error.to_string());
        let trained = cairn_trainer::memory::trained(&config, options).map_err(refused)?;
        let rows = options.batch_size * options.max_length.min(report.tokens.max.max(2));
        let file = job::weight_bytes(&spec.serving);
        let memory = cairn_trainer::memory::Memory::predict(&config, options, trained, rows, file);
        Ok(json!({
            "validation": report,
            "trained_parameters": trained,
            "memory": memory,
            "memory_bytes": memory.total(),
            "memory_limit_bytes": limit,
            "fits": (memory.total() as u64) < limit,
            "steps": forecast.steps,
            "seconds": forecast.training + forecast.evaluation,
            "options": options,
        }))
    })
    .await
    .map_err(ApiError::internal)?
}

/// From a request to what the process is told; copies what it will read into `dir`.
async fn spec(
    state: &Arc<AppState>,
    caller: &Caller,
    request: &FineTuningRequest,
    dir: &Path,
) -> Result<Spec, ApiError> {
    let model = request.model.parse().map_err(|_| unknown_model(&request.model))?;
    state.models.get(&model)?;
    let serving = state.config.models_dir.join(&request.model).join("serving");
    if let Err(error) = cairn_lane::Description::read(&serving) {
        let message = format!("{} cannot be trained here: {:#}", request.model, anyhow::Error::from(error));
        return Err(ApiError::invalid("model", message));
    }
    let held_out = request.held_out.unwrap_or(0.1);
    if !(0.0..=0.5).contains(&held_out) {
        return Err(ApiError::invalid("held_out", format!("held_out is {held_out}; give 0 to 0.5")));
    }
    let source = match (request.training_file.strip_prefix("datanet:"), &request.template) {
        (Some(name), Some(template)) => {
            let path = dir.join("source.jsonl");
            let exported = export(state, caller, name, &path).await?;
            provenance::note_source(dir, exported)?;
            let template = RowTemplate::new(template.system.as_deref(), &template.user, &template.assistant)
                .map_err(|error| ApiError::invalid("template", error.to_string()))?;
            Source::Rows { path, template }
        }
        (Some(_), None) => {
            return Err(ApiError::invalid(
                "template",
                "rows of a datanet need a template, such as {\"user\": \"Define: {title}\", \"assistant\": \"{text}\"}",
            ));
        }
        (None, Some(_)) => {
            return Err(ApiError::invalid("template", "a file has its own format; a template is for datanets"));
        }
        (None, None) => {
            let path = dir.join("source.jsonl");
            take(state, caller, "training_file", &request.training_file, &path).await?;
            provenance::note_source(dir, provenance::of_file(&path)?)?;
            Source::File { path }
        }
    };
    let validation = match &request.validation_file {
        None => None,
        Some(file) => {
            let path = dir.join("validation-source.jsonl");
            take(state, caller, "validation_file", file, &path).await?;
            provenance::note_source(dir, provenance::of_file(&path)?)?;
            Some(path)
        }
    };
    Ok(Spec {
        base: request.model.clone(),
        serving,
        source,
        validation,
        held_out,
        samples: request.evaluation_samples.unwrap_or(32).min(MOST_SAMPLES),
        options: options(request)?,
        memory_limit: Some(state.config.training.memory_limit_mib << 20),
    })
}

/// The preset, the request's options, and OpenAI's names for some of them.
fn options(request: &FineTuningRequest) -> Result<TrainOptions, ApiError> {
    let method = request.method.clone().unwrap_or_default();
    let kind = match method.kind.as_str() {
        "" | "supervised" | "qlora" => "qlora",
        "lora" => "lora",
        other => {
            let message = format!("{other:?} is not a method here; use qlora, lora or supervised");
            return Err(ApiError::invalid("method", message));
        }
    };
    let mut fields: Map<String, Value> = method.options;
    fields.insert("method".into(), json!(kind));
    fields.entry("preset").or_insert_with(|| json!(method.preset.unwrap_or_else(|| "balanced".into())));
    if let Some(seed) = request.seed {
        fields.insert("seed".into(), json!(seed));
    }
    let supervised = method.supervised.and_then(|supervised| supervised.hyperparameters);
    let Hyperparameters { n_epochs, batch_size, learning_rate_multiplier } =
        supervised.or_else(|| request.hyperparameters.clone()).unwrap_or_default();
    let given = |value: Option<Value>| value.filter(|value| *value != json!("auto"));
    if let Some(epochs) = given(n_epochs) {
        fields.insert("epochs".into(), epochs);
    }
    if let Some(size) = given(batch_size) {
        fields.insert("batch_size".into(), size);
        fields.insert("gradient_accumulation".into(), json!(1));
    }
    let read = |fields| TrainOptions::from_json(fields).map_err(|error| ApiError::invalid("method", error.to_string()));
    let mut options = read(fields)?;
    if let Some(factor) = given(learning_rate_multiplier) {
        let factor = factor.as_f64().filter(|factor| *factor > 0.0 && *factor <= 100.0).ok_or_else(|| {
            ApiError::invalid("learning_rate_multiplier", "give \"auto\" or a number above 0 and at most 100")
        })?;
        options.lr *= factor;
    }
    Ok(options)
}

/// Copies an uploaded file, so that the job has it whatever becomes of the original.
async fn take(state: &AppState, caller: &Caller, param: &str, id: &str, to: &Path) -> Result<(), ApiError> {
    let file = state.store.file(id, caller.bounds()).await?;
    let file = file.ok_or_else(|| {
        ApiError::invalid(
            param,
            format!("there is no file {id:?}; POST /v1/files uploads one, and datanet:NAME names a datanet"),
        )
    })?;
    tokio::fs::copy(file_path(&state.config, &file.id), to).await.map_err(ApiError::internal)?;
    Ok(())
}

/// Writes the rows of a datanet that the caller may train on; says which snapshot they are of, and by what right.
async fn export(state: &Arc<AppState>, caller: &Caller, name: &str, to: &Path) -> Result<TrainingSource, ApiError> {
    let access = access::permitted(state, caller, name, Purpose::Training).await?;
    let consent = match access.basis {
        AccessBasis::Owner => Consent::Own,
        AccessBasis::Administrator => Consent::Operator,
        AccessBasis::Grant | AccessBasis::Public | AccessBasis::OnRequest => Consent::Grant,
    };
    let (parsed, rows) = (access.name, access.rows);
    let (index, to) = (state.index.clone(), to.to_owned());
    let written = state.runtime.spawn(async move {
        let mut file = std::io::BufWriter::new(File::create(&to)?);
        let snapshot = index.snapshot(&parsed)?;
        let (size, root) = (snapshot.size, snapshot.root);
        let mut at = 0;
        while at < size {
            let page = index.page(&parsed, at, EXPORTED_AT_ONCE, rows.as_ref()).await?;
            at += EXPORTED_AT_ONCE as u64;
            for datapoint in page {
                let metadata = datapoint.metadata.as_object().into_iter().flatten();
                let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let row = cairn_trainer::job::Exported {
                    id: format!("{}/{}", datapoint.datanet, datapoint.id),
                    leaf: datapoint.leaf.to_string(),
                    title: datapoint.title().unwrap_or_default().to_owned(),
                    text: datapoint.text.clone(),
                    contributor: datapoint.contributor.clone(),
                    metadata: metadata.map(|(name, value)| (name.clone(), text(value))).collect::<BTreeMap<_, _>>(),
                };
                serde_json::to_writer(&mut file, &row)?;
                file.write_all(b"\n")?;
            }
        }
        file.flush().context("the rows cannot be written")?;
        let datanet = Some(parsed.to_string());
        Ok(TrainingSource { datanet, size: Some(size), root: Some(root), file: None, consent })
    });
    written.await.map_err(ApiError::internal)?.map_err(|error: anyhow::Error| ApiError::internal(error))
}

fn unusable(error: &job::JobError) -> ApiError {
    ApiError::invalid("training_file", error.to_string())
}

fn unknown_model(name: &str) -> ApiError {
    cairn_adapters::GenerateError::UnknownModel(name.to_owned()).into()
}

/// Asks a job to stop: at its next checkpoint (`pause`) or at once (`cancel`).
pub(crate) async fn stop(state: &AppState, job: &StoredTraining, pause: bool) -> Result<bool, ApiError> {
    let to = if pause { TrainingStatus::Paused } else { TrainingStatus::Cancelled };
    if state.store.move_training(&job.id, &[TrainingStatus::Queued], to, None).await? {
        return Ok(true);
    }
    if !pause && state.store.move_training(&job.id, &[TrainingStatus::Paused], to, None).await? {
        return Ok(true);
    }
    let running = state.store.training(&job.id, None).await?.is_some_and(|job| job.status == TrainingStatus::Running);
    if running {
        let name = if pause { "pause" } else { "cancel" };
        std::fs::write(directory(&state.config, &job.id).join(name), b"").map_err(ApiError::internal)?;
    }
    Ok(running)
}

/// Puts a paused job, or one that failed, back into the queue.
pub(crate) async fn resume(state: &AppState, job: &StoredTraining) -> Result<bool, ApiError> {
    let dir = directory(&state.config, &job.id);
    for name in ["pause", "cancel", "outcome.json"] {
        let _ = std::fs::remove_file(dir.join(name));
    }
    let from = [TrainingStatus::Paused, TrainingStatus::Failed];
    let moved = state.store.move_training(&job.id, &from, TrainingStatus::Queued, None).await?;
    state.trainings.notify_one();
    Ok(moved)
}

/// Works through the queue for as long as the gateway runs.
pub(crate) fn start(state: Arc<AppState>) {
    tokio::spawn(async move {
        loop {
            match step(&state).await {
                Ok(true) => {}
                Ok(false) => {
                    let _ = tokio::time::timeout(IDLE, state.trainings.notified()).await;
                }
                Err(error) => {
                    tracing::error!(%error, "fine-tuning jobs are held up");
                    tokio::time::sleep(IDLE).await;
                }
            }
        }
    });
}

/// Does one job to its end or pause; false when none waits.
async fn step(state: &Arc<AppState>) -> anyhow::Result<bool> {
    let live = state.store.live_trainings().await?;
    // One that was running when the gateway stopped comes first.
    let next = live.iter().find(|job| job.status == TrainingStatus::Running).or_else(|| live.first());
    let Some(job) = next else { return Ok(false) };
    let id = &job.id;
    state.store.move_training(id, &[TrainingStatus::Queued], TrainingStatus::Running, None).await?;
    let dir = directory(&state.config, id);
    let done = match attend(state, job, &dir).await {
        Ok(outcome) => finish(state, job, &dir, outcome).await,
        Err(error) => Err(error),
    };
    let (status, error) = match done {
        Ok(status) => (status, None),
        Err(error) => (TrainingStatus::Failed, Some(format!("{error:#}"))),
    };
    if let Some(error) = &error {
        tracing::warn!(job = id, %error, "a fine-tuning job failed");
        note(&dir, Level::Error, error, Value::Null);
    }
    state.store.move_training(id, &[TrainingStatus::Running], status, error.as_deref()).await?;
    Ok(true)
}

/// Waits for a job's outcome, starting its process as often as it is killed.
async fn attend(state: &AppState, job: &StoredTraining, dir: &Path) -> anyhow::Result<Outcome> {
    let mut deaths = 0;
    loop {
        if let Some(outcome) = outcome(dir)? {
            return Ok(outcome);
        }
        let (started, mut process) = if running(dir) { (false, None) } else { (true, Some(spawn(dir)?)) };
        if started {
            tracing::info!(dir = %dir.display(), "started a training process");
        }
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(datanet) = withdrawn(state, job).await? {
                std::fs::write(dir.join("cancel"), b"")?;
                anyhow::bail!("training on datanet {datanet} is no longer granted to {}; the run was ended", job.owner);
            }
            let gone = match &mut process {
                Some(process) => process.try_wait()?.is_some(),
                None => !running(dir),
            };
            if gone {
                break;
            }
        }
        if outcome(dir)?.is_some() {
            continue;
        }
        deaths += 1;
        anyhow::ensure!(
            deaths < MOST_DEATHS,
            "its process was killed {deaths} times; the last checkpoint stays, and resuming goes on from it"
        );
        note(dir, Level::Warn, "The process was killed; going on from the last checkpoint", Value::Null);
    }
}

/// The datanet that a job learns from, if its owner may no longer train on it.
async fn withdrawn(state: &AppState, job: &StoredTraining) -> anyhow::Result<Option<String>> {
    let Some(datanet) = job.request["training_file"].as_str().and_then(|file| file.strip_prefix("datanet:")) else {
        return Ok(None);
    };
    if job.unbounded {
        return Ok(None);
    }
    // Whose the job is, without any role: an administrator's are unbounded.
    let owner = Caller { subject: job.owner.clone(), roles: Vec::new(), credential: "job", key: None };
    match access::permitted(state, &owner, datanet, Purpose::Training).await {
        Ok(_) => Ok(None),
        Err(error) if matches!(error.code, Code::InsufficientScope | Code::DatanetNotFound) => {
            Ok(Some(datanet.to_owned()))
        }
        Err(error) => Err(anyhow::anyhow!(error.message)),
    }
}

fn outcome(dir: &Path) -> anyhow::Result<Option<Outcome>> {
    let path = dir.join("outcome.json");
    if path.exists() { Ok(Some(job::read(&path)?)) } else { Ok(None) }
}

/// Whether a process works on a job: it holds the lock for as long as it lives.
pub(crate) fn running(dir: &Path) -> bool {
    File::open(dir.join("lock")).is_ok_and(|lock| matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
}

/// Starts `cairn train --worker DIR`, in a group of its own: it outlives the gateway.
fn spawn(dir: &Path) -> anyhow::Result<std::process::Child> {
    use std::os::unix::process::CommandExt;
    let log = File::options().create(true).append(true).open(dir.join("process.log"))?;
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

/// From a finished run to an adapter that answers.
async fn finish(
    state: &Arc<AppState>,
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
    let by = StoreCaller { subject: job.owner.clone(), admin: false };
    let base = state.adapters.base(&job.base).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let source = AdapterSource::Directory(dir.join("adapter"));
    let done = state.adapters.store.upload(Upload { source, base, owner: job.owner.clone() }, &by).await?;
    // In the log before anyone can use it: no adapter answers whose training is not on record.
    let provenance = provenance::record(state, job, dir, &done.generation.0).await?;
    let alias = job.alias.parse()?;
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

fn note(dir: &Path, level: Level, message: &str, data: Value) {
    let entry = Entry { at: chrono::Utc::now().timestamp(), level, message: message.to_owned(), data };
    if let Err(error) = job::append(dir, &entry) {
        tracing::warn!(%error, "an event of a job is lost");
    }
}

/// Datapoints read at once.
const EXPORTED_AT_ONCE: usize = 2000;
/// Most held-out rows that are answered for an evaluation.
const MOST_SAMPLES: usize = 500;
/// How often a process is looked after.
const LOOK: Duration = Duration::from_millis(200);
/// How often the queue is looked at when nobody says that there is something.
const IDLE: Duration = Duration::from_secs(5);
/// Times that a job's process may be killed before the job fails.
const MOST_DEATHS: usize = 5;
