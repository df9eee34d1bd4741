//! Hugging Face checkpoints: one or several .safetensors files, read tensor by tensor.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata};

use crate::{
    Form, LoadError,
    source::{Data, Raw, Source},
};

/// The files of one checkpoint.
pub(crate) struct Checkpoint {
    /// Where each tensor lies; not taken yet.
    tensors: BTreeMap<String, Place>,
}

struct Place {
    file: PathBuf,
    dtype: Dtype,
    shape: Vec<usize>,
    start: u64,
    len: usize,
}

impl Checkpoint {
    /// Reads the headers of all .safetensors files of a directory.
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: dir.to_owned(), source };
        let entries = fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
        files.sort();
        if files.is_empty() {
            return Err(LoadError::NoModel(dir.to_owned()));
        }
        let mut tensors = BTreeMap::new();
        for file in files {
            header(&file, &mut tensors)?;
        }
        // Written by old versions of transformers, and computed from the configuration.
        tensors.retain(|name, _| !name.ends_with("rotary_emb.inv_freq"));
        Ok(Self { tensors })
    }
}

impl Source for Checkpoint {
    fn take(&mut self, name: &str) -> Result<Option<Raw>, LoadError> {
        let Some(Place { file, dtype, shape, start, len }) = self.tensors.remove(name) else { return Ok(None) };
        let bytes = bytes(&file, start, len)?;
        let (numbers, form) = match dtype {
            Dtype::F32 => (bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(), Form::F32),
            Dtype::F16 => {
                (bytes.as_chunks().0.iter().map(|word| f16::from_le_bytes(*word).to_f32()).collect(), Form::F16)
            }
            // Weights have nothing of bf16's range: only those below 6e-5 lose digits in f16, by 3e-8 at most.
            Dtype::BF16 => {
                (bytes.as_chunks().0.iter().map(|word| bf16::from_le_bytes(*word).to_f32()).collect(), Form::F16)
            }
            other => return Err(LoadError::Unsupported { field: name.to_owned(), value: format!("{other:?}") }),
        };
        Ok(Some(Raw { shape, data: Data::Numbers(numbers, form) }))
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn left(&self) -> Option<String> {
        self.tensors.keys().next().cloned()
    }
}

/// Adds the tensors of one file.
fn header(path: &Path, tensors: &mut BTreeMap<String, Place>) -> Result<(), LoadError> {
    // The file starts with the header's length; the header says where each tensor's bytes lie behind it.
    let length: [u8; 8] = bytes(path, 0, 8)?.try_into().expect("`bytes` gives as many as it is asked for");
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_HEADER {
        return Err(damaged(path, safetensors::SafeTensorError::HeaderTooLarge));
    }
    let header = bytes(path, 8, length)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(path, error))?;
    for (name, info) in metadata.tensors() {
        let (from, to) = info.data_offsets;
        let place = Place {
            file: path.to_owned(),
            dtype: info.dtype,
            shape: info.shape.clone(),
            start: (8 + length + from) as u64,
            len: to - from,
        };
        tensors.insert(name, place);
    }
    Ok(())
}

/// As the format limits it.
const MAX_HEADER: usize = 100_000_000;

fn bytes(path: &Path, start: u64, len: usize) -> Result<Vec<u8>, LoadError> {
    let read = || {
        let mut file = File::open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        if end < start.saturating_add(len as u64) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| LoadError::Io { path: path.to_owned(), source })
}

pub(crate) fn damaged(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LoadError {
    LoadError::Damaged { path: path.to_owned(), source: error.into() }
}
