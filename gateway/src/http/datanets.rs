//! Datanets: create, look, browse, erase.

use actix_web::{
    HttpResponse, delete, get, post,
    web::{Data, Json, Path, Query},
};
use cairn_index::DatanetName;
use cairn_openapi::{
    access::AccessBasis,
    datanets::{
        Datanet, DatanetList, DatanetQuery, Datapoint, DatapointPage, Erasure, ErasureRequest, NewDatanet, PageQuery,
        TrainedOnList, TrainedOnQuery,
    },
    error::ErrorEnvelope,
    keys::Role,
};
use cairn_policy::Purpose;

use crate::{
    access,
    auth::{Allowed, Anyone, Applications, Caller, Stewards, StewardsAndAuditors},
    contributions, convert,
    error::{ApiError, Code},
    ingest::originals,
    outside,
    state::AppState,
    store::datanets::Description,
};

/// Creates a datanet, owned by the caller.
#[utoipa::path(operation_id = "create_datanet", tag = "datanets", responses((status = 201, body = Datanet), (status = 400, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[post("/v1/datanets")]
pub(crate) async fn create(
    caller: Allowed<Stewards>,
    state: Data<AppState>,
    new: Json<NewDatanet>,
) -> Result<HttpResponse, ApiError> {
    let name: DatanetName =
        new.name.parse().map_err(|error: cairn_index::IndexError| ApiError::invalid("name", error.to_string()))?;
    if !state.store.create_datanet(&new, &caller.subject).await? {
        return Err(ApiError::new(Code::AlreadyExists, format!("the name {:?} is taken; choose another", new.name)));
    }
    let snapshot = match state.index.create(&name).await {
        Ok(snapshot) => snapshot,
        // The description was lost once, the datapoints were not: they belong to whoever may create it again.
        Err(cairn_index::IndexError::AlreadyExists(_)) if caller.bounds().is_none() => {
            state.index.snapshot(&name).map_err(convert::index_error)?
        }
        Err(error) => {
            state.store.delete_datanet(&new.name).await?;
            return Err(convert::index_error(error));
        }
    };
    let made = known(&state, &caller, &new.name).await?;
    state.ledger.outside().register(&outside::creation(&made)).await;
    Ok(HttpResponse::Created().json(convert::datanet(made, &snapshot, AccessBasis::Owner, None)))
}

/// Datanets that the caller may use; with `on_request` also those that it may ask for.
#[utoipa::path(operation_id = "list_datanets", tag = "datanets", params(DatanetQuery), responses((status = 200, body = DatanetList)))]
#[get("/v1/datanets")]
pub(crate) async fn list(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    query: Query<DatanetQuery>,
) -> Result<Json<DatanetList>, ApiError> {
    let mut visible = state.store.datanets(caller.bounds()).await?;
    if query.on_request {
        let published = state.store.published_datanets().await?;
        visible.extend(
            published.into_iter().filter(|datanet| caller.bounds().is_some() && datanet.owner != caller.subject),
        );
        visible.sort_by(|a, b| a.name.cmp(&b.name));
        visible.dedup_by(|a, b| a.name == b.name);
    }
    let mut data = Vec::with_capacity(visible.len());
    for datanet in visible {
        data.push(described(&state, &caller, datanet).await?);
    }
    Ok(Json(DatanetList { object: "list".into(), data }))
}

/// One datanet.
#[utoipa::path(operation_id = "retrieve_datanet", tag = "datanets", responses((status = 200, body = Datanet), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}")]
pub(crate) async fn retrieve(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<Datanet>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    Ok(Json(described(&state, &caller, datanet).await?))
}

/// Deletes a datanet with its datapoints and grants. Records of answers that drew on it stay, and proofs that were
/// fetched stay valid; new ones can no longer be made.
#[utoipa::path(operation_id = "delete_datanet", tag = "datanets", responses((status = 204), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/datanets/{name}")]
pub(crate) async fn delete(
    caller: Allowed<Stewards>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let datanet = governed(&state, &caller, &name).await?;
    state.index.drop(&parsed(&datanet.name)?).await.map_err(convert::index_error)?;
    originals::forget(&state.config, &datanet.name, None).await?;
    for waiting in state.store.waiting_contributions(&datanet.name).await? {
        contributions::withdraw(&state, waiting).await?;
    }
    state.store.delete_datanet(&datanet.name).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Browses datapoints in the order of their contribution.
#[utoipa::path(operation_id = "list_datapoints", tag = "datanets", params(("name" = String, Path,), PageQuery), responses((status = 200, body = DatapointPage), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/datapoints")]
pub(crate) async fn datapoints(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    name: Path<String>,
    page: Query<PageQuery>,
) -> Result<Json<DatapointPage>, ApiError> {
    let access = access::permitted(&state, &caller, &name, Purpose::Retrieval).await?;
    let limit = page.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to 200")));
    }
    access::count(&state, std::slice::from_ref(&access)).await?;
    let (name, from) = (&access.name, page.after.unwrap_or(0));
    let size = state.index.snapshot(name).map_err(convert::index_error)?.size;
    let found = state.index.page(name, from, limit, access.rows.as_ref()).await.map_err(convert::index_error)?;
    // By places, not by what was found there: erased datapoints are left out.
    let next = Some(from.saturating_add(limit as u64)).filter(|next| *next < size);
    Ok(Json(DatapointPage { object: "list".into(), data: found.into_iter().map(convert::datapoint).collect(), next }))
}

