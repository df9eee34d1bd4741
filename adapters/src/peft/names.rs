//! Tensor names in adapter_model.safetensors, as PEFT's `get_peft_model_state_dict` writes them.
//!
//! ```text
//! base_model.model.<path>.lora_A.weight            [r, in]       base_model.model.<path>.lora_B.weight      [out, r]
//! base_model.model.<path>.lora_embedding_A         [r, vocab]    base_model.model.<path>.lora_embedding_B   [dim, r]
//! base_model.model.<path>.lora_magnitude_vector    [out]         base_model.model.<path>.lora_B.bias        [out]
//! base_model.model.<path>.bias                     [out]         base_model.model.<path>.weight             as in the base
//! ```
//! A module that also carries a delta keeps the base's own tensors under `<path>.base_layer`.

/// What every name begins with.
pub(crate) const PREFIX: &str = "base_model.model.";

/// What a tensor is for its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    A,
    B,
    EmbeddingA,
    EmbeddingB,
    Magnitude,
    LoraBias,
    /// A weight of the base, trained whole; true = under `base_layer`.
    Weight(bool),
    /// A bias of the base, trained whole; true = under `base_layer`.
    Bias(bool),
}

impl Part {
    /// Endings, longest first where one ends in another.
    const ENDINGS: [(&'static str, Self); 11] = [
        (".lora_A.weight", Self::A),
        (".lora_B.weight", Self::B),
        (".lora_B.bias", Self::LoraBias),
        (".lora_embedding_A", Self::EmbeddingA),
        (".lora_embedding_B", Self::EmbeddingB),
        (".lora_magnitude_vector", Self::Magnitude),
        (".lora_magnitude_vector.weight", Self::Magnitude), // some older releases
        (".base_layer.weight", Self::Weight(true)),
        (".base_layer.bias", Self::Bias(true)),
        (".weight", Self::Weight(false)),
        (".bias", Self::Bias(false)),
    ];

    /// Splits a tensor's name into its module's path and its part; the error is the reason, in words.
    pub(crate) fn split(name: &str) -> Result<(&str, Self), &'static str> {
        let Some(inner) = name.strip_prefix(PREFIX) else {
            return Err("names begin with \"base_model.model.\"; save with PEFT's save_pretrained");
        };
        let (path, part) = Self::ENDINGS
            .iter()
            .find_map(|(ending, part)| inner.strip_suffix(ending).map(|path| (path, *part)))
            .ok_or("it is no part of a LoRA adapter; save with PEFT's save_pretrained")?;
        let adapter_name_kept = path.split('.').any(|component| component.starts_with("lora_"));
        if adapter_name_kept || path.contains(".modules_to_save") {
            return Err("it is named as inside a training checkpoint; save with PEFT's save_pretrained");
        }
        if path.is_empty() || path.split('.').any(str::is_empty) {
            return Err("its module has no name");
        }
        Ok((path, part))
    }

    /// The tensor's name in the file.
    pub(crate) fn name(self, path: &str) -> String {
        let ending = Self::ENDINGS.iter().find(|(_, part)| *part == self).map_or("", |(ending, _)| ending);
        format!("{PREFIX}{path}{ending}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_and_join() {
        for (name, path, part) in [
            ("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", "model.layers.0.mlp.up_proj", Part::A),
            ("base_model.model.model.embed_tokens.lora_embedding_B", "model.embed_tokens", Part::EmbeddingB),
            ("base_model.model.x.lora_magnitude_vector", "x", Part::Magnitude),
            ("base_model.model.x.lora_B.bias", "x", Part::LoraBias),
            ("base_model.model.lm_head.weight", "lm_head", Part::Weight(false)),
            ("base_model.model.lm_head.base_layer.weight", "lm_head", Part::Weight(true)),
            ("base_model.model.x.base_layer.bias", "x", Part::Bias(true)),
        ] {
            assert_eq!(Part::split(name), Ok((path, part)));
            assert_eq!(part.name(path), name);
        }
    }

    #[test]
    fn names_of_training_checkpoints_are_refused() {
        for bad in [
            "model.layers.0.q_proj.lora_A.weight",
            "base_model.model.x.lora_A.default.weight",
            "base_model.model.lm_head.modules_to_save.default.weight",
            "base_model.model.x.ia3_l",
            "base_model.model..weight",
        ] {
            assert!(Part::split(bad).is_err(), "{bad} was accepted");
        }
    }
}
