//! `POST /v1/search`: retrieval without an answer.

use actix_web::{
    post,
    web::{Data, Json},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    retrieval::{SearchRequest, SearchResponse},
};

use cairn_policy::Purpose;

use crate::{
    access::{self, Access},
    auth::{Allowed, Applications, Caller},
    config::MAX_CANDIDATES,
    convert,
    error::{ApiError, Code},
    limits::Admitted,
    pipeline,
    state::AppState,
};

/// Searches datanets and says why each datapoint was found.
#[utoipa::path(operation_id = "search", tag = "datanets", responses((status = 200, body = SearchResponse), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/search")]
pub(crate) async fn search(
    caller: Allowed<Applications>,
    _admitted: Admitted,
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
    let accesses = if request.datanets.is_empty() {
        every(&state, &caller).await?
    } else {
        access::readable(&state, &caller, &request.datanets).await?
    };
    let mut data = Vec::new();
    if !accesses.is_empty() {
        let query = cairn_index::Query {
            top_k,
            candidates: state.config.retrieval.candidates.max(top_k),
            mode: pipeline::mode(request.mode),
            ..convert::refined(request.query.clone(), &accesses, &convert::Refine::of_search(&request))?
        };
        access::count(&state, &accesses).await?;
        let found = pipeline::search(&state, query).await?;
        let results = found.candidates.iter().filter(|candidate| candidate.left_out.is_none()).take(top_k);
        data.extend(results.map(|candidate| convert::candidate(candidate, true)));
    }
    Ok(Json(SearchResponse { object: "list".into(), query: request.query, data }))
}

/// Every datanet that the caller may retrieve from: one granted for training alone is not among them.
async fn every(state: &AppState, caller: &Caller) -> Result<Vec<Access>, ApiError> {
    let mut accesses = Vec::new();
    for datanet in state.store.datanets(caller.bounds()).await? {
        match access::permitted(state, caller, &datanet.name, Purpose::Retrieval).await {
            Ok(access) => accesses.push(access),
            Err(error) if error.code == Code::InsufficientScope => {}
            Err(error) => return Err(error),
        }
    }
    Ok(accesses)
}
