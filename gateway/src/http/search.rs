//! `POST /v1/search`: retrieval without an answer.

use actix_web::{
    post,
    web::{Data, Json},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    retrieval::{SearchRequest, SearchResponse},
};

use crate::{
    auth::{Allowed, Applications},
    config::MAX_CANDIDATES,
    convert,
    error::ApiError,
    pipeline,
    state::AppState,
};

/// Searches datanets and says why each datapoint was found.
#[utoipa::path(operation_id = "search", tag = "datanets", responses((status = 200, body = SearchResponse), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/search")]
pub(crate) async fn search(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    request: Json<SearchRequest>,
) -> Result<Json<SearchResponse>, ApiError> {
    let request = request.into_inner();
    if request.query.trim().is_empty() {
        return Err(ApiError::invalid("query", "query is empty; say what to search for"));
    }
    let top_k = request.top_k.unwrap_or(10);
    if !(1..=MAX_CANDIDATES).contains(&top_k) {
        return Err(ApiError::invalid("top_k", format!("top_k is {top_k}; give 1 to {MAX_CANDIDATES}")));
    }
    let names = if request.datanets.is_empty() {
        state.store.datanets(caller.bounds()).await?.into_iter().map(|datanet| datanet.name).collect()
    } else {
        request.datanets
    };
    let datanets = pipeline::readable(&state, &caller, &names).await?;
    let mut data = Vec::new();
    if !datanets.is_empty() {
        let query = cairn_index::Query {
            text: request.query.clone(),
            datanets,
            top_k,
            candidates: state.config.retrieval.candidates.max(top_k),
            mode: pipeline::mode(request.mode),
        };
        let found = pipeline::search(&state, query).await?;
        data.extend(found.candidates.iter().take(top_k).map(|candidate| convert::candidate(candidate, true)));
    }
    Ok(Json(SearchResponse { object: "list".into(), query: request.query, data }))
}
