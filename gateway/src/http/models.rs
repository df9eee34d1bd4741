//! Models: OpenAI's list, and loading and unloading.

use actix_web::{
    get, post,
    web::{Data, Json, Path},
};
use cairn_adapters::{GenerateError, ModelName, store::AliasInfo};
use cairn_base::{EngineName, Kind, Listed, Manifest, Status};
use cairn_openapi::{
    error::ErrorEnvelope,
    models::{Model, ModelList},
};

use crate::{
    auth::{Administrators, Allowed, Anyone},
    error::ApiError,
    state::AppState,
};

/// Every model, in OpenAI's shape, with how it stands; after each, the adapters on it that the caller may use, with `parent`
/// (the first 200; `GET /v1/adapters` pages through all).
#[utoipa::path(tag = "models", operation_id = "list_models", responses((status = 200, body = ModelList)))]
#[get("/v1/models")]
pub(crate) async fn list(caller: Allowed<Anyone>, state: Data<AppState>) -> Result<Json<ModelList>, ApiError> {
    let mut data = Vec::new();
    for listed in state.models.list().map_err(ApiError::internal)? {
        let base = chat(&listed);
        let aliases = state.adapters.store.aliases(&base.id, None, MOST_ADAPTERS, &(&*caller).into()).await?;
        let adapters: Vec<Model> = aliases.items.into_iter().map(|alias| adapter(alias, &base)).collect();
        data.push(base);
        data.extend(adapters);
    }
    data.extend(embedding(&state));
    Ok(Json(ModelList { object: "list".into(), data }))
}

/// One model, or one adapter by `base:alias`.
#[utoipa::path(tag = "models", operation_id = "retrieve_model", responses((status = 200, body = Model), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/models/{model}")]
pub(crate) async fn retrieve(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<Model>, ApiError> {
    if let Some((base, alias)) = name.split_once(':') {
        let unknown = || GenerateError::UnknownModel(name.to_string());
        let listed = state.models.get(&parsed(base)?)?;
        let alias = alias.parse().map_err(|_| unknown())?;
        let found = state.adapters.store.alias(base, &alias, &(&*caller).into()).await.map_err(|_| unknown())?;
        return Ok(Json(adapter(found, &chat(&listed))));
    }
    if let Some(embedding) = embedding(&state).filter(|model| model.id == *name) {
        return Ok(Json(embedding));
    }
    Ok(Json(chat(&state.models.get(&parsed(&name)?)?)))
}

/// Loads a model now and answers when it is there. The least recently used are unloaded to make room.
#[utoipa::path(tag = "models", operation_id = "load_model", responses((status = 200, body = Model), (status = 404, body = ErrorEnvelope), (status = 503, body = ErrorEnvelope)))]
#[post("/v1/models/{model}/load")]
pub(crate) async fn load(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<Model>, ApiError> {
    let (models, name) = (state.models.clone(), parsed(&name)?);
    let loaded = state.runtime.spawn(async move { models.load(&name).await }).await.map_err(ApiError::internal)??;
    Ok(Json(chat(&loaded)))
}

/// Takes a model out of service. Answers under way are finished; the next request loads it again.
#[utoipa::path(tag = "models", operation_id = "unload_model", responses((status = 200, body = Model), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/models/{model}/unload")]
pub(crate) async fn unload(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<Model>, ApiError> {
    let listed = state.models.unload(&parsed(&name)?)?;
    Ok(Json(chat(&listed)))
}

fn chat(listed: &Listed) -> Model {
    let engine = match listed.engine {
        EngineName::MistralRs => "mistralrs",
        EngineName::Lane | EngineName::Auto => "lane",
    };
    Model { engine: Some(engine.into()), ..model(&listed.manifest, &listed.status) }
}

/// An adapter as a model, which is what applications ask for it as.
fn adapter(alias: AliasInfo, base: &Model) -> Model {
    let created = chrono::DateTime::parse_from_rfc3339(&alias.updated_at).map_or(0, |at| at.timestamp());
    Model {
        id: format!("{}:{}", alias.base, alias.name),
        created,
        owned_by: alias.owner,
        parent: Some(alias.base),
        kind: "adapter".into(),
        weights: alias.current.0,
        memory_bytes: 0,
        normalised: Vec::new(),
        ..base.clone()
    }
}

/// Adapters that are listed beside their base.
const MOST_ADAPTERS: u32 = 200;

fn parsed(name: &str) -> Result<ModelName, ApiError> {
    name.parse().map_err(|_| GenerateError::UnknownModel(name.to_owned()).into())
}

/// The embedding model is loaded for as long as the gateway runs.
fn embedding(state: &AppState) -> Option<Model> {
    let manifest = Manifest::read(&state.config.models_dir.join(&state.config.embedding_model)).ok()?;
    Some(model(&manifest, &Status::Loaded))
}

fn model(manifest: &Manifest, status: &Status) -> Model {
    let (status, reason) = match status {
        Status::Unloaded => ("unloaded", None),
        Status::Loading => ("loading", None),
        Status::Loaded => ("loaded", None),
        Status::Failed { reason } => ("failed", Some(reason.clone())),
    };
    Model {
        id: manifest.name.to_string(),
        object: "model".into(),
        created: i64::try_from(manifest.pulled_at).unwrap_or(i64::MAX),
        owned_by: manifest.source.clone(),
        parent: None,
        engine: None,
        kind: match manifest.kind {
            Kind::Chat => "chat".into(),
            Kind::Embedding => "embedding".into(),
        },
        status: status.into(),
        reason,
        weights: manifest.serving_hash.0.clone(),
        memory_bytes: manifest.memory_bytes,
        context_length: manifest.context_length,
        normalised: manifest.changes.clone(),
    }
}
