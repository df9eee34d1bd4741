//! [`Run`]: a session over a data set, from its first step or from a checkpoint to its end.
//!
//! The directory of a run holds `checkpoints/step-…`, the last ones, and `best`, the adapter with the lowest evaluation loss.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Instant,
};

use cairn_adapters::peft::{self, Limits};

use crate::{
    Adapter, Batch, Example, Model, Session, TrainError, TrainOptions,
    checkpoint::{self, Progress},
    memory,
    plan::{self, Epoch},
    random::mix,
};

/// What is learnt, and what it is tested on.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// To learn.
    pub train: Vec<Example>,
    /// To evaluate on while training; may be empty.
    pub held_out: Vec<Example>,
}

/// Asks a run to stop after the step that it is in. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<AtomicU8>);

impl Control {
    /// Stop after writing a checkpoint.
    pub fn pause(&self) {
        self.0.fetch_max(PAUSE, SeqCst);
    }

    /// Stop without one.
    pub fn cancel(&self) {
        self.0.store(CANCEL, SeqCst);
    }
}

const PAUSE: u8 = 1;
const CANCEL: u8 = 2;

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All steps were made.
    Finished,
    /// Evaluations became no better for as long as was asked for.
    EarlyStopped,
    /// The time is up.
    TimeUp,
    /// It was asked to pause, and can be resumed.
    Paused,
    /// It was asked to stop.
    Cancelled,
}

/// What happens in a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An optimizer step was made.
    Step(StepReport),
    /// The held-out examples were evaluated.
    Evaluated {
        /// After this step.
        step: usize,
        /// Mean negative log-likelihood of their supervised tokens, in nats.
        loss: f64,
        /// Whether no evaluation before was lower.
        best: bool,
    },
    /// A checkpoint is on the disk.
    Checkpoint {
        /// After this step.
        step: usize,
        /// Its directory.
        path: PathBuf,
    },
}

/// One optimizer step.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct StepReport {
    /// Counted from 1.
    pub step: usize,
    /// Of how many.
    pub steps: usize,
    /// Passes over the data, with its fraction.
    pub epoch: f64,
    /// Mean negative log-likelihood of the step's supervised tokens, in nats.
    pub loss: f64,
    /// The rate that was used.
    pub lr: f64,
    /// Length of the gradients before clipping.
    pub grad_norm: f64,
    /// All tokens of the step, supervised or not, a second.
    pub tokens_per_second: f64,
    /// Tokens so far, since the run began.
    pub tokens: u64,
    /// Bytes of the process in memory.
    pub resident: u64,
    /// Seconds since the run began, without pauses.
    pub seconds: f64,
    /// Seconds until all steps are made, at the pace so far.
    pub eta: f64,
}

/// A training run.
pub struct Run {
    session: Session,
    data: Data,
    dir: PathBuf,
    progress: Progress,
    steps: usize,
    /// Tokens of each training example.
    lengths: Vec<usize>,
    /// The epoch in hand, its first step, and its order.
    epoch: (usize, usize, Epoch),
}

impl Run {
    /// A run that begins. `base` is the name of the base for the adapter's configuration, `dir` the run's directory.
    ///
    /// # Errors
    /// [`TrainError`]: an option, an example or the targets do not fit.
    pub fn new(
        model: Arc<Model>,
        options: TrainOptions,
        base: &str,
        data: Data,
        dir: &Path,
    ) -> Result<Self, TrainError> {
        let data = checked(data, &options, &model)?;
        let adapter = Adapter::new(&model, &options, base)?;
        let progress = Progress {
            step: 0,
            batches: 0,
            updates: 0,
            tokens: 0,
            seconds: 0.0,
            watching: 0.0,
            best: None,
            worse: 0,
            data: fingerprint(&data),
            options,
        };
        Ok(Self::at(Session::new(model, adapter, &progress.options), progress, data, dir))
    }

    /// The run that goes on from the last checkpoint in `dir`; none where there is no checkpoint.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`]: it belongs to other options or other data.
    pub fn resume(
        model: Arc<Model>,
        options: &TrainOptions,
        data: Data,
        dir: &Path,
    ) -> Result<Option<Self>, TrainError> {
        let Some((path, loaded)) = checkpoint::read_last(&dir.join(CHECKPOINTS))? else { return Ok(None) };
        let data = checked(data, options, &model)?;
        let refuse = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
        if let Some(changed) = difference(&loaded.progress.options, options) {
            return Err(refuse(format!("it was written with {changed}; resume with the same options")));
        }
        if loaded.progress.data != fingerprint(&data) {
            return Err(refuse("it was written for other examples; resume with the same data".into()));
        }
        let adapter = Adapter::from_peft(&model, &loaded.adapter, options.dropout)?;
        let mut session = Session::new(model, adapter, options);
        let mut states = session.progress().0.clone();
        checkpoint::restore(&mut states, loaded.progress.updates, loaded.states).map_err(refuse)?;
        session.restore(states, loaded.progress.batches);
        Ok(Some(Self::at(session, loaded.progress, data, dir)))
    }

