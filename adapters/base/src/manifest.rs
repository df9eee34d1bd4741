//! `model.json`: what a pulled model is, where it came from, what was changed, and the hash of what is served.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use cairn_adapters::{ModelName, WeightsHash};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a pulled model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name that callers write.
    pub name: ModelName,
    /// What it is for.
    pub kind: Kind,
    /// Where it came from, as it was asked for.
    pub source: String,
    /// Its architecture, such as `llama`.
    pub family: String,
    /// How the weights are kept.
    pub format: Format,
    /// [`hash_directory`] of `original/`.
    pub original_hash: WeightsHash,
    /// [`hash_directory`] of `serving/`: the name of these weights in records.
    pub serving_hash: WeightsHash,
    /// Longest prompt and answer together, in tokens.
    pub context_length: usize,
    /// How many numbers it has learnt.
    pub parameters: u64,
    /// The type that most of them are kept in, such as `BF16` or `Q8_0`.
    pub dtype: String,
    /// Estimated bytes in memory when loaded, answers under way not counted.
    pub memory_bytes: u64,
    /// Its licence, where the source says so.
    pub licence: Option<String>,
    /// Files that came without a checksum to check them by.
    pub unchecked: Vec<String>,
    /// What was changed when it was pulled, and why.
    pub changes: Vec<String>,
    /// Seconds since 1970.
    pub pulled_at: u64,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Generates text.
    Chat,
    /// Embeds text; not loaded by this crate.
    Embedding,
}

/// How the weights are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A Hugging Face directory.
    Safetensors,
    /// One GGUF file, by its name in `serving/`.
    Gguf {
        /// The file's name.
        file: String,
    },
}

/// Why a model's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `model.json` is not one of ours.
    #[error("{path} is not a valid model.json; pull the model again")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Manifest {
    /// Reads `model.json` in a model's directory.
    ///
    /// # Errors
    /// The file cannot be read or is not a manifest.
    pub fn read(directory: &Path) -> Result<Self, ManifestError> {
        let path = directory.join("model.json");
        let text = fs::read(&path).map_err(|source| ManifestError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| ManifestError::Invalid { path, source })
    }
}

/// SHA-256 over the lines `<sha256 of file>  <name>`, sorted by name: the same for the same files, wherever they are.
/// `sha256sum * | sha256sum` in the directory gives the same.
///
/// # Errors
/// A file cannot be read.
pub fn hash_directory(directory: &Path) -> Result<WeightsHash, ManifestError> {
    let read = |path: &Path, source| ManifestError::Read { path: path.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| read(directory, source))? {
        let entry = entry.map_err(|source| read(directory, source))?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let mut all = Sha256::new();
    for name in names {
        let path = directory.join(&name);
        let hash = hash_file(&path).map_err(|source| read(&path, source))?;
        all.update(format!("{hash}  {name}\n"));
    }
    Ok(WeightsHash(hex::encode(all.finalize())))
}

/// SHA-256 of a file, lower-case hex.
pub(crate) fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
    }
}
