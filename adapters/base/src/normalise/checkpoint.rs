//! Hugging Face directories: config, tokenizer, safetensors.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use mistralrs_candle::{Device, Result as CandleResult, Tensor, safetensors::MmapedSafetensors};
use serde_json::{Map, Value, json};

use super::{BYTES_A_TOKEN, NormaliseError, Served, config, link, most, pickle_alone, write_json};
use crate::manifest::{Format, Kind};

pub(super) fn normalise(original: &Path, serving: &Path, names: &[String]) -> Result<Served, NormaliseError> {
    let shards: Vec<&String> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    if let Some(name) = pickle_alone(names) {
        return Err(NormaliseError::Pickle { name: name.clone() });
    }
    if shards.is_empty() {
        return Err(NormaliseError::Missing { path: original.join("*.safetensors") });
    }
    for needed in ["config.json", "tokenizer.json"] {
        if !names.iter().any(|name| name == needed) {
            return Err(NormaliseError::Missing { path: original.join(needed) });
        }
    }
    let path = original.join("config.json");
    let text = fs::read(&path).map_err(|error| NormaliseError::io(&path, error))?;
    let mut fields: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|source| NormaliseError::Json { path: path.clone(), source })?;
    let missing = |field: &str| NormaliseError::Field { path: path.clone(), field: field.to_owned() };
    let family = fields.get("model_type").and_then(Value::as_str).ok_or_else(|| missing("model_type"))?.to_owned();
    let context = fields.get("max_position_embeddings").and_then(Value::as_u64);
    let context_length =
        usize::try_from(context.ok_or_else(|| missing("max_position_embeddings"))?).unwrap_or(usize::MAX);
    let vocabulary = fields.get("vocab_size").and_then(Value::as_u64).unwrap_or(0);
    let kind = if family.ends_with("bert") { Kind::Embedding } else { Kind::Chat };
    let mut changes = config::normalise(&mut fields);

    let paths: Vec<PathBuf> = shards.iter().map(|shard| original.join(shard)).collect();
    let tensors = open(&paths)?;
    let counts: Vec<(String, u64)> = tensors
        .tensors()
        .iter()
        .map(|(_, view)| (format!("{:?}", view.dtype()), view.shape().iter().map(|size| *size as u64).product()))
        .collect();
    let parameters: u64 = counts.iter().map(|(_, count)| count).sum();
    let rewritten = family == "deepseek_v3" && deepseek(&path, serving, &tensors, &mut fields, &mut changes)?;
    for name in names {
        let weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        if name != "config.json" && !(rewritten && weights) {
            link(&original.join(name), &serving.join(name))?;
        }
    }
    if changes.is_empty() {
        link(&path, &serving.join("config.json"))?;
    } else {
        write_json(&serving.join("config.json"), &Value::Object(fields))?;
    }
    Ok(Served {
        kind,
        family,
        format: Format::Safetensors,
        context_length,
        parameters,
        dtype: most(counts.into_iter()),
        // float32, which is what the CPU computes in.
        memory_bytes: parameters * 4 + vocabulary * BYTES_A_TOKEN,
        licence: None,
        changes,
    })
}

fn open(paths: &[PathBuf]) -> Result<MmapedSafetensors, NormaliseError> {
    #[allow(unsafe_code, reason = "candle offers memory-mapped reading as unsafe only")]
    // SAFETY: the files are ours and not written to meanwhile.
    Ok(unsafe { MmapedSafetensors::multi(paths)? })
}