    fn at(session: Session, progress: Progress, data: Data, dir: &Path) -> Self {
        checkpoint::sweep(dir);
        checkpoint::sweep(&dir.join(CHECKPOINTS));
        let lengths: Vec<usize> = data.train.iter().map(|example| example.tokens.len()).collect();
        let steps = plan::steps(&lengths, &progress.options);
        let epoch = (0, 0, plan::epoch(&lengths, &progress.options, 0));
        Self { session, data, dir: dir.to_owned(), progress, steps, lengths, epoch }
    }

    /// Optimizer steps of the whole run.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Tokens of the steps so far.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.progress.tokens
    }

    /// Seconds of the steps so far, and of the evaluations between them.
    #[must_use]
    pub fn seconds(&self) -> [f64; 2] {
        [self.progress.seconds - self.progress.watching, self.progress.watching]
    }

    /// The session: its adapter is that of the last step.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The adapter to use: with early stopping that of the best evaluation, else that of the last step.
    ///
    /// # Errors
    /// [`TrainError`]: it cannot be read.
    pub fn adapter(&self) -> Result<Adapter, TrainError> {
        let options = &self.progress.options;
        match self.progress.best {
            Some((_, step)) if options.early_stopping_patience.is_some() && step != self.progress.step => {
                let best = peft::Adapter::read(&self.dir.join(BEST), &Limits::default())?;
                Adapter::from_peft(self.session.model(), &best, options.dropout)
            }
            _ => Ok(self.session.adapter().clone()),
        }
    }

    /// The rows that [`Self::adapter`] learnt from: those of the steps up to it, which need not be all there are.
    #[must_use]
    pub fn learnt(&self) -> BTreeSet<&str> {
        let options = &self.progress.options;
        let steps = match self.progress.best {
            Some((_, step)) if options.early_stopping_patience.is_some() => step,
            _ => self.progress.step,
        };
        let epochs = (0..).flat_map(|at| plan::epoch(&self.lengths, options, at));
        let examples = epochs.take(steps).flatten().flatten();
        examples.map(|example| self.data.train[example].row.as_str()).collect()
    }

    /// Makes steps until the end. `on` hears of everything, on this thread.
    ///
    /// # Errors
    /// [`TrainError`]: training diverged, or a file cannot be written. The last checkpoint stays.
    pub fn train(&mut self, control: &Control, on: &mut dyn FnMut(Event)) -> Result<End, TrainError> {
        let (start, before, first) = (Instant::now(), self.progress.seconds, self.progress.step);
        // One that had come to its end before is not at its beginning again.
        if first > 0
            && let Some(end) = self.over()
        {
            return Ok(end);
        }
        while self.progress.step < self.steps {
            let report = self.step(start, before, first)?;
            on(Event::Step(report));
            let last = self.progress.step == self.steps;
            let whole_epoch = self.progress.step == self.epoch.1 + self.epoch.2.len();
            let due = |every: Option<usize>| {
                last || every.map_or(whole_epoch, |every| self.progress.step.is_multiple_of(every))
            };
            let (evaluate, write) =
                (due(self.progress.options.eval_every), due(self.progress.options.checkpoint_every));
            if evaluate && !self.data.held_out.is_empty() {
                let began = Instant::now();
                on(self.evaluate()?);
                self.progress.watching += began.elapsed().as_secs_f64();
            }
            self.progress.seconds = before + start.elapsed().as_secs_f64();
            let mut end = self.over();
            match control.0.load(SeqCst) {
                CANCEL => return Ok(End::Cancelled),
                PAUSE => end = end.or(Some(End::Paused)),
                _ => {}
            }
            if write || end.is_some() {
                on(self.checkpoint()?);
            }
            if let Some(end) = end {
                return Ok(end);
            }
        }
        Ok(End::Finished)
    }

    /// Why no further step is due.
    fn over(&self) -> Option<End> {
        let options = &self.progress.options;
        if self.progress.step == self.steps {
            return Some(End::Finished);
        }
        if self.progress.worse >= options.early_stopping_patience.unwrap_or(usize::MAX) {
            return Some(End::EarlyStopped);
        }
        let time = options.max_time.unwrap_or(u64::MAX) as f64;
        (self.progress.seconds >= time).then_some(End::TimeUp)
    }

    /// One optimizer step.
    fn step(&mut self, start: Instant, before: f64, first: usize) -> Result<StepReport, TrainError> {
        let began = Instant::now();
        let step = self.progress.step;
        while step >= self.epoch.1 + self.epoch.2.len() {
            let (number, from) = (self.epoch.0 + 1, self.epoch.1 + self.epoch.2.len());
            self.epoch = (number, from, plan::epoch(&self.lengths, &self.progress.options, number));
        }
        let (epoch, from, order) = &self.epoch;
        let batches: Vec<Batch> = order[step - from]
            .iter()
            .map(|batch| Batch::new(batch.iter().map(|example| &self.data.train[*example])))
            .collect();
        let window = batches.iter().map(Batch::supervised).sum::<usize>();
        let tokens = batches.iter().map(Batch::tokens).sum::<usize>();
        let sum: f64 = batches.iter().map(|batch| self.session.accumulate(batch, window)).sum();
        let loss = sum / window as f64;
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { what: "the loss", value: loss, step: step + 1 });
        }
        let options = &self.progress.options;
        let lr = options.lr * options.schedule.factor(step, options.warmup(self.steps), self.steps);
        let grad_norm = self.session.apply(lr)?;
        let epoch = *epoch as f64 + (step + 1 - from) as f64 / order.len() as f64;
        self.progress.step += 1;
        self.progress.tokens += tokens as u64;
        let elapsed = start.elapsed().as_secs_f64();
        let pace = elapsed / (self.progress.step - first) as f64;
        Ok(StepReport {
            step: self.progress.step,
            steps: self.steps,
            epoch,
            loss,
            lr,
            grad_norm,
            tokens_per_second: tokens as f64 / began.elapsed().as_secs_f64(),
            tokens: self.progress.tokens,
            resident: memory::resident().map_or(0, |[now, _]| now),
            seconds: before + elapsed,
            eta: pace * (self.steps - self.progress.step) as f64,
        })
    }

    /// Evaluates, and keeps the adapter if it is the best so far.
    fn evaluate(&mut self) -> Result<Event, TrainError> {
        let (mut sum, mut tokens) = (0.0, 0);
        let watched: Vec<&Example> = watched(&self.data.held_out).collect();
        for examples in watched.chunks(self.progress.options.batch_size) {
            let batch = Batch::new(examples.iter().copied());
            sum += self.session.evaluate(&batch).iter().map(|value| f64::from(*value)).sum::<f64>();
            tokens += batch.supervised();
        }
        let (step, loss) = (self.progress.step, sum / tokens as f64);
        let best = self.progress.best.is_none_or(|(lowest, _)| loss < lowest);
        if best {
            if self.progress.options.early_stopping_patience.is_some() {
                self.session.adapter().export(&self.dir.join(BEST))?;
            }
            self.progress.best = Some((loss, step));
            self.progress.worse = 0;
        } else {
            self.progress.worse += 1;
        }
        Ok(Event::Evaluated { step, loss, best })
    }

    fn checkpoint(&mut self) -> Result<Event, TrainError> {
        let (states, batches) = self.session.progress();
        self.progress.batches = batches;
        self.progress.updates = states.updates;
        let dir = self.dir.join(CHECKPOINTS);
        let path = checkpoint::write(&dir, self.session.adapter(), states, &self.progress)?;
        Ok(Event::Checkpoint { step: self.progress.step, path })
    }
}

