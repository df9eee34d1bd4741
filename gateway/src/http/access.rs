//! Terms, requests for access, reviews and grants.

use actix_web::{
    HttpResponse, delete, get, post, put,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    access::{
        AccessRequest, AccessRequestList, AccessStatistics, Grant, GrantList, GrantQuery, NewAbsence, NewAppeal,
        NewVote, OwnAbsence, PublishedTerms, RevocationQuery, SimulationRequest, SimulationResult, TermsVersions,
    },
    error::ErrorEnvelope,
    keys::Role,
    paging::ListQuery,
};
use cairn_policy::{Application, Terms};

use super::{
    datanets::{governed, known},
    keys::valid_subject,
};
use crate::{
    access::{grants, lists, requests, statistics, terms},
    auth::{Allowed, Anyone, Stewards},
    error::{ApiError, Code},
    state::AppState,
};

/// The terms of a datanet: who is given access for what, without anyone's having to decide.
#[utoipa::path(operation_id = "retrieve_terms", tag = "access", params(("name" = String, Path,)), responses((status = 200, body = PublishedTerms), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/terms")]
pub(crate) async fn retrieve_terms(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<PublishedTerms>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    Ok(Json(terms::current(&state, &datanet.name).await?))
}

/// Publishes terms. From then on anyone with a credential may know of the datanet and ask; grants that were given under
/// earlier terms stay until they end.
#[utoipa::path(operation_id = "publish_terms", tag = "access", params(("name" = String, Path,)), responses((status = 200, body = PublishedTerms), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[put("/v1/datanets/{name}/terms")]
pub(crate) async fn publish_terms(
    caller: Allowed<Stewards>,
    state: Data<AppState>,
    name: Path<String>,
    published: Json<Terms>,
) -> Result<Json<PublishedTerms>, ApiError> {
    let datanet = governed(&state, &caller, &name).await?;
    Ok(Json(terms::publish(&state, &caller, &datanet, published.into_inner()).await?))
}

/// Every version of the terms, newest first, with what changed.
#[utoipa::path(operation_id = "list_terms_versions", tag = "access", params(("name" = String, Path,)), responses((status = 200, body = TermsVersions), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/terms/versions")]
pub(crate) async fn terms_versions(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<TermsVersions>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    Ok(Json(TermsVersions { object: "list".into(), data: terms::versions(&state, &datanet.name).await? }))
}

/// Tries terms out before they are published: who would be granted, and what would change.
#[utoipa::path(operation_id = "simulate_terms", tag = "access", params(("name" = String, Path,)), responses((status = 200, body = SimulationResult), (status = 400, body = ErrorEnvelope)))]
#[post("/v1/datanets/{name}/terms/simulate")]
pub(crate) async fn simulate_terms(
    caller: Allowed<Stewards>,
    state: Data<AppState>,
    name: Path<String>,
    request: Json<SimulationRequest>,
) -> Result<Json<SimulationResult>, ApiError> {
    let datanet = governed(&state, &caller, &name).await?;
    Ok(Json(terms::try_out(&state, &datanet.name, request.into_inner()).await?))
}

/// Asks for access. The published terms decide at once, or refer the request to people.
#[utoipa::path(operation_id = "request_access", tag = "access", params(("name" = String, Path,)), responses((status = 201, body = AccessRequest), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[post("/v1/datanets/{name}/requests")]
pub(crate) async fn request_access(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
    application: Json<Application>,
) -> Result<HttpResponse, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    let request = requests::apply(&state, &caller, &datanet, application.into_inner(), None).await?;
    Ok(HttpResponse::Created().json(request))
}

/// Requests for a datanet, newest first: for its owner, its reviewers and auditors.
#[utoipa::path(operation_id = "list_requests_of_datanet", tag = "access", params(("name" = String, Path,), ListQuery), responses((status = 200, body = AccessRequestList), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/requests")]
pub(crate) async fn requests_of_datanet(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
    page: Query<ListQuery>,
) -> Result<Json<AccessRequestList>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    lists::of_datanet(&state, &caller, &datanet, &page).await.map(Json)
}

/// How requests for a datanet were decided: how many by the terms alone, and how long it took.
#[utoipa::path(operation_id = "access_statistics", tag = "access", params(("name" = String, Path,)), responses((status = 200, body = AccessStatistics), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/requests/statistics")]
pub(crate) async fn access_statistics(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<AccessStatistics>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    Ok(Json(statistics::statistics(&state, &datanet.name).await?))
}

/// The caller's own requests, newest first.
#[utoipa::path(operation_id = "list_my_requests", tag = "access", params(ListQuery), responses((status = 200, body = AccessRequestList)))]
#[get("/v1/access_requests")]
pub(crate) async fn my_requests(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    page: Query<ListQuery>,
) -> Result<Json<AccessRequestList>, ApiError> {
    lists::by_subject(&state, &caller.subject, &page).await.map(Json)
}

/// Requests that the caller may decide now.
#[utoipa::path(operation_id = "list_review_inbox", tag = "access", params(ListQuery), responses((status = 200, body = AccessRequestList)))]
#[get("/v1/access_requests/inbox")]
pub(crate) async fn inbox(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    page: Query<ListQuery>,
) -> Result<Json<AccessRequestList>, ApiError> {
    lists::inbox(&state, &caller.subject, &page).await.map(Json)
}

