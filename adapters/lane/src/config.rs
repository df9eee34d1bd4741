//! [`Config`]: the shape of a decoder, from config.json or from a GGUF file's metadata.

use serde_json::Value;

use crate::LoadError;

/// A family of decoders that the lane serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3, SmolLM2, and what shares their architecture.
    Llama,
    /// Mistral: a sliding window, where configured.
    Mistral,
    /// Qwen2 and the DeepSeek-R1 distills: biases on q, k and v.
    Qwen2,
    /// Qwen3: a norm on each query and key head.
    Qwen3,
}

impl Family {
    /// By the name in config.json or in a GGUF file.
    ///
    /// # Errors
    /// [`LoadError::Family`].
    pub fn parse(name: &str) -> Result<Self, LoadError> {
        match name {
            "llama" => Ok(Self::Llama),
            "mistral" => Ok(Self::Mistral),
            "qwen2" => Ok(Self::Qwen2),
            "qwen3" => Ok(Self::Qwen3),
            other => Err(LoadError::Family(other.to_owned())),
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        })
    }
}

/// How positions rotate queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Radians a position, one for each pair of a head: [head_dim / 2].
    pub inverse_frequencies: Vec<f32>,
}

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Which architecture.
    pub family: Family,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads, a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Most tokens of a sequence.
    pub context_length: usize,
    /// Added to the mean square in a norm.
    pub norm_eps: f32,
    /// Rotary embeddings.
    pub rope: Rope,
    /// For each layer how many keys a query sees, its own included; none = all before it.
    pub windows: Vec<Option<usize>>,
    /// Whether the head is the embeddings.
    pub tied: bool,
    /// Which linear layers have a bias.
    pub biases: Biases,
    /// Whether each query and key head has a norm (Qwen3).
    pub qk_norm: bool,
}

/// Which linear layers have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// q, k and v.
    pub qkv: bool,
    /// o.
    pub o: bool,
    /// gate, up and down.
    pub mlp: bool,
}

impl Config {
    /// Reads config.json.
    ///
    /// # Errors
    /// The family is unknown, a field is missing, or one asks for what the lane cannot compute.
    pub fn from_json(json: &Value) -> Result<Self, LoadError> {
        let family = Family::parse(json["model_type"].as_str().unwrap_or_default())?;
        let size = |field: &str| {
            let value = json[field].as_u64().filter(|value| *value > 0).map(|value| value as usize);
            value.ok_or_else(|| LoadError::Field { field: field.to_owned(), expected: "a positive number" })
        };
        let optional = |field: &str, default: usize| if json[field].is_null() { Ok(default) } else { size(field) };
        refuse_unknown_mathematics(json)?;
        let (hidden_size, heads, layers) =
            (size("hidden_size")?, size("num_attention_heads")?, size("num_hidden_layers")?);
        let head_dim = optional("head_dim", hidden_size / heads)?;
        Self {
            family,
            vocab_size: size("vocab_size")?,
            hidden_size,
            intermediate_size: size("intermediate_size")?,
            layers,
            heads,
            kv_heads: optional("num_key_value_heads", heads)?,
            head_dim,
            context_length: size("max_position_embeddings")?,
            norm_eps: json["rms_norm_eps"]
                .as_f64()
                .ok_or_else(|| LoadError::Field { field: "rms_norm_eps".into(), expected: "a number" })?
                as f32,
            rope: rope(json, head_dim)?,
            windows: windows(json, family, layers)?,
            tied: json["tie_word_embeddings"].as_bool().unwrap_or(false),
            biases: biases(json, family),
            qk_norm: family == Family::Qwen3,
        }
        .checked()
    }

