//! GGUF files: their metadata as a [`Config`], their tensors under Hugging Face's names and in its layout.
//!
//! llama.cpp's converter interleaves the rows of q and k of the llama architecture for another way of rotating: row
//! `2 j + s` of a head is Hugging Face's row `s · head_dim / 2 + j`. That is undone here, because PEFT adapters are made
//! for Hugging Face's layout. Other architectures are stored as they are.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use candle_core::{
    Device,
    quantized::{GgmlDType, QTensor, gguf_file::Content},
};

use crate::{
    Config, Family, Form, LoadError, Rope,
    config::{Biases, frequencies},
    names::{EMBEDDINGS, FINAL_NORM, HEAD, Norm, Projection},
    safetensors::damaged,
    source::{Data, Raw, Source},
};

/// An open GGUF file.
pub(crate) struct Gguf {
    path: PathBuf,
    file: BufReader<File>,
    content: Content,
    config: Config,
    /// Hugging Face's names, by those in the file; not taken yet.
    names: BTreeMap<String, String>,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(|source| LoadError::Io { path: path.to_owned(), source })?;
        let mut file = BufReader::new(file);
        let content = Content::read(&mut file).map_err(|error| damaged(path, error))?;
        let mut config = config(&content)?;
        let mut names: BTreeMap<String, String> =
            content.tensor_infos.keys().map(|name| (hugging_face(name), name.clone())).collect();
        if let Some(name) = names.remove("rope_freqs.weight") {
            let factors = content.tensor(&mut file, &name, &Device::Cpu).and_then(|it| it.dequantize(&Device::Cpu));
            let factors: Vec<f32> =
                factors.and_then(|it| it.flatten_all()?.to_vec1()).map_err(|error| damaged(path, error))?;
            config.rope.inverse_frequencies.iter_mut().zip(factors).for_each(|(f, factor)| *f /= factor);
        }
        Ok(Self { path: path.to_owned(), file, content, config, names })
    }

    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    /// Heads of a tensor whose rows are interleaved.
    fn interleaved(&self, name: &str) -> Option<usize> {
        let name = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias"))?;
        match self.config.family {
            Family::Llama if name.ends_with("q_proj") => Some(self.config.heads),
            Family::Llama if name.ends_with("k_proj") => Some(self.config.kv_heads),
            _ => None,
        }
    }
}

impl Source for Gguf {
    fn take(&mut self, name: &str) -> Result<Option<Raw>, LoadError> {
        let Some(inner) = self.names.remove(name) else { return Ok(None) };
        let tensor = self.content.tensor(&mut self.file, &inner, &Device::Cpu);
        let raw = tensor.and_then(|tensor| raw(&tensor)).map_err(|error| damaged(&self.path, error))?;
        let Some(heads) = self.interleaved(name) else { return Ok(Some(raw)) };
        let rows = raw.shape.first().copied().unwrap_or(0);
        if heads == 0 || !rows.is_multiple_of(2 * heads) {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                expected: vec![heads * self.config.head_dim],
                actual: raw.shape,
            });
        }
        let data = match raw.data {
            Data::Numbers(numbers, form) => Data::Numbers(ordered(&numbers, rows, heads), form),
            Data::Blocks(bytes, form) => Data::Blocks(ordered(&bytes, rows, heads), form),
        };
        Ok(Some(Raw { shape: raw.shape, data }))
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    fn left(&self) -> Option<String> {
        self.names.values().next().cloned()
    }
}

/// Rows of each head in Hugging Face's order; a row is any number of elements, or the bytes of its blocks.
fn ordered<T: Copy>(rows: &[T], count: usize, heads: usize) -> Vec<T> {
    let (width, dim) = (rows.len() / count, count / heads);
    let of = |row: usize| {
        let (head, at) = (row / dim, row % dim);
        head * dim + 2 * (at % (dim / 2)) + at / (dim / 2)
    };
    (0..count).flat_map(|row| &rows[of(row) * width..][..width]).copied().collect()
}

/// Types that the kernels have stay as they are. Others become numbers, best kept in Q8_0, which holds all of them almost
/// exactly.
fn raw(tensor: &QTensor) -> candle_core::Result<Raw> {
    let shape = tensor.shape().dims().to_vec();
    let numbers = || tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1();
    let data = match tensor.dtype() {
        GgmlDType::F16 => Data::Blocks(tensor.data()?.into_owned(), Form::F16),
        GgmlDType::Q8_0 => Data::Blocks(tensor.data()?.into_owned(), Form::Q8_0),
        GgmlDType::Q4K => Data::Blocks(tensor.data()?.into_owned(), Form::Q4K),
        GgmlDType::F32 => Data::Numbers(numbers()?, Form::F32),
        GgmlDType::BF16 => Data::Numbers(numbers()?, Form::F16),
        _ => Data::Numbers(numbers()?, Form::Q8_0),
    };
    Ok(Raw { shape, data })
}

