//! `/v1/files`, as OpenAI has it: what fine-tuning jobs learn from.

use actix_multipart::Multipart;
use actix_web::{
    HttpResponse, delete, get, post,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    fine_tuning::{Deleted, FileList, FileObject, FileQuery},
};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::cut;
use crate::{
    auth::{Allowed, Caller, Trainers},
    error::{ApiError, Code},
    state::AppState,
    store::{
        now,
        training::{FilePart, StoredFile, StoredTraining},
    },
    training::{
        PARTIAL, directory, file_path,
        results::{self, ResultFile},
    },
};

/// The form of an upload.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes the form to readers of the OpenAPI document")]
struct FileUpload {
    /// `fine-tune`.
    purpose: String,
    /// The file.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: String,
}

/// Uploads a file to train on or to evaluate with.
#[utoipa::path(operation_id = "create_file", tag = "fine-tuning", request_body(content = FileUpload, content_type = "multipart/form-data"), responses((status = 200, body = FileObject), (status = 400, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope)))]
#[post("/v1/files")]
pub(crate) async fn create(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    mut upload: Multipart,
) -> Result<Json<FileObject>, ApiError> {
    let id = format!("file-{}", uuid::Uuid::now_v7().simple());
    let path = file_path(&state.config, &id);
    let dir = path.parent().unwrap_or(&path).to_owned();
    let bad =
        |error: actix_multipart::MultipartError| ApiError::new(Code::InvalidRequest, format!("the form: {error}"));
    let unwritten = |error: std::io::Error| ApiError::file(&error);
    tokio::fs::create_dir_all(&dir).await.map_err(unwritten)?;
    let (mut purpose, mut received) = (None, None);
    let limit = state.config.upload_limit;
    while let Some(field) = upload.next().await {
        let mut field = field.map_err(bad)?;
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "purpose" => {
                let mut text = Vec::new();
                while let Some(chunk) = field.next().await {
                    text.extend_from_slice(&chunk.map_err(bad)?);
                    if text.len() > 64 {
                        return Err(ApiError::invalid("purpose", "give fine-tune"));
                    }
                }
                purpose = Some(String::from_utf8_lossy(&text).into_owned());
            }
            "file" => {
                let given = field.content_disposition().and_then(|it| it.get_filename()).unwrap_or("upload");
                let filename: String = given.chars().filter(|c| !c.is_control()).take(255).collect();
                let mut bytes = 0;
                // Gone with whoever is uploading it, until it is whole.
                let partial = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&dir).map_err(unwritten)?;
                let mut file = tokio::fs::File::from_std(partial.reopen().map_err(unwritten)?);
                while let Some(chunk) = field.next().await {
                    let chunk = chunk.map_err(bad)?;
                    bytes += chunk.len();
                    if bytes > limit {
                        let message = format!("the upload is larger than {limit} bytes (server.upload_limit_mib)");
                        return Err(ApiError::new(Code::RequestTooLarge, message));
                    }
                    file.write_all(&chunk).await.map_err(unwritten)?;
                }
                file.flush().await.map_err(unwritten)?;
                file.sync_all().await.map_err(unwritten)?;
                received = Some((filename, bytes as u64, partial));
            }
            // As OpenAI's: fields such as expires_after change nothing here.
            _ => {}
        }
    }
    let (purpose, (filename, bytes, partial)) = match (purpose, received) {
        (Some(purpose), Some(received)) if purpose == "fine-tune" => (purpose, received),
        (Some(other), Some(_)) => {
            return Err(ApiError::invalid("purpose", format!("{other:?} is not a purpose here; give fine-tune")));
        }
        (None, Some(_)) => return Err(ApiError::invalid("purpose", "purpose is missing; give fine-tune")),
        (_, None) => return Err(ApiError::invalid("file", "there is no file in the form")),
    };
    partial.persist(&path).map_err(|error| unwritten(error.error))?;
    let stored = StoredFile { id, owner: caller.subject.clone(), filename, purpose, bytes, created_at: now() };
    if let Err(error) = state.store.create_file(&stored).await {
        let _ = tokio::fs::remove_file(&path).await;
        return Err(error.into());
    }
    Ok(Json(object(stored)))
}

/// Files of the caller (an administrator's: everyone's), newest first.
#[utoipa::path(operation_id = "list_files", tag = "fine-tuning", params(FileQuery), responses((status = 200, body = FileList), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/files")]
pub(crate) async fn list(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    query: Query<FileQuery>,
) -> Result<Json<FileList>, ApiError> {
    let limit = query.limit.unwrap_or(MOST_LISTED);
    if !(1..=MOST_LISTED).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to {MOST_LISTED}")));
    }
    let oldest_first = match query.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(other) => return Err(ApiError::invalid("order", format!("{other:?} is no order; give asc or desc"))),
    };
    let mut data = match query.purpose.as_deref() {
        Some(RESULTS) => {
            let mut all = results_of(&state, &caller).await?;
            if oldest_first {
                all.reverse();
            }
            if let Some(after) = &query.after {
                let from = all.iter().position(|file| file.id == *after).map_or(all.len(), |at| at + 1);
                all.drain(..from);
            }
            all
        }
        purpose => {
            let part = FilePart { purpose, after: query.after.as_deref(), oldest_first, limit: limit + 1 };
            state.store.files(caller.bounds(), part).await?.into_iter().map(object).collect()
        }
    };
    let has_more = cut(&mut data, limit);
    Ok(Json(FileList { object: "list".into(), data, has_more }))
}