/// One request: for whoever made it, its reviewers, the datanet's owner and auditors.
#[utoipa::path(operation_id = "retrieve_request", tag = "access", params(("id" = String, Path,)), responses((status = 200, body = AccessRequest), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/access_requests/{id}")]
pub(crate) async fn retrieve_request(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<AccessRequest>, ApiError> {
    Ok(Json(requests::visible(&state, &caller, &id).await?))
}

/// Says yes or no to a request that was referred, as one of its reviewers or for one who is away.
#[utoipa::path(operation_id = "vote_on_request", tag = "access", params(("id" = String, Path,)), responses((status = 200, body = AccessRequest), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[post("/v1/access_requests/{id}/votes")]
pub(crate) async fn vote(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
    vote: Json<NewVote>,
) -> Result<Json<AccessRequest>, ApiError> {
    Ok(Json(requests::vote(&state, &caller, &id, vote.into_inner()).await?))
}

/// Appeals against a denial; others than those who denied it decide.
#[utoipa::path(operation_id = "appeal_request", tag = "access", params(("id" = String, Path,)), responses((status = 201, body = AccessRequest), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[post("/v1/access_requests/{id}/appeal")]
pub(crate) async fn appeal(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
    appeal: Json<NewAppeal>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Created().json(requests::appeal(&state, &caller, &id, appeal.into_inner()).await?))
}

/// Asks again for the same, under the terms of today: how a grant is renewed.
#[utoipa::path(operation_id = "renew_request", tag = "access", params(("id" = String, Path,)), responses((status = 201, body = AccessRequest), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/access_requests/{id}/renew")]
pub(crate) async fn renew(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Created().json(requests::renew(&state, &caller, &id).await?))
}

/// Takes a request back that is still waiting.
#[utoipa::path(operation_id = "withdraw_request", tag = "access", params(("id" = String, Path,)), responses((status = 204), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/access_requests/{id}")]
pub(crate) async fn withdraw(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    requests::withdraw(&state, &caller, &id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Who votes for the caller, where the caller is away or will be.
#[utoipa::path(operation_id = "retrieve_absence", tag = "access", responses((status = 200, body = OwnAbsence)))]
#[get("/v1/absence")]
pub(crate) async fn retrieve_absence(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
) -> Result<Json<OwnAbsence>, ApiError> {
    Ok(Json(OwnAbsence { absence: requests::absence(&state, &caller.subject).await? }))
}

/// Names who votes for the caller while the caller is away.
#[utoipa::path(operation_id = "set_absence", tag = "access", responses((status = 204), (status = 400, body = ErrorEnvelope)))]
#[put("/v1/absence")]
pub(crate) async fn set_absence(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    absence: Json<NewAbsence>,
) -> Result<HttpResponse, ApiError> {
    valid_subject(&absence.delegate)?;
    requests::set_absence(&state, &caller.subject, Some(absence.into_inner())).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The caller is back.
#[utoipa::path(operation_id = "end_absence", tag = "access", responses((status = 204)))]
#[delete("/v1/absence")]
pub(crate) async fn end_absence(caller: Allowed<Anyone>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    requests::set_absence(&state, &caller.subject, None).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Grants on a datanet, also those that have ended: for its owner and auditors.
#[utoipa::path(operation_id = "list_grants", tag = "access", params(("name" = String, Path,)), responses((status = 200, body = GrantList), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/grants")]
pub(crate) async fn grants_of_datanet(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<GrantList>, ApiError> {
    let name = match caller.has(&[Role::Auditor]) {
        true => name.into_inner(),
        false => governed(&state, &caller, &name).await?.name,
    };
    let data = state.store.grants(&name).await?.into_iter().map(grants::described).collect();
    Ok(Json(GrantList { object: "list".into(), data }))
}

/// The caller's own grants, also those that have ended, newest first.
#[utoipa::path(operation_id = "list_my_grants", tag = "access", responses((status = 200, body = GrantList)))]
#[get("/v1/grants")]
pub(crate) async fn my_grants(caller: Allowed<Anyone>, state: Data<AppState>) -> Result<Json<GrantList>, ApiError> {
    let data = state.store.grants_to(&caller.subject).await?.into_iter().map(grants::described).collect();
    Ok(Json(GrantList { object: "list".into(), data }))
}

/// Lets a subject retrieve from a datanet, and with `training` also train on its rows, by its owner's own decision.
#[utoipa::path(operation_id = "grant_datanet",
    tag = "access",
    params(("name" = String, Path,), ("subject" = String, Path,), GrantQuery),
    responses((status = 200, body = Grant), (status = 404, body = ErrorEnvelope))
)]
#[put("/v1/datanets/{name}/grants/{subject}")]
pub(crate) async fn grant(
    caller: Allowed<Stewards>,
    state: Data<AppState>,
    path: Path<(String, String)>,
    query: Query<GrantQuery>,
) -> Result<Json<Grant>, ApiError> {
    let (name, subject) = path.into_inner();
    valid_subject(&subject)?;
    let datanet = governed(&state, &caller, &name).await?;
    let granted = grants::by_owner(&state, &datanet, &subject, &caller.subject, &query).await?;
    Ok(Json(grants::described(granted)))
}

/// Takes back all that a subject was granted on a datanet; from the next request on it has no access.
#[utoipa::path(operation_id = "revoke_grant",
    tag = "access",
    params(("name" = String, Path,), ("subject" = String, Path,), RevocationQuery),
    responses((status = 204), (status = 404, body = ErrorEnvelope))
)]
#[delete("/v1/datanets/{name}/grants/{subject}")]
pub(crate) async fn revoke(
    caller: Allowed<Stewards>,
    state: Data<AppState>,
    path: Path<(String, String)>,
    query: Query<RevocationQuery>,
) -> Result<HttpResponse, ApiError> {
    let (name, subject) = path.into_inner();
    let datanet = governed(&state, &caller, &name).await?;
    if grants::revoke_all(&state, &datanet.name, &subject, &caller.subject, &query.reason).await? == 0 {
        return Err(ApiError::new(Code::NotFound, format!("{subject} holds no grant on {name}")));
    }
    Ok(HttpResponse::NoContent().finish())
}
