//! [`Adapter`]: a PEFT adapter in memory, every tensor of it accounted for.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use super::{Array, Bias, Config, FormatError, Limits, names::Part};

/// A LoRA adapter: `W x` becomes `W x + scale · B (A x)` for each module in `layers`.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// adapter_config.json.
    pub config: Config,
    /// Deltas by module, such as `model.layers.0.self_attn.q_proj`.
    pub layers: BTreeMap<String, Delta>,
    /// Tensors of the base that were trained whole, by their name there, such as `lm_head.weight`.
    pub saved: BTreeMap<String, Array>,
}

/// What an adapter adds to one module.
///
/// ```text
/// LoRA   y = W x + scale · B (A x) + scale · lora_bias + bias
/// DoRA   y = m ⊙ (W x + scale · B A x) / ‖W + scale · B A‖     (norm per output row) + bias
/// ```
/// For an embedding, `W` is the transposed table [dim, vocab] and `x` a one-hot column, so the same formulas hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta {
    /// `[r, in]`; for an embedding `[r, vocab]`.
    pub a: Array,
    /// `[out, r]`; for an embedding `[dim, r]`.
    pub b: Array,
    /// `alpha / r`, or `alpha / sqrt(r)` with rsLoRA; patterns are resolved.
    pub scale: f32,
    /// DoRA's `m`, `[out]`.
    pub magnitude: Option<Vec<f32>>,
    /// Bias of B, `[out]`; it is scaled like the rest of the delta.
    pub lora_bias: Option<Vec<f32>>,
    /// Replaces the module's own bias, `[out]`.
    pub bias: Option<Vec<f32>>,
    /// The module is an embedding.
    pub embedding: bool,
}

impl Delta {
    /// The rank.
    #[must_use]
    pub fn r(&self) -> usize {
        self.a.shape[0]
    }

    /// Width of the module's input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.a.shape[1]
    }

    /// Width of the module's output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.b.shape[0]
    }
}

impl Adapter {
    /// Reads the two files from memory.
    ///
    /// # Errors
    /// [`FormatError`], naming the field or tensor and how to mend it.
    pub fn parse(config: &[u8], weights: &[u8], limits: &Limits) -> Result<Self, FormatError> {
        let config = Config::parse(config, limits)?;
        let file = SafeTensors::deserialize(weights).map_err(FormatError::Damaged)?;
        if file.len() > limits.max_tensors {
            return Err(FormatError::TooManyTensors { actual: file.len(), limit: limits.max_tensors });
        }
        let mut names = file.names();
        names.sort_unstable(); // so that the first complaint is always the same one
        let mut parts: BTreeMap<&str, Parts> = BTreeMap::new();
        let mut saved = BTreeMap::new();
        for name in names {
            let unknown =
                |reason: &str| FormatError::UnknownTensor { name: name.to_owned(), reason: reason.to_owned() };
            let (path, part) = Part::split(name).map_err(unknown)?;
            admit(&config, path, part).map_err(unknown)?;
            let array = Array::from_view(name, &file.tensor(name).map_err(FormatError::Damaged)?)?;
            let doubled = match part {
                Part::Weight(_) => saved.insert(format!("{path}.weight"), array),
                Part::Bias(_) => saved.insert(format!("{path}.bias"), array),
                part => parts.entry(path).or_default().insert(part, array),
            };
            if doubled.is_some() {
                return Err(unknown("another tensor already gives the same part of this module; keep one"));
            }
        }
        let layers: BTreeMap<String, Delta> = parts
            .into_iter()
            .map(|(path, parts)| Ok((path.to_owned(), delta(&config, path, parts, limits, &mut saved)?)))
            .collect::<Result<_, FormatError>>()?;
        if let Some(name) = config.modules_to_save.iter().find(|name| !saved.keys().any(|key| is_of(key, name))) {
            let reason = "modules_to_save in adapter_config.json names it; save the adapter again".to_owned();
            return Err(FormatError::MissingTensor { name: Part::Weight(false).name(name), reason });
        }
        if layers.is_empty() && saved.is_empty() {
            let reason = "the file holds no tensors at all; save the adapter again (a known fault of some ZeRO-3 runs)";
            return Err(FormatError::MissingTensor { name: Part::A.name("<module>"), reason: reason.into() });
        }
        Ok(Self { config, layers, saved })
    }

    /// Bytes of all numbers in memory.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let vector = |values: &Option<Vec<f32>>| values.as_ref().map_or(0, |values| values.len() * size_of::<f32>());
        let delta = |delta: &Delta| {
            delta.a.bytes()
                + delta.b.bytes()
                + vector(&delta.magnitude)
                + vector(&delta.lora_bias)
                + vector(&delta.bias)
        };
        self.layers.values().map(delta).sum::<usize>() + self.saved.values().map(Array::bytes).sum::<usize>()
    }

    /// Every tensor by its name in the file.
    pub(crate) fn tensors(&self) -> BTreeMap<String, Array> {
        let vector = |values: &[f32]| Array { shape: vec![values.len()], data: values.to_vec() };
        let mut tensors = BTreeMap::new();
        for (path, delta) in &self.layers {
            let (a, b) = if delta.embedding { (Part::EmbeddingA, Part::EmbeddingB) } else { (Part::A, Part::B) };
            tensors.insert(a.name(path), delta.a.clone());
            tensors.insert(b.name(path), delta.b.clone());
            for (part, values) in [
                (Part::Magnitude, &delta.magnitude),
                (Part::LoraBias, &delta.lora_bias),
                (Part::Bias(true), &delta.bias),
            ] {
                if let Some(values) = values {
                    tensors.insert(part.name(path), vector(values));
                }
            }
        }
        for (name, array) in &self.saved {
            let (path, part): (&str, fn(bool) -> Part) = match name.strip_suffix(".bias") {
                Some(path) => (path, Part::Bias),
                None => (name.strip_suffix(".weight").unwrap_or(name), Part::Weight),
            };
            tensors.insert(part(self.layers.contains_key(path)).name(path), array.clone());
        }
        tensors
    }
}

