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
