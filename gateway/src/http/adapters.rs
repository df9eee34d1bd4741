//! Adapters: upload, publish, look, share, delete.

use actix_multipart::Multipart;
use actix_web::{
    HttpResponse, delete, get, post, put,
    web::{Data, Json, Path, Query},
};
use cairn_adapters::{
    AdapterGeneration,
    store::{AliasInfo, AliasName, Caller as StoreCaller, Source, StoreError, Upload, Visibility},
};
use cairn_openapi::{
    adapters::{
        AdapterAlias, AdapterList, AdapterQuery, AdapterVisibility, AliasChange, AliasHistory, AliasStep, Canary,
        UploadQuery, UploadedAdapter,
    },
    error::ErrorEnvelope,
    keys::Role,
};

use super::{ingest::receive, keys::valid_subject};
use crate::{
    auth::{Allowed, Applications, Caller, Trainers},
    error::{ApiError, Code},
    lanes,
    state::AppState,
};

/// The file of an upload.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "only describes the form to readers of the OpenAPI document")]
struct Archive {
    /// A tar, tar.gz or zip of a directory as PEFT saves it: adapter_config.json and adapter_model.safetensors.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: String,
}

/// Uploads an adapter. It is checked against the base tensor by tensor before it is accepted.
#[utoipa::path(operation_id = "upload_adapter", tag = "adapters",
    params(UploadQuery),
    request_body(content = Archive, content_type = "multipart/form-data"),
    responses((status = 201, body = UploadedAdapter), (status = 200, body = UploadedAdapter), (status = 400, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope), (status = 422, body = ErrorEnvelope))
)]
#[post("/v1/adapters")]
pub(crate) async fn upload(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    query: Query<UploadQuery>,
    upload: Multipart,
) -> Result<HttpResponse, ApiError> {
    let alias = query.alias.as_deref().map(alias_name).transpose()?;
    let base = state.adapters.base(&query.base).await?;
    // Before anything is received: what is refused leaves nothing behind.
    let owner = match &alias {
        Some(name) => owner(&state, &caller, &query.base, name).await?,
        None => caller.subject.clone(),
    };
    let directory = tempfile::Builder::new().prefix("upload-").tempdir_in(state.config.data_dir.join("adapters"));
    let directory = directory.map_err(ApiError::internal)?;
    let files = receive(upload, directory.path(), state.config.upload_limit).await?;
    let [file] = files.as_slice() else {
        return Err(ApiError::invalid("file", format!("{} files were sent; send one archive", files.len())));
    };
    let source = Source::Archive(directory.path().join(file));
    let store = &state.adapters.store;
    if query.dry_run {
        let report = store.inspect(source, base).await?;
        let report = serde_json::to_value(report).map_err(ApiError::internal)?;
        return Ok(HttpResponse::Ok().json(UploadedAdapter { generation: None, created: false, report, alias: None }));
    }
    let by = StoreCaller::from(&*caller);
    let done = store.upload(Upload { source, base, owner }, &by).await?;
    let published = match &alias {
        Some(name) => {
            store.publish(&query.base, name, &done.generation.0, &by).await?;
            Some(described(store.alias(&query.base, name, &by).await?))
        }
        None => None,
    };
    state.adapters.log_changes().await.map_err(ApiError::internal)?;
    let answer = UploadedAdapter {
        generation: Some(done.generation.0),
        created: done.created,
        report: serde_json::to_value(done.report).map_err(ApiError::internal)?,
        alias: published,
    };
    Ok(if done.created { HttpResponse::Created().json(answer) } else { HttpResponse::Ok().json(answer) })
}

/// Whose an upload under an alias is: the caller's; an administrator adds to what the alias's owner has.
async fn owner(state: &AppState, caller: &Caller, base: &str, name: &AliasName) -> Result<String, ApiError> {
    if !caller.has(&[Role::Admin]) {
        state.adapters.store.available(base, name, &caller.subject).await?;
        return Ok(caller.subject.clone());
    }
    match state.adapters.store.alias(base, name, &StoreCaller::from(caller)).await {
        Ok(alias) => Ok(alias.owner),
        Err(StoreError::NotFound { .. }) => Ok(caller.subject.clone()),
        Err(error) => Err(error.into()),
    }
}

