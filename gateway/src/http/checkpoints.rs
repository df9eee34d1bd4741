//! `/v1/fine_tuning/jobs/{id}/checkpoints`: those that are there, for resuming. A job keeps its last ones.

use std::collections::BTreeMap;

use actix_web::{
    get,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    fine_tuning::{FineTuningCheckpoint, FineTuningCheckpoints, PageQuery},
};
use serde_json::{Value, json};

use super::{
    fine_tuning::{known, run_of},
    run_directory::limit,
};
use crate::{
    auth::{Allowed, Trainers},
    error::ApiError,
    state::AppState,
    training,
};

/// Checkpoints of a job that it can be resumed from, newest first. The last ones are kept.
#[utoipa::path(operation_id = "fine_tuning_checkpoints", tag = "fine-tuning", params(("id" = String, Path,), PageQuery), responses((status = 200, body = FineTuningCheckpoints), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/fine_tuning/jobs/{id}/checkpoints")]
pub(crate) async fn checkpoints(
    caller: Allowed<Trainers>,
    state: Data<AppState>,
    id: Path<String>,
    page: Query<PageQuery>,
) -> Result<Json<FineTuningCheckpoints>, ApiError> {
    let (stored, limit) = (known(&state, &caller, &id).await?, limit(&page)?);
    let kept = training::directory(&state.config, &stored.id).join("checkpoints");
    let (entries, _) = run_of(&state, &stored).entries(0).await?;
    let (mut train_loss, mut valid_loss) = (Value::Null, Value::Null);
    // A run that was killed writes the checkpoints since its last one again: the later line counts.
    let mut all: BTreeMap<u64, FineTuningCheckpoint> = BTreeMap::new();
    for entry in &entries {
        match entry.data["event"].as_str() {
            Some("step") => train_loss = entry.data["loss"].clone(),
            Some("evaluated") => valid_loss = entry.data["loss"].clone(),
            Some("checkpoint") => {
                let step = entry.data["step"].as_u64().unwrap_or(0);
                let checkpoint = FineTuningCheckpoint {
                    id: format!("ftckpt-{}-{step}", stored.id),
                    object: "fine_tuning.job.checkpoint".into(),
                    created_at: entry.at,
                    fine_tuning_job_id: stored.id.clone(),
                    fine_tuned_model_checkpoint: format!("{}:{}:ckpt-step-{step}", stored.base, stored.alias),
                    step_number: step,
                    metrics: json!({"step": step, "train_loss": train_loss, "valid_loss": valid_loss}),
                };
                all.insert(step, checkpoint);
            }
            _ => {}
        }
    }
    all.retain(|step, _| kept.join(format!("step-{step:08}")).is_dir());
    let mut data: Vec<FineTuningCheckpoint> = all.into_values().rev().collect();
    if let Some(after) = &page.after {
        let from = data.iter().position(|checkpoint| checkpoint.id == *after).map_or(data.len(), |at| at + 1);
        data.drain(..from);
    }
    let has_more = data.len() > limit;
    data.truncate(limit);
    let id = |checkpoint: Option<&FineTuningCheckpoint>| checkpoint.map(|checkpoint| checkpoint.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(Json(FineTuningCheckpoints { object: "list".into(), first_id, last_id, data, has_more }))
}
