//! A model with an adapter merged into its weights: `W + weight · scale · B A`, in float32, kept in the stored type.
//!
//! For families whose engine cannot attach adapters. What the sum cannot say exactly is refused by name.

use std::{collections::BTreeMap, fs, io, path::Path};

use cairn_adapters::peft::{Adapter, Delta};
use mistralrs_candle::{DType, Device, Result as CandleResult, Tensor, safetensors};

/// Why an adapter cannot be merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    #[error("{module} was trained with {what}, which merging cannot do for this family; train the adapter without it")]
    Kind { module: String, what: &'static str },
    #[error("the model has no {0}.weight to merge into")]
    NoModule(String),
    #[error("{module} is [{outputs}, {inputs}] in the model, and the adapter's is [{a_outputs}, {a_inputs}]")]
    Shape { module: String, outputs: usize, inputs: usize, a_outputs: usize, a_inputs: usize },
    #[error("merging needs the model as safetensors; pull it in that form")]
    Gguf,
    #[error("the merged model cannot be written")]
    Io(#[from] io::Error),
    #[error("the merged weights cannot be computed: {0}")]
    Compute(#[from] mistralrs_candle::Error),
}

/// Writes the files of `serving` to `into` with the adapter merged, `weight` times. One shard is in memory at a time.
pub(crate) fn merge(serving: &Path, adapter: &Adapter, weight: f32, into: &Path) -> Result<(), MergeError> {
    let mut left: BTreeMap<&str, &Delta> = BTreeMap::new();
    for (module, delta) in &adapter.layers {
        let refuse = |what| Err(MergeError::Kind { module: module.clone(), what });
        if delta.embedding {
            return refuse("an adapted embedding");
        } else if delta.magnitude.is_some() {
            return refuse("DoRA");
        } else if delta.lora_bias.is_some() || delta.bias.is_some() {
            return refuse("biases");
        }
        left.insert(module, delta);
    }
    if let Some(name) = adapter.saved.keys().next() {
        return Err(MergeError::Kind { module: name.clone(), what: "modules_to_save" });
    }
    fs::create_dir_all(into)?;
    let mut shards = 0;
    for entry in fs::read_dir(serving)? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            fs::copy(&path, into.join(name))?;
            continue;
        }
        shards += 1;
        let mut tensors = safetensors::load(&path, &Device::Cpu)?;
        for (tensor, value) in &mut tensors {
            if let Some(module) = tensor.strip_suffix(".weight")
                && let Some(delta) = left.remove(module)
            {
                *value = merged(module, value, delta, weight)?;
            }
        }
        safetensors::save(&tensors, into.join(name))?;
    }
    if shards == 0 {
        return Err(MergeError::Gguf);
    }
    match left.keys().next() {
        Some(module) => Err(MergeError::NoModule((*module).to_owned())),
        None => Ok(()),
    }
}

