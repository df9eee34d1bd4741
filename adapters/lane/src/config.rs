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
        for (field, harmless) in [("hidden_act", "silu"), ("position_embedding_type", "absolute")] {
            if json[field].as_str().is_some_and(|value| value != harmless) {
                return Err(unsupported(field, &json[field]));
            }
        }
        for field in
            ["num_local_experts", "num_experts", "attn_logit_softcapping", "final_logit_softcapping", "logit_scale"]
        {
            if !json[field].is_null() {
                return Err(unsupported(field, &json[field]));
            }
        }
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
    let used = family == Family::Mistral || json["use_sliding_window"].as_bool() == Some(true);
    let window = json["sliding_window"].as_u64().filter(|_| used).map(|window| window as usize);
    let Some(types) = json["layer_types"].as_array() else {
        if window.is_some() && family != Family::Mistral {
            return Err(unsupported("use_sliding_window without layer_types", &json["use_sliding_window"]));
        }
        return Ok(vec![window; layers]);
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
