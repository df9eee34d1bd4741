//! The transparency log, in C2SP tlog-tiles form, for auditors and witnesses.

use actix_web::{
    HttpResponse, get, post,
    web::{Bytes, Data, Json, Path},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    log::{LogKey, LoggedEntry},
};
use cairn_proof::{Entry, Log, log::Draft, registration::Registered};

use crate::{
    auth::{Allowed, Anyone, Auditors, Replicas, Verifiers},
    error::{ApiError, Code},
    record,
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
pub(crate) async fn key(_caller: Allowed<Verifiers>, state: Data<AppState>) -> Result<Json<LogKey>, ApiError> {
    let rotations = |log: &Log| log.rotations().iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let rotations = state.ledger.read(rotations).await.map_err(ApiError::internal)?;
    Ok(Json(LogKey {
        origin: state.ledger.origin().to_string(),
        key: state.ledger.key().to_string(),
        rotations: rotations.map_err(ApiError::internal)?,
    }))
}

/// Logs what a replica answered: the record of an answer that waits for it, or how much its passages mattered. Returns once the
/// entry is durable and covered by a signed checkpoint.
#[utoipa::path(operation_id = "append_log_entry", tag = "log", request_body(content = Object, description = "the entry, as the log keeps it"), responses((status = 200, body = LoggedEntry), (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/log/entries")]
pub(crate) async fn append(
    _caller: Allowed<Replicas>,
    state: Data<AppState>,
    body: Bytes,
) -> Result<Json<LoggedEntry>, ApiError> {
    let entry = Entry::parse(&body);
    let entry = entry.map_err(|error| ApiError::new(Code::InvalidRequest, format!("this is no log entry: {error}")))?;
    let placed = match entry {
        Entry::Record(record) => {
            let id = record.id.clone();
            // A start of this gateway forgets answers that never got a record; one that has its record gets no second.
            if !state.store.awaits_record(&id).await? {
                return Err(ApiError::new(Code::NotFound, format!("no answer {id:?} waits for its record")));
            }
            for used in record.uses.iter().flatten() {
                let contributor = Registered::Contributor { contributor: used.contributor };
                state.ledger.outside().register(&contributor).await;
            }
            let placed = state.ledger.append(Draft::Record(record)).await?;
            // Here too, in case the replica is gone by now.
            state.store.attribution_logged(&id, placed.index, &record::text(placed.entry.clone())).await?;
            placed
        }
        Entry::Influence(_) => state.ledger.append(Draft::Entry(body.to_vec())).await?,
        _ => {
            let message = "a replica logs records and influence; everything else is the primary's own";
            return Err(ApiError::new(Code::InvalidRequest, message));
        }
    };
    Ok(Json(LoggedEntry {
        index: placed.index,
        leaf: placed.leaf.to_string(),
        tree_size: placed.size,
        root: placed.root.to_string(),
        entry: record::text(placed.entry),
    }))
}
