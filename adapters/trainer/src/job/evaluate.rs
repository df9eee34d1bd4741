//! Base beside adapter on the held-out rows: likelihoods by the trainer's own model, answers by the lane that serves.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use cairn_adapters::{
    AdapterGeneration, Completion, GenerateError, Sampling,
    peft::{self, Limits},
};
use cairn_lane::{Config, Dialogue, Lane, LaneAdapter, LaneOptions, LaneRequest, Prompt};
use serde_json::{Map, Value};

use super::{Forecast, JobError, Source, Spec, files, stop::Stop, weight_bytes};
use crate::{
    Adapter, Method, Model, TrainError, TrainOptions,
    data::{HeldOut, Question},
    error::told,
    memory::Memory,
    metrics::{Bootstrap, Likelihood, RougeScorer, SIGNATURE},
    report::{
        Answer, Breakdown, Evaluation, GenerationSample, HeldOutSummary, LossPoint, MemoryReport, Throughput,
        TimeReport, Times, compare_answers, compare_likelihoods,
    },
    score::score_while,
};

/// What an evaluation on demand compares.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationSpec {
    /// Name of the base.
    pub base: String,
    /// Its `serving/` directory.
    pub serving: PathBuf,
    /// A PEFT directory.
    pub adapter: PathBuf,
    /// Rows to evaluate on, in one of the formats of [`crate::data::Format`].
    pub data: PathBuf,
    /// Rows that base and adapter answer for the comparison.
    pub samples: usize,
    /// Longer rows are cut off.
    pub max_length: usize,
    /// Of the intervals.
    pub seed: u64,
}

/// Compares base and adapter on rows of a file, and writes `evaluation.json` and `report.html` to `dir`. The base is used in
/// the form in which it is served. `on` hears of each stage.
///
/// # Errors
/// The data, the base or the adapter cannot be used; why.
pub fn evaluate_adapter(dir: &Path, spec: &EvaluationSpec, on: &mut dyn FnMut(&str)) -> Result<Evaluation, JobError> {
    let EvaluationSpec { base, serving, adapter, data, samples, max_length, seed } = spec.clone();
    let options = TrainOptions { method: Method::Lora, max_length, seed, ..TrainOptions::default() };
    let source = Source::File { path: data };
    let job = Spec { base, serving, source, validation: None, held_out: 1.0, samples, options, memory_limit: None };
    on("Reading the data");
    let held_out = super::prepare(&job)?.prepared.held_out;
    on(&format!("Loading {}", job.base));
    let model = Arc::new(Model::open(&job.serving, job.options.form())?);
    let read = peft::Adapter::read(&adapter, &Limits::default()).map_err(TrainError::from)?;
    let trained = Adapter::from_peft(&model, &read, 0.0)?;
    on(&format!("Comparing base and adapter on {} rows", held_out.len()));
    let (mut evaluation, _) = compare(&adapter, &job, &Stop::never(), (model, &trained), &held_out)?;
    evaluation.configuration = vec![("adapter".into(), adapter.display().to_string())];
    written(dir, evaluation)
}

/// What came of a run.
pub(super) struct Trained<'a> {
    /// The base, which is let go of as soon as it is not needed: the lane has its own.
    pub(super) model: Arc<Model>,
    pub(super) adapter: &'a Adapter,
    pub(super) held_out: &'a [HeldOut],
    /// The run's greatest memory, in bytes.
    pub(super) peak: u64,
    pub(super) measured: Breakdown,
    pub(super) times: Times,
}

/// Evaluates the adapter of a run; `forecast` is what was said of it before.
pub(super) fn evaluate(
    dir: &Path,
    spec: &Spec,
    stop: &Stop,
    trained: Trained<'_>,
    forecast: Option<Forecast>,
) -> Result<Evaluation, JobError> {
    let Trained { model, adapter, held_out, peak, measured, times } = trained;
    let mut memory = memory_report(spec, &model, adapter, peak, forecast);
    memory.measured = memory.measured_peak.map(|_| measured);
    let (mut evaluation, [scoring, answers]) = compare(&dir.join("adapter"), spec, stop, (model, adapter), held_out)?;
    (evaluation.training_loss, evaluation.evaluation_loss, evaluation.throughput.training) = curves(dir)?;
    evaluation.memory = Some(memory);
    evaluation.time = Some(TimeReport {
        predicted: forecast.map(|forecast| forecast.time),
        measured: Times { scoring, answers: Some(answers), ..times },
    });
    written(dir, evaluation)
}

