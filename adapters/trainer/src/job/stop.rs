//! [`Stop`]: whether a job was asked to pause or to end. Steps are asked between by [`crate::Control`]; this is for the time
//! before the first and after the last.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::JobError;
use crate::End;

/// Looks for the files that ask a job to stop.
pub(super) struct Stop(Option<PathBuf>);

impl Stop {
    /// For a job's directory.
    pub(super) fn of(dir: &Path) -> Self {
        Self(Some(dir.to_owned()))
    }

    /// For work that no one can stop this way.
    pub(super) fn never() -> Self {
        Self(None)
    }

    /// What is asked for now.
    pub(super) fn asked(&self) -> Option<End> {
        let dir = self.0.as_ref()?;
        if dir.join("cancel").exists() {
            return Some(End::Cancelled);
        }
        dir.join("pause").exists().then_some(End::Paused)
    }

    /// [`JobError::Stopped`] where something is.
    pub(super) fn check(&self) -> Result<(), JobError> {
        self.asked().map_or(Ok(()), |end| Err(JobError::Stopped(end)))
    }

    /// Returns when something is.
    pub(super) async fn wait(&self) -> JobError {
        loop {
            if let Some(end) = self.asked() {
                return JobError::Stopped(end);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// How often the files are looked for.
const LOOK: Duration = Duration::from_millis(200);
