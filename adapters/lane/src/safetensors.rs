//! Hugging Face checkpoints: one or several .safetensors files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, safetensors::MmapedSafetensors};

use crate::{
    LoadError,
    weights::{Data, Raw, Source},
};

/// The files of one checkpoint, memory-mapped.
pub(crate) struct Checkpoint {
    path: PathBuf,
    files: MmapedSafetensors,
    /// Not taken yet.
    names: BTreeMap<String, ()>,
}

impl Checkpoint {
    pub(crate) fn open(dir: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io { path: dir.to_owned(), source };
        let entries = fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "safetensors"));
        paths.sort();
        if paths.is_empty() {
            return Err(LoadError::NoModel(dir.to_owned()));
        }
        #[allow(unsafe_code, reason = "a memory map")]
        // SAFETY: pulled models are never written to while they are served; a file cut short meanwhile would end the
        // process with a signal, not with wrong weights.
        let files = unsafe { MmapedSafetensors::multi(&paths) };
        let files = files.map_err(|error| damaged(dir, error))?;
        let names = files.tensors().into_iter().map(|(name, _)| (name, ()));
        // Written by old versions of transformers, and computed from the configuration.
        let names = names.filter(|(name, ())| !name.ends_with("rotary_emb.inv_freq")).collect();
        Ok(Self { path: dir.to_owned(), files, names })
    }
}

impl Source for Checkpoint {
    fn take(&mut self, name: &str) -> Result<Option<Raw>, LoadError> {
        if self.names.remove(name).is_none() {
            return Ok(None);
        }
        let tensor = self.files.load(name, &Device::Cpu).map_err(|error| damaged(&self.path, error))?;
        let shape = tensor.dims().to_vec();
        let numbers = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()?.to_vec1());
        Ok(Some(Raw { shape, data: Data::Numbers(numbers.map_err(|error| damaged(&self.path, error))?) }))
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    fn left(&self) -> Option<String> {
        self.names.keys().next().cloned()
    }
}

pub(crate) fn damaged(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LoadError {
    LoadError::Damaged { path: path.to_owned(), source: error.into() }
}
