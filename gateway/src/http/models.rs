//! Models: OpenAI's list, and loading and unloading.

use actix_web::{
    get, post,
    web::{Data, Json, Path},
};
use cairn_adapters::ModelName;
use cairn_base::{Kind, Manifest, Status};
use cairn_openapi::{
    error::ErrorEnvelope,
    models::{Model, ModelList},
};

use crate::{
    auth::{Administrators, Allowed, Anyone},
    error::ApiError,
    state::AppState,
};

/// Every model, in OpenAI's shape, with how it stands.
#[utoipa::path(tag = "models", operation_id = "list_models", responses((status = 200, body = ModelList)))]
#[get("/v1/models")]
pub(crate) async fn list(_caller: Allowed<Anyone>, state: Data<AppState>) -> Result<Json<ModelList>, ApiError> {
    let listed = state.models.list().map_err(ApiError::internal)?;
    let mut data: Vec<Model> = listed.into_iter().map(|it| model(&it.manifest, &it.status)).collect();
    data.extend(embedding(&state));
    Ok(Json(ModelList { object: "list".into(), data }))
}

/// One model.
#[utoipa::path(tag = "models", operation_id = "retrieve_model", responses((status = 200, body = Model), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/models/{model}")]
pub(crate) async fn retrieve(
    _caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<Model>, ApiError> {
    if let Some(embedding) = embedding(&state).filter(|model| model.id == *name) {
        return Ok(Json(embedding));
    }
    let listed = state.models.get(&parsed(&name)?)?;
    Ok(Json(model(&listed.manifest, &listed.status)))
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
    Ok(Json(model(&loaded.manifest, &loaded.status)))
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
    Ok(Json(model(&listed.manifest, &listed.status)))
}

fn parsed(name: &str) -> Result<ModelName, ApiError> {
    name.parse().map_err(|_| cairn_adapters::GenerateError::UnknownModel(name.to_owned()).into())
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
