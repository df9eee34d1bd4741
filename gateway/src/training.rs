//! Fine-tuning jobs: queued, as many at once as the configuration says, each in a process of its own.
//!
//! A job's directory (`training/<id>`, see `cairn_trainer::job`) is all that gateway and process share, so either can die:
//! the process goes on while the gateway restarts, and a killed process is started again from its last checkpoint. What is
//! only here is the queue, who may do what, and the way from a finished run to an adapter in the store:
//!
//! ```text
//! create, options, export, right   a request becomes a job, with a copy of what it may learn from
//! queue, worker, publish           a job becomes a process, and what comes of it an adapter
//! moves, forget                    pausing, cancelling and resuming; what goes when its time is over
//! provenance, results              what the log says of it; what it leaves, as files
//! ```

mod create;
pub(crate) mod export;
mod forget;
mod moves;
mod options;
pub(crate) mod provenance;
mod publish;
mod queue;
pub(crate) mod results;
mod right;
mod worker;

use std::path::{Path, PathBuf};

use cairn_trainer::job::{self, Entry, JobError, Level};
use serde_json::Value;
use tokio::sync::{Mutex, Notify};

pub(crate) use self::{
    create::{MOST_SAMPLES, create, preview},
    forget::{PARTIAL, delete, hide_samples},
    moves::{resume, stop},
    options::preset_of,
    queue::start,
    worker::running,
};
use crate::{config::Config, error::ApiError};

/// What the queue shares with those who ask of it.
#[derive(Default)]
pub(crate) struct Trainings {
    /// Woken when a job is queued.
    pub(crate) queued: Notify,
    /// Held while a job goes from one state to another on what its directory says: to be cancelled and to be published
    /// exclude each other.
    pub(crate) moves: Mutex<()>,
}

/// The directory of a job.
pub(crate) fn directory(config: &Config, id: &str) -> PathBuf {
    config.data_dir.join("training").join(id)
}

/// Where an uploaded file is.
pub(crate) fn file_path(config: &Config, id: &str) -> PathBuf {
    config.data_dir.join("files").join(id)
}

fn note(dir: &Path, level: Level, message: &str, data: Value) {
    let entry = Entry { at: chrono::Utc::now().timestamp(), level, message: message.to_owned(), data };
    if let Err(error) = job::append(dir, &entry) {
        tracing::warn!(error = %cairn_trainer::told(&error), "an event of a job is lost");
    }
}

/// A file of a job could not be written.
fn unkept(error: JobError) -> ApiError {
    match &error {
        JobError::File { source, .. } => ApiError::file(source),
        _ => ApiError::internal(cairn_trainer::told(&error)),
    }
}
