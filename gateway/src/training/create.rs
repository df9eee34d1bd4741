//! From a request to a job in the queue, or to what it would take. What is wrong with it is found here, not when its turn comes.

use std::{path::Path, sync::Arc};

use cairn_openapi::fine_tuning::FineTuningRequest;
use cairn_policy::Purpose;
use cairn_trainer::{
    TrainError,
    data::{DataError, RowTemplate},
    job::{self, JobError, Level, Source, Spec},
    told,
};
use serde_json::{Value, json};

use super::{directory, export, note, options, provenance, unkept};
use crate::{
    auth::Caller,
    error::ApiError,
    state::AppState,
    store::{
        now,
        training::{StoredTraining, TrainingStatus},
    },
};

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
        tokio::fs::create_dir_all(&dir).await.map_err(|error| ApiError::file(&error))?;
        let mut spec = spec(state, caller, &request, &dir).await?;
        let into = dir.clone();
        tokio::task::spawn_blocking(move || {
            let (ready, forecast) = job::plan(&mut spec).map_err(|error| unusable(&error))?;
            if let Some(reason) = spec.memory_limit.and_then(|limit| forecast.too_large(limit)) {
                return Err(ApiError::invalid("method", reason));
            }
            let kept = || {
                job::write(&into.join("validation.json"), &ready.prepared.report)?;
                forecast.write(&into)?;
                job::reserve(&into)?;
                job::write(&into.join("job.json"), &spec)
            };
            kept().map_err(unkept)
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
    state.trainings.queued.notify_one();
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
        Ok(json!({
            "validation": &ready.prepared.report,
            "trained_parameters": forecast.trained,
            "memory": forecast.memory,
            "memory_bytes": forecast.memory.total(),
            "evaluation_memory_bytes": forecast.evaluation,
            "memory_limit_bytes": limit,
            "fits": forecast.too_large(limit).is_none(),
            "steps": forecast.steps,
            "time": forecast.time,
            "seconds": forecast.time.total(),
            "options": &spec.options,
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
        let message = format!("{} cannot be trained here: {}", request.model, told(&error));
        return Err(ApiError::invalid("model", message));
    }
    let held_out = request.held_out.unwrap_or(0.1);
    if !(0.0..=0.5).contains(&held_out) {
        return Err(ApiError::invalid("held_out", format!("held_out is {held_out}; give 0 to 0.5")));
    }
    // Before anything is copied.
    let options = options::read(request)?;
    let source = match (request.training_file.strip_prefix("datanet:"), &request.template) {
        (Some(name), Some(template)) => {
            let path = dir.join("source.jsonl");
            let (exported, right) = export::datanet(state, caller, (name, Purpose::Training), &path).await?;
            provenance::note_source(dir, exported)?;
            right.write(dir).map_err(unkept)?;
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
            let copied = export::file(state, caller, "training_file", &request.training_file, &path).await?;
            provenance::note_source(dir, copied)?;
            Source::File { path }
        }
    };
    let validation = match &request.validation_file {
        None => None,
        Some(file) => {
            let path = dir.join("validation-source.jsonl");
            let copied = export::file(state, caller, "validation_file", file, &path).await?;
            provenance::note_source(dir, copied)?;
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
        options,
        memory_limit: Some(state.config.training.memory_limit_mib << 20),
    })
}

/// Which field of the request is at fault, and how to mend it.
fn unusable(error: &JobError) -> ApiError {
    let param = match error {
        JobError::Train(TrainError::Example { .. } | TrainError::NoData(_)) => "training_file",
        JobError::Train(TrainError::Load(_)) | JobError::Load(_) | JobError::Text(_) => "model",
        JobError::Train(
            TrainError::Option { .. } | TrainError::NoTargets | TrainError::Format(_) | TrainError::Adapter(_),
        )
        | JobError::Memory { .. } => "method",
        JobError::Data(DataError::TooLong { .. } | DataError::Option { .. }) => "method",
        JobError::Data(DataError::Template { .. } | DataError::UnknownField { .. }) => "template",
        JobError::Data(_) => "training_file",
        JobError::Validation(_) => "validation_file",
        JobError::File { .. }
        | JobError::Running(_)
        | JobError::Stopped(_)
        | JobError::Lane(_)
        | JobError::Train(TrainError::NotFinite { .. } | TrainError::Checkpoint { .. } | TrainError::Io { .. }) => {
            return ApiError::internal(told(error));
        }
    };
    ApiError::invalid(param, told(error))
}

fn unknown_model(name: &str) -> ApiError {
    cairn_adapters::GenerateError::UnknownModel(name.to_owned()).into()
}

/// Most held-out rows that are answered for an evaluation.
pub(crate) const MOST_SAMPLES: usize = 500;