/// DeepSeek-V3 as the CPU engine reads it: experts stacked into one tensor, values padded to the width of keys.
fn deepseek(
    config: &Path,
    serving: &Path,
    tensors: &MmapedSafetensors,
    fields: &mut Map<String, Value>,
    changes: &mut Vec<String>,
) -> Result<bool, NormaliseError> {
    let number = |field: &str| fields.get(field).and_then(Value::as_u64).map(|value| value as usize);
    let missing = |field: &str| NormaliseError::Field { path: config.to_owned(), field: field.to_owned() };
    let layers = number("num_hidden_layers").ok_or_else(|| missing("num_hidden_layers"))?;
    let experts = number("n_routed_experts").unwrap_or(0);
    let heads = number("num_attention_heads").ok_or_else(|| missing("num_attention_heads"))?;
    let nope = number("qk_nope_head_dim").ok_or_else(|| missing("qk_nope_head_dim"))?;
    let rope = number("qk_rope_head_dim").ok_or_else(|| missing("qk_rope_head_dim"))?;
    let value = number("v_head_dim").ok_or_else(|| missing("v_head_dim"))?;
    let pad = (nope + rope).saturating_sub(value);

    let names: Vec<String> = tensors.tensors().into_iter().map(|(name, _)| name).collect();
    let stack = names.iter().any(|name| name.ends_with(".mlp.experts.0.gate_proj.weight"));
    if !stack && pad == 0 {
        return Ok(false);
    }
    // One file a layer bounds the memory that this takes.
    let of_layer = |layer: usize| format!("model.layers.{layer}.");
    let total = layers + 1;
    let mut index = Map::new();
    let mut write = |number: usize, tensors: HashMap<String, Tensor>| -> CandleResult<()> {
        let file = format!("model-{number:05}-of-{total:05}.safetensors");
        for name in tensors.keys() {
            index.insert(name.clone(), json!(file));
        }
        mistralrs_candle::safetensors::save(&tensors, serving.join(file))
    };
    for layer in 0..layers {
        let prefix = of_layer(layer);
        let mut out = HashMap::new();
        for name in names.iter().filter(|name| name.starts_with(&prefix)) {
            if stack && name.contains(".mlp.experts.") {
                continue;
            }
            let mut tensor = tensors.load(name, &Device::Cpu)?;
            if pad > 0 && name.ends_with(".self_attn.kv_b_proj.weight") {
                tensor = pad_rows(&tensor, heads, nope, value, pad)?;
            } else if pad > 0 && name.ends_with(".self_attn.o_proj.weight") {
                tensor = pad_columns(&tensor, heads, value, pad)?;
            }
            out.insert(name.clone(), tensor);
        }
        if stack && names.contains(&format!("{prefix}mlp.experts.0.gate_proj.weight")) {
            out.extend(stacked(tensors, &prefix, experts)?);
        }
        write(layer + 1, out)?;
    }
    let mut rest = HashMap::new();
    for name in names.iter().filter(|name| !(0..layers).any(|layer| name.starts_with(&of_layer(layer)))) {
        // Layers beyond the model's own predict further tokens; they are not served.
        if !name.starts_with("model.layers.") {
            rest.insert(name.clone(), tensors.load(name, &Device::Cpu)?);
        }
    }
    write(total, rest)?;
    write_json(&serving.join("model.safetensors.index.json"), &json!({"metadata": {}, "weight_map": index}))?;
    if stack {
        changes.push("experts stacked into one tensor a layer: the engine's CPU path reads no others".into());
    }
    if pad > 0 {
        fields.insert("v_head_dim".into(), json!(nope + rope));
        changes.push(format!(
            "values padded with zeros from {value} to {} a head: the engine wants them as wide as keys",
            nope + rope
        ));
    }
    Ok(true)
}

/// gate_up_proj [experts, hidden, 2 inter] = [gateᵀ | upᵀ]; down_proj [experts, inter, hidden] = downᵀ
fn stacked(tensors: &MmapedSafetensors, prefix: &str, experts: usize) -> CandleResult<HashMap<String, Tensor>> {
    let (mut gate_up, mut down) = (Vec::new(), Vec::new());
    for expert in 0..experts {
        let load = |part: &str| {
            tensors.load(&format!("{prefix}mlp.experts.{expert}.{part}.weight"), &Device::Cpu)?.t()?.contiguous()
        };
        gate_up.push(Tensor::cat(&[load("gate_proj")?, load("up_proj")?], 1)?);
        down.push(load("down_proj")?);
    }
    Ok(HashMap::from([
        (format!("{prefix}mlp.experts.gate_up_proj"), Tensor::stack(&gate_up, 0)?),
        (format!("{prefix}mlp.experts.down_proj"), Tensor::stack(&down, 0)?),
    ]))
}

/// w: [heads (nope + value), rank] -> [heads (nope + value + pad), rank]
fn pad_rows(w: &Tensor, heads: usize, nope: usize, value: usize, pad: usize) -> CandleResult<Tensor> {
    let rank = w.dim(1)?;
    let zeros = Tensor::zeros((heads, pad, rank), w.dtype(), w.device())?;
    let w = w.reshape((heads, nope + value, rank))?;
    Tensor::cat(&[w, zeros], 1)?.reshape((heads * (nope + value + pad), rank))
}

/// w: [hidden, heads value] -> [hidden, heads (value + pad)]
fn pad_columns(w: &Tensor, heads: usize, value: usize, pad: usize) -> CandleResult<Tensor> {
    let hidden = w.dim(0)?;
    let zeros = Tensor::zeros((hidden, heads, pad), w.dtype(), w.device())?;
    let w = w.reshape((hidden, heads, value))?;
    Tensor::cat(&[w, zeros], 2)?.reshape((hidden, heads * (value + pad)))
}

#[cfg(test)]
mod tests {
    use mistralrs_candle::DType;

    use super::*;

    #[test]
    fn padding_keeps_each_heads_rows_together() {
        let w = Tensor::arange(0_f32, 6.0, &Device::Cpu).unwrap().reshape((6, 1)).unwrap();
        let padded = pad_rows(&w, 2, 1, 2, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(padded, [0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 0.0]);
        let w = w.reshape((1, 6)).unwrap().to_dtype(DType::F32).unwrap();
        let padded = pad_columns(&w, 2, 3, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(padded, [0.0, 1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 0.0]);
    }
}