fn config(content: &Content) -> Result<Config, LoadError> {
    let missing = |field: &str| LoadError::Field { field: field.to_owned(), expected: "of its kind" };
    let architecture = content.metadata.get("general.architecture").and_then(|value| value.to_string().ok());
    let architecture = architecture.ok_or_else(|| missing("general.architecture"))?;
    let family = Family::parse(architecture)?;
    let value = |field: &str| content.metadata.get(&format!("{architecture}.{field}"));
    let size = |field: &str| {
        let value = value(field).and_then(|value| value.to_u32().ok()).filter(|value| *value > 0);
        value.map(|value| value as usize).ok_or_else(|| missing(&format!("{architecture}.{field}")))
    };
    let number = |field: &str| value(field).and_then(|value| value.to_f32().ok());
    for (field, harmless) in [("rope.scaling.type", "none"), ("expert_count", "0")] {
        let Some(value) = value(field) else { continue };
        let value = value.to_string().cloned().unwrap_or_else(|_| format!("{value:?}"));
        if value != harmless && value != "U32(0)" {
            return Err(LoadError::Unsupported { field: format!("{architecture}.{field}"), value });
        }
    }
    let (hidden_size, heads, layers) = (size("embedding_length")?, size("attention.head_count")?, size("block_count")?);
    let head_dim = size("attention.key_length").unwrap_or(hidden_size / heads);
    if let Ok(rotated) = size("rope.dimension_count")
        && rotated != head_dim
    {
        let field = format!("{architecture}.rope.dimension_count");
        return Err(LoadError::Unsupported { field, value: rotated.to_string() });
    }
    let embeddings = content.tensor_infos.get("token_embd.weight").ok_or_else(|| missing("token_embd.weight"))?;
    let window = value("attention.sliding_window").and_then(|value| value.to_u32().ok()).filter(|it| *it > 0);
    Config {
        family,
        vocab_size: embeddings.shape.dims().first().copied().unwrap_or(0),
        hidden_size,
        intermediate_size: size("feed_forward_length")?,
        layers,
        heads,
        kv_heads: size("attention.head_count_kv").unwrap_or(heads),
        head_dim,
        context_length: size("context_length")?,
        norm_eps: number("attention.layer_norm_rms_epsilon")
            .ok_or_else(|| missing("attention.layer_norm_rms_epsilon"))?,
        rope: Rope {
            inverse_frequencies: frequencies(f64::from(number("rope.freq_base").unwrap_or(10_000.0)), head_dim),
        },
        windows: vec![window.map(|window| window as usize); layers],
        tied: !content.tensor_infos.contains_key("output.weight"),
        biases: Biases {
            qkv: content.tensor_infos.contains_key("blk.0.attn_q.bias"),
            o: content.tensor_infos.contains_key("blk.0.attn_output.bias"),
            mlp: content.tensor_infos.contains_key("blk.0.ffn_down.bias"),
        },
        qk_norm: family == Family::Qwen3,
    }
    .checked()
}

/// `blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`; unknown names stay, and are refused later.
fn hugging_face(name: &str) -> String {
    let translated = || {
        let (path, kind) = name.rsplit_once('.')?;
        let path = match path {
            "token_embd" => EMBEDDINGS.to_owned(),
            "output_norm" => FINAL_NORM.to_owned(),
            "output" => HEAD.to_owned(),
            _ => {
                let (layer, inner) = path.strip_prefix("blk.")?.split_once('.')?;
                let layer = layer.parse().ok()?;
                let norms = [Norm::Input, Norm::PostAttention, Norm::Query, Norm::Key];
                let projection = Projection::ALL.into_iter().find(|of| of.gguf() == inner).map(|of| of.path(layer));
                projection.or_else(|| norms.into_iter().find(|of| of.gguf() == inner).map(|of| of.path(layer)))?
            }
        };
        Some(format!("{path}.{kind}"))
    };
    translated().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_return_to_hugging_faces_order() {
        // Two heads of four rows; the converter wrote 0 2 1 3 of each.
        assert_eq!(ordered(&[0, 2, 1, 3, 4, 6, 5, 7], 8, 2), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ordered(&["a0", "a1", "c0", "c1", "b0", "b1", "d0", "d1"], 4, 1)[2..4], ["b0", "b1"]);
    }

    #[test]
    fn names_are_those_of_hugging_face() {
        assert_eq!(hugging_face("blk.12.ffn_down.weight"), "model.layers.12.mlp.down_proj.weight");
        assert_eq!(hugging_face("blk.0.attn_q.bias"), "model.layers.0.self_attn.q_proj.bias");
        assert_eq!(hugging_face("something.else"), "something.else");
    }
}
