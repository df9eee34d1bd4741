//! The shape of the weights that are compared, read from their GGUF file's header.

use std::path::Path;

use anyhow::Context;
use cairn_lane::{Description, names::Projection};

/// What a model's cost follows from.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) hidden: usize,
    pub(crate) vocabulary: usize,
    /// The head is the embeddings.
    pub(crate) tied: bool,
    /// The linear layers of a block: where in it, name, in, out.
    pub(crate) linears: Vec<Linear>,
}

/// A linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// `self_attn` or `mlp`.
    pub(crate) block: String,
    pub(crate) module: String,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Shape {
    /// Reads the header of the one GGUF file in a directory.
    pub(crate) fn read(gguf: &Path) -> anyhow::Result<Self> {
        let directory = gguf.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let config = Description::read(directory)
            .with_context(|| format!("{} cannot be read; it must lie alone in its directory", gguf.display()))?
            .config;
        Ok(Self {
            layers: config.layers,
            heads: config.heads,
            kv_heads: config.kv_heads,
            hidden: config.hidden_size,
            vocabulary: config.vocab_size,
            tied: config.tied,
            linears: Projection::ALL.map(|of| Linear::of(&of.path(0), config.shape(of))).into(),
        })
    }

    /// Weights that each token of a prompt meets: all but the embeddings and the head, which only the last token's logits
    /// need.
    pub(crate) fn layer_weights(&self) -> usize {
        self.layers * self.linears.iter().map(|linear| linear.inputs * linear.outputs).sum::<usize>()
    }

    /// Weights that each generated token meets.
    pub(crate) fn token_weights(&self) -> usize {
        self.layer_weights() + self.hidden * self.vocabulary
    }

    /// Numbers of a LoRA adapter of one rank on all linear layers.
    pub(crate) fn adapter_weights(&self, rank: usize) -> usize {
        self.layers * rank * self.linears.iter().map(|linear| linear.inputs + linear.outputs).sum::<usize>()
    }
}

impl Linear {
    /// From a path such as `model.layers.0.self_attn.q_proj` and [out, in].
    fn of(path: &str, [outputs, inputs]: [usize; 2]) -> Self {
        let mut last = path.rsplit('.').map(str::to_owned);
        let (module, block) = (last.next().unwrap_or_default(), last.next().unwrap_or_default());
        Self { block, module, inputs, outputs }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two blocks of SmolLM2-135M's linear layers.
    pub(crate) fn small() -> Shape {
        let linears = [
            ("self_attn.q_proj", [576, 576]),
            ("self_attn.k_proj", [192, 576]),
            ("self_attn.v_proj", [192, 576]),
            ("self_attn.o_proj", [576, 576]),
            ("mlp.gate_proj", [1536, 576]),
            ("mlp.up_proj", [1536, 576]),
            ("mlp.down_proj", [576, 1536]),
        ];
        let linears = linears.map(|(path, shape)| Linear::of(&format!("model.layers.0.{path}"), shape)).into();
        Shape { layers: 2, heads: 9, kv_heads: 3, hidden: 576, vocabulary: 49_152, tied: true, linears }
    }

    #[test]
    fn weights_of_known_shapes() {
        let thirty = Shape { layers: 30, ..small() };
        assert_eq!(thirty.layer_weights(), 106_168_320);
        assert_eq!(thirty.token_weights(), 134_479_872);
        assert_eq!(thirty.adapter_weights(16), 4_884_480);
        assert_eq!((thirty.linears[6].block.as_str(), thirty.linears[6].module.as_str()), ("mlp", "down_proj"));
    }
}
