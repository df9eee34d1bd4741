//! A training job in a process of its own: everything that it is told, says and leaves is in one directory.
//!
//! ```text
//! job.json         what to do ([`Spec`]); written by whoever starts it
//! lock             held while the process lives
//! pause, cancel    made by whoever wants it to stop; looked for after every step
//! events.jsonl     what happened ([`Entry`]), one a line, appended
//! validation.json  what was found in the data, before the first step
//! rows.jsonl       which rows were used: id and SHA-256 of each, in order
//! checkpoints/     the last ones; a job that is started again goes on from there
//! adapter/         the result, as PEFT saves it
//! evaluation.json  base beside adapter on the held-out rows; report.html for people
//! outcome.json     how it ended ([`Outcome`]); its being there is the end
//! ```
//! So neither side needs the other: the job survives whoever started it, and a killed job is started again.

mod data;
mod evaluate;
mod files;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::{
    data::{Chatting, Exported, Forecast, Ready, UsedRow, plan, prepare},
    evaluate::{EvaluationSpec, evaluate_adapter},
    files::{Entry, Level, append, events, read, write},
};
use crate::{Adapter, Control, Data, End, Event, Model, Run, TrainError, TrainOptions, data::RowTemplate, memory};

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

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How; none where it failed.
    pub end: Option<End>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Tokens that were trained on.
    pub tokens: u64,
    /// Whether there is an adapter.
    pub adapter: bool,
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
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
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
    let lock = dir.join("lock");
    let lock = File::create(&lock).map_err(|error| files::failed(&lock, error))?;
    lock.try_lock().map_err(|_| JobError::Running(dir.to_owned()))?;
    for name in ["outcome.json", "pause"] {
        let _ = std::fs::remove_file(dir.join(name));
    }
    let mut log = files::Log::open(dir, on)?;
    let outcome = match work(dir, &mut log) {
        Ok(outcome) => outcome,
        Err(error) => {
            log.write(Level::Error, error.to_string(), Value::Null)?;
            let outcome = Outcome { end: None, error: Some(error.to_string()), tokens: 0, adapter: false };
            write(&dir.join("outcome.json"), &outcome)?;
            return Err(error);
        }
    };
    write(&dir.join("outcome.json"), &outcome)?;
    Ok(outcome)
}

fn work(dir: &Path, log: &mut files::Log<'_>) -> Result<Outcome, JobError> {
    let spec: Spec = read(&dir.join("job.json"))?;
    spec.options.check()?;
    log.write(Level::Info, "Reading the data".into(), Value::Null)?;
    let ready = prepare(&spec)?;
    write(&dir.join("validation.json"), &ready.prepared.report)?;
    files::lines(&dir.join("rows.jsonl"), &ready.rows)?;
    let report = &ready.prepared.report;
    let said = format!(
        "{} rows to learn from, {} held out, {} tokens to learn an epoch",
        report.train_rows, report.held_out_rows, report.supervised_tokens
    );
    let figures = json!({"train_rows": report.train_rows, "held_out_rows": report.held_out_rows,
        "bad_rows": report.bad_rows, "supervised_tokens": report.supervised_tokens});
    log.write(if report.bad_rows > 0 { Level::Warn } else { Level::Info }, said, figures)?;

    log.write(Level::Info, format!("Loading {}", spec.base), Value::Null)?;
    let model = Arc::new(Model::open(&spec.serving, spec.options.form())?);
    let data = Data {
        train: ready.prepared.train,
        held_out: ready.prepared.held_out.iter().map(|held| held.example.clone()).collect(),
    };
    let (mut run, from) = match Run::resume(model.clone(), &spec.options, data.clone(), dir)? {
        Some(run) => (run, "Going on from the last checkpoint"),
        None => (Run::new(model.clone(), spec.options.clone(), &spec.base, data, dir)?, "Training"),
    };
    log.write(Level::Info, format!("{from}: {} steps in all", run.steps()), json!({"steps": run.steps()}))?;
    let (end, tokens) = train(dir, &spec, &mut run, log)?;
    if matches!(end, End::Paused | End::Cancelled) {
        log.write(Level::Info, if end == End::Paused { "Paused" } else { "Cancelled" }.into(), Value::Null)?;
        return Ok(Outcome { end: Some(end), error: None, tokens, adapter: false });
    }
    let adapter: Adapter = run.adapter()?;
    adapter.export(&dir.join("adapter"))?;
    // What was not reached was not learnt, and must not be said to have been.
    let learnt = run.learnt();
    let used: Vec<&UsedRow> =
        ready.rows.iter().filter(|row| row.held_out || learnt.contains(row.row.as_str())).collect();
    files::lines(&dir.join("rows.jsonl"), &used)?;
    let measured = memory::resident().map_or(0, |[_, peak]| peak);
    log.write(Level::Info, "The adapter is written".into(), json!({"peak_memory_bytes": measured}))?;
    drop(run);
    if ready.prepared.held_out.is_empty() {
        log.write(Level::Warn, "Nothing was held out, so there is no evaluation".into(), Value::Null)?;
    } else {
        log.write(Level::Info, "Evaluating base and adapter on the held-out rows".into(), Value::Null)?;
        let evaluation = evaluate::evaluate(dir, &spec, &model, &adapter, &ready.prepared.held_out, measured)?;
        let data = evaluation.headline();
        log.write(Level::Info, "The evaluation is written".into(), data)?;
    }
    Ok(Outcome { end: Some(end), error: None, tokens, adapter: true })
}

/// Bytes of a model's weight files.
#[must_use]
pub fn weight_bytes(serving: &Path) -> u64 {
    let weights = |path: &Path| path.extension().is_some_and(|kind| kind == "gguf" || kind == "safetensors");
    let files = std::fs::read_dir(serving).into_iter().flatten().flatten().filter(|entry| weights(&entry.path()));
    files.filter_map(|entry| Some(std::fs::metadata(entry.path()).ok()?.len())).sum()
}

/// Makes the steps; how it ended, and the tokens of all steps.
fn train(dir: &Path, spec: &Spec, run: &mut Run, log: &mut files::Log<'_>) -> Result<(End, u64), JobError> {
    let control = Control::default();
    let (mut tokens, mut failed) = (0, None);
    let end = run.train(&control, &mut |event| {
        let said = match &event {
            Event::Step(step) => {
                tokens = step.tokens;
                if let Some(limit) = spec.memory_limit.filter(|limit| step.resident > *limit) {
                    failed = Some(JobError::Memory { resident: step.resident, limit });
                    control.pause();
                }
                format!("Step {}/{}: loss {:.4}", step.step, step.steps, step.loss)
            }
            Event::Evaluated { step, loss, best } => {
                format!("After step {step}: held-out loss {loss:.4}{}", if *best { ", the best so far" } else { "" })
            }
            Event::Checkpoint { step, .. } => format!("Checkpoint after step {step}"),
        };
        // Paths of this machine are nobody's business.
        let data = match event {
            Event::Checkpoint { step, .. } => json!({"event": "checkpoint", "step": step}),
            event => serde_json::to_value(event).unwrap_or_default(),
        };
        if let Err(error) = log.write(Level::Info, said, data) {
            failed.get_or_insert(error);
            control.pause();
        }
        if dir.join("cancel").exists() {
            control.cancel();
        } else if dir.join("pause").exists() {
            control.pause();
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => Ok((end, tokens)),
    }
}
