//! Jobs: list, look, follow, cancel; what they could not take.

use std::time::Duration;

use actix_web::{
    HttpResponse, delete, get,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    jobs::{Job, JobList},
    paging::ListQuery,
};

use super::{cut, list_limit, sse};
use crate::{
    auth::{Allowed, Anyone, Caller},
    error::{ApiError, Code},
    ingest,
    state::AppState,
};

/// Jobs of the caller (an administrator's: everyone's), newest first.
#[utoipa::path(operation_id = "list_jobs", tag = "jobs", params(ListQuery), responses((status = 200, body = JobList)))]
#[get("/v1/jobs")]
pub(crate) async fn list(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    page: Query<ListQuery>,
) -> Result<Json<JobList>, ApiError> {
    let limit = list_limit(&page)?;
    let mut data = state.store.jobs(caller.bounds(), page.after.as_deref(), limit + 1).await?;
    let has_more = cut(&mut data, limit);
    Ok(Json(JobList { object: "list".into(), data, has_more }))
}

/// Where a job stands.
#[utoipa::path(operation_id = "retrieve_job", tag = "jobs", responses((status = 200, body = Job), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/jobs/{id}")]
pub(crate) async fn retrieve(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<Job>, ApiError> {
    Ok(Json(visible(&state, &caller, &id).await?))
}

/// Follows a job: an event with the whole job whenever it moves, until it has ended.
#[utoipa::path(operation_id = "job_events", tag = "jobs", responses((status = 200, content_type = "text/event-stream", body = Job), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/jobs/{id}/events")]
pub(crate) async fn events(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let first = visible(&state, &caller, &id).await?;
    let mut moved = state.jobs.subscribe();
    let id = id.into_inner();
    let stream = fed_by(move |sender| async move {
        let mut ended = first.state.ended();
        if sender.send(sse::event(&first)).await.is_err() {
            return;
        }
        while !ended {
            // A missed notice only delays: the job is read anew each time, at least once in a while.
            let _ = tokio::time::timeout(Duration::from_secs(5), moved.changed()).await;
            let Ok(Some(job)) = state.jobs.current(&id).await else { return };
            ended = job.state.ended();
            if sender.send(sse::event(&job)).await.is_err() {
                return;
            }
        }
    });
    Ok(sse::response(stream))
}

/// Cancels a job that has not ended; what it has staged is removed, what it has committed stays.
#[utoipa::path(operation_id = "cancel_job", tag = "jobs", responses((status = 200, body = Job), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/jobs/{id}")]
pub(crate) async fn cancel(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<Job>, ApiError> {
    visible(&state, &caller, &id).await?;
    state.jobs.cancel(&id).await?;
    Ok(Json(visible(&state, &caller, &id).await?))
}

/// What an ingest could not take: all of it, as lines and reasons. Kept for thirty days.
#[utoipa::path(operation_id = "job_rejections", tag = "jobs", responses((status = 200, content_type = "text/csv", body = String, description = "a header row, then `line` (of the input, from 1) and `reason`"), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/jobs/{id}/rejections")]
pub(crate) async fn rejections(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let job = visible(&state, &caller, &id).await?;
    let listed = match tokio::fs::read(ingest::rejections::file(&state.config, &job.id)).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("job {} rejected nothing, or its list is older than thirty days", job.id);
            return Err(ApiError::new(Code::NotFound, message));
        }
        listed => listed.map_err(ApiError::internal)?,
    };
    let name = ("content-disposition", format!("attachment; filename=\"rejections-{}.csv\"", job.id));
    Ok(HttpResponse::Ok().content_type("text/csv; charset=utf-8").insert_header(name).body(listed))
}

async fn visible(state: &AppState, caller: &Caller, id: &str) -> Result<Job, ApiError> {
    let job = state.jobs.current(id).await?;
    job.filter(|job| caller.bounds().is_none_or(|subject| subject == job.owner))
        .ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no job {id:?}")))
}

/// A stream fed by a task.
fn fed_by<F, T>(task: F) -> tokio_stream::wrappers::ReceiverStream<actix_web::web::Bytes>
where
    F: FnOnce(tokio::sync::mpsc::Sender<actix_web::web::Bytes>) -> T,
    T: Future<Output = ()> + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    actix_web::rt::spawn(task(sender));
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}