/// One datapoint: where every citation leads.
#[utoipa::path(operation_id = "retrieve_datapoint", 
    tag = "datanets",
    params(("name" = String, Path,), ("id" = String, Path,)),
    responses((status = 200, body = Datapoint), (status = 404, body = ErrorEnvelope))
)]
#[get("/v1/datanets/{name}/datapoints/{id:.*}")]
pub(crate) async fn datapoint(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<Json<Datapoint>, ApiError> {
    let (name, id) = path.into_inner();
    let access = access::permitted(&state, &caller, &name, Purpose::Retrieval).await?;
    let missing = || ApiError::new(Code::NotFound, format!("datanet {name} has no datapoint {id:?}"));
    let id_parsed = id.parse().map_err(|_| missing())?;
    access::count(&state, std::slice::from_ref(&access)).await?;
    let found = state.index.datapoint(&access.name, &id_parsed).await.map_err(convert::index_error)?;
    let found = found.filter(|datapoint| access.covers(datapoint));
    Ok(Json(convert::datapoint(found.ok_or_else(missing)?)))
}

/// Every adapter that was trained on a datanet's datapoints, or on those of one datapoint or contributor: what a withdrawal
/// concerns. For its owner and for auditors.
#[utoipa::path(operation_id = "list_datanet_trainings", tag = "datanets", params(("name" = String, Path,), TrainedOnQuery), responses((status = 200, body = TrainedOnList), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/trainings")]
pub(crate) async fn trainings(
    caller: Allowed<StewardsAndAuditors>,
    state: Data<AppState>,
    name: Path<String>,
    query: Query<TrainedOnQuery>,
) -> Result<Json<TrainedOnList>, ApiError> {
    let datanet = match caller.has(&[Role::Auditor]) {
        true => state.store.datanet(&name, None).await?.ok_or_else(|| ApiError::no_datanet(&name))?,
        false => governed(&state, &caller, &name).await?,
    };
    let TrainedOnQuery { datapoint: id, contributor } = query.into_inner();
    let found = state.store.trained_on(&datanet.name, id.as_deref(), contributor.as_deref()).await?;
    Ok(Json(TrainedOnList { object: "list".into(), data: found.into_iter().map(convert::trained_on).collect() }))
}

/// Erases datapoints, or everything of a contributor: text, metadata, salts, vectors and older versions go, a tombstone for
/// each is logged, and proofs say from now on that it was erased. It cannot be undone. For the datanet's owner, on behalf of
/// whoever contributed it.
#[utoipa::path(operation_id = "erase_datapoints", tag = "datanets", params(("name" = String, Path,)), request_body = ErasureRequest, responses((status = 200, body = Erasure), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/datanets/{name}/erasures")]
pub(crate) async fn erase(
    caller: Allowed<Stewards>,
    state: Data<AppState>,
    name: Path<String>,
    request: Json<ErasureRequest>,
) -> Result<Json<Erasure>, ApiError> {
    let datanet = governed(&state, &caller, &name).await?;
    let name = parsed(&datanet.name)?;
    Ok(Json(crate::erasure::erase(&state.into_inner(), &name, &request, &caller.subject).await?))
}

/// The proof that a datanet's creation was registered on a chain: a file of its own that `cairn verify` checks.
#[utoipa::path(operation_id = "datanet_registration", tag = "datanets", params(("name" = String, Path,)), responses((status = 200, content_type = "application/json", body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/registration")]
pub(crate) async fn registration(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    super::anchors::registered(&state, outside::creation(&datanet)).await
}

/// A datanet that the caller may know of: one that it may use, or whose terms are published.
pub(super) async fn known(state: &AppState, caller: &Caller, name: &str) -> Result<Description, ApiError> {
    if let Some(datanet) = state.store.datanet(name, caller.bounds()).await? {
        return Ok(datanet);
    }
    let published = state.store.published_datanets().await?;
    published.into_iter().find(|datanet| datanet.name == name).ok_or_else(|| ApiError::no_datanet(name))
}

/// A datanet that the caller owns, or any for an administrator.
pub(super) async fn governed(state: &AppState, caller: &Caller, name: &str) -> Result<Description, ApiError> {
    let datanet = known(state, caller, name).await?;
    if caller.bounds().is_some_and(|subject| subject != datanet.owner) {
        return Err(ApiError::new(
            Code::InsufficientScope,
            format!("{name} is owned by {}; only it may do this", datanet.owner),
        ));
    }
    Ok(datanet)
}

async fn described(state: &AppState, caller: &Caller, datanet: Description) -> Result<Datanet, ApiError> {
    let snapshot = state.index.snapshot(&parsed(&datanet.name)?).map_err(convert::index_error)?;
    let basis = access::basis(state, caller, &datanet).await?;
    let version = state.store.terms(&datanet.name).await?.first().map(|terms| terms.version);
    Ok(convert::datanet(datanet, &snapshot, basis, version))
}

fn parsed(name: &str) -> Result<DatanetName, ApiError> {
    name.parse().map_err(|error: cairn_index::IndexError| ApiError::internal(error))
}
