//! The files that passages were cut from, kept for whoever follows a citation to its place.
//!
//! One directory a datanet, one a document in it, named by the SHA-256 of its bytes as the metadata of its passages say. When
//! a passage is erased, the file that holds its words goes with it.

use std::{
    io,
    path::{Path, PathBuf},
};

use cairn_openapi::datanets::IngestFormat;
use sha2::{Digest, Sha256};

use crate::{config::Config, error::ApiError, jobs::IngestSpec};

/// Key of the metadata that names the document.
pub(crate) const DOCUMENT: &str = "document";

/// Where the originals of a datanet are.
pub(crate) fn directory(config: &Config, datanet: &str) -> PathBuf {
    config.data_dir.join("documents").join(datanet)
}

/// Keeps a job's file, if passages were cut from it. Running it again changes nothing.
pub(crate) async fn keep(config: &Config, spec: &IngestSpec, job: &Path) -> Result<(), ApiError> {
    let prose = match spec.query.format {
        IngestFormat::Markdown | IngestFormat::Text | IngestFormat::Html | IngestFormat::Docx | IngestFormat::Pdf => {
            true
        }
        IngestFormat::Jsonl | IngestFormat::Csv | IngestFormat::Parquet | IngestFormat::Dictd => false,
    };
    let Some(file) = spec.files.first().filter(|_| prose) else { return Ok(()) };
    let (from, datanet, file) = (job.join(file), directory(config, &spec.datanet), file.clone());
    let kept = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let mut hasher = Sha256::new();
        io::copy(&mut std::fs::File::open(&from)?, &mut hasher)?;
        let of_document = datanet.join(hex::encode(hasher.finalize()));
        std::fs::create_dir_all(&of_document)?;
        match std::fs::hard_link(&from, of_document.join(&file)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                std::fs::copy(&from, of_document.join(&file)).map(drop)
            }
            _ => Ok(()),
        }
    });
    kept.await.map_err(ApiError::internal)?.map_err(ApiError::internal)
}

/// The file of a document, if it is kept.
pub(crate) async fn find(config: &Config, datanet: &str, document: &str) -> Result<Option<PathBuf>, ApiError> {
    if document.len() != 64 || !document.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut files = match tokio::fs::read_dir(directory(config, datanet).join(document)).await {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ApiError::internal(error)),
    };
    Ok(files.next_entry().await.map_err(ApiError::internal)?.map(|entry| entry.path()))
}

/// Removes a document, or with none all of a datanet's.
pub(crate) async fn forget(config: &Config, datanet: &str, document: Option<&str>) -> Result<(), ApiError> {
    let at = directory(config, datanet);
    let at = match document {
        None => at,
        Some(document) => match find(config, datanet, document).await? {
            Some(_) => at.join(document),
            None => return Ok(()),
        },
    };
    match tokio::fs::remove_dir_all(&at).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ApiError::internal(error)),
        _ => Ok(()),
    }
}