/// Aliases on a base that the caller may use.
#[utoipa::path(operation_id = "list_adapters", tag = "adapters", params(AdapterQuery), responses((status = 200, body = AdapterList)))]
#[get("/v1/adapters")]
pub(crate) async fn list(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    query: Query<AdapterQuery>,
) -> Result<Json<AdapterList>, ApiError> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to 200")));
    }
    let by = StoreCaller::from(&*caller);
    let page = state.adapters.store.aliases(&query.base, query.after.as_deref(), limit, &by).await?;
    let data = page.items.into_iter().map(described).collect();
    Ok(Json(AdapterList { object: "list".into(), data, next: page.next }))
}

/// One alias.
#[utoipa::path(operation_id = "retrieve_adapter", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,)), responses((status = 200, body = AdapterAlias), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/adapters/{base}/{name}")]
pub(crate) async fn retrieve(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<Json<AdapterAlias>, ApiError> {
    let (base, name) = path.into_inner();
    let by = StoreCaller::from(&*caller);
    Ok(Json(described(state.adapters.store.alias(&base, &alias_name(&name)?, &by).await?)))
}

/// Changes what an alias means or who may use it: publish, roll back, canary, share. Requests under way finish with what
/// they began with; the change is in the transparency log when this answers.
#[utoipa::path(operation_id = "change_adapter", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,)), responses((status = 200, body = AdapterAlias), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[put("/v1/adapters/{base}/{name}")]
pub(crate) async fn change(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    path: Path<(String, String)>,
    change: Json<AliasChange>,
) -> Result<Json<AdapterAlias>, ApiError> {
    let (base, name) = path.into_inner();
    let (name, by, store) = (alias_name(&name)?, StoreCaller::from(&*caller), &state.adapters.store);
    match change.into_inner() {
        AliasChange { generation: Some(generation), rollback: None, canary: None, visibility: None } => {
            store.publish(&base, &name, &generation, &by).await?;
        }
        AliasChange { generation: None, rollback: Some(true), canary: None, visibility: None } => {
            store.rollback(&base, &name, &by).await?;
        }
        AliasChange { generation: None, rollback: None, canary: Some(canary), visibility: None } => {
            let trial = (canary.percent > 0).then_some((canary.generation.as_str(), canary.percent));
            store.canary(&base, &name, trial, &by).await?;
        }
        AliasChange { generation: None, rollback: None, canary: None, visibility: Some(visibility) } => {
            let visibility = match visibility {
                AdapterVisibility::Private => Visibility::Private,
                AdapterVisibility::Granted => Visibility::Granted,
                AdapterVisibility::Public => Visibility::Public,
            };
            store.set_visibility(&base, &name, visibility, &by).await?;
        }
        _ => {
            let message = "give exactly one of generation, rollback: true, canary and visibility";
            return Err(ApiError::new(Code::InvalidRequest, message));
        }
    }
    state.adapters.log_changes().await.map_err(ApiError::internal)?;
    Ok(Json(described(store.alias(&base, &name, &by).await?)))
}

/// Brings what an alias means into memory, and answers when it is there: its base in the lane, the generation (and that of a
/// canary) attached; or, for a base that the lane does not know, the weights with the adapter merged into them. The next
/// request then need not wait. It stays until other adapters need the room.
#[utoipa::path(operation_id = "load_adapter", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,)), responses((status = 200, body = AdapterAlias), (status = 404, body = ErrorEnvelope), (status = 422, body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
#[post("/v1/adapters/{base}/{name}/load")]
pub(crate) async fn load(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<Json<AdapterAlias>, ApiError> {
    let (base, name) = path.into_inner();
    let alias = state.adapters.store.alias(&base, &alias_name(&name)?, &StoreCaller::from(&*caller)).await?;
    let canary = alias.canary.as_ref().map(|(generation, _)| (generation, false));
    for (generation, required) in std::iter::once((&alias.current, true)).chain(canary) {
        let reference = [(format!("{name}@{}", generation.0), 1.0)];
        let addressed = lanes::address(&state, &caller, &base, &reference).await?;
        // Leased, so that it cannot be deleted meanwhile.
        let leases = match lanes::lease(&state, &caller, &addressed, "").await {
            Ok(leases) => leases,
            // The alias never pointed to its canary, which others than its owner then cannot name.
            Err(_) if !required => continue,
            Err(error) => return Err(error),
        };
        let (models, shares) = (state.models.clone(), lanes::shares(&leases));
        let ready = state.runtime.spawn(async move { models.prepare(&addressed.model, &shares).await });
        ready.await.map_err(ApiError::internal)??;
    }
    Ok(Json(described(alias)))
}

/// Removes an alias; the generations stay.
#[utoipa::path(operation_id = "unpublish_adapter", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,)), responses((status = 204), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/adapters/{base}/{name}")]
pub(crate) async fn unpublish(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (base, name) = path.into_inner();
    state.adapters.store.unpublish(&base, &alias_name(&name)?, &StoreCaller::from(&*caller)).await?;
    state.adapters.log_changes().await.map_err(ApiError::internal)?;
    Ok(HttpResponse::NoContent().finish())
}

/// What an alias has meant, latest first, and what rolling back would lead to.
#[utoipa::path(operation_id = "adapter_history", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,)), responses((status = 200, body = AliasHistory), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/adapters/{base}/{name}/history")]
pub(crate) async fn history(
    caller: Allowed<Applications>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<Json<AliasHistory>, ApiError> {
    let (base, name) = path.into_inner();
    let by = StoreCaller::from(&*caller);
    let steps = state.adapters.store.history(&base, &alias_name(&name)?, HISTORY, &by).await?;
    let step = |step: cairn_adapters::store::HistoryEntry| AliasStep {
        generation: step.generation.0,
        action: step.action,
        actor: step.actor,
        at: step.at,
    };
    let earlier = state.adapters.store.earlier(&base, &alias_name(&name)?, &by).await?;
    Ok(Json(AliasHistory {
        object: "list".into(),
        data: steps.into_iter().map(step).collect(),
        earlier: earlier.map(|generation| generation.0),
    }))
}

/// Lets a subject use an alias whose visibility is `granted`.
#[utoipa::path(operation_id = "grant_adapter", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,), ("subject" = String, Path,)), responses((status = 204), (status = 404, body = ErrorEnvelope)))]
#[put("/v1/adapters/{base}/{name}/grants/{subject}")]
pub(crate) async fn grant(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    path: Path<(String, String, String)>,
) -> Result<HttpResponse, ApiError> {
    set_grant(&caller, &state, path.into_inner(), true).await
}

/// Takes a grant back.
#[utoipa::path(operation_id = "revoke_adapter_grant", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,), ("subject" = String, Path,)), responses((status = 204), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/adapters/{base}/{name}/grants/{subject}")]
pub(crate) async fn revoke(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    path: Path<(String, String, String)>,
) -> Result<HttpResponse, ApiError> {
    set_grant(&caller, &state, path.into_inner(), false).await
}

/// Deletes a generation of the caller's. Requests that began with it finish with it.
#[utoipa::path(operation_id = "delete_adapter_generation", tag = "adapters", params(("base" = String, Path,), ("generation" = String, Path,)), responses((status = 204), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[delete("/v1/adapters/{base}/generations/{generation}")]
pub(crate) async fn delete(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<HttpResponse, ApiError> {
    let (base, generation) = path.into_inner();
    let (by, generation) = (StoreCaller::from(&*caller), AdapterGeneration(generation));
    state.adapters.store.delete(&base, &generation, &caller.subject, &by).await?;
    state.models.forget(&generation).await;
    state.adapters.log_changes().await.map_err(ApiError::internal)?;
    Ok(HttpResponse::NoContent().finish())
}

async fn set_grant(
    caller: &crate::auth::Caller,
    state: &AppState,
    (base, name, subject): (String, String, String),
    granted: bool,
) -> Result<HttpResponse, ApiError> {
    valid_subject(&subject)?;
    let by = StoreCaller::from(caller);
    state.adapters.store.set_grant(&base, &alias_name(&name)?, &subject, granted, &by).await?;
    state.adapters.log_changes().await.map_err(ApiError::internal)?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) fn alias_name(name: &str) -> Result<AliasName, ApiError> {
    name.parse().map_err(|error: cairn_adapters::InvalidName| ApiError::invalid("alias", error.to_string()))
}

fn described(alias: AliasInfo) -> AdapterAlias {
    AdapterAlias {
        object: "adapter".into(),
        base: alias.base,
        name: alias.name,
        owner: alias.owner,
        visibility: match alias.visibility {
            Visibility::Private => AdapterVisibility::Private,
            Visibility::Granted => AdapterVisibility::Granted,
            Visibility::Public => AdapterVisibility::Public,
        },
        generation: alias.current.0,
        canary: alias.canary.map(|(generation, percent)| Canary { generation: generation.0, percent }),
        updated_at: alias.updated_at,
    }
}

/// Steps of a history that are shown.
const HISTORY: u32 = 100;
