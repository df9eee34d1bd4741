//! The transparency log, in C2SP tlog-tiles form, for auditors and witnesses.

use actix_web::{
    HttpResponse, get,
    web::{Data, Json, Path},
};
use cairn_openapi::{error::ErrorEnvelope, log::LogKey};
use cairn_proof::Log;

use crate::{
    auth::{Allowed, Anyone, Auditors},
    error::{ApiError, Code},
    state::AppState,
};

/// The latest checkpoint: a C2SP signed note.
#[utoipa::path(operation_id = "log_checkpoint", tag = "log", responses((status = 200, content_type = "text/plain", body = String)))]
#[get("/v1/log/checkpoint")]
pub(crate) async fn checkpoint(_caller: Allowed<Anyone>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    // With the witnesses' cosignatures, once they have seen it.
    let text = |log: &Log| log.checkpoint_for(log.size().saturating_sub(1)).to_string();
    let text = state.ledger.read(text).await.map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}

/// A tile (`0/x001/067`) or an entry bundle (`entries/000.p/12`) of the log.
#[utoipa::path(operation_id = "log_tile", 
    tag = "log",
    params(("path" = String, Path, description = "level and number, as in C2SP tlog-tiles")),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = 404, body = ErrorEnvelope))
)]
#[get("/v1/log/tile/{path:.*}")]
pub(crate) async fn tile(
    _caller: Allowed<Auditors>,
    state: Data<AppState>,
    path: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let dir = state.ledger.dir().to_owned();
    let wanted = format!("tile/{path}");
    let read = tokio::task::spawn_blocking(move || cairn_proof::log::read_tile(&dir, &wanted)).await;
    match read.map_err(ApiError::internal)? {
        Ok(bytes) => Ok(HttpResponse::Ok().content_type("application/octet-stream").body(bytes)),
        Err(error) => Err(ApiError::new(Code::NotFound, format!("the log has no tile {path}: {error}"))),
    }
}

/// The log's name and public key, as `cairn.pub` holds them, and every change of that key.
#[utoipa::path(operation_id = "log_key", tag = "log", responses((status = 200, body = LogKey)))]
#[get("/v1/log/key")]
pub(crate) async fn key(_caller: Allowed<Anyone>, state: Data<AppState>) -> Result<Json<LogKey>, ApiError> {
    let rotations = |log: &Log| log.rotations().iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let rotations = state.ledger.read(rotations).await.map_err(ApiError::internal)?;
    Ok(Json(LogKey {
        origin: state.ledger.origin().to_string(),
        key: state.ledger.key().to_string(),
        rotations: rotations.map_err(ApiError::internal)?,
    }))
}
