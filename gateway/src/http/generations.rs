//! Stored adapters with their reports and what they learnt from; who an alias is granted to, and who uses it.

use actix_web::{
    get,
    web::{Data, Json, Path, Query},
};
use cairn_adapters::store::{Caller as StoreCaller, GenerationInfo as Stored};
use cairn_openapi::{
    adapters::{AdapterGrants, AdapterUses, GenerationInfo, GenerationList, GenerationQuery, TrainedBy, TrainedFrom},
    error::ErrorEnvelope,
};
use cairn_proof::training::TrainingSource;

use super::adapters::alias_name;
use crate::{
    auth::{Allowed, Trainers},
    error::ApiError,
    state::AppState,
    training,
};

/// Generations on a base, also those that no alias means: with the report of their upload, and the training run that they
/// came of. The caller's own; administrators may name another owner.
#[utoipa::path(operation_id = "list_adapter_generations", tag = "adapters", params(GenerationQuery), responses((status = 200, body = GenerationList), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/adapter_generations")]
pub(crate) async fn list(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    query: Query<GenerationQuery>,
) -> Result<Json<GenerationList>, ApiError> {
    let limit = query.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to 200")));
    }
    let owner = query.owner.as_deref().unwrap_or(&caller.subject);
    let page = (query.after.as_deref(), limit);
    let page = state.adapters.store.generations(&query.base, owner, page, &StoreCaller::from(&*caller)).await?;
    let mut data = Vec::with_capacity(page.items.len());
    for generation in page.items.into_iter().filter(|generation| !generation.deleting) {
        data.push(described(&state, generation).await?);
    }
    Ok(Json(GenerationList { object: "list".into(), data, next: page.next }))
}

/// The subjects an alias is granted to. For its owner.
#[utoipa::path(operation_id = "list_adapter_grants", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,)), responses((status = 200, body = AdapterGrants), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/adapters/{base}/{name}/grants")]
pub(crate) async fn grants(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<Json<AdapterGrants>, ApiError> {
    let (base, name) = path.into_inner();
    let data = state.adapters.store.grants(&base, &alias_name(&name)?, &StoreCaller::from(&*caller)).await?;
    Ok(Json(AdapterGrants { object: "list".into(), data }))
}

/// Who uses an alias: answers by subject and generation, since the alias was made. For its owner.
#[utoipa::path(operation_id = "list_adapter_uses", tag = "adapters", params(("base" = String, Path,), ("name" = String, Path,)), responses((status = 200, body = AdapterUses), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/adapters/{base}/{name}/uses")]
pub(crate) async fn uses(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    path: Path<(String, String)>,
) -> Result<Json<AdapterUses>, ApiError> {
    let (base, name) = path.into_inner();
    let (name, by, store) = (alias_name(&name)?, StoreCaller::from(&*caller), &state.adapters.store);
    // Refuses whoever may use the alias and does not own it.
    store.grants(&base, &name, &by).await?;
    // A name that was taken back and given anew has another history: who used the earlier one is not its owner's to know.
    let steps = store.history(&base, &name, u32::MAX, &by).await?;
    let since = steps.last().map(|step| step.at.as_str()).unwrap_or_default();
    let data = state.store.adapter_uses(&base, name.as_str(), since).await?;
    Ok(Json(AdapterUses { object: "list".into(), data }))
}

async fn described(state: &AppState, stored: Stored) -> Result<GenerationInfo, ApiError> {
    let training = trained_by(state, &stored).await?;
    Ok(GenerationInfo {
        training,
        generation: stored.generation.0,
        base: stored.base,
        owner: stored.owner,
        bytes: stored.bytes,
        created_at: stored.created_at,
        created_by: stored.created_by,
        aliases: stored.aliases,
        report: serde_json::to_value(stored.report).map_err(ApiError::internal)?,
    })
}

/// The owner's run that a generation came of. What was deleted with its job's directory is not known any more.
async fn trained_by(state: &AppState, stored: &Stored) -> Result<Option<TrainedBy>, ApiError> {
    let job = state.store.training_of(&stored.generation.0, &stored.base, &stored.owner).await?;
    let Some(job) = job else { return Ok(None) };
    let dir = training::directory(&state.config, &job.id);
    let read =
        tokio::task::spawn_blocking(move || training::provenance::read(&dir)).await.map_err(ApiError::internal)?;
    let Ok(provenance) = read else { return Ok(None) };
    let source = |source: TrainingSource| TrainedFrom {
        datanet: source.datanet,
        file: source.file.map(|file| file.to_string()),
        consent: format!("{:?}", source.consent).to_lowercase(),
    };
    Ok(Some(TrainedBy {
        job: job.id,
        learnt: provenance.entry.rows.learnt,
        held_out: provenance.entry.rows.held_out,
        sources: provenance.entry.sources.into_iter().map(source).collect(),
        log_index: provenance.log_index,
    }))
}
