//! Records of answers, and their proofs.

use actix_web::{
    HttpResponse, get, post,
    web::{Data, Json, Path},
};
use cairn_openapi::{
    attribution::{AttributionOptions, AttributionRecord, Influence, InfluenceMethod},
    error::ErrorEnvelope,
    keys::Role,
};

use crate::{
    auth::{Allowed, Anyone, Caller},
    error::{ApiError, Code},
    influence, record,
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

/// How much each passage mattered to an answer, as far as it is measured.
#[utoipa::path(operation_id = "retrieve_influence", tag = "attribution", responses((status = 200, body = Influence), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/attributions/{id}/influence")]
pub(crate) async fn retrieve_influence(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<Influence>, ApiError> {
    let stored = visible(&state, &caller, &id).await?;
    let known = influence::describe(&state, &stored.id).await?;
    known.map(Json).ok_or_else(|| {
        ApiError::new(
            Code::NotFound,
            "the influence of this answer's passages was not measured; POST here to have it done",
        )
    })
}

/// Measures how much each passage mattered to an answer that was given already; what was measured before stays in the log,
/// and the newest counts.
#[utoipa::path(operation_id = "measure_influence", tag = "attribution", request_body = AttributionOptions, responses((status = 200, body = Influence), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[post("/v1/attributions/{id}/influence")]
pub(crate) async fn measure_influence(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
    options: Json<AttributionOptions>,
) -> Result<Json<Influence>, ApiError> {
    let stored = visible(&state, &caller, &id).await?;
    let state = state.into_inner();
    let method = match options.influence {
        None => InfluenceMethod::Shapley,
        Some(InfluenceMethod::None) => {
            return Err(ApiError::invalid("influence", "influence is none; give leave_one_out or shapley"));
        }
        Some(method) => method,
    };
    let passages = stored.attribution["datapoints"].as_array().is_some_and(|passages| !passages.is_empty());
    if !passages {
        return Err(ApiError::new(Code::InvalidRequest, "no passages were in this answer's prompt"));
    }
    if !state.store.forget_influence(&stored.id).await? {
        return Err(ApiError::new(Code::AlreadyExists, "it is being measured already; GET the record to see"));
    }
    let measured = influence::order(&state, &stored.id, method, options.wait).await?;
    measured.map(Json).ok_or_else(|| ApiError::new(Code::Overloaded, "too many answers wait to be measured; try later"))
}

/// A record is visible to whoever asked, to auditors and to administrators.
pub(super) async fn visible(state: &AppState, caller: &Caller, id: &str) -> Result<StoredAttribution, ApiError> {
    let bounds = (!caller.has(&[Role::Admin, Role::Auditor])).then_some(caller.subject.as_str());
    let stored = state.store.attribution(id, bounds).await?;
    stored.ok_or_else(|| ApiError::new(Code::NotFound, format!("there is no attribution {id:?}")))
}
