//! [`Forecast`]: what a job will take, said before it starts, and kept beside it to be compared with what it took.

use std::path::Path;

use cairn_lane::Config;
use serde::{Deserialize, Serialize};

use super::{JobError, Ready, Spec, evaluate, files, prepare, weight_bytes};
use crate::{
    TrainOptions,
    data::HeldOut,
    memory::{self, Memory},
    plan,
    report::Times,
    run,
};

/// Steps, time and memory of a job on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Optimizer steps.
    pub steps: usize,
    /// Numbers of the adapter.
    pub trained: usize,
    /// Seconds.
    pub time: Times,
    /// Bytes while it trains.
    pub memory: Memory,
    /// Bytes while base and adapter are compared at the end.
    pub evaluation: usize,
}

impl Forecast {
    /// The most that it will have in memory.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.memory.total().max(self.evaluation) as u64
    }

    /// Why a job with this forecast does not fit into `limit` bytes, in words; none where it does.
    #[must_use]
    pub fn too_large(&self, limit: u64) -> Option<String> {
        if self.most() < limit {
            return None;
        }
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        let Memory { weights, adapter, gradients, optimizer, activations, logits, program } = self.memory;
        Some(format!(
            "the run would take {} MiB and {} are allowed: training {} (weights {}, adapter {}, gradients {}, optimizer {}, \
             activations {}, logits {}, program {}), the evaluation at its end {}; use qlora, a smaller batch_size, \
             max_length or r, fewer evaluation_samples, or raise training.memory_limit_mib",
            mib(self.most() as usize),
            limit >> 20,
            mib(self.memory.total()),
            mib(weights),
            mib(adapter),
            mib(gradients),
            mib(optimizer),
            mib(activations),
            mib(logits),
            mib(program),
            mib(self.evaluation),
        ))
    }

    /// Keeps it in a job's directory.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), JobError> {
        files::write(&dir.join(FORECAST), self)
    }

    /// What was foretold of a job; none where nothing was.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        files::read(&dir.join(FORECAST)).ok()
    }
}

const FORECAST: &str = "forecast.json";

impl Ready {
    /// What a run on this data will take at `speed` operations a second.
    pub(super) fn forecast(&self, spec: &Spec, base: &Config, trained: usize, speed: f64) -> Forecast {
        let options = &spec.options;
        let train = self.prepared.train.iter().filter(|example| example.learnt() > 0);
        let lengths: Vec<usize> = train.map(|example| example.tokens.len()).collect();
        let held_out = &self.prepared.held_out;
        let file = weight_bytes(&spec.serving);
        let memory = predicted(spec, base, trained, &lengths, held_out);
        let tokens = |held: &HeldOut| held.example.tokens.len();
        let [all, watched] = [held_out.iter().map(tokens).sum(), run::watched(held_out).map(tokens).sum()];
        let scoring = |tokens| memory::seconds(tokens, memory::scoring_operations(base, trained), speed);
        let mut time =
            Times { loading: memory::loading(file, options), scoring: 2.0 * scoring(all), ..Times::default() };
        let mut steps = 0;
        if !lengths.is_empty() {
            let operations = memory::operations(base, options, trained);
            steps = plan::steps(&lengths, options);
            time.steps = memory::seconds(plan::tokens(&lengths, options), operations, speed);
            if !held_out.is_empty() {
                time.watching = plan::evaluations(&lengths, options) as f64 * scoring(watched);
            }
        }
        let evaluation = evaluate::memory(spec, base, trained, held_out);
        Forecast { steps, trained, time, memory, evaluation }
    }
}

fn predicted(spec: &Spec, base: &Config, trained: usize, lengths: &[usize], held_out: &[HeldOut]) -> Memory {
    let options = &spec.options;
    let watched: Vec<usize> = run::watched(held_out).map(|held| held.example.tokens.len()).collect();
    let rows = plan::largest(lengths, options);
    let mut memory = Memory::predict(base, options, trained, rows, weight_bytes(&spec.serving));
    // Long held-out rows that go through forward may need more than the batches that are learnt.
    let watching = memory::scoring(base, options, plan::longest(&watched, options.batch_size));
    memory.activations = memory.activations.max(watching.saturating_sub(memory.logits));
    memory
}

/// As [`prepare`], with what the run will take. Where `max_time` is set and all steps would take longer, `max_steps` becomes
/// what this machine makes in that time: so the learning rate comes down before the end, instead of being cut off on the way.
///
/// # Errors
/// As [`prepare`], and where the base or the options cannot be used.
pub fn plan(spec: &mut Spec) -> Result<(Ready, Forecast), JobError> {
    spec.options.check()?;
    let base = cairn_lane::Description::read(&spec.serving)?.config;
    let trained = memory::trained(&base, &spec.options)?;
    let ready = prepare(spec)?;
    let watched = ready.prepared.held_out.iter().filter(|held| held.example.learnt() > 0).count();
    spec.options.fit(&base, watched)?;
    let speed = memory::measured_speed();
    let mut forecast = ready.forecast(spec, &base, trained, speed);
    let training = |forecast: &Forecast| forecast.time.steps + forecast.time.watching;
    if let TrainOptions { max_time: Some(most), max_steps: None, .. } = spec.options
        && training(&forecast) > most as f64
    {
        let share = most as f64 / training(&forecast);
        spec.options.max_steps = Some(((forecast.steps as f64 * share) as usize).max(1));
        forecast = ready.forecast(spec, &base, trained, speed);
    }
    Ok((ready, forecast))
}
