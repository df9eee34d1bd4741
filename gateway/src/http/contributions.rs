//! Contributions to datanets, and the states that these went through.

use actix_multipart::Multipart;
use actix_web::{
    HttpResponse, delete, get, post,
    web::{Bytes, Data, Json, Path, Query},
};
use cairn_openapi::{
    contributions::{
        Contribution, ContributionList, ContributionQuery, ContributionState, NewReview, SnapshotList, SnapshotVersion,
    },
    error::ErrorEnvelope,
    paging::ListQuery,
};
use cairn_policy::Purpose;
use cairn_proof::{Commitment, datapoint::Field};
use serde_json::json;

use super::{cut, datanets::known, ingest::receive, list_limit};
use crate::{
    access,
    auth::{Allowed, Anyone, Applications, Caller},
    contributions, convert,
    error::{ApiError, Code},
    record,
    state::AppState,
    store::{
        contributions::{Contributions, StoredContribution},
        datanets::StoredSnapshot,
    },
};

/// The files of a contribution.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes the form to readers of the OpenAPI document")]
struct Offer {
    /// One file; for `dictd`, the `.index` file and the `.dict` or `.dict.dz` file.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<String>,
}

/// Offers datapoints to a datanet. All of it is checked now; its terms take it at once, or its owner looks at it first.
#[utoipa::path(operation_id = "contribute",
    tag = "contributions",
    params(("name" = String, Path,), ContributionQuery),
    request_body(content = Offer, content_type = "multipart/form-data"),
    responses((status = 201, body = Contribution), (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope))
)]
#[post("/v1/datanets/{name}/contributions")]
pub(crate) async fn contribute(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    name: Path<String>,
    query: Query<ContributionQuery>,
    upload: Multipart,
) -> Result<HttpResponse, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    let id = format!("contribution-{}", uuid::Uuid::now_v7().simple());
    let directory = contributions::directory(&state, &id);
    tokio::fs::create_dir_all(&directory).await.map_err(ApiError::internal)?;
    let outcome = async {
        let files = receive(upload, &directory, state.config.upload_limit).await?;
        contributions::offer(&state.clone().into_inner(), &caller, &datanet, id, files, query.into_inner()).await
    };
    match outcome.await {
        Ok(offered) => {
            let offered = contributions::stored(&state, &offered.id).await?;
            Ok(HttpResponse::Created().json(contributions::described(&state, offered).await?))
        }
        Err(error) => {
            if let Err(error) = tokio::fs::remove_dir_all(&directory).await {
                tracing::warn!(%error, "a refused contribution could not be removed");
            }
            Err(error)
        }
    }
}

/// Contributions to a datanet, newest first: to its owner all, to others their own.
#[utoipa::path(operation_id = "list_contributions", tag = "contributions", params(("name" = String, Path,), ListQuery), responses((status = 200, body = ContributionList), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/contributions")]
pub(crate) async fn of_datanet(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
    page: Query<ListQuery>,
) -> Result<Json<ContributionList>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    let all = caller.bounds().is_none() || caller.subject == datanet.owner;
    let which = match all {
        true => Contributions::To(&datanet.name),
        false => Contributions::ToBy(&datanet.name, &caller.subject),
    };
    listed(&state, which, &page).await
}

/// The caller's own contributions, newest first.
#[utoipa::path(operation_id = "list_my_contributions", tag = "contributions", params(ListQuery), responses((status = 200, body = ContributionList)))]
#[get("/v1/contributions")]
pub(crate) async fn mine(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    page: Query<ListQuery>,
) -> Result<Json<ContributionList>, ApiError> {
    listed(&state, Contributions::By(&caller.subject), &page).await
}

