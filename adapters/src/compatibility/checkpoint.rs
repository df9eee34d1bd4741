//! What an adapter must fit, read from the headers of any Hugging Face checkpoint: for families that only mistral.rs
//! serves, where an adapter is merged into the weights.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Base;

/// Why a checkpoint cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("{path} is not valid: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Only safetensors can be merged into.
    #[error("there is no .safetensors file in {0}")]
    NoWeights(PathBuf),
}

/// Reads config.json and the headers of every .safetensors file in a directory; no weights. Names, hashes of tokenizer and
/// template are left empty.
///
/// # Errors
/// Files are missing or damaged.
pub fn checkpoint(dir: &Path) -> Result<Base, CheckpointError> {
    let path = dir.join("config.json");
    let invalid = |path: &Path, reason: String| CheckpointError::Invalid { path: path.to_owned(), reason };
    let read = |path: &Path, source| CheckpointError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(&path).map_err(|source| read(&path, source))?;
    let config: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(&path, error.to_string()))?;
    let architecture = config["model_type"].as_str().ok_or_else(|| invalid(&path, "it has no model_type".into()))?;
    let mut base = Base { architecture: architecture.to_owned(), ..Base::default() };
    let mut found = false;
    for entry in std::fs::read_dir(dir).map_err(|source| read(dir, source))? {
        let path = entry.map_err(|source| read(dir, source))?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            found = true;
            for (name, shape) in header(&path)? {
                sort_in(&mut base, name, shape);
            }
        }
    }
    if !found {
        return Err(CheckpointError::NoWeights(dir.to_owned()));
    }
    Ok(base)
}

/// Linear layers are the matrices called `weight` that are not embeddings.
fn sort_in(base: &mut Base, name: String, shape: Vec<usize>) {
    match (name.strip_suffix(".weight"), shape.as_slice()) {
        (Some(module), [rows, columns]) if module.ends_with("embed_tokens") => {
            base.embeddings.insert(module.to_owned(), [*rows, *columns]);
        }
        (Some(module), [outputs, inputs]) => {
            base.linears.insert(module.to_owned(), [*outputs, *inputs]);
        }
        _ => {
            base.others.insert(name, shape);
        }
    }
}

/// Names and shapes: a safetensors file starts with the length of a JSON header (8 bytes, little-endian) and the header.
fn header(path: &Path) -> Result<BTreeMap<String, Vec<usize>>, CheckpointError> {
    let invalid = |reason: String| CheckpointError::Invalid { path: path.to_owned(), reason };
    let read = |source| CheckpointError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(read)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT {
        return Err(invalid(format!("its header claims {length} bytes, and {HEADER_LIMIT} are allowed")));
    }
    let mut json = vec![0; length as usize];
    file.read_exact(&mut json).map_err(read)?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&json).map_err(|error| invalid(error.to_string()))?;
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    tensors
        .map(|(name, tensor)| {
            let shape = serde_json::from_value(tensor["shape"].clone());
            shape.map(|shape| (name, shape)).map_err(|error| invalid(error.to_string()))
        })
        .collect()
}

/// As safetensors has it.
const HEADER_LIMIT: u64 = 100_000_000;