    /// What no computation could survive.
    pub(crate) fn checked(self) -> Result<Self, LoadError> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(LoadError::Field { field: "num_key_value_heads".into(), expected: "a divisor of the heads" });
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(LoadError::Field { field: "head_dim".into(), expected: "even" });
        }
        Ok(self)
    }

    /// Width of all query heads together.
    #[must_use]
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads together.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whether a linear layer has a bias.
    #[must_use]
    pub fn has_bias(&self, of: crate::names::Projection) -> bool {
        use crate::names::Projection as P;
        match of {
            P::Q | P::K | P::V => self.biases.qkv,
            P::O => self.biases.o,
            P::Gate | P::Up | P::Down => self.biases.mlp,
        }
    }

    /// [outputs, inputs] of a linear layer.
    #[must_use]
    pub fn shape(&self, of: crate::names::Projection) -> [usize; 2] {
        use crate::names::Projection as P;
        match of {
            P::Q => [self.q_width(), self.hidden_size],
            P::K | P::V => [self.kv_width(), self.hidden_size],
            P::O => [self.hidden_size, self.q_width()],
            P::Gate | P::Up => [self.intermediate_size, self.hidden_size],
            P::Down => [self.hidden_size, self.intermediate_size],
        }
    }
}

/// inv[i] = theta^(-2i / head_dim): radians a position.
pub(crate) fn frequencies(theta: f64, head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2).map(|i| (1.0 / theta.powf(2.0 * i as f64 / head_dim as f64)) as f32).collect()
}

fn unsupported(field: &str, value: &Value) -> LoadError {
    LoadError::Unsupported { field: field.to_owned(), value: value.to_string() }
}

/// `rope_parameters` as transformers 5 writes it, or `rope_theta` and `rope_scaling` as those before.
fn rope(json: &Value, head_dim: usize) -> Result<Rope, LoadError> {
    let scaling = if json["rope_parameters"].is_object() { &json["rope_parameters"] } else { &json["rope_scaling"] };
    let number = |field: &str| {
        let missing = || LoadError::Field { field: format!("rope {field}"), expected: "a number" };
        scaling[field].as_f64().ok_or_else(missing)
    };
    let theta = scaling["rope_theta"].as_f64().or_else(|| json["rope_theta"].as_f64()).unwrap_or(10_000.0);
    let mut inverse = frequencies(theta, head_dim);
    match scaling["rope_type"].as_str().or_else(|| scaling["type"].as_str()).unwrap_or("default") {
        "default" => {}
        "linear" => {
            let factor = number("factor")? as f32;
            inverse.iter_mut().for_each(|f| *f /= factor);
        }
        "llama3" => {
            let (factor, low, high) = (number("factor")?, number("low_freq_factor")?, number("high_freq_factor")?);
            let original = number("original_max_position_embeddings")?;
            inverse.iter_mut().for_each(|f| *f = llama3(f64::from(*f), factor, low, high, original) as f32);
        }
        _ => return Err(unsupported("rope_type", scaling)),
    }
    Ok(Rope { inverse_frequencies: inverse })
}

/// Long wavelengths are stretched by `factor`, short ones kept, those between interpolated.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        frequency / factor
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

fn windows(json: &Value, family: Family, layers: usize) -> Result<Vec<Option<usize>>, LoadError> {
    let used = match family {
        Family::Mistral => true,
        Family::Qwen2 | Family::Qwen3 => json["use_sliding_window"].as_bool() == Some(true),
        Family::Llama => false,
    };
    let window = json["sliding_window"].as_u64().filter(|_| used).map(|window| window as usize);
    if window == Some(0) {
        return Err(unsupported("sliding_window", &json["sliding_window"]));
    }
    // Mistral has the window on all layers; Qwen says on which, older files by the first layer that has it.
    let types = json["layer_types"].as_array().filter(|_| used && family != Family::Mistral);
    let Some(types) = types else {
        let first = match family {
            Family::Qwen2 | Family::Qwen3 => json["max_window_layers"].as_u64().unwrap_or(28) as usize,
            Family::Llama | Family::Mistral => 0,
        };
        return Ok((0..layers).map(|layer| window.filter(|_| layer >= first)).collect());
    };
    if types.len() != layers {
        return Err(LoadError::Field { field: "layer_types".into(), expected: "one entry a layer" });
    }
    let of = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(None),
        Some("sliding_attention") => Ok(window),
        _ => Err(unsupported("layer_types", kind)),
    };
    types.iter().map(of).collect()
}

/// As each family's own implementation reads them.
fn biases(json: &Value, family: Family) -> Biases {
    let is_set = |field: &str| json[field].as_bool() == Some(true);
    match family {
        Family::Llama => Biases { qkv: is_set("attention_bias"), o: is_set("attention_bias"), mlp: is_set("mlp_bias") },
        Family::Mistral => Biases::default(),
        Family::Qwen2 => Biases { qkv: true, ..Biases::default() },
        Family::Qwen3 => Biases { qkv: is_set("attention_bias"), o: is_set("attention_bias"), mlp: false },
    }
}