fn written(dir: &Path, evaluation: Evaluation) -> Result<Evaluation, JobError> {
    files::write(&dir.join("evaluation.json"), &evaluation)?;
    files::replace(&dir.join("report.html"), evaluation.to_html().as_bytes())?;
    Ok(evaluation)
}

/// All that held-out rows tell, and the seconds that likelihoods and answers took; `saved` is the adapter's PEFT directory.
fn compare(
    saved: &Path,
    spec: &Spec,
    stop: &Stop,
    (model, adapter): (Arc<Model>, &Adapter),
    held_out: &[HeldOut],
) -> Result<(Evaluation, [f64; 2]), JobError> {
    let began = Instant::now();
    let bootstrap = Bootstrap { seed: spec.options.seed, ..Bootstrap::default() };
    let examples: Vec<_> = held_out.iter().map(|held| held.example.clone()).collect();
    let likelihoods = |adapter: Option<&Adapter>| -> Result<Vec<Likelihood>, JobError> {
        let at_once = spec.options.max_length * spec.options.batch_size;
        let scores = score_while(&model, adapter, &examples, at_once, || stop.check())?;
        let of = |(score, held): (crate::score::Score, &HeldOut)| Likelihood {
            nll: score.nll,
            tokens: score.tokens,
            bytes: held.supervised_bytes,
        };
        Ok(scores.into_iter().zip(held_out).map(of).collect())
    };
    let (base, with) = (likelihoods(None)?, likelihoods(Some(adapter))?);
    drop(model);
    let scoring = began.elapsed().as_secs_f64();
    let supervised_tokens = base.iter().map(|likelihood| likelihood.tokens).sum();
    let pairs: Vec<[Likelihood; 2]> = base.into_iter().zip(with).map(|(base, with)| [base, with]).collect();
    let mut metrics = compare_likelihoods(&pairs, &bootstrap);

    let context = cairn_lane::Description::read(&spec.serving)?.config.context_length;
    let (questions, prompts): (Vec<&Question>, Vec<Vec<u32>>) =
        asked(&Dialogue::load(&spec.serving)?, held_out, context)?.into_iter().take(spec.samples).unzip();
    let longest = held_out.iter().map(|held| held.example.learnt()).max().unwrap_or(0);
    let began = Instant::now();
    let [(base, base_speed), (with, with_speed)] = answers(saved, spec, stop, &prompts, longest)?;
    let answering = began.elapsed().as_secs_f64();
    let answers: Vec<Answer<'_>> = questions
        .iter()
        .zip(base.iter().zip(&with))
        .map(|(question, (base, adapter))| Answer { reference: &question.reference, base, adapter })
        .collect();
    metrics.extend(compare_answers(&answers, RougeScorer { stemmed: true }, &bootstrap));
    let samples = questions.iter().zip(&answers).take(SHOWN).map(|(question, answer)| GenerationSample {
        prompt: question.prompt.clone(),
        reference: answer.reference.to_owned(),
        base: answer.base.to_owned(),
        adapter: answer.adapter.to_owned(),
    });
    let evaluation = Evaluation {
        adapter: format!("an adapter on {}", spec.base),
        base: spec.base.clone(),
        dataset: match &spec.source {
            Source::File { .. } => "an uploaded file".into(),
            Source::Rows { .. } => "rows of a datanet".into(),
        },
        created: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        held_out: HeldOutSummary {
            rows: held_out.len(),
            generated: questions.len(),
            supervised_tokens,
            prompts_masked: examples.iter().any(|example| example.supervised.iter().skip(1).any(|on| !on)),
        },
        metrics,
        bleu_signature: SIGNATURE.to_owned(),
        bootstrap,
        training_loss: Vec::new(),
        evaluation_loss: Vec::new(),
        memory: None,
        time: None,
        throughput: Throughput { training: None, decode_base: base_speed, decode_adapter: with_speed },
        samples: samples.collect(),
        configuration: configuration(spec),
    };
    Ok((evaluation, [scoring, answering]))
}