/// One contribution, with what was found in it.
#[utoipa::path(operation_id = "retrieve_contribution", tag = "contributions", params(("id" = String, Path,)), responses((status = 200, body = Contribution), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/contributions/{id}")]
pub(crate) async fn retrieve(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<Contribution>, ApiError> {
    let (contribution, _) = visible(&state, &caller, &id).await?;
    Ok(Json(contributions::described(&state, contribution).await?))
}

/// Accepts or rejects a contribution, as the datanet's owner.
#[utoipa::path(operation_id = "review_contribution", tag = "contributions", params(("id" = String, Path,)), responses((status = 200, body = Contribution), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[post("/v1/contributions/{id}/review")]
pub(crate) async fn review(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
    review: Json<NewReview>,
) -> Result<Json<Contribution>, ApiError> {
    let (contribution, governs) = visible(&state, &caller, &id).await?;
    if !governs {
        return Err(ApiError::new(Code::InsufficientScope, "only the datanet's owner reviews contributions"));
    }
    let state = state.into_inner();
    let reviewed = contributions::review(&state, &caller, contribution, review.into_inner()).await?;
    Ok(Json(contributions::described(&state, reviewed).await?))
}

/// Takes a contribution back that is still waiting.
#[utoipa::path(operation_id = "withdraw_contribution", tag = "contributions", params(("id" = String, Path,)), responses((status = 204), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[delete("/v1/contributions/{id}")]
pub(crate) async fn withdraw(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (contribution, _) = visible(&state, &caller, &id).await?;
    if contribution.subject != caller.subject || contribution.state != ContributionState::Waiting {
        return Err(ApiError::new(
            Code::AlreadyExists,
            format!("contribution {id} is not yours, or was decided already"),
        ));
    }
    contributions::withdraw(&state, contribution).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The states that a datanet went through, newest first; each is an entry of the log.
#[utoipa::path(operation_id = "list_snapshots", tag = "datanets", params(("name" = String, Path,)), responses((status = 200, body = SnapshotList), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/snapshots")]
pub(crate) async fn snapshots(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<SnapshotList>, ApiError> {
    let datanet = known(&state, &caller, &name).await?;
    let data = state.store.snapshots(&datanet.name).await?.into_iter().map(version).collect();
    Ok(Json(SnapshotList { object: "list".into(), data }))
}

/// One state of a datanet, by its number.
#[utoipa::path(operation_id = "retrieve_snapshot", tag = "datanets", params(("name" = String, Path,), ("number" = u64, Path,)), responses((status = 200, body = SnapshotVersion), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/snapshots/{number}")]
pub(crate) async fn snapshot(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    path: Path<(String, u64)>,
) -> Result<Json<SnapshotVersion>, ApiError> {
    let (name, number) = path.into_inner();
    let datanet = known(&state, &caller, &name).await?;
    Ok(Json(version(numbered(&state, &datanet.name, number).await?)))
}

/// Every datapoint of a state with its commitment, what opens it and its path to the root, one JSON object a line; the first
/// line is the state with its place in the log. Erased datapoints have their commitment alone.
#[utoipa::path(operation_id = "export_snapshot", tag = "datanets", params(("name" = String, Path,), ("number" = u64, Path,)), responses((status = 200, content_type = "application/jsonl", body = String), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/datanets/{name}/snapshots/{number}/export")]
pub(crate) async fn export(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    path: Path<(String, u64)>,
) -> Result<HttpResponse, ApiError> {
    let (name, number) = path.into_inner();
    let access = access::permitted(&state, &caller, &name, Purpose::Retrieval).await?;
    access::count(&state, std::slice::from_ref(&access)).await?;
    let stored = numbered(&state, &name, number).await?;
    let place = record::place(&state, stored.log_index).await?;
    let size = stored.size;
    let root = state.index.root_at(&access.name, size).map_err(convert::index_error)?;
    if root.to_string() != stored.root {
        let message = format!("datanet {name} was made anew since; what it held in state {number} is gone");
        return Err(ApiError::new(Code::NotFound, message));
    }
    let head = json!({"snapshot": version(stored), "log": place, "key": state.ledger.key().to_string()});
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(2);
    let state = state.into_inner();
    let runtime = state.runtime.clone();
    runtime.spawn(async move {
        if sender.send(Ok(line(&head))).await.is_err() {
            return;
        }
        let mut from = 0;
        while from < size {
            let upto = size.min(from + EXPORTED_AT_ONCE);
            let page = exported(&state, &access, &(from..upto).collect::<Vec<_>>(), size).await;
            // The connection ends there, so that nobody takes a part for the whole.
            let page = page.map_err(|error| std::io::Error::other(error.message));
            let failed = page.is_err();
            if sender.send(page).await.is_err() || failed {
                return;
            }
            from = upto;
        }
    });
    let body = tokio_stream::wrappers::ReceiverStream::new(receiver);
    Ok(HttpResponse::Ok().content_type("application/jsonl").streaming(body))
}

/// Lines of an export.
async fn exported(state: &AppState, access: &access::Access, seqs: &[u64], size: u64) -> Result<Bytes, ApiError> {
    let mut lines = Vec::new();
    for salted in state.index.by_seq(&access.name, seqs).await.map_err(convert::index_error)? {
        let fields = salted.datapoint.fields();
        let path = state.index.prove(&access.name, fields.seq, size).map_err(convert::index_error)?;
        let row = match &salted.erased {
            Some(commitment) => json!({"commitment": commitment, "path": path, "erased": true}),
            None if access.covers(&salted.datapoint) => {
                let commitment = Commitment::new(&fields, &salted.salt).map_err(ApiError::internal)?;
                json!({"commitment": commitment, "path": path, "disclosed": fields.disclose(&salted.salt, &Field::ALL)})
            }
            None => continue,
        };
        lines.extend_from_slice(&line(&row));
    }
    Ok(lines.into())
}

fn line(value: &serde_json::Value) -> Bytes {
    format!("{value}\n").into()
}

async fn numbered(state: &AppState, datanet: &str, number: u64) -> Result<StoredSnapshot, ApiError> {
    let found = state.store.snapshots(datanet).await?.into_iter().find(|stored| stored.number == number);
    found.ok_or_else(|| ApiError::new(Code::NotFound, format!("datanet {datanet} has no state number {number}")))
}

fn version(of: StoredSnapshot) -> SnapshotVersion {
    SnapshotVersion {
        datanet: of.datanet,
        number: of.number,
        lance_version: of.lance_version,
        size: of.size,
        root: of.root,
        at: of.at,
        log_index: of.log_index,
    }
}

/// A contribution that the caller sent or governs, and whether the latter.
async fn visible(state: &AppState, caller: &Caller, id: &str) -> Result<(StoredContribution, bool), ApiError> {
    let contribution = contributions::stored(state, id).await?;
    let owner = state.store.datanet(&contribution.datanet, None).await?.map(|datanet| datanet.owner);
    let governs = caller.bounds().is_none() || owner.as_deref() == Some(&caller.subject);
    if governs || contribution.subject == caller.subject {
        return Ok((contribution, governs));
    }
    Err(ApiError::new(Code::NotFound, format!("there is no contribution {id:?}")))
}

async fn listed(
    state: &AppState,
    which: Contributions<'_>,
    page: &ListQuery,
) -> Result<Json<ContributionList>, ApiError> {
    let limit = list_limit(page)?;
    let mut found = state.store.contributions(which, page.after.as_deref(), limit + 1).await?;
    let has_more = cut(&mut found, limit);
    let mut data = Vec::with_capacity(found.len());
    for contribution in found {
        data.push(contributions::described(state, contribution).await?);
    }
    Ok(Json(ContributionList { object: "list".into(), data, has_more }))
}

/// Datapoints read at once.
const EXPORTED_AT_ONCE: u64 = 500;
