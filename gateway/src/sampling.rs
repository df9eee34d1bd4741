//! OpenAI's sampling parameters, checked, as the engines take them.

use std::{collections::BTreeMap, time::Duration};

use cairn_adapters::Sampling;
use cairn_openapi::chat::OneOrMany;

use crate::error::ApiError;

/// What both completion endpoints share.
pub(crate) struct Common {
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) top_k: Option<usize>,
    pub(crate) min_p: Option<f64>,
    pub(crate) n: Option<usize>,
    pub(crate) stop: Option<OneOrMany>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) logit_bias: Option<BTreeMap<String, f32>>,
    pub(crate) seed: Option<i64>,
    pub(crate) logprobs: Option<usize>,
}

/// Checks every range, naming the field at fault.
pub(crate) fn sampling(common: Common) -> Result<Sampling, ApiError> {
    let within = |param: &str, value: Option<f64>, low: f64, high: f64| match value {
        Some(value) if !(low..=high).contains(&value) => {
            Err(ApiError::invalid(param, format!("{param} is {value}; give {low} to {high}")))
        }
        _ => Ok(()),
    };
    within("temperature", common.temperature, 0.0, 2.0)?;
    within("top_p", common.top_p, 0.0, 1.0)?;
    within("min_p", common.min_p, 0.0, 1.0)?;
    within("presence_penalty", common.presence_penalty.map(f64::from), -2.0, 2.0)?;
    within("frequency_penalty", common.frequency_penalty.map(f64::from), -2.0, 2.0)?;
    within("n", common.n.map(|n| n as f64), 1.0, 8.0)?;
    within("logprobs", common.logprobs.map(|top| top as f64), 0.0, 20.0)?;
    if common.max_tokens == Some(0) {
        return Err(ApiError::invalid("max_tokens", "max_tokens is 0; give at least 1"));
    }
    if common.top_k == Some(0) {
        return Err(ApiError::invalid("top_k", "top_k is 0; give at least 1, or leave it out for all tokens"));
    }
    let stop: Vec<String> = common.stop.map(Into::into).unwrap_or_default();
    if stop.len() > 4 || stop.iter().any(String::is_empty) {
        return Err(ApiError::invalid("stop", "stop takes up to 4 strings, none of them empty"));
    }
    let logit_bias = common
        .logit_bias
        .unwrap_or_default()
        .into_iter()
        .map(|(token, bias)| match token.parse() {
            Ok(id) if (-100.0..=100.0).contains(&bias) => Ok((id, bias)),
            Ok(_) => {
                Err(ApiError::invalid("logit_bias", format!("the bias of token {token} is {bias}; give -100 to 100")))
            }
            Err(_) => Err(ApiError::invalid("logit_bias", format!("{token:?} is not a token id"))),
        })
        .collect::<Result<_, _>>()?;
    Ok(Sampling {
        temperature: common.temperature.unwrap_or(1.0),
        top_p: common.top_p.unwrap_or(1.0),
        top_k: common.top_k,
        min_p: common.min_p,
        presence_penalty: common.presence_penalty.unwrap_or(0.0),
        frequency_penalty: common.frequency_penalty.unwrap_or(0.0),
        logit_bias,
        // OpenAI's seed is signed; only equality matters.
        seed: common.seed.map(i64::cast_unsigned),
        stop,
        max_tokens: common.max_tokens,
        n: common.n.unwrap_or(1),
        logprobs: common.logprobs,
    })
}

/// How long a caller waits for its answer.
pub(crate) fn timeout(seconds: Option<f64>) -> Result<Option<Duration>, ApiError> {
    let Some(seconds) = seconds else { return Ok(None) };
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if !timeout.is_zero() => Ok(Some(timeout)),
        _ => Err(ApiError::invalid("timeout_s", format!("timeout_s is {seconds}; give a positive number of seconds"))),
    }
}

/// Refuses fields of OpenAI's that would change the meaning of the request and are not supported; others are ignored,
/// as OpenAI ignores them.
pub(crate) fn refuse_unsupported(other: &serde_json::Map<String, serde_json::Value>) -> Result<(), ApiError> {
    for field in UNSUPPORTED {
        let neutral = match other.get(field) {
            None | Some(serde_json::Value::Null) => true,
            Some(value) => match field {
                "function_call" => value == "none" || value == "auto",
                "modalities" => *value == serde_json::json!(["text"]),
                "best_of" => *value == 1,
                "suffix" => value == "",
                _ => value.as_array().is_some_and(Vec::is_empty),
            },
        };
        if !neutral {
            return Err(ApiError::unsupported(
                field,
                format!("{field} is not supported by this gateway; leave it out"),
            ));
        }
    }
    Ok(())
}

const UNSUPPORTED: [&str; 9] = [
    "functions",
    "function_call",
    "audio",
    "modalities",
    "prediction",
    "web_search_options",
    "best_of",
    "suffix",
    "adapter",
];

/// The adapters that a request names beside its model, with their weights.
pub(crate) fn adapters(
    one: Option<String>,
    several: Vec<cairn_openapi::adapters::WeightedAdapter>,
) -> Result<Vec<(String, f32)>, ApiError> {
    match (one, several.as_slice()) {
        (Some(_), [_, ..]) => Err(ApiError::invalid("adapters", "adapter and adapters are both given; choose one")),
        (Some(name), []) => Ok(vec![(name, 1.0)]),
        (None, several) => Ok(several.iter().map(|it| (it.name.clone(), it.weight.unwrap_or(1.0))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_meaning_is_refused_by_name() {
        let body = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).unwrap();
        let error = refuse_unsupported(&body(r#"{"modalities": ["audio"]}"#)).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("modalities"));
        for harmless in [r#"{"store": true}"#, r#"{"functions": []}"#, r#"{"modalities": ["text"]}"#] {
            assert!(refuse_unsupported(&body(harmless)).is_ok(), "{harmless}");
        }
    }
}
