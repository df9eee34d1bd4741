//! `/v1/fine_tuning/jobs`, as OpenAI has it, with pausing, previews and evaluations added.

use actix_web::{
    HttpResponse, delete, get, post,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    fine_tuning::{
        Deleted, FineTuningError, FineTuningEvents, FineTuningJob, FineTuningList, FineTuningRequest, PageQuery,
        RowQuery,
    },
    keys::Role,
};
use cairn_trainer::job::{self, Spec};
use serde_json::{Value, json};

use super::run_directory::{RunDirectory, limit, seconds};
use crate::{
    auth::{Allowed, Caller, Trainers, TrainersAndAuditors},
    error::{ApiError, Code},
    state::AppState,
    store::training::{StoredTraining, TrainingStatus},
    training,
};

/// Starts a fine-tuning job. The data is checked first, all of it: what is wrong with it is the answer.
#[utoipa::path(operation_id = "create_fine_tuning_job", tag = "fine-tuning", request_body = FineTuningRequest, responses((status = 200, body = FineTuningJob), (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/fine_tuning/jobs")]
pub(crate) async fn create(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    request: Json<FineTuningRequest>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let state = state.into_inner();
    let stored = training::create(&state, &caller, request.into_inner()).await?;
    described(&state, stored).await.map(Json)
}

/// What a job would learn from, how its rows look to the model, and the memory and time that it would take. Starts nothing.
#[utoipa::path(operation_id = "preview_fine_tuning_job", tag = "fine-tuning", request_body = FineTuningRequest, responses((status = 200, body = Object), (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/fine_tuning/preview")]
pub(crate) async fn preview(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    request: Json<FineTuningRequest>,
) -> Result<Json<Value>, ApiError> {
    training::preview(&state.into_inner(), &caller, &request).await.map(Json)
}

/// Jobs of the caller (an administrator's: everyone's), newest first.
#[utoipa::path(operation_id = "list_fine_tuning_jobs", tag = "fine-tuning", params(PageQuery), responses((status = 200, body = FineTuningList)))]
#[get("/v1/fine_tuning/jobs")]
pub(crate) async fn list(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    page: Query<PageQuery>,
) -> Result<Json<FineTuningList>, ApiError> {
    let limit = limit(&page)?;
    let mut stored = state.store.trainings(caller.bounds(), page.after.as_deref(), limit + 1).await?;
    let has_more = stored.len() > limit;
    stored.truncate(limit);
    let mut data = Vec::with_capacity(stored.len());
    for job in stored {
        data.push(described(&state, job).await?);
    }
    Ok(Json(FineTuningList { object: "list".into(), data, has_more }))
}

/// Where a job stands.
#[utoipa::path(operation_id = "retrieve_fine_tuning_job", tag = "fine-tuning", responses((status = 200, body = FineTuningJob), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}")]
pub(crate) async fn retrieve(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let stored = known(&state, &caller, &id).await?;
    described(&state, stored).await.map(Json)
}

/// Ends a job; its checkpoints stay until the job is forgotten.
#[utoipa::path(operation_id = "cancel_fine_tuning_job", tag = "fine-tuning", responses((status = 200, body = FineTuningJob), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/fine_tuning/jobs/{id}/cancel")]
pub(crate) async fn cancel(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let stored = known(&state, &caller, &id).await?;
    if !training::stop(&state, &stored, false).await? {
        return Err(ended(&stored, "cancelled"));
    }
    again(&state, &caller, &id).await
}

/// Pauses a job after the step that it is in; its checkpoint is written first.
#[utoipa::path(operation_id = "pause_fine_tuning_job", tag = "fine-tuning", responses((status = 200, body = FineTuningJob), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/fine_tuning/jobs/{id}/pause")]
pub(crate) async fn pause(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let stored = known(&state, &caller, &id).await?;
    if !training::stop(&state, &stored, true).await? {
        return Err(ended(&stored, "paused"));
    }
    again(&state, &caller, &id).await
}

