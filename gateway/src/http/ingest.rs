//! `POST /v1/datanets/{name}/ingest`: files in, a job out.

use std::path::Path as FsPath;

use actix_multipart::Multipart;
use actix_web::{
    HttpResponse, post,
    web::{Data, Path, Query},
};
use cairn_openapi::{
    datanets::{IngestFormat, IngestQuery},
    error::ErrorEnvelope,
    jobs::Job,
};
use cairn_policy::Answer;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;

use super::datanets::known;
use crate::{
    auth::{Allowed, Contributors},
    contributions,
    error::{ApiError, Code},
    jobs::{self, IngestSpec},
    state::AppState,
    store::now,
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
pub(crate) async fn ingest(
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
        check(&files, query.format)?;
        let spec = IngestSpec {
            datanet: datanet.name.clone(),
            files,
            contributed_at: query.contributed_at.clone().unwrap_or_else(now),
            query: query.into_inner(),
            licence: datanet.licence,
            contribution: None,
        };
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

pub(super) fn check(files: &[String], format: IngestFormat) -> Result<(), ApiError> {
    let wanted = if format == IngestFormat::Dictd { 2 } else { 1 };
    if files.len() != wanted {
        let name = jobs::format_name(format);
        return Err(ApiError::invalid("file", format!("{} files were sent; {name} takes {wanted}", files.len())));
    }
    Ok(())
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