/// The parts of one module, as they are collected.
type Parts = BTreeMap<Part, Array>;

/// Whether the configuration knows of this tensor; the error is the reason, in words.
fn admit(config: &Config, path: &str, part: Part) -> Result<(), &'static str> {
    match part {
        Part::Weight(_) => {
            // PEFT also writes these two when the vocabulary was resized or an embedding is targeted.
            let embedding = path.ends_with("embed_tokens") || path.ends_with("lm_head");
            if config.saves(path) || embedding {
                return Ok(());
            }
            Err("modules_to_save in adapter_config.json does not name its module")
        }
        Part::Bias(_) if config.saves(path) || config.bias == Bias::All => Ok(()),
        Part::Bias(_) if config.bias == Bias::LoraOnly && config.targets(path) != Some(false) => Ok(()),
        Part::Bias(_) => Err("bias in adapter_config.json says that this bias was not trained"),
        Part::Magnitude if !config.use_dora => Err("use_dora in adapter_config.json is off"),
        Part::LoraBias if !config.lora_bias => Err("lora_bias in adapter_config.json is off"),
        _ if config.targets(path) == Some(false) => {
            Err("target_modules in adapter_config.json does not name its module")
        }
        _ => Ok(()),
    }
}

/// Whether a saved tensor belongs to the module that `modules_to_save` calls `name`.
fn is_of(key: &str, name: &str) -> bool {
    super::targets::covers(name, key.rsplit_once('.').map_or(key, |(path, _)| path))
}

/// Puts one module's parts together.
fn delta(
    config: &Config,
    path: &str,
    mut parts: Parts,
    limits: &Limits,
    saved: &mut BTreeMap<String, Array>,
) -> Result<Delta, FormatError> {
    let embedding = parts.contains_key(&Part::EmbeddingA) || parts.contains_key(&Part::EmbeddingB);
    if embedding && (parts.contains_key(&Part::A) || parts.contains_key(&Part::B)) {
        let reason = "the module has deltas of a linear layer and of an embedding; save the adapter again".to_owned();
        return Err(FormatError::UnknownTensor { name: Part::EmbeddingA.name(path), reason });
    }
    let (part_a, part_b) = if embedding { (Part::EmbeddingA, Part::EmbeddingB) } else { (Part::A, Part::B) };
    let mut take = |part: Part, reason: &str| {
        parts
            .remove(&part)
            .ok_or_else(|| FormatError::MissingTensor { name: part.name(path), reason: reason.to_owned() })
    };
    let pair = "A and B come in pairs; save the adapter again";
    let a = take(part_a, pair)?;
    let b = take(part_b, pair)?;
    let r = config.rank(path);
    let shape = |part: Part, array: &Array, expected: String| FormatError::Shape {
        name: part.name(path),
        actual: array.shape.clone(),
        expected,
    };
    if a.shape.len() != 2 || a.shape[0] != r || a.shape[1] == 0 {
        return Err(shape(part_a, &a, format!("[{r}, in], with the rank that adapter_config.json gives this module")));
    }
    if b.shape.len() != 2 || b.shape[1] != r || b.shape[0] == 0 {
        return Err(shape(part_b, &b, format!("[out, {r}], with the rank that adapter_config.json gives this module")));
    }
    if r > limits.max_rank {
        return Err(FormatError::Rank { what: part_a.name(path), rank: r, limit: limits.max_rank });
    }
    let outputs = b.shape[0];
    let row = |part: Part, array: Array| {
        if array.shape == [outputs] { Ok(array.data) } else { Err(shape(part, &array, format!("[{outputs}]"))) }
    };
    let magnitude = config
        .use_dora
        .then(|| row(Part::Magnitude, take(Part::Magnitude, "use_dora is on in adapter_config.json")?))
        .transpose()?;
    // Embeddings have no B layer and so no bias on it.
    let lora_bias = (config.lora_bias && !embedding)
        .then(|| row(Part::LoraBias, take(Part::LoraBias, "lora_bias is on in adapter_config.json")?))
        .transpose()?;
    let bias = saved.remove(&format!("{path}.bias")).map(|array| row(Part::Bias(true), array)).transpose()?;
    if let Some(part) = parts.into_keys().next() {
        let reason = "an embedding has no such part".to_owned();
        return Err(FormatError::UnknownTensor { name: part.name(path), reason });
    }
    let scale = config.scale(path);
    if !scale.is_finite() {
        return Err(FormatError::ConfigField {
            field: "lora_alpha".into(),
            value: config.lora_alpha.to_string(),
            reason: format!("the scale of {path} is not a finite number"),
        });
    }
    Ok(Delta { a, b, scale, magnitude, lora_bias, bias, embedding })
}
