//! Files into a datanet: `POST /v1/datanets/{name}/ingest` makes a job of them, `…/examine` says what that would do, and
//! `GET …/documents/{document}` gives one back.

use std::path::Path as FsPath;

use actix_multipart::Multipart;
use actix_web::{
    HttpResponse, get, post,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    datanets::{Examination, IngestQuery},
    error::ErrorEnvelope,
    jobs::Job,
};
use cairn_policy::{Answer, Purpose};
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::datanets::known;
use crate::{
    access,
    auth::{Allowed, Applications, Contributors},
    contributions,
    error::{ApiError, Code},
    ingest::{self, originals},
    jobs::{self, IngestSpec},
    state::AppState,
    store::{datanets::Description, now},
};

/// The files of an upload.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes the form to readers of the OpenAPI document")]
struct Upload {
    /// One file; for `dictd`, the `.index` file and the `.dict` or `.dict.dz` file.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<String>,
}

/// Adds datapoints from a file. Everything is checked first; then all of it becomes visible at once, or nothing.
#[utoipa::path(operation_id = "ingest", 
    tag = "datanets",
    params(("name" = String, Path,), IngestQuery),
    request_body(content = Upload, content_type = "multipart/form-data"),
    responses((status = 202, body = Job), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope))
)]
#[post("/v1/datanets/{name}/ingest")]
pub(crate) async fn add(
    caller: Allowed<Contributors>,
    state: Data<AppState>,
    name: Path<String>,
    query: Query<IngestQuery>,
    upload: Multipart,
) -> Result<HttpResponse, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    if contributions::answer(&state, &caller, &datanet).await? != Answer::Allow {
        let message = format!(
            "{} may not add to {name} at once; POST /v1/datanets/{name}/contributions offers it to its owner, or `cairn \
             contribute`",
            caller.subject
        );
        return Err(ApiError::new(Code::InsufficientScope, message));
    }
    let id = format!("job_{}", uuid::Uuid::now_v7().simple());
    let directory = jobs::directory(&state.config, &id);
    tokio::fs::create_dir_all(&directory).await.map_err(ApiError::internal)?;
    let outcome = async {
        let files = receive(upload, &directory, state.config.upload_limit).await?;
        let spec = spec(datanet, files, query.into_inner());
        ingest::check(&spec)?;
        Ok(state.jobs.ingest(id, &caller.subject, spec).await?)
    };
    match outcome.await {
        Ok(job) => Ok(HttpResponse::Accepted().json(job)),
        Err(error) => {
            if let Err(error) = tokio::fs::remove_dir_all(&directory).await {
                tracing::warn!(%error, "a refused upload could not be removed");
            }
            Err(error)
        }
    }
}

/// Reads and checks a file as adding it would, and adds nothing: what is new, what has to be mended, what nearly repeats something.
#[utoipa::path(operation_id = "examine",
    tag = "datanets",
    params(("name" = String, Path,), IngestQuery),
    request_body(content = Upload, content_type = "multipart/form-data"),
    responses((status = 200, body = Examination), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope))
)]
#[post("/v1/datanets/{name}/examine")]
pub(crate) async fn examine(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    name: Path<String>,
    query: Query<IngestQuery>,
    upload: Multipart,
) -> Result<Json<Examination>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    if contributions::answer(&state, &caller, &datanet).await? == Answer::Deny {
        let message = format!("the terms of {name} take no contributions by {}", caller.subject);
        return Err(ApiError::new(Code::InsufficientScope, message));
    }
    let parent = state.config.examined_dir();
    tokio::fs::create_dir_all(&parent).await.map_err(ApiError::internal)?;
    // Gone when it goes out of scope, also when the caller goes away.
    let directory = tempfile::tempdir_in(&parent).map_err(ApiError::internal)?;
    let files = receive(upload, directory.path(), state.config.upload_limit).await?;
    let spec = spec(datanet, files, query.into_inner());
    ingest::check(&spec)?;
    Ok(Json(ingest::examine(&state, &spec, directory.path()).await?))
}

