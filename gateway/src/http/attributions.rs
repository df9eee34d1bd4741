//! Records of answers, and their proofs.

use actix_web::{
    HttpResponse, get,
    web::{Data, Json, Path},
};
use cairn_openapi::{attribution::AttributionRecord, error::ErrorEnvelope, keys::Role};

use crate::{
    auth::{Allowed, Anyone, Caller},
    error::{ApiError, Code},
    record,
    state::AppState,
    store::attributions::StoredAttribution,
};

/// The record of an answer: what it drew on, as it was returned.
#[utoipa::path(operation_id = "retrieve_attribution", tag = "attribution", responses((status = 200, body = AttributionRecord), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/attributions/{id}")]
pub(crate) async fn retrieve(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<AttributionRecord>, ApiError> {
    let stored = visible(&state, &caller, &id).await?;
    Ok(Json(record::describe(&state, stored).await?))
}

/// The proof of an answer: one file that `cairn verify` checks offline, against `cairn.pub` alone.
#[utoipa::path(operation_id = "attribution_proof", tag = "attribution", responses((status = 200, content_type = "application/json", body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/attributions/{id}/proof")]
pub(crate) async fn proof(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let stored = visible(&state, &caller, &id).await?;
    let name = format!("attachment; filename=\"{}.cairn.json\"", stored.id);
    let bundle = record::bundle(&state, stored).await?;
    Ok(HttpResponse::Ok().content_type("application/json").insert_header(("content-disposition", name)).body(bundle))
}

/// A record is visible to whoever asked, to auditors and to administrators.
async fn visible(state: &AppState, caller: &Caller, id: &str) -> Result<StoredAttribution, ApiError> {
    let bounds = (!caller.has(&[Role::Admin, Role::Auditor])).then_some(caller.subject.as_str());
    let stored = state.store.attribution(id, bounds).await?;
    stored.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no attribution {id:?}")))
}