/// Goes on with a job that was paused or failed, from its last checkpoint.
#[utoipa::path(operation_id = "resume_fine_tuning_job", tag = "fine-tuning", responses((status = 200, body = FineTuningJob), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/fine_tuning/jobs/{id}/resume")]
pub(crate) async fn resume(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<FineTuningJob>, ApiError> {
    let stored = known(&state, &caller, &id).await?;
    if !training::resume(&state, &stored).await? {
        return Err(ended(&stored, "resumed"));
    }
    again(&state, &caller, &id).await
}

/// Deletes a job that has ended, with its data, checkpoints and reports. Its adapter stays; and where the log tells of it, so do
/// the list of its rows and their proofs.
#[utoipa::path(operation_id = "delete_fine_tuning_job", tag = "fine-tuning", responses((status = 200, body = Deleted), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/fine_tuning/jobs/{id}")]
pub(crate) async fn delete(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    let stored = known(&state, &caller, &id).await?;
    if !training::delete(&state, &stored).await? {
        let message = format!("{} is {} and cannot be deleted; cancel it first", stored.id, stored.status.name());
        return Err(ApiError::new(Code::InvalidRequest, message));
    }
    Ok(Json(Deleted { id: stored.id, object: "fine_tuning.job".into(), deleted: true }))
}

/// What happened in a job, newest first; with `stream` as server-sent events, oldest first, until the job has ended.
#[utoipa::path(operation_id = "fine_tuning_events", tag = "fine-tuning", params(("id" = String, Path,), PageQuery), responses((status = 200, body = FineTuningEvents), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}/events")]
pub(crate) async fn events(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
    page: Query<PageQuery>,
) -> Result<HttpResponse, ApiError> {
    let stored = known(&state, &caller, &id).await?;
    let run = run_of(&state, &stored);
    if !page.stream {
        return run.events(&page).await;
    }
    let (state, id) = (state.into_inner(), stored.id);
    Ok(run.follow(move || {
        let (state, id) = (state.clone(), id.clone());
        async move {
            let job = state.store.training(&id, None).await.ok()??;
            Some(job.status.ended() || job.status == TrainingStatus::Paused)
        }
    }))
}

/// What was found in a job's data, with rendered samples and what of them is learnt.
#[utoipa::path(operation_id = "fine_tuning_validation", tag = "fine-tuning", responses((status = 200, body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}/validation")]
pub(crate) async fn validation(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    result(&state, &caller, &id, "validation.json", "application/json").await
}

/// Base beside adapter on the held-out rows, once the job has succeeded.
#[utoipa::path(operation_id = "fine_tuning_evaluation", tag = "fine-tuning", responses((status = 200, body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}/evaluation")]
pub(crate) async fn evaluation(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    result(&state, &caller, &id, "evaluation.json", "application/json").await
}

/// The evaluation as one page for people.
#[utoipa::path(operation_id = "fine_tuning_report", tag = "fine-tuning", responses((status = 200, content_type = "text/html", body = String), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}/report")]
pub(crate) async fn report(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    result(&state, &caller, &id, "report.html", "text/html; charset=utf-8").await
}

/// What the log says of a job's run: base, hyper-parameters, where its rows come from and by what right, the root over
/// them, the adapter that came of it; and the entry's place in the log.
#[utoipa::path(operation_id = "fine_tuning_provenance", tag = "fine-tuning", responses((status = 200, body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}/provenance")]
pub(crate) async fn provenance(
    caller: Allowed<TrainersAndAuditors>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let stored = on_record(&state, &caller, &id).await?;
    run_of(&state, &stored).file("provenance.json", "application/json", stored.status.name()).await
}

/// The proof that a row was used in a job's run: one file that `cairn verify` checks offline.
#[utoipa::path(operation_id = "fine_tuning_row_proof", tag = "fine-tuning", params(("id" = String, Path,), RowQuery), responses((status = 200, content_type = "application/json", body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}/provenance/proof")]
pub(crate) async fn row_proof(
    caller: Allowed<TrainersAndAuditors>,
    state: Data<AppState>,
    id: Path<String>,
    row: Query<RowQuery>,
) -> Result<HttpResponse, ApiError> {
    let stored = on_record(&state, &caller, &id).await?;
    let dir = training::directory(&state.config, &stored.id);
    let bundle = training::provenance::bundle(&state, &dir, &row.row, sees(&caller)).await?;
    let name = format!("attachment; filename=\"{}.cairn.json\"", stored.id);
    Ok(HttpResponse::Ok().content_type("application/json").insert_header(("content-disposition", name)).body(bundle))
}

/// Whose records a caller sees: its own, and as an auditor or administrator everyone's (`None`).
fn sees(caller: &Caller) -> Option<&str> {
    if caller.has(&[Role::Auditor]) { None } else { caller.bounds() }
}

/// What is on record of a job is for its owner, auditors and administrators.
async fn on_record(state: &AppState, caller: &Caller, id: &str) -> Result<StoredTraining, ApiError> {
    let job = state.store.training_on_record(id, sees(caller)).await?;
    job.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no fine-tuning job {id:?}")))
}

async fn result(
    state: &AppState,
    caller: &Caller,
    id: &str,
    name: &str,
    kind: &'static str,
) -> Result<HttpResponse, ApiError> {
    let stored = known(state, caller, id).await?;
    run_of(state, &stored).file(name, kind, stored.status.name()).await
}

pub(super) fn run_of(state: &AppState, stored: &StoredTraining) -> RunDirectory {
    let dir = training::directory(&state.config, &stored.id);
    RunDirectory { id: stored.id.clone(), dir, event: "fine_tuning.job.event" }
}

async fn again(state: &AppState, caller: &Caller, id: &str) -> Result<Json<FineTuningJob>, ApiError> {
    let stored = known(state, caller, id).await?;
    described(state, stored).await.map(Json)
}

pub(super) async fn known(state: &AppState, caller: &Caller, id: &str) -> Result<StoredTraining, ApiError> {
    let job = state.store.training(id, caller.bounds()).await?;
    job.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no fine-tuning job {id:?}")))
}

fn ended(job: &StoredTraining, wanted: &str) -> ApiError {
    ApiError::new(Code::InvalidRequest, format!("{} is {} and cannot be {wanted}", job.id, job.status.name()))
}

async fn described(state: &AppState, job: StoredTraining) -> Result<FineTuningJob, ApiError> {
    let request: FineTuningRequest = serde_json::from_value(job.request.clone()).map_err(ApiError::internal)?;
    let (dir, of) = (training::directory(&state.config, &job.id), job.clone());
    let looked_up = tokio::task::spawn_blocking(move || {
        let spec: Option<Spec> = job::read(&dir.join("job.json")).ok();
        let last = job::last_event(&dir, |entry| entry.data["event"] == "step");
        last.map(|last| (spec.map(|spec| spec.options), last, training::results::files(&dir, &of)))
    });
    let (options, last, result_files) = looked_up
        .await
        .map_err(ApiError::internal)?
        .map_err(|error| ApiError::internal(cairn_trainer::told(&error)))?;
    let last = last.as_ref();
    let running = job.status == TrainingStatus::Running;
    let estimated = last.filter(|_| running).and_then(|entry| Some(entry.at + entry.data["eta"].as_f64()? as i64));
    let kind = options.as_ref().map(|options| options.method);
    // What the preset's rate was multiplied by, whether the request said it so or gave a rate.
    let multiplier = options.as_ref().map(|options| options.lr / training::preset_of(&request).lr);
    Ok(FineTuningJob {
        object: "fine_tuning.job".into(),
        created_at: seconds(&job.created_at),
        finished_at: job.finished_at.as_deref().map(seconds),
        estimated_finish: estimated,
        error: job.error.map(|message| FineTuningError { code: "job_failed".into(), message, param: None }),
        fine_tuned_model: job.generation.as_ref().map(|_| format!("{}:{}", job.base, job.alias)),
        model: job.base,
        organization_id: job.owner,
        status: job.status.name().into(),
        training_file: request.training_file,
        validation_file: request.validation_file,
        result_files,
        trained_tokens: last.and_then(|entry| entry.data["tokens"].as_u64()),
        hyperparameters: json!({
            "n_epochs": options.as_ref().map(|options| options.epochs),
            "batch_size": options.as_ref().map(|options| options.batch_size * options.gradient_accumulation),
            "learning_rate_multiplier": multiplier,
        }),
        seed: options.as_ref().map_or(0, |options| options.seed),
        method: json!({"type": kind, "options": options}),
        integrations: Vec::new(),
        metadata: request.metadata,
        progress: last.map(|entry| entry.data.clone()),
        adapter_generation: job.generation,
        id: job.id,
    })
}