/// W [out, in] + weight · scale · B [out, r] A [r, in].
fn merged(module: &str, base: &Tensor, delta: &Delta, weight: f32) -> Result<Tensor, MergeError> {
    if base.dims() != [delta.outputs(), delta.inputs()] {
        let [outputs, inputs] = base.dims() else { return Err(MergeError::NoModule(module.to_owned())) };
        return Err(MergeError::Shape {
            module: module.to_owned(),
            outputs: *outputs,
            inputs: *inputs,
            a_outputs: delta.outputs(),
            a_inputs: delta.inputs(),
        });
    }
    let matrix = |array: &cairn_adapters::peft::Array| -> CandleResult<Tensor> {
        Tensor::from_slice(&array.data, array.shape.as_slice(), &Device::Cpu)
    };
    let change = (matrix(&delta.b)?.matmul(&matrix(&delta.a)?)? * f64::from(weight * delta.scale))?;
    Ok((base.to_dtype(DType::F32)? + change)?.to_dtype(base.dtype())?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use cairn_adapters::peft::{Array, Config, Limits};

    use super::*;

    const MODULE: &str = "model.layers.0.self_attn.o_proj";

    /// A model of one matrix [4, 3] and stacked experts [2, 3, 6].
    fn serving() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let tensors = HashMap::from([
            (format!("{MODULE}.weight"), ones(&[4, 3])),
            ("model.layers.1.mlp.experts.gate_up_proj".to_owned(), ones(&[2, 3, 6])),
        ]);
        safetensors::save(&tensors, dir.path().join("model.safetensors")).unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        dir
    }

    fn delta(outputs: usize, inputs: usize) -> Delta {
        let array = |rows: usize, columns: usize| Array { shape: vec![rows, columns], data: vec![0.5; rows * columns] };
        Delta {
            a: array(2, inputs),
            b: array(outputs, 2),
            scale: 2.0,
            magnitude: None,
            lora_bias: None,
            bias: None,
            embedding: false,
        }
    }

    fn adapter(module: &str, delta: Delta) -> Adapter {
        let config = br#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "all-linear"}"#;
        let config = Config::parse(config, &Limits::default()).unwrap();
        Adapter { config, layers: [(module.to_owned(), delta)].into(), saved: BTreeMap::new() }
    }

    fn refusal(adapter: &Adapter) -> String {
        let (serving, into) = (serving(), tempfile::tempdir().unwrap());
        merge(serving.path(), adapter, 1.0, &into.path().join("merged")).unwrap_err().to_string()
    }

    #[test]
    fn the_sum_is_written_with_everything_else() {
        let (serving, into) = (serving(), tempfile::tempdir().unwrap());
        merge(serving.path(), &adapter(MODULE, delta(4, 3)), 0.5, into.path()).unwrap();
        let merged = safetensors::load(into.path().join("model.safetensors"), &Device::Cpu).unwrap();
        // 1 + 0.5 · 2 · (0.5 · 0.5 + 0.5 · 0.5)
        let rows: Vec<Vec<f32>> = merged[&format!("{MODULE}.weight")].to_vec2().unwrap();
        assert_eq!(rows, vec![vec![1.5; 3]; 4]);
        assert!(merged.len() == 2 && into.path().join("config.json").exists());
    }

    #[test]
    fn what_a_sum_cannot_say_is_refused_by_name() {
        let dora = Delta { magnitude: Some(vec![1.0; 4]), ..delta(4, 3) };
        let of_b = Delta { lora_bias: Some(vec![1.0; 4]), ..delta(4, 3) };
        let bias = Delta { bias: Some(vec![1.0; 4]), ..delta(4, 3) };
        let embedding = Delta { embedding: true, ..delta(4, 3) };
        for (delta, what) in [(dora, "DoRA"), (of_b, "biases"), (bias, "biases"), (embedding, "an adapted embedding")] {
            let said = refusal(&adapter(MODULE, delta));
            assert!(said.contains(MODULE) && said.contains(what), "{said}");
        }
        let mut saved = adapter(MODULE, delta(4, 3));
        saved.saved.insert("lm_head.weight".into(), Array { shape: vec![1, 1], data: vec![1.0] });
        let said = refusal(&saved);
        assert!(said.contains("lm_head.weight") && said.contains("modules_to_save"), "{said}");
    }

    /// Experts are stacked when a model is normalised, and outputs padded: an adapter of one expert, or of the original
    /// shape, has no matrix of its own any more.
    #[test]
    fn what_has_no_matrix_of_its_shape_is_refused_by_name() {
        let expert = "model.layers.1.mlp.experts.0.gate_proj";
        let said = refusal(&adapter(expert, delta(3, 3)));
        assert!(said.contains(expert), "{said}");
        let said = refusal(&adapter("model.layers.1.mlp.experts.gate_up_proj", delta(6, 3)));
        assert!(said.contains("experts.gate_up_proj"), "{said}");
        let said = refusal(&adapter(MODULE, delta(4, 2)));
        assert!(said.contains(MODULE) && said.contains("[4, 3]") && said.contains("[4, 2]"), "{said}");
    }

    #[test]
    fn a_model_without_safetensors_is_refused() {
        let (serving, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(serving.path().join("model.gguf"), "").unwrap();
        let error = merge(serving.path(), &adapter(MODULE, delta(4, 3)), 1.0, into.path()).unwrap_err();
        assert!(matches!(error, MergeError::Gguf), "{error}");
    }
}
