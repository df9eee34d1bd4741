//! A training job in a process of its own: everything that it is told, says and leaves is in one directory.
//!
//! ```text
//! job.json         what to do ([`Spec`]); written by whoever starts it
//! lock             held while the process lives
//! pause, cancel    made by whoever wants it to stop; looked for after every step, and while it loads and evaluates
//! forecast.json    what it will take ([`Forecast`]), said before the first step
//! events.jsonl     what happened ([`Entry`]), one a line, appended
//! validation.json  what was found in the data, before the first step
//! rows.jsonl       which rows were used: id and SHA-256 of each, in order
//! checkpoints/     the last ones; a job that is started again goes on from there
//! adapter/         the result, as PEFT saves it
//! evaluation.json  base beside adapter on the held-out rows; report.html for people
//! outcome.json     how it ended ([`Outcome`]); its being there is the end. Until then outcome.reserved keeps room for it
//! ```
//! So neither side needs the other: the job survives whoever started it, and a killed job is started again.

mod data;
mod evaluate;
mod files;
mod forecast;
mod on_demand;
mod outcome;
mod stop;
mod work;

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

pub use self::{
    data::{Chatting, Exported, Ready, UsedRow, prepare},
    files::{Entry, Level, append, events, last_event, read, write},
    forecast::{Forecast, plan},
    on_demand::{EvaluationSpec, evaluate_adapter, run_evaluation},
    outcome::{Outcome, reserve},
};
use crate::{End, TrainError, TrainOptions, data::RowTemplate, error::told};

/// What a job does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the base, for the adapter's configuration.
    pub base: String,
    /// Its `serving/` directory.
    pub serving: PathBuf,
    /// What to learn from.
    pub source: Source,
    /// A file to evaluate on; without one a part of the data is held out.
    #[serde(default)]
    pub validation: Option<PathBuf>,
    /// The part that is held out, 0 to 0.5; 1 leaves nothing to learn from.
    #[serde(default = "tenth")]
    pub held_out: f64,
    /// Held-out rows that base and adapter answer for the comparison.
    #[serde(default = "samples")]
    pub samples: usize,
    /// The hyper-parameters.
    pub options: TrainOptions,
    /// Bytes that the process may have in memory; it ends with an error beyond.
    #[serde(default)]
    pub memory_limit: Option<u64>,
}

fn tenth() -> f64 {
    0.1
}

fn samples() -> usize {
    32
}

/// What a job learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A file in one of the formats of [`crate::data::Format`].
    File {
        /// Where it is.
        path: PathBuf,
    },
    /// Rows of datanets, one [`data::Exported`] a line, each turned into an example.
    Rows {
        /// Where they are.
        path: PathBuf,
        /// How.
        template: RowTemplate,
    },
}

impl Source {
    /// The same in another directory, to which it is moved.
    #[must_use]
    pub fn moved(self, from: &Path, to: &Path) -> Self {
        let there = |path: PathBuf| path.strip_prefix(from).map_or_else(|_| path.clone(), |inside| to.join(inside));
        match self {
            Self::File { path } => Self::File { path: there(path) },
            Self::Rows { path, template } => Self::Rows { path: there(path), template },
        }
    }
}

/// Why a job cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The data.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// The data to evaluate on.
    #[error("the validation file cannot be used")]
    Validation(#[source] crate::data::DataError),
    /// The base.
    #[error(transparent)]
    Load(#[from] cairn_lane::LoadError),
    /// The tokenizer or the template.
    #[error(transparent)]
    Text(#[from] cairn_lane::TextError),
    /// The lane, for the evaluation.
    #[error("the model cannot answer for the evaluation: {0}")]
    Lane(String),
    /// A file.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said, or what is wrong in it.
        #[source]
        source: std::io::Error,
    },
    /// It was asked to pause or to end, and did.
    #[error("it was asked to stop")]
    Stopped(End),
    /// Another process works on it.
    #[error("another process works on {0}; wait for it, or stop it first")]
    Running(PathBuf),
    /// Memory.
    #[error(
        "the process has {resident} bytes in memory and {limit} are allowed; use qlora, a smaller batch_size or \
         max_length, or raise the limit"
    )]
    Memory {
        /// What it has.
        resident: u64,
        /// What it may have.
        limit: u64,
    },
}

/// Does a job, from where it stands to its end or its next pause. `on` hears of every entry as it is written.
///
/// # Errors
/// Why it failed; `outcome.json` says it too, and the last checkpoint stays.
pub fn run(dir: &Path, on: &mut dyn FnMut(&Entry)) -> Result<Outcome, JobError> {
    let _lock = lock(dir)?;
    outcome::forget(dir);
    reserve(dir)?;
    let mut log = files::Log::open(dir, on)?;
    let outcome = match work::work(dir, &mut log) {
        Ok(outcome) => outcome,
        Err(JobError::Stopped(end)) => {
            log.last(Level::Info, if end == End::Paused { "Paused" } else { "Cancelled" }.into());
            Outcome::stopped(end)
        }
        Err(error) => {
            let said = reason(dir, &error);
            log.last(Level::Error, said.clone());
            // Why it failed matters more than that this cannot be written down.
            let _ = Outcome::failed(&said).write(dir);
            return Err(error);
        }
    };
    outcome.write(dir)?;
    Ok(outcome)
}

/// Takes a job's lock. Whoever looks whether it is taken holds it for a moment, so there is more than one try.
fn lock(dir: &Path) -> Result<File, JobError> {
    let path = dir.join("lock");
    let lock = File::create(&path).map_err(|error| files::failed(&path, error))?;
    let began = Instant::now();
    while lock.try_lock().is_err() {
        if began.elapsed() > PATIENCE {
            return Err(JobError::Running(dir.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(lock)
}

/// How long a lock is tried for: longer than a job takes to go after it has written its outcome.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a job failed, in one line, and how to mend it where the disk is at fault. Where the directory is is nobody's business.
#[must_use]
pub fn reason(dir: &Path, error: &JobError) -> String {
    let mut said = told(error);
    // As it was given, and as files in it call it.
    for home in [std::path::absolute(dir), dir.canonicalize()].into_iter().flatten() {
        said = said.replace(&format!("{}/", home.display()), "");
    }
    if out_of_room(error) {
        format!("{said}; make room on the disk and resume: what the last checkpoint has is not lost")
    } else {
        said
    }
}

fn out_of_room(error: &JobError) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), StorageFull | QuotaExceeded | FileTooLarge)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Bytes of a model's weight files.
#[must_use]
pub fn weight_bytes(serving: &Path) -> u64 {
    let weights = |path: &Path| path.extension().is_some_and(|kind| kind == "gguf" || kind == "safetensors");
    let files = std::fs::read_dir(serving).into_iter().flatten().flatten().filter(|entry| weights(&entry.path()));
    files.filter_map(|entry| Some(std::fs::metadata(entry.path()).ok()?.len())).sum()
}
