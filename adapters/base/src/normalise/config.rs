//! `config.json`: the fields that mistral.rs reads, from those that newer tools write.

use serde_json::{Map, Value, json};

/// Fills in what is missing; returns what was changed and why.
pub(super) fn normalise(config: &mut Map<String, Value>) -> Vec<String> {
    let mut changes = Vec::new();
    rope(config, &mut changes);
    if config.get("model_type").and_then(Value::as_str) == Some("deepseek_v3") {
        routing(config, &mut changes);
    }
    changes
}

/// transformers 5 writes `rope_parameters`; mistral.rs reads `rope_theta` and `rope_scaling`.
fn rope(config: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let Some(Value::Object(parameters)) = config.get("rope_parameters").cloned() else { return };
    if let Some(theta) = parameters.get("rope_theta")
        && !config.contains_key("rope_theta")
    {
        config.insert("rope_theta".into(), theta.clone());
        changes.push("config.json: rope_theta taken from rope_parameters, where the engine does not look".into());
    }
    let kind = parameters.get("rope_type").and_then(Value::as_str).unwrap_or("default");
    if kind != "default" && config.get("rope_scaling").is_none_or(Value::is_null) {
        let mut scaling = parameters.clone();
        scaling.remove("rope_theta");
        config.insert("rope_scaling".into(), Value::Object(scaling));
        changes.push(format!(
            "config.json: rope_scaling ({kind}) taken from rope_parameters, where the engine does not look"
        ));
    }
}

/// Without these fields mistral.rs routes DeepSeek-V3's experts as V2's, and answers nonsense without an error.
fn routing(config: &mut Map<String, Value>, changes: &mut Vec<String>) {
    let defaults =
        [("scoring_func", json!("sigmoid")), ("topk_method", json!("noaux_tc")), ("moe_layer_freq", json!(1))];
    for (field, value) in defaults {
        if config.get(field).is_none_or(Value::is_null) {
            changes.push(format!("config.json: {field} = {value}, which DeepSeek-V3 means and newer files leave out"));
            config.insert(field.into(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn llama3_scaling_moves_to_where_the_engine_reads_it() {
        let mut config = object(json!({"model_type": "llama", "rope_parameters":
            {"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0}}));
        assert_eq!(normalise(&mut config).len(), 2);
        assert_eq!(config["rope_theta"], 500000.0);
        assert_eq!(config["rope_scaling"], json!({"rope_type": "llama3", "factor": 8.0}));
    }

    #[test]
    fn what_is_complete_stays_as_it_is() {
        let mut config = object(json!({"model_type": "llama", "rope_theta": 1.0, "rope_parameters":
            {"rope_theta": 1.0, "rope_type": "default"}}));
        let before = config.clone();
        assert!(normalise(&mut config).is_empty());
        assert_eq!(config, before);
    }
}
