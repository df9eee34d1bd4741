//! Random LoRA adapters on every linear layer of a base, as PEFT saves them.
//!
//! They do all the work of real ones, and are large enough that each changes what the model says: adapters that change no
//! text could be left out by an engine without anybody noticing.

use std::{collections::HashMap, io::Cursor, path::Path};

use anyhow::Context;
use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

use crate::shape::Shape;

/// An adapter that its seed, its rank and the base's shape determine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Random<'a> {
    pub(crate) seed: u64,
    pub(crate) rank: usize,
    pub(crate) shape: &'a Shape,
}

impl Random<'_> {
    /// Writes the PEFT directory.
    pub(crate) fn save(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        for (name, bytes) in self.files()? {
            std::fs::write(directory.join(name), bytes)
                .with_context(|| format!("{name} cannot be written in {}", directory.display()))?;
        }
        Ok(())
    }

    /// The PEFT directory as a tar archive, to upload.
    pub(crate) fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in self.files()? {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, Cursor::new(bytes))?;
        }
        Ok(archive.into_inner()?)
    }

    /// Bytes of its weights, in f16.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.shape.adapter_weights(self.rank) * 2
    }

    fn files(&self) -> anyhow::Result<[(&'static str, Vec<u8>); 2]> {
        let modules: Vec<&str> = self.shape.linears.iter().map(|linear| linear.module.as_str()).collect();
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "benchmark",
            "r": self.rank, "lora_alpha": self.rank, "target_modules": modules, "lora_dropout": 0.0, "bias": "none",
            "fan_in_fan_out": false, "inference_mode": true, "use_rslora": false, "use_dora": false,
        });
        Ok([
            ("adapter_config.json", serde_json::to_vec_pretty(&config)?),
            ("adapter_model.safetensors", self.weights()?),
        ])
    }

    /// `lora_A`: [r, in] uniform in ±1 / sqrt(in); `lora_B`: [out, r] uniform in ±[`B`].
    fn weights(&self) -> anyhow::Result<Vec<u8>> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut tensors: Vec<(String, [usize; 2], Vec<u8>)> = Vec::new();
        for layer in 0..self.shape.layers {
            for linear in &self.shape.linears {
                let prefix = format!("base_model.model.model.layers.{layer}.{}.{}", linear.block, linear.module);
                let factors = [
                    ("lora_A", [self.rank, linear.inputs], 1.0 / (linear.inputs as f32).sqrt()),
                    ("lora_B", [linear.outputs, self.rank], B),
                ];
                for (factor, shape, bound) in factors {
                    let numbers = (0..shape[0] * shape[1])
                        .flat_map(|_| f16::from_f32(random.random_range(-bound..bound)).to_le_bytes());
                    tensors.push((format!("{prefix}.{factor}.weight"), shape, numbers.collect()));
                }
            }
        }
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F16, shape.to_vec(), bytes)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>()?;
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }
}

/// The largest number of a `lora_B`. With 0.01 no adapter changed one word of SmolLM2's first 16.
const B: f32 = 0.08;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peft_file_of_the_right_tensors() {
        let shape = crate::shape::tests::small();
        let random = Random { seed: 3, rank: 2, shape: &shape };
        let bytes = random.weights().unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.len(), shape.layers * shape.linears.len() * 2);
        let b = tensors.tensor("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight").unwrap();
        assert_eq!((b.shape(), b.dtype()), ([576, 2].as_slice(), Dtype::F16));
        assert!(b.data().iter().any(|&byte| byte != 0));
        assert_eq!(tensors.iter().map(|(_, view)| view.data().len()).sum::<usize>(), random.weight_bytes());
        assert_eq!(bytes, random.weights().unwrap());
    }
}
