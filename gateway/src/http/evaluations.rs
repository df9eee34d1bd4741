//! `/v1/evaluations`: a published adapter beside its base, on demand.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse, delete, get, post,
    web::{Bytes, Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    evaluations::{EvaluationJob, EvaluationList, EvaluationRequest},
    fine_tuning::{Deleted, FineTuningError, FineTuningEvent, FineTuningEvents, PageQuery},
};
use cairn_trainer::job;

use super::{
    fine_tuning::{limit, seconds, wire_events},
    sse,
};
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
    if page.stream {
        return Ok(sse::response(follow(state.into_inner(), stored.id)));
    }
    let limit = limit(&page)?;
    let (entries, _) =
        job::events(&evaluations::directory(&state.config, &stored.id), 0).map_err(ApiError::internal)?;
    let mut all = renamed(wire_events(&stored.id, 0, &entries));
    all.reverse();
    let from = match &page.after {
        None => 0,
        Some(after) => all.iter().position(|event| event.id == *after).map_or(all.len(), |at| at + 1),
    };
    let has_more = all.len() > from + limit;
    let data = all.into_iter().skip(from).take(limit).collect();
    Ok(HttpResponse::Ok().json(FineTuningEvents { object: "list".into(), data, has_more }))
}

/// The result: metrics with intervals, answers side by side, memory, speed.
#[utoipa::path(operation_id = "evaluation_result", tag = "evaluations", responses((status = 200, body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/evaluations/{id}/result")]
pub(crate) async fn result(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    file(&state, &known(&state, &caller, &id)?, "evaluation.json", "application/json").await
}

/// The result as one page for people.
#[utoipa::path(operation_id = "evaluation_report", tag = "evaluations", responses((status = 200, content_type = "text/html", body = String), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/evaluations/{id}/report")]
pub(crate) async fn report(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    file(&state, &known(&state, &caller, &id)?, "report.html", "text/html; charset=utf-8").await
}

async fn file(
    state: &AppState,
    stored: &StoredEvaluation,
    name: &str,
    kind: &'static str,
) -> Result<HttpResponse, ApiError> {
    match tokio::fs::read(evaluations::directory(&state.config, &stored.id).join(name)).await {
        Ok(bytes) => Ok(HttpResponse::Ok().content_type(kind).body(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("{} has no result; it is {}", stored.id, stored.status.name());
            Err(ApiError::new(Code::NotFound, message))
        }
        Err(error) => Err(ApiError::internal(error)),
    }
}

/// A stream of events from the first one on, until the evaluation has ended.
fn follow(state: Arc<AppState>, id: String) -> tokio_stream::wrappers::ReceiverStream<Bytes> {
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    actix_web::rt::spawn(async move {
        let (mut at, mut number) = (0, 0);
        let dir = evaluations::directory(&state.config, &id);
        loop {
            // Looked at before the events, so that what was written last is not missed.
            let Some(stored) = evaluations::find(&state.config, &id, None) else { return };
            let Ok((entries, next)) = job::events(&dir, at) else { return };
            let new = renamed(wire_events(&id, number, &entries));
            (at, number) = (next, number + new.len());
            for event in &new {
                if sender.send(sse::event(event)).await.is_err() {
                    return;
                }
            }
            if stored.status.ended() {
                let _ = sender.send(sse::done()).await;
                return;
            }
            if sender.is_closed() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

/// How often a followed evaluation is looked at.
const LOOK: Duration = Duration::from_millis(250);

fn renamed(noted: Vec<FineTuningEvent>) -> Vec<FineTuningEvent> {
    noted.into_iter().map(|event| FineTuningEvent { object: "evaluation.event".into(), ..event }).collect()
}

fn known(state: &AppState, caller: &Caller, id: &str) -> Result<StoredEvaluation, ApiError> {
    evaluations::find(&state.config, id, caller.bounds())
        .ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no evaluation {id:?}")))
}

fn described(state: &AppState, stored: StoredEvaluation) -> EvaluationJob {
    let noted = job::events(&evaluations::directory(&state.config, &stored.id), 0);
    let progress = noted.ok().and_then(|(entries, _)| {
        entries.into_iter().rev().find(|entry| entry.data["event"] == "progress").map(|entry| entry.data)
    });
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
        progress,
    }
}
