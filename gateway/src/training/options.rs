//! From a request to hyper-parameters: the preset, the request's options, and OpenAI's names for some of them.

use cairn_openapi::fine_tuning::{FineTuningRequest, Hyperparameters};
use cairn_trainer::{Preset, TrainError, TrainOptions};
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// The preset that a request starts from.
pub(crate) fn preset_of(request: &FineTuningRequest) -> TrainOptions {
    let named = request.method.as_ref().and_then(|method| {
        let name = method.options.get("preset").cloned().or_else(|| method.preset.clone().map(Value::from))?;
        serde_json::from_value(name).ok()
    });
    TrainOptions::preset(named.unwrap_or(Preset::Balanced))
}

/// The hyper-parameters of a request.
pub(super) fn read(request: &FineTuningRequest) -> Result<TrainOptions, ApiError> {
    let method = request.method.clone().unwrap_or_default();
    let kind = match method.kind.as_str() {
        "" | "supervised" | "qlora" => "qlora",
        "lora" => "lora",
        other => {
            let message = format!("{other:?} is not a method here; use qlora, lora or supervised");
            return Err(ApiError::invalid("method", message));
        }
    };
    let mut fields: Map<String, Value> = method.options;
    fields.insert("method".into(), json!(kind));
    fields.entry("preset").or_insert_with(|| json!(method.preset.unwrap_or_else(|| "balanced".into())));
    if let Some(seed) = request.seed {
        fields.insert("seed".into(), json!(seed));
    }
    let supervised = method.supervised.and_then(|supervised| supervised.hyperparameters);
    let Hyperparameters { n_epochs, batch_size, learning_rate_multiplier } =
        supervised.or_else(|| request.hyperparameters.clone()).unwrap_or_default();
    let given = |value: Option<Value>| value.filter(|value| *value != json!("auto"));
    if let Some(epochs) = given(n_epochs) {
        fields.insert("epochs".into(), epochs);
    }
    if let Some(size) = given(batch_size) {
        fields.insert("batch_size".into(), size);
        fields.insert("gradient_accumulation".into(), json!(1));
    }
    let mut options = TrainOptions::from_json(fields).map_err(|error| refused(&error))?;
    if let Some(factor) = given(learning_rate_multiplier) {
        let factor = factor.as_f64().filter(|factor| *factor > 0.0 && *factor <= 100.0).ok_or_else(|| {
            ApiError::invalid("learning_rate_multiplier", "give \"auto\" or a number above 0 and at most 100")
        })?;
        options.lr *= factor;
        options.check().map_err(|error| ApiError::invalid("learning_rate_multiplier", error.to_string()))?;
    }
    Ok(options)
}

/// Options that cannot work.
fn refused(error: &TrainError) -> ApiError {
    ApiError::invalid("method", cairn_trainer::told(error))
}
