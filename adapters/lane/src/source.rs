//! A model's files, tensor by tensor, under Hugging Face's names and in its layout: what the decoder and the trainer read.

use std::{fs, path::Path};

use crate::{
    Config, Form, LoadError,
    gguf::Gguf,
    safetensors::{Checkpoint, damaged},
};

/// A model's files, nothing of its weights read yet.
pub struct Opened {
    /// The shape.
    pub config: Config,
    /// The tensors.
    pub source: Box<dyn Source>,
}

/// Opens a directory with a `.gguf` file, or with `config.json` and `.safetensors` files.
///
/// # Errors
/// As [`crate::Decoder::open`].
pub fn open(dir: &Path) -> Result<Opened, LoadError> {
    let io = |source| LoadError::Io { path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let gguf = entries.iter().map(fs::DirEntry::path).find(|path| path.extension().is_some_and(|it| it == "gguf"));
    if let Some(path) = gguf {
        let source = Gguf::open(&path)?;
        return Ok(Opened { config: source.config(), source: Box::new(source) });
    }
    let path = dir.join("config.json");
    let json = fs::read(&path).map_err(|_| LoadError::NoModel(dir.to_owned()))?;
    let json = serde_json::from_slice(&json).map_err(|error| damaged(&path, error))?;
    Ok(Opened { config: Config::from_json(&json)?, source: Box::new(Checkpoint::open(dir)?) })
}

/// A tensor as a file gives it.
pub struct Raw {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Its contents.
    pub data: Data,
}

/// Numbers, or GGML blocks row after row.
pub enum Data {
    /// With the form to keep them in where none is asked for.
    Numbers(Vec<f32>, Form),
    /// As the form has them.
    Blocks(Vec<u8>, Form),
}

/// A file of tensors under Hugging Face's names.
pub trait Source {
    /// A tensor, if it is there. Each is taken once.
    ///
    /// # Errors
    /// [`LoadError`]: the file is damaged, or the tensor of a type that the decoder does not know.
    fn take(&mut self, name: &str) -> Result<Option<Raw>, LoadError>;

    /// Whether a tensor is there and was not taken.
    fn has(&self, name: &str) -> bool;

    /// A tensor that nobody took.
    fn left(&self) -> Option<String>;
}
