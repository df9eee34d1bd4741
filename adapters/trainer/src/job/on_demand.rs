//! An evaluation on demand: a published or saved adapter beside its base, on rows of a file or a datanet. Here and now
//! ([`evaluate_adapter`]), or in a process of its own ([`run_evaluation`]) whose directory has what a training job's has:
//!
//! ```text
//! job.json         what to do ([`EvaluationSpec`]); lock, cancel, events.jsonl and outcome.json as of a training job
//! adapter/         as PEFT saves it; source.jsonl: the rows
//! evaluation.json  the result; report.html for people
//! ```
//! One that was killed begins anew: there is nothing to go on from.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_adapters::peft::{self, Limits};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Entry, JobError, Level, Outcome, Source, Spec,
    evaluate::{Part, Sides, compare, memory_report, written},
    files, lock, reason,
    stop::Stop,
};
use crate::{
    Adapter, End, Method, Model, TrainError, TrainOptions,
    device::Watch,
    memory::resident,
    report::{Evaluation, MemoryReport},
};

/// What an evaluation on demand compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSpec {
    /// Name of the base.
    pub base: String,
    /// Its `serving/` directory.
    pub serving: PathBuf,
    /// A PEFT directory; none: the base alone.
    pub adapter: Option<PathBuf>,
    /// What the report calls adapter and base.
    pub name: String,
    /// What to evaluate on.
    pub source: Source,
    /// At most so many rows, evenly spread; none: all.
    pub rows: Option<usize>,
    /// Rows that base and adapter answer for the comparison.
    pub samples: usize,
    /// Longer rows are cut off.
    pub max_length: usize,
    /// Of the intervals.
    pub seed: u64,
    /// Bytes that the process may have in memory; it ends with an error beyond.
    pub memory_limit: Option<u64>,
}

impl EvaluationSpec {
    /// As the data of a job that learns nothing. The base is used in the form in which it is served.
    fn spec(&self) -> Spec {
        let Self { base, serving, source, samples, max_length, seed, memory_limit, .. } = self.clone();
        let options = TrainOptions { method: Method::Lora, max_length, seed, ..TrainOptions::default() };
        Spec { base, serving, source, validation: None, held_out: 1.0, samples, options, memory_limit }
    }

    /// Whether the data can be used; how many rows there are.
    ///
    /// # Errors
    /// The data cannot be used; which lines, and why.
    pub fn check(&self) -> Result<usize, JobError> {
        Ok(super::prepare(&self.spec())?.prepared.held_out.len())
    }
}

/// Compares base and adapter, and writes `evaluation.json` and `report.html` to `dir`. `on` hears of each stage.
///
/// # Errors
/// The data, the base or the adapter cannot be used; why.
pub fn evaluate_adapter(dir: &Path, spec: &EvaluationSpec, on: &mut dyn FnMut(&str)) -> Result<Evaluation, JobError> {
    evaluated(dir, spec, &Stop::never(), &mut |said, _| {
        on(said);
        Ok(())
    })
}

fn evaluated(
    dir: &Path,
    spec: &EvaluationSpec,
    stop: &Stop,
    on: &mut dyn FnMut(&str, Value) -> Result<(), JobError>,
) -> Result<Evaluation, JobError> {
    let job = spec.spec();
    let device = Watch::start();
    on("Reading the data", Value::Null)?;
    let ready = super::prepare(&job)?;
    let bad = ready.prepared.report.bad_rows;
    let all = ready.prepared.held_out;
    let every = spec.rows.map_or(1, |most| all.len().div_ceil(most.max(1))).max(1);
    let held_out: Vec<_> = all.into_iter().step_by(every).collect();
    let said = format!("{} rows to evaluate on, {bad} that cannot be used", held_out.len());
    on(&said, json!({"held_out_rows": held_out.len(), "bad_rows": bad}))?;
    stop.check()?;
    on(&format!("Loading {}", job.base), Value::Null)?;
    let model = Arc::new(Model::open(&job.serving, job.options.form())?);
    let read = |dir: &PathBuf| -> Result<_, JobError> {
        let read = peft::Adapter::read(dir, &Limits::default()).map_err(TrainError::from)?;
        Ok((Adapter::from_peft(&model, &read, 0.0)?, read.config.r))
    };
    let trained = spec.adapter.as_ref().map(read).transpose()?;
    // How an adapter was trained is not known any more; this is what it would take here. Of a base alone, the default.
    let training = TrainOptions { max_length: spec.max_length, ..TrainOptions::default() };
    let training = TrainOptions { r: trained.as_ref().map_or(training.r, |(_, r)| *r), ..training };
    let parameters = match &trained {
        Some((adapter, _)) => adapter.parameters(),
        None => crate::memory::trained(model.config(), &training)?,
    };
    let predicted = memory_report(&Spec { options: training, ..job.clone() }, &model, parameters, None);
    on(&format!("Scoring {} rows", held_out.len()), Value::Null)?;
    let adapter = trained.as_ref().zip(spec.adapter.as_ref()).map(|((adapter, _), dir)| (adapter, dir.as_path()));
    let sides = Sides { spec: &job, adapter, held_out: &held_out, stop };
    let (mut last, mut peak) = (Instant::now(), 0);
    let (mut evaluation, [scoring, answers]) = compare(&sides, model, &mut |part, done, of| {
        let [now, most] = resident().unwrap_or_default();
        peak = most;
        if let Some(limit) = spec.memory_limit.filter(|limit| now > *limit) {
            return Err(JobError::Memory { resident: now, limit });
        }
        if done < of && last.elapsed() < EVERY {
            return Ok(());
        }
        last = Instant::now();
        let said = match part {
            Part::Scored => format!("{done} of {of} rows scored"),
            Part::Answered => format!("{done} of {of} questions answered"),
        };
        on(&said, json!({"event": "progress", "part": part, "done": done, "of": of}))
    })?;
    evaluation.adapter.clone_from(&spec.name);
    evaluation.configuration = vec![
        ("model".into(), spec.name.clone()),
        ("max_length".into(), spec.max_length.to_string()),
        ("seed".into(), spec.seed.to_string()),
        ("seconds".into(), format!("{scoring:.0} scoring, {answers:.0} answering")),
    ];
    evaluation.memory =
        Some(MemoryReport { evaluation_peak: (peak > 0).then_some(peak), device_peak: device.peak(), ..predicted });
    written(dir, evaluation)
}

/// Does an evaluation's job to its end. `on` hears of every entry as it is written.
///
/// # Errors
/// Why it failed; `outcome.json` says it too.
pub fn run_evaluation(dir: &Path, on: &mut dyn FnMut(&Entry)) -> Result<Outcome, JobError> {
    let _lock = lock(dir)?;
    let mut log = files::Log::open(dir, on)?;
    let done = files::read::<EvaluationSpec>(&dir.join("job.json")).and_then(|spec| {
        evaluated(dir, &spec, &Stop::of(dir), &mut |said, data| log.write(Level::Info, said.to_owned(), data))
    });
    let outcome = match done {
        Ok(evaluation) => {
            log.write(Level::Info, "The evaluation is written".into(), evaluation.headline())?;
            Outcome::stopped(End::Finished)
        }
        Err(JobError::Stopped(end)) => {
            log.last(Level::Info, "Cancelled".into());
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

/// How often progress is written down.
const EVERY: Duration = Duration::from_secs(1);