/// Bytes that a comparison takes: of likelihoods by the trainer's model, or of answers by the lane, whichever is more.
pub(super) fn memory(spec: &Spec, base: &Config, trained: usize, held_out: &[HeldOut]) -> usize {
    if held_out.is_empty() {
        return 0;
    }
    let (options, file) = (&spec.options, weight_bytes(&spec.serving));
    let tokens = held_out.iter().map(|held| held.example.tokens.len()).sum::<usize>();
    let rows = tokens.min(options.max_length * options.batch_size);
    let beside = Memory::predict(base, options, trained, 0, file);
    let scoring = beside.weights + beside.adapter + crate::memory::scoring(base, options, rows);
    let answering = match spec.samples {
        0 => 0,
        samples => file as usize + 2 * beside.adapter + room(base, samples, options.max_length) as usize,
    };
    scoring.max(answering) + beside.program
}

/// Bytes of the lane's keys and values: for as many answers as it writes at once after prompts of so many tokens, and no more
/// than by default.
fn room(base: &Config, samples: usize, prompt: usize) -> u64 {
    let LaneOptions { kv_bytes, rows, .. } = LaneOptions::default();
    // Keys and values of each layer in f32, in whole pages.
    let token = 2 * base.layers * base.kv_width() * size_of::<f32>();
    let length = prompt.min(base.context_length) + LONGEST + PAGES;
    let one = (length * token) as u64;
    kv_bytes.min(one * rows.min(samples) as u64).max(one)
}

impl Evaluation {
    /// The figures that an event shows: each metric of base and adapter, with its sentence.
    pub(super) fn headline(&self) -> Value {
        let metric = |metric: &crate::report::Metric| {
            serde_json::json!({"metric": metric.kind, "base": metric.base.value, "adapter": metric.adapter.value,
                "verdict": metric.verdict(), "sentence": metric.sentence()})
        };
        serde_json::json!({"event": "evaluation", "metrics": self.metrics.iter().map(metric).collect::<Vec<_>>()})
    }
}

/// The questions of held-out rows that leave room for an answer, with their tokens.
fn asked<'a>(
    dialogue: &Dialogue,
    held_out: &'a [HeldOut],
    context: usize,
) -> Result<Vec<(&'a Question, Vec<u32>)>, JobError> {
    let mut asked = Vec::new();
    for question in held_out.iter().filter_map(|held| held.question.as_ref()) {
        let tokens = dialogue.encode(&question.prompt).map_err(JobError::Lane)?;
        if tokens.len() + LEAST <= context {
            asked.push((question, tokens.into_iter().map(|(token, _)| token).collect()));
        }
    }
    Ok(asked)
}

type Spoken = (Vec<String>, Option<f64>);

