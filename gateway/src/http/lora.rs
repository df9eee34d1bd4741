//! vLLM's endpoints for adapters at run time, so that its clients work unchanged.

use std::path::{Path, PathBuf};

use actix_web::{
    HttpResponse, post,
    web::{Data, Json},
};
use cairn_adapters::store::{AliasName, Caller as StoreCaller, Source, Upload};
use cairn_openapi::{
    adapters::{LoadLora, UnloadLora},
    error::ErrorEnvelope,
};

use crate::{
    auth::{Allowed, Caller, Trainers},
    error::{ApiError, Code},
    state::AppState,
};

/// Uploads the adapter in a directory of the server and publishes it, as vLLM's endpoint of this name does. The directory
/// must be inside `adapters.import_dir`.
#[utoipa::path(operation_id = "load_lora_adapter", tag = "adapters", request_body = LoadLora, responses((status = 200, body = String), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 422, body = ErrorEnvelope)))]
#[post("/v1/load_lora_adapter")]
pub(crate) async fn load(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    body: Json<LoadLora>,
) -> Result<HttpResponse, ApiError> {
    let alias = alias_name(&body.lora_name)?;
    let directory = confined(&state.config.adapters.import_dir, &body.lora_path)?;
    let base = match &body.base_model_name {
        Some(base) => base.clone(),
        None => only_model(&state)?,
    };
    let (by, store) = (StoreCaller::from(&*caller), &state.adapters.store);
    if !body.load_inplace && store.alias(&base, &alias, &by).await.is_ok() {
        let message = format!(
            "The lora adapter {:?} has already been loaded; set load_inplace to replace what it means",
            body.lora_name
        );
        return Err(ApiError::invalid("lora_name", message));
    }
    let source = Source::Directory(directory);
    let upload = Upload { source, base: state.adapters.base(&base).await?, owner: caller.subject.clone() };
    let done = store.upload(upload, &by).await?;
    store.publish(&base, &alias, &done.generation.0, &by).await?;
    state.adapters.log_changes().await.map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok().body(format!("Success: LoRA adapter '{}' added successfully.", body.lora_name)))
}

/// Removes an alias, as vLLM's endpoint of this name does; requests under way finish with it.
#[utoipa::path(operation_id = "unload_lora_adapter", tag = "adapters", request_body = UnloadLora, responses((status = 200, body = String), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/unload_lora_adapter")]
pub(crate) async fn unload(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    body: Json<UnloadLora>,
) -> Result<HttpResponse, ApiError> {
    let alias = alias_name(&body.lora_name)?;
    let base = match &body.base_model_name {
        Some(base) => base.clone(),
        None => base_of(&state, &caller, &body.lora_name).await?,
    };
    state.adapters.store.unpublish(&base, &alias, &StoreCaller::from(&*caller)).await?;
    state.adapters.log_changes().await.map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok().body(format!("Success: LoRA adapter '{}' removed successfully.", body.lora_name)))
}

/// The directory, with every link followed, if it is inside the one that the configuration names.
fn confined(allowed: &Path, given: &str) -> Result<PathBuf, ApiError> {
    let invalid = |message: String| ApiError::invalid("lora_path", message);
    if allowed.as_os_str().is_empty() {
        return Err(invalid(
            "adapters are not taken from the server's directories; set adapters.import_dir, or upload to POST /v1/adapters"
                .into(),
        ));
    }
    let root = allowed.canonicalize().map_err(|error| {
        ApiError::internal(anyhow::anyhow!("adapters.import_dir {} cannot be read: {error}", allowed.display()))
    })?;
    // One answer for what is missing and what is outside: paths of the server are nobody's business.
    let refused = || invalid(format!("{given:?} is not a directory inside adapters.import_dir"));
    let directory = root.join(given).canonicalize().map_err(|_| refused())?;
    if directory.is_dir() && directory.starts_with(&root) { Ok(directory) } else { Err(refused()) }
}

fn only_model(state: &AppState) -> Result<String, ApiError> {
    let models = state.models.list().map_err(ApiError::internal)?;
    match models.as_slice() {
        [one] => Ok(one.manifest.name.to_string()),
        _ => Err(ApiError::invalid(
            "base_model_name",
            format!("there are {} models; say which one the adapter is for", models.len()),
        )),
    }
}

async fn base_of(state: &AppState, caller: &Caller, alias: &str) -> Result<String, ApiError> {
    let bases = state.adapters.bases_of(&state.models, alias, caller).await?;
    match bases.as_slice() {
        [one] => Ok(one.to_string()),
        [] => Err(ApiError::new(Code::AdapterNotFound, format!("The lora adapter {alias:?} cannot be found."))),
        several => Err(ApiError::invalid(
            "base_model_name",
            format!("{alias:?} is an adapter on {} models; say on which", several.len()),
        )),
    }
}

fn alias_name(name: &str) -> Result<AliasName, ApiError> {
    name.parse().map_err(|error: cairn_adapters::InvalidName| ApiError::invalid("lora_name", error.to_string()))
}