/// What the caller's jobs left.
async fn results_of(state: &AppState, caller: &Caller) -> Result<Vec<FileObject>, ApiError> {
    let mut all = Vec::new();
    for job in state.store.trainings(caller.bounds(), None, MOST_LISTED).await? {
        let dir = directory(&state.config, &job.id);
        let named =
            results::files(&dir, &job).into_iter().filter_map(|id| results::named(&id).map(|named| (id, named)));
        all.extend(named.filter_map(|(id, (_, file))| result_object(&dir, &job, id, file).map(|(object, _)| object)));
    }
    Ok(all)
}

/// One file.
#[utoipa::path(operation_id = "retrieve_file", tag = "fine-tuning", responses((status = 200, body = FileObject), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/files/{id}")]
pub(crate) async fn retrieve(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<FileObject>, ApiError> {
    if let Some((result, _)) = result(&state, &caller, &id).await? {
        return Ok(Json(result));
    }
    Ok(Json(object(known(&state, &caller, &id).await?)))
}

/// What is in a file.
#[utoipa::path(operation_id = "file_content", tag = "fine-tuning", responses((status = 200, content_type = "application/octet-stream", body = String), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/files/{id}/content")]
pub(crate) async fn content(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    if let Some((result, bytes)) = result(&state, &caller, &id).await? {
        let name = format!("attachment; filename=\"{}\"", result.filename);
        let mut response = HttpResponse::Ok();
        return Ok(response
            .content_type("application/octet-stream")
            .insert_header(("content-disposition", name))
            .body(bytes));
    }
    let file = known(&state, &caller, &id).await?;
    let opened = tokio::fs::File::open(file_path(&state.config, &file.id)).await.map_err(ApiError::internal)?;
    let stream = tokio_util::io::ReaderStream::new(opened);
    Ok(HttpResponse::Ok().content_type("application/octet-stream").streaming(stream))
}

/// Deletes a file. Jobs that were made from it keep their copy.
#[utoipa::path(operation_id = "delete_file", tag = "fine-tuning", responses((status = 200, body = Deleted), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/files/{id}")]
pub(crate) async fn delete(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    if result(&state, &caller, &id).await?.is_some() {
        return Err(ApiError::new(Code::InvalidRequest, format!("{id} is a job's result, and is kept with the job")));
    }
    let file = known(&state, &caller, &id).await?;
    state.store.delete_file(&file.id).await?;
    let _ = tokio::fs::remove_file(file_path(&state.config, &file.id)).await;
    Ok(Json(Deleted { id: file.id, object: "file".into(), deleted: true }))
}

async fn known(state: &AppState, caller: &Caller, id: &str) -> Result<StoredFile, ApiError> {
    let file = state.store.file(id, caller.bounds()).await?;
    file.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no file {id:?}")))
}

/// A job's result, where the id is of one and the caller may see the job.
async fn result(state: &AppState, caller: &Caller, id: &str) -> Result<Option<(FileObject, Vec<u8>)>, ApiError> {
    let Some((job, file)) = results::named(id) else { return Ok(None) };
    let Some(job) = state.store.training(&job, caller.bounds()).await? else { return Ok(None) };
    let dir = directory(&state.config, &job.id);
    Ok(if job.generation.is_some() { result_object(&dir, &job, id.to_owned(), file) } else { None })
}

fn result_object(
    dir: &std::path::Path,
    job: &StoredTraining,
    id: String,
    file: ResultFile,
) -> Option<(FileObject, Vec<u8>)> {
    let bytes = file.read(dir)?;
    let object = FileObject {
        id,
        object: "file".into(),
        bytes: bytes.len() as u64,
        created_at: super::run_directory::seconds(job.finished_at.as_deref().unwrap_or(&job.created_at)),
        filename: file.filename().to_owned(),
        purpose: RESULTS.into(),
        status: "processed".into(),
    };
    Some((object, bytes))
}

/// The purpose of what jobs leave.
const RESULTS: &str = "fine-tune-results";
/// Most files in an answer.
const MOST_LISTED: usize = 10_000;

fn object(file: StoredFile) -> FileObject {
    FileObject {
        id: file.id,
        object: "file".into(),
        bytes: file.bytes,
        created_at: super::run_directory::seconds(&file.created_at),
        filename: file.filename,
        purpose: file.purpose,
        status: "processed".into(),
    }
}
