//! From files as they were published to files that mistral.rs serves correctly.
//!
//! Each change has a reason, which ends up in `model.json`. Files that need no change are hard links to the originals.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cairn_adapters::ModelName;
use serde_json::Value;

use crate::manifest::{Format, Kind, Manifest, ManifestError, hash_directory};

mod checkpoint;
mod config;
mod gguf;
mod licence;
mod vocabulary;

pub use gguf::requantize;
pub use mistralrs_candle::quantized::GgmlDType;

/// Where files came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// As it was asked for.
    pub source: String,
    /// Files that came without a checksum to check them by.
    pub unchecked: Vec<String>,
    /// The licence that the source names, for models that do not name one themselves.
    pub licence: Option<String>,
}

/// Makes `directory/serving` and `directory/model.json` from `directory/original`.
///
/// # Errors
/// The files are not a model that can be served; the message says what is missing.
pub fn normalise(directory: &Path, name: &ModelName, origin: Origin) -> Result<Manifest, NormaliseError> {
    let (original, serving) = (directory.join("original"), directory.join("serving"));
    fs::create_dir_all(&serving).map_err(|error| NormaliseError::io(&serving, error))?;
    let names = file_names(&original)?;
    let ggufs: Vec<&String> = names.iter().filter(|name| name.ends_with(".gguf")).collect();
    let served = match ggufs.as_slice() {
        [] => checkpoint::normalise(&original, &serving, &names)?,
        [one] => gguf::normalise(&original, &serving, one)?,
        several => {
            let names = several.iter().map(ToString::to_string).collect();
            return Err(NormaliseError::SeveralGguf { names });
        }
    };
    let mut changes = served.changes;
    let manifest = Manifest {
        name: name.clone(),
        kind: served.kind,
        source: origin.source,
        family: served.family,
        format: served.format,
        original_hash: hash_directory(&original)?,
        serving_hash: hash_directory(&serving)?,
        context_length: usable(served.context_length, &mut changes),
        parameters: served.parameters,
        dtype: served.dtype,
        memory_bytes: served.memory_bytes,
        licence: served.licence.or_else(|| licence::of(&original)).or(origin.licence),
        unchecked: origin.unchecked,
        changes,
        pulled_at: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
    };
    let path = directory.join("model.json");
    let text =
        serde_json::to_vec_pretty(&manifest).map_err(|source| NormaliseError::Json { path: path.clone(), source })?;
    fs::write(&path, text).map_err(|error| NormaliseError::io(&path, error))?;
    Ok(manifest)
}

/// What one of the two normalisations found out.
struct Served {
    kind: Kind,
    family: String,
    format: Format,
    context_length: usize,
    parameters: u64,
    dtype: String,
    memory_bytes: u64,
    licence: Option<String>,
    changes: Vec<String>,
}

/// Bytes in memory for each token of the vocabulary: two tokenizers and the trie of mistral.rs' grammars. Measured with
/// the 49,152 tokens of SmolLM2 (`examples/gguf_forms.rs`).
const BYTES_A_TOKEN: u64 = 2048;

/// mistral.rs grows its key and value storage by 512 tokens and refuses what goes beyond the context length, so that of a
/// length between two multiples only the lower one can be reached.
fn usable(context_length: usize, changes: &mut Vec<String>) -> usize {
    const GROWTH: usize = 512;
    let usable = if context_length > GROWTH { context_length / GROWTH * GROWTH } else { context_length };
    if usable != context_length {
        changes.push(format!("context length {context_length} cut to {usable}: the engine grows by {GROWTH} tokens"));
    }
    usable
}

/// What most of a model's numbers are kept in: the type with the greatest count.
fn most<T: ToString + PartialEq>(counts: impl Iterator<Item = (T, u64)>) -> String {
    let mut sums: Vec<(T, u64)> = Vec::new();
    for (kind, count) in counts {
        match sums.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += count,
            None => sums.push((kind, count)),
        }
    }
    sums.into_iter().max_by_key(|(_, sum)| *sum).map_or_else(String::new, |(kind, _)| kind.to_string())
}

/// Why files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum NormaliseError {
    /// A file cannot be read or written.
    #[error("{path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("{path} is not valid JSON")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Something that a model needs is not there.
    #[error("{path} is missing; a model needs config.json, tokenizer.json and *.safetensors, or one .gguf file")]
    Missing {
        /// What is missing.
        path: PathBuf,
    },
    /// Weights that can run code when they are read.
    #[error("there are only pickled weights ({name}); pull a model that is published as safetensors or GGUF")]
    Pickle {
        /// The file.
        name: String,
    },
    /// More than one model in one place.
    #[error("there are several GGUF files ({}); pull one of them by its path", names.join(", "))]
    SeveralGguf {
        /// The files.
        names: Vec<String>,
    },
    /// A field of the configuration is missing or of the wrong kind.
    #[error("{path} does not say {field}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
    },
    /// The weights cannot be read or rewritten.
    #[error("the weights cannot be rewritten: {0}")]
    Weights(#[from] mistralrs_candle::Error),
    /// The tokenizer inside a GGUF file cannot be used.
    #[error("the tokenizer in the GGUF file cannot be used: {0}")]
    Tokenizer(String),
    /// Hashing failed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl NormaliseError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// The pickled weights among files that have no others.
pub(crate) fn pickle_alone(names: &[String]) -> Option<&String> {
    let ends = |name: &str, all: &[&str]| all.iter().any(|end| name.ends_with(end));
    if names.iter().any(|name| ends(name, &[".safetensors", ".gguf"])) {
        return None;
    }
    names.iter().find(|name| ends(name, &[".bin", ".pt", ".pth", ".ckpt", ".pkl"]))
}

pub(crate) fn file_names(directory: &Path) -> Result<Vec<String>, NormaliseError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| NormaliseError::io(directory, error))? {
        let entry = entry.map_err(|error| NormaliseError::io(directory, error))?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn write_json(path: &Path, value: &Value) -> Result<(), NormaliseError> {
    let text =
        serde_json::to_vec_pretty(value).map_err(|source| NormaliseError::Json { path: path.to_owned(), source })?;
    fs::write(path, text).map_err(|error| NormaliseError::io(path, error))
}

/// The same file in another place: a hard link where the file system has them.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), NormaliseError> {
    // A hard link to a symbolic link would be a symbolic link: a hub's own cache is full of them.
    let file = from.canonicalize().map_err(|error| NormaliseError::io(from, error))?;
    fs::hard_link(&file, to).or_else(|_| fs::copy(&file, to).map(drop)).map_err(|error| NormaliseError::io(to, error))
}
