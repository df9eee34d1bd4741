//! `/v1/evaluations`: a published adapter beside its base, on demand.

use actix_web::{
    HttpResponse, delete, get, post,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    evaluations::{EvaluationJob, EvaluationList, EvaluationRequest},
    fine_tuning::{Deleted, FineTuningError, FineTuningEvents, PageQuery},
};
use cairn_trainer::job;

use super::run_directory::{RunDirectory, limit, seconds};
use crate::{
    auth::{Allowed, Caller, Trainers},
    error::{ApiError, Code},
    evaluations::{self, StoredEvaluation},
    state::AppState,
    training,
};

/// Compares a published adapter with its base on rows of a file or a datanet, in a process of its own. The data is checked
/// first: what is wrong with it is the answer.
#[utoipa::path(operation_id = "create_evaluation", tag = "evaluations", request_body = EvaluationRequest, responses((status = 200, body = EvaluationJob), (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/evaluations")]
pub(crate) async fn create(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    request: Json<EvaluationRequest>,
) -> Result<Json<EvaluationJob>, ApiError> {
    let state = state.into_inner();
    let stored = evaluations::create(&state, &caller, request.into_inner()).await?;
    Ok(Json(described(&state, stored)))
}

/// Evaluations of the caller (an administrator's: everyone's), newest first.
#[utoipa::path(operation_id = "list_evaluations", tag = "evaluations", params(PageQuery), responses((status = 200, body = EvaluationList)))]
#[get("/v1/evaluations")]
pub(crate) async fn list(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    page: Query<PageQuery>,
) -> Result<Json<EvaluationList>, ApiError> {
    let limit = limit(&page)?;
    let ids = evaluations::ids(&state.config);
    let wanted = ids.iter().rev().filter(|id| page.after.as_ref().is_none_or(|after| *id < after));
    let mut found: Vec<StoredEvaluation> =
        wanted.filter_map(|id| evaluations::find(&state.config, id, caller.bounds())).take(limit + 1).collect();
    let has_more = found.len() > limit;
    found.truncate(limit);
    let data = found.into_iter().map(|stored| described(&state, stored)).collect();
    Ok(Json(EvaluationList { object: "list".into(), data, has_more }))
}

/// Where an evaluation stands.
#[utoipa::path(operation_id = "retrieve_evaluation", tag = "evaluations", responses((status = 200, body = EvaluationJob), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/evaluations/{id}")]
pub(crate) async fn retrieve(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<EvaluationJob>, ApiError> {
    Ok(Json(described(&state, known(&state, &caller, &id)?)))
}

/// Ends an evaluation.
#[utoipa::path(operation_id = "cancel_evaluation", tag = "evaluations", responses((status = 200, body = EvaluationJob), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/evaluations/{id}/cancel")]
pub(crate) async fn cancel(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<EvaluationJob>, ApiError> {
    let stored = known(&state, &caller, &id)?;
    if !evaluations::cancel(&state.config, &stored)? {
        let message = format!("{} is {} and cannot be cancelled", stored.id, stored.status.name());
        return Err(ApiError::new(Code::InvalidRequest, message));
    }
    Ok(Json(described(&state, known(&state, &caller, &id)?)))
}

/// Forgets an evaluation that has ended, with its copy of the rows and its results.
#[utoipa::path(operation_id = "delete_evaluation", tag = "evaluations", responses((status = 200, body = Deleted), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/evaluations/{id}")]
pub(crate) async fn delete(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    let stored = known(&state, &caller, &id)?;
    let dir = evaluations::directory(&state.config, &stored.id);
    if !stored.status.ended() || training::running(&dir) {
        let message = format!("{} is {}; cancel it first", stored.id, stored.status.name());
        return Err(ApiError::new(Code::InvalidRequest, message));
    }
    tokio::fs::remove_dir_all(&dir).await.map_err(ApiError::internal)?;
    Ok(Json(Deleted { id: stored.id, object: "evaluation".into(), deleted: true }))
}

/// What happened in an evaluation, newest first; with `stream` as server-sent events, oldest first, until it has ended.
#[utoipa::path(operation_id = "evaluation_events", tag = "evaluations", params(("id" = String, Path,), PageQuery), responses((status = 200, body = FineTuningEvents), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/evaluations/{id}/events")]
pub(crate) async fn events(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
    page: Query<PageQuery>,
) -> Result<HttpResponse, ApiError> {
    let stored = known(&state, &caller, &id)?;
    let run = run_of(&state, &stored);
    if !page.stream {
        return run.events(&page).await;
    }
    let (state, id) = (state.into_inner(), stored.id);
    Ok(run.follow(move || {
        let stored = evaluations::find(&state.config, &id, None);
        std::future::ready(stored.map(|stored| stored.status.ended()))
    }))
}

/// The result: metrics with intervals, answers side by side, memory, speed.
#[utoipa::path(operation_id = "evaluation_result", tag = "evaluations", responses((status = 200, body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/evaluations/{id}/result")]
pub(crate) async fn result(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let stored = known(&state, &caller, &id)?;
    run_of(&state, &stored).file("evaluation.json", "application/json", stored.status.name()).await
}

/// The result as one page for people.
#[utoipa::path(operation_id = "evaluation_report", tag = "evaluations", responses((status = 200, content_type = "text/html", body = String), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/evaluations/{id}/report")]
pub(crate) async fn report(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let stored = known(&state, &caller, &id)?;
    run_of(&state, &stored).file("report.html", "text/html; charset=utf-8", stored.status.name()).await
}

fn run_of(state: &AppState, stored: &StoredEvaluation) -> RunDirectory {
    let dir = evaluations::directory(&state.config, &stored.id);
    RunDirectory { id: stored.id.clone(), dir, event: "evaluation.event" }
}

fn known(state: &AppState, caller: &Caller, id: &str) -> Result<StoredEvaluation, ApiError> {
    evaluations::find(&state.config, id, caller.bounds())
        .ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no evaluation {id:?}")))
}

fn described(state: &AppState, stored: StoredEvaluation) -> EvaluationJob {
    let dir = evaluations::directory(&state.config, &stored.id);
    let progress = job::last_event(&dir, |entry| entry.data["event"] == "progress").ok().flatten();
    EvaluationJob {
        id: stored.id,
        object: "evaluation".into(),
        created_at: seconds(&stored.created_at),
        finished_at: stored.finished_at.as_deref().map(seconds),
        status: stored.status.name().into(),
        error: stored.error.map(|message| FineTuningError { code: "evaluation_failed".into(), message, param: None }),
        model: stored.request.model,
        adapter_generation: stored.generation,
        evaluation_file: stored.request.evaluation_file,
        rows: stored.rows,
        organization_id: stored.owner,
        metadata: stored.request.metadata,
        progress: progress.map(|entry| entry.data),
    }
}
