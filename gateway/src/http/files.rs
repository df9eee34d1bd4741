//! `/v1/files`, as OpenAI has it: what fine-tuning jobs learn from.

use actix_multipart::Multipart;
use actix_web::{
    HttpResponse, delete, get, post,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    fine_tuning::{Deleted, FileList, FileObject},
    paging::ListQuery,
};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::{cut, list_limit};
use crate::{
    auth::{Allowed, Caller, Trainers},
    error::{ApiError, Code},
    state::AppState,
    store::{now, training::StoredFile},
    training::file_path,
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
    let bad =
        |error: actix_multipart::MultipartError| ApiError::new(Code::InvalidRequest, format!("the form: {error}"));
    tokio::fs::create_dir_all(path.parent().unwrap_or(&path)).await.map_err(ApiError::internal)?;
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
                let mut file = tokio::fs::File::create(&path).await.map_err(ApiError::internal)?;
                while let Some(chunk) = field.next().await {
                    let chunk = chunk.map_err(bad)?;
                    bytes += chunk.len();
                    if bytes > limit {
                        drop(file);
                        let _ = tokio::fs::remove_file(&path).await;
                        let message = format!("the upload is larger than {limit} bytes (server.upload_limit_mib)");
                        return Err(ApiError::new(Code::RequestTooLarge, message));
                    }
                    file.write_all(&chunk).await.map_err(ApiError::internal)?;
                }
                file.sync_all().await.map_err(ApiError::internal)?;
                received = Some((filename, bytes as u64));
            }
            // As OpenAI's: fields such as expires_after change nothing here.
            _ => {}
        }
    }
    let checked = match (purpose, received) {
        (Some(purpose), Some(received)) if purpose == "fine-tune" => Ok((purpose, received)),
        (Some(other), Some(_)) => {
            Err(ApiError::invalid("purpose", format!("{other:?} is not a purpose here; give fine-tune")))
        }
        (None, Some(_)) => Err(ApiError::invalid("purpose", "purpose is missing; give fine-tune")),
        (_, None) => Err(ApiError::invalid("file", "there is no file in the form")),
    };
    let (purpose, (filename, bytes)) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let _ = tokio::fs::remove_file(&path).await;
            return Err(error);
        }
    };
    let stored = StoredFile { id, owner: caller.subject.clone(), filename, purpose, bytes, created_at: now() };
    state.store.create_file(&stored).await?;
    Ok(Json(object(stored)))
}

/// Files of the caller (an administrator's: everyone's), newest first.
#[utoipa::path(operation_id = "list_files", tag = "fine-tuning", params(ListQuery), responses((status = 200, body = FileList)))]
#[get("/v1/files")]
pub(crate) async fn list(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    page: Query<ListQuery>,
) -> Result<Json<FileList>, ApiError> {
    let limit = list_limit(&page)?;
    let mut files = state.store.files(caller.bounds(), page.after.as_deref(), limit + 1).await?;
    let has_more = cut(&mut files, limit);
    Ok(Json(FileList { object: "list".into(), data: files.into_iter().map(object).collect(), has_more }))
}

/// One file.
#[utoipa::path(operation_id = "retrieve_file", tag = "fine-tuning", responses((status = 200, body = FileObject), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/files/{id}")]
pub(crate) async fn retrieve(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<FileObject>, ApiError> {
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
    let file = known(&state, &caller, &id).await?;
    state.store.delete_file(&file.id).await?;
    let _ = tokio::fs::remove_file(file_path(&state.config, &file.id)).await;
    Ok(Json(Deleted { id: file.id, object: "file".into(), deleted: true }))
}

async fn known(state: &AppState, caller: &Caller, id: &str) -> Result<StoredFile, ApiError> {
    let file = state.store.file(id, caller.bounds()).await?;
    file.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no file {id:?}")))
}

fn object(file: StoredFile) -> FileObject {
    FileObject {
        id: file.id,
        object: "file".into(),
        bytes: file.bytes,
        created_at: super::fine_tuning::seconds(&file.created_at),
        filename: file.filename,
        purpose: file.purpose,
        status: "processed".into(),
    }
}