/// Fields that other decoders have, and that would change the result if they meant anything here. Those of one family's
/// own implementation are read elsewhere; fields that say nothing about the mathematics are ignored.
fn refuse_unknown_mathematics(json: &Value) -> Result<(), LoadError> {
    let Some(fields) = json.as_object() else {
        return Err(LoadError::Field { field: "config.json".into(), expected: "an object" });
    };
    const MARKS: [&str; 10] = [
        "softcap",
        "expert",
        "multiplier",
        "logit_scale",
        "logits_scaling",
        "clip_qkv",
        "query_pre_attn_scalar",
        "kv_lora_rank",
        "attn_temperature",
        "attention_chunk_size",
    ];
    for (field, value) in fields {
        let absent = value.is_null() || value == false || value == 0 || value.as_array().is_some_and(Vec::is_empty);
        let harmless = match field.as_str() {
            "hidden_act" | "hidden_activation" => value == "silu" || value == "swish",
            "partial_rotary_factor" => value == 1.0 || value == 1,
            "position_embedding_type" => value == "absolute" || value == "rope",
            "no_rope_layers" | "no_rope_layer_interval" | "rope_interleave" | "use_qk_norm" | "quantization_config" => {
                false
            }
            field => !MARKS.iter().any(|mark| field.contains(mark)),
        };
        if !absent && !harmless {
            return Err(unsupported(field, value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(changes: Value) -> Result<Config, LoadError> {
        let mut all = json!({
            "model_type": "llama", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-6,
            "hidden_act": "silu", "rope_theta": 10000.0,
        });
        for (field, value) in changes.as_object().unwrap() {
            all[field] = value.clone();
        }
        Config::from_json(&all)
    }

    #[test]
    fn other_mathematics_is_refused_by_name() {
        for (field, value) in [
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
            ("rope_parameters", json!({"rope_type": "dynamic", "factor": 4.0})),
            ("final_logit_softcapping", json!(30.0)),
            ("num_local_experts", json!(8)),
            ("hidden_act", json!("gelu")),
            ("partial_rotary_factor", json!(0.5)),
            ("residual_multiplier", json!(0.22)),
            ("quantization_config", json!({"quant_method": "awq"})),
        ] {
            let error = config(json!({ field: value })).unwrap_err();
            let named = if field.starts_with("rope") { "rope_type" } else { field };
            assert!(matches!(&error, LoadError::Unsupported { field, .. } if field == named), "{field}: {error}");
        }
        assert!(matches!(config(json!({"model_type": "gemma3"})), Err(LoadError::Family(name)) if name == "gemma3"));
        assert!(
            config(json!({"num_experts": 0, "unsloth_version": "2026.1", "final_logit_softcapping": null})).is_ok()
        );
    }

    #[test]
    fn both_spellings_of_rope() {
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64});
        let old = config(json!({"rope_theta": 500_000.0, "rope_scaling": scaling})).unwrap();
        let mut parameters = scaling.clone();
        parameters["rope_theta"] = json!(500_000.0);
        let new = config(json!({"rope_theta": null, "rope_parameters": parameters})).unwrap();
        assert_eq!(old.rope, new.rope);
        assert!(old.rope != config(json!({"rope_theta": 500_000.0})).unwrap().rope);
    }

    #[test]
    fn windows_of_each_family() {
        let of = |changes: Value| config(changes).unwrap().windows;
        assert_eq!(of(json!({"sliding_window": 16})), [None; 4]);
        assert_eq!(of(json!({"model_type": "mistral", "sliding_window": 16})), [Some(16); 4]);
        assert_eq!(of(json!({"model_type": "qwen2", "sliding_window": 16})), [None; 4]);
        let used =
            json!({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 3});
        assert_eq!(of(used), [None, None, None, Some(16)]);
        let types = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"];
        let used =
            json!({"model_type": "qwen3", "use_sliding_window": true, "sliding_window": 8, "layer_types": types});
        assert_eq!(of(used), [Some(8), None, None, Some(8)]);
    }
}