/// The file that passages were cut from, by the SHA-256 that their metadata name (`document`). For those who may read all of the
/// datanet.
#[utoipa::path(operation_id = "retrieve_document", tag = "datanets", params(("name" = String, Path,), ("document" = String, Path,)), responses((status = 200, content_type = "application/octet-stream", body = String), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/documents/{document}")]
pub(crate) async fn document(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (name, document) = path.into_inner();
    let access = access::permitted(&state, &caller, &name, Purpose::Retrieval).await?;
    if access.rows.is_some() {
        let message = format!("your grant covers only some rows of {name}, and a document may hold others");
        return Err(ApiError::new(Code::InsufficientScope, message));
    }
    access::count(&state, std::slice::from_ref(&access)).await?;
    let missing = || {
        let message = format!("{name} keeps no document {document}; when a passage is erased, so is its document");
        ApiError::new(Code::NotFound, message)
    };
    let at = originals::find(&state.config, access.name.as_str(), &document).await?.ok_or_else(missing)?;
    let file = at.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let opened = tokio::fs::File::open(&at).await.map_err(ApiError::internal)?;
    // Whatever it holds, a browser shall store it and not show it as a page of ours.
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("content-security-policy", "sandbox"))
        .insert_header(("content-disposition", format!("attachment; filename=\"{file}\"")))
        .streaming(tokio_util::io::ReaderStream::new(opened)))
}

fn spec(datanet: Description, files: Vec<String>, query: IngestQuery) -> IngestSpec {
    IngestSpec {
        datanet: datanet.name,
        files,
        contributed_at: query.contributed_at.clone().unwrap_or_else(now),
        query,
        licence: datanet.licence,
        contribution: None,
    }
}

/// Writes each file of the form to `directory`, durable before the job exists.
pub(super) async fn receive(mut upload: Multipart, directory: &FsPath, limit: usize) -> Result<Vec<String>, ApiError> {
    let mut files: Vec<String> = Vec::new();
    let mut received = 0_usize;
    while let Some(field) = upload.next().await {
        let mut field = field.map_err(bad_form)?;
        let given = field.content_disposition().and_then(|it| it.get_filename()).unwrap_or("upload").to_owned();
        let name = file_name(&given)?;
        if files.len() == MAX_FILES || files.contains(&name) {
            return Err(ApiError::invalid("file", format!("send at most {MAX_FILES} files, each under its own name")));
        }
        let mut file = tokio::fs::File::create(directory.join(&name)).await.map_err(ApiError::internal)?;
        while let Some(chunk) = field.next().await {
            let chunk = chunk.map_err(bad_form)?;
            received += chunk.len();
            if received > limit {
                let message = format!("the upload is larger than {limit} bytes (server.upload_limit_mib)");
                return Err(ApiError::new(Code::RequestTooLarge, message));
            }
            file.write_all(&chunk).await.map_err(ApiError::internal)?;
        }
        file.sync_all().await.map_err(ApiError::internal)?;
        files.push(name);
    }
    Ok(files)
}

const MAX_FILES: usize = 2;

/// The last component, of harmless characters: an upload must not choose its place.
fn file_name(given: &str) -> Result<String, ApiError> {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if last.is_empty() || last.starts_with('.') || last.len() > 128 || !last.chars().all(allowed) {
        return Err(ApiError::invalid(
            "file",
            format!("{given:?} is not a file name of letters, digits, '.', '_' and '-'"),
        ));
    }
    Ok(last.to_owned())
}

fn bad_form(error: actix_multipart::MultipartError) -> ApiError {
    ApiError::new(Code::InvalidRequest, format!("the upload is not a valid multipart form: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_cannot_choose_its_place() {
        assert_eq!(file_name("a/b/foldoc.dict.dz").unwrap(), "foldoc.dict.dz");
        for bad in ["..", "../..", "a/", ".ssh", "x\0y", "é"] {
            assert!(file_name(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
