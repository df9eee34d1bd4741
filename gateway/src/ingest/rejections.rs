//! What an ingest could not take, all of it, as a CSV file that its owner may download: `line` and `reason`.
//!
//! A job's result lists the first thousand. Files are kept for thirty days, in a directory of their own in the data directory.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use cairn_index::IngestReport;

use crate::{config::Config, error::ApiError};

/// The file of a job, whether it is there or not. `job` is the id of one that exists.
pub(crate) fn file(config: &Config, job: &str) -> PathBuf {
    config.rejections_dir().join(format!("{job}.csv"))
}

/// Writes a job's file, if anything was rejected. Running it again changes nothing.
pub(crate) async fn keep(config: &Config, job: &str, report: &IngestReport) -> Result<(), ApiError> {
    let rejections = match report.rejected_whole.as_slice() {
        [] => report.rejected.as_slice(),
        whole => whole,
    };
    if rejections.is_empty() {
        return Ok(());
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["line", "reason"]).map_err(ApiError::internal)?;
    for rejection in rejections {
        writer.write_record([&rejection.line.to_string(), &rejection.reason]).map_err(ApiError::internal)?;
    }
    let bytes = writer.into_inner().map_err(|error| ApiError::internal(error.into_error()))?;
    let path = file(config, job);
    let written = async {
        tokio::fs::create_dir_all(config.rejections_dir()).await?;
        let beside = path.with_extension("tmp");
        tokio::fs::write(&beside, bytes).await?;
        tokio::fs::rename(&beside, &path).await
    };
    written.await.map_err(ApiError::internal)
}

/// Removes what is older than thirty days.
pub(crate) async fn tidy(config: &Config) {
    let removed = remove_old(&config.rejections_dir()).await;
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "old lists of rejected datapoints could not be removed");
        }
        _ => {}
    }
}

async fn remove_old(directory: &Path) -> io::Result<()> {
    let mut files = tokio::fs::read_dir(directory).await?;
    while let Some(file) = files.next_entry().await? {
        let age = file.metadata().await?.modified()?.elapsed().unwrap_or_default();
        if age > KEPT {
            tokio::fs::remove_file(file.path()).await?;
        }
    }
    Ok(())
}

const KEPT: Duration = Duration::from_hours(30 * 24);
