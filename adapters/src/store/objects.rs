//! [`Objects`]: where weights lie, a local directory or a bucket.
//!
//! `<prefix>/<generation>/adapter_config.json` and `…/adapter_model.safetensors`, byte for byte as uploaded.

use std::{path::PathBuf, sync::Arc};

use object_store::{ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path};

use super::StoreError;
use crate::{
    AdapterGeneration,
    peft::{CONFIG_FILE, Files, WEIGHTS_FILE},
};

/// Where weights lie.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The directory, where it is one: an interrupted write leaves a file there that no object name reaches.
    local: Option<PathBuf>,
}

impl Objects {
    /// A local directory, created when missing. What is written is on disk before it counts.
    ///
    /// # Errors
    /// [`StoreError::Staging`] or [`StoreError::Objects`] when it cannot be created.
    pub fn local(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir)?;
        let store = LocalFileSystem::new_with_prefix(&dir)?.with_fsync(true).with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), prefix: Path::default(), local: Some(dir) })
    }

    /// An object store by its address, such as s3://bucket/prefix, with that store's options (`region`, `endpoint`, …).
    ///
    /// # Errors
    /// [`StoreError::Address`] where it is no such address, [`StoreError::Objects`] where an option is wrong.
    pub fn at<'o>(uri: &str, options: impl IntoIterator<Item = (&'o str, &'o str)>) -> Result<Self, StoreError> {
        let url = url::Url::parse(uri).map_err(|_| StoreError::Address(uri.to_owned()))?;
        let (store, prefix) = object_store::parse_url_opts(&url, options)?;
        Ok(Self { store: store.into(), prefix, local: None })
    }

    /// A bucket of any kind that `object_store` knows, below `prefix`.
    pub fn bucket(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { store, prefix: Path::from(prefix), local: None }
    }

    /// Writes both files; each appears whole or not at all.
    pub(crate) async fn put(&self, generation: &AdapterGeneration, files: Files) -> Result<(), StoreError> {
        for (name, bytes) in [(WEIGHTS_FILE, files.weights), (CONFIG_FILE, files.config)] {
            self.store.put(&self.path(generation, name), PutPayload::from(bytes)).await?;
        }
        Ok(())
    }

    /// Reads both files.
    pub(crate) async fn get(&self, generation: &AdapterGeneration) -> Result<Files, StoreError> {
        let read = async |name: &str| -> Result<Vec<u8>, StoreError> {
            let bytes = self.store.get(&self.path(generation, name)).await?.bytes().await?;
            Ok(bytes.into()) // takes the buffer over; it is not copied while nothing else holds it
        };
        Ok(Files { config: read(CONFIG_FILE).await?, weights: read(WEIGHTS_FILE).await? })
    }

    /// Removes what there is of a generation; nothing is not an error.
    pub(crate) async fn remove(&self, generation: &AdapterGeneration) -> Result<(), StoreError> {
        for name in [CONFIG_FILE, WEIGHTS_FILE] {
            match self.store.delete(&self.path(generation, name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(dir) = &self.local {
            let dir = dir.join(&generation.0);
            match tokio::fs::remove_dir_all(&dir).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, generation: &AdapterGeneration, name: &str) -> Path {
        self.prefix.clone().join(generation.0.as_str()).join(name)
    }
}