/// What base and adapter say to each question, greedily, and how many tokens a second each wrote.
fn answers(
    saved: &Path,
    spec: &Spec,
    stop: &Stop,
    prompts: &[Vec<u32>],
    longest: usize,
) -> Result<[Spoken; 2], JobError> {
    if prompts.is_empty() {
        return Ok([(Vec::new(), None), (Vec::new(), None)]);
    }
    let failed = |error: &dyn std::error::Error| JobError::Lane(told(error));
    let config = cairn_lane::Description::read(&spec.serving)?.config;
    let prompt = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let options = LaneOptions {
        kv_bytes: room(&config, prompts.len(), prompt),
        // All of them wait at once.
        queue: prompts.len(),
        queue_per_tenant: prompts.len(),
        ..LaneOptions::default()
    };
    let lane = Lane::open(&spec.serving, options).map_err(|error| failed(&error))?;
    let trained = peft::Adapter::read(saved, &Limits::default()).map_err(|error| failed(&error))?;
    let attached = Arc::new(lane.attach(&trained).map_err(|error| failed(&error))?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let speak = |adapter: Option<Arc<cairn_lane::Attached>>| {
        let started = Instant::now();
        let requests = prompts.iter().map(|prompt| {
            let sampling =
                Sampling { temperature: 0.0, max_tokens: Some(longest.clamp(LEAST, LONGEST)), ..Sampling::default() };
            let adapters = adapter.iter().map(|attached| LaneAdapter {
                generation: AdapterGeneration("this run's".into()),
                attached: attached.clone(),
                weight: 1.0,
            });
            let adapters = adapters.collect();
            let request = LaneRequest { sampling, adapters, ..LaneRequest::new(Prompt::Tokens(prompt.clone())) };
            let lane = &lane;
            async move { Completion::collect(lane.generate(request).await?).await }
        });
        // All at once: the lane answers them in one batch, as many as it has rows for.
        let said: Vec<Result<Completion, GenerateError>> = runtime.block_on(async {
            tokio::select! {
                said = futures::future::join_all(requests) => Ok(said),
                stopped = stop.wait() => Err(stopped),
            }
        })?;
        let (mut texts, mut tokens) = (Vec::new(), 0);
        for completion in said {
            let completion = completion.map_err(|error| failed(&error))?;
            tokens += completion.usage.completion_tokens;
            texts.extend(completion.choices.into_iter().next().map(|choice| choice.text.trim().to_owned()));
        }
        Ok::<_, JobError>((texts, Some(tokens as f64 / started.elapsed().as_secs_f64())))
    };
    Ok([speak(None)?, speak(Some(attached))?])
}

type Curves = (Vec<LossPoint>, Vec<LossPoint>, Option<f64>);

/// Losses by step, and the median of tokens a second, from the job's events.
fn curves(dir: &Path) -> Result<Curves, JobError> {
    let (entries, _) = files::events(dir, 0)?;
    let (mut training, mut evaluation, mut speeds) = (Vec::new(), Vec::new(), Vec::new());
    for entry in &entries {
        let point =
            || Some(LossPoint { step: entry.data["step"].as_u64()? as usize, loss: entry.data["loss"].as_f64()? });
        match entry.data["event"].as_str() {
            Some("step") => {
                training.extend(point());
                speeds.extend(entry.data["tokens_per_second"].as_f64());
            }
            Some("evaluated") => evaluation.extend(point()),
            _ => {}
        }
    }
    // A run that was killed repeats the steps since its last checkpoint: the later line counts.
    for curve in [&mut training, &mut evaluation] {
        curve.reverse();
        curve.sort_by_key(|point| point.step);
        curve.dedup_by_key(|point| point.step);
    }
    speeds.sort_by(f64::total_cmp);
    Ok((training, evaluation, speeds.get(speeds.len() / 2).copied()))
}

fn memory_report(spec: &Spec, model: &Model, adapter: &Adapter, peak: u64, forecast: Option<Forecast>) -> MemoryReport {
    let (config, options) = (model.config(), &spec.options);
    let predicted = forecast.map(|forecast| forecast.memory).unwrap_or_else(|| {
        let rows = options.batch_size * options.max_length;
        Memory::predict(config, options, adapter.parameters(), rows, weight_bytes(&spec.serving))
    });
    let breakdown = |memory: Memory| Breakdown {
        weights: memory.weights as u64,
        adapter: memory.adapter as u64,
        gradients: memory.gradients as u64,
        optimizer: memory.optimizer as u64,
        activations: (memory.activations + memory.logits) as u64,
        program: memory.program as u64,
    };
    MemoryReport {
        predicted: breakdown(predicted),
        measured_peak: (peak > 0).then_some(peak),
        measured: None,
        device_peak: None,
        half_lora: breakdown(predicted.with_half_weights(config)),
        full_fine_tuning: breakdown(predicted.of_full_fine_tuning(config)),
    }
}

/// The options that say something, by name.
fn configuration(spec: &Spec) -> Vec<(String, String)> {
    let options: Map<String, Value> = match serde_json::to_value(&spec.options) {
        Ok(Value::Object(options)) => options,
        _ => Map::new(),
    };
    let said = options.into_iter().filter(|(_, value)| !value.is_null());
    said.map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect()
}

/// Answers that the report shows.
const SHOWN: usize = 8;
/// Tokens by which the lane's pages may exceed what is in them.
const PAGES: usize = 64;
/// Tokens that an answer in the evaluation may have at least, and at most.
const LEAST: usize = 16;
/// See [`LEAST`].
const LONGEST: usize = 192;
