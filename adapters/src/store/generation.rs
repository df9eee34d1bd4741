//! What a generation's name is: the SHA-256 of exactly the configuration and the numbers.
//!
//! ```text
//! generation = hex(SHA-256(preimage)), in lower case
//! preimage   = "cairn adapter generation v1\n"
//!              u64(length of C)  C
//!              u64(number of tensors)
//!              for each tensor, in ascending order of the bytes of its name:
//!                u64(length of name)   name, UTF-8
//!                u64(length of dtype)  dtype: "F32", "F16" or "BF16"
//!                u64(number of axes)   u64(length of each axis)
//!                u64(length of data)   data, as in adapter_model.safetensors (little-endian, row-major)
//! C          = adapter_config.json in canonical form (RFC 8785), in which rank_pattern and alpha_pattern, when they are
//!              objects, are arrays of [pattern, value] in the order of the file: PEFT takes the first that matches, so
//!              their order is part of the meaning, and RFC 8785 sorts keys
//! u64        = 8 bytes, little-endian
//! ```
//! White space, the order of tensors in the file and its `__metadata__` do not count.

use safetensors::SafeTensors;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::{
    AdapterGeneration,
    peft::{Files, FormatError},
};

/// Computes the generation of an adapter's two files.
///
/// # Errors
/// [`StoreError::Format`] when a file does not parse.
pub fn generation(files: &Files) -> Result<AdapterGeneration, StoreError> {
    let mut config: Value = serde_json::from_slice(&files.config).map_err(FormatError::ConfigSyntax)?;
    for field in ["rank_pattern", "alpha_pattern"] {
        if let Some(pattern) = config.get_mut(field)
            && let Value::Object(entries) = pattern
        {
            *pattern = entries.iter().map(|(key, value)| json!([key, value])).collect();
        }
    }
    let config = serde_json_canonicalizer::to_vec(&config)?;
    let weights = SafeTensors::deserialize(&files.weights).map_err(FormatError::Damaged)?;
    let mut tensors: Vec<_> = weights.iter().collect();
    tensors.sort_unstable_by_key(|(name, _)| *name);

    let mut hash = Sha256::new();
    hash.update(b"cairn adapter generation v1\n");
    update(&mut hash, &config);
    hash.update((tensors.len() as u64).to_le_bytes());
    for (name, view) in tensors {
        update(&mut hash, name.as_bytes());
        update(&mut hash, format!("{:?}", view.dtype()).as_bytes());
        hash.update((view.shape().len() as u64).to_le_bytes());
        for axis in view.shape() {
            hash.update((*axis as u64).to_le_bytes());
        }
        update(&mut hash, view.data());
    }
    Ok(AdapterGeneration(hex::encode(hash.finalize())))
}

/// A length, then as many bytes.
fn update(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
