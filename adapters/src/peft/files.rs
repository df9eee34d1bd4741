//! An adapter's directory: what must be in it, what must not, and how it is written.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use safetensors::{Dtype, tensor::TensorView};

use super::{Adapter, FormatError, Limits};

/// The configuration's file name.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The weights' file name.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// The two files of an adapter, as bytes.
#[derive(Debug, Clone)]
pub struct Files {
    /// adapter_config.json.
    pub config: Vec<u8>,
    /// adapter_model.safetensors.
    pub weights: Vec<u8>,
}

impl Files {
    /// Reads both, within the limits. Links are not followed.
    ///
    /// # Errors
    /// [`FormatError::MissingFile`], [`FormatError::Pickle`], [`FormatError::TooLarge`], [`FormatError::Io`].
    pub fn read(dir: &Path, limits: &Limits) -> Result<Self, FormatError> {
        // Other pickles, such as a trainer's own training_args.bin, lie about in real directories and are not opened.
        if dir.join("adapter_model.bin").exists() {
            return Err(FormatError::Pickle { file: "adapter_model.bin".into() });
        }
        let config = read_file(dir, CONFIG_FILE, limits.max_config_bytes)?;
        let weights = read_file(dir, WEIGHTS_FILE, limits.max_weights_bytes)?;
        match (config, weights) {
            (None, _) => Err(FormatError::MissingFile { file: CONFIG_FILE }),
            (Some(_), None) => Err(match pickle(dir)? {
                Some(file) => FormatError::Pickle { file },
                None => FormatError::MissingFile { file: WEIGHTS_FILE },
            }),
            (Some(config), Some(weights)) => Ok(Self { config, weights }),
        }
    }
}

impl Adapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors`; other files in the directory are not opened. For
    /// the moment of reading, the file and its numbers are both in memory.
    ///
    /// # Errors
    /// [`FormatError`], naming the file, field or tensor and how to mend it.
    pub fn read(dir: &Path, limits: &Limits) -> Result<Self, FormatError> {
        let files = Files::read(dir, limits)?;
        Self::parse(&files.config, &files.weights, limits)
    }

    /// Writes both files as PEFT does, tensors as F32; each appears whole or not at all, and is on disk on return.
    ///
    /// # Errors
    /// [`FormatError::Io`] when a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), FormatError> {
        let tensors: Vec<_> = self
            .tensors()
            .into_iter()
            .map(|(name, array)| {
                let bytes = array.to_le_bytes();
                (name, array.shape, bytes)
            })
            .collect();
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(FormatError::Damaged)?;
        let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let weights = safetensors::serialize(views, Some(metadata)).map_err(FormatError::Damaged)?;
        let config = serde_json::to_vec_pretty(&self.config.raw).map_err(FormatError::ConfigSyntax)?;
        write_file(dir, WEIGHTS_FILE, &weights)?;
        write_file(dir, CONFIG_FILE, &config)
    }
}

/// Reads a plain file of at most `limit` bytes; none when there is no such file.
fn read_file(dir: &Path, name: &'static str, limit: u64) -> Result<Option<Vec<u8>>, FormatError> {
    let path = dir.join(name);
    let io = |source| FormatError::Io { path: path.clone(), source };
    let about = match fs::symlink_metadata(&path) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if !about.is_file() {
        return Err(io(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a plain file")));
    }
    if about.len() > limit {
        return Err(FormatError::TooLarge { what: name, actual: about.len(), limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    // One byte more than allowed shows that the file grew meanwhile.
    File::open(&path).map_err(io)?.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(FormatError::TooLarge { what: name, actual: bytes.len() as u64, limit });
    }
    Ok(Some(bytes))
}

/// The first file that can only be a pickle.
fn pickle(dir: &Path) -> Result<Option<String>, FormatError> {
    let io = |source| FormatError::Io { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names.into_iter().find(|name| is_pickle(name)))
}

/// Whether a file of this name can only be a pickle.
pub(crate) fn is_pickle(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    matches!(ending.as_deref(), Some("bin" | "pt" | "pth" | "pkl" | "pickle" | "ckpt"))
}

fn write_file(dir: &Path, name: &'static str, bytes: &[u8]) -> Result<(), FormatError> {
    let path = dir.join(name);
    let io = |source| FormatError::Io { path: path.clone(), source };
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(&path).map_err(|error| io(error.error))?;
    Ok(())
}