/// The held-out examples that are scored while a run goes on: all, or where there are many some, evenly spread. At the end all
/// are.
pub(crate) fn watched<T>(held_out: &[T]) -> impl Iterator<Item = &T> {
    held_out.iter().step_by(held_out.len().div_ceil(WATCHED).max(1))
}

/// Most examples that are scored while a run goes on.
const WATCHED: usize = 256;

const CHECKPOINTS: &str = "checkpoints";
const BEST: &str = "best";

/// Examples without a token to learn are left out; all others must fit.
fn checked(data: Data, options: &TrainOptions, model: &Model) -> Result<Data, TrainError> {
    options.check()?;
    let config = model.config();
    let fitting = |examples: Vec<Example>| {
        examples.iter().try_for_each(|example| example.check(config.vocab_size, options.max_length))?;
        Ok::<_, TrainError>(examples.into_iter().filter(|example| example.learnt() > 0).collect::<Vec<_>>())
    };
    let data = Data { train: fitting(data.train)?, held_out: fitting(data.held_out)? };
    if data.train.is_empty() {
        let reason = "no example has a token to learn: check the roles that are supervised, and max_length";
        return Err(TrainError::NoData(reason.into()));
    }
    options.fit(config, data.held_out.len())?;
    Ok(data)
}

/// The first option that differs, in words.
fn difference(before: &TrainOptions, now: &TrainOptions) -> Option<String> {
    let [before, now] = [before, now].map(|options| serde_json::to_value(options).expect("plain values"));
    let fields = before.as_object()?.iter().find(|(name, value)| now[name.as_str()] != **value)?;
    Some(format!("{} = {}, not {}", fields.0, fields.1, now[fields.0.as_str()]))
}

/// Changes with any token or mark of any example, and with their order.
fn fingerprint(data: &Data) -> String {
    let mut state = 0u64;
    for (part, examples) in [&data.train, &data.held_out].into_iter().enumerate() {
        state = mix(state ^ part as u64);
        for example in examples {
            state = mix(state ^ example.tokens.len() as u64);
            for (token, on) in example.tokens.iter().zip(&example.supervised) {
                state = mix(state.rotate_left(1) ^ (u64::from(*token) << 1) ^ u64::from(*on));
            }
        }
    }
    format!("{state:016x}")
}
