//! Base beside adapter on the held-out rows: likelihoods by the trainer's own model, answers by the lane that serves.

use std::{path::Path, sync::Arc, time::Instant};

use cairn_adapters::{
    AdapterGeneration, Completion, GenerateError, Sampling,
    peft::{self, Limits},
};
use cairn_lane::{Config, Dialogue, Lane, LaneAdapter, LaneOptions, LaneRequest, Prompt};
use futures::{StreamExt, stream};
use serde_json::{Map, Value};

use super::{Forecast, JobError, Source, Spec, files, stop::Stop, weight_bytes};
use crate::{
    Adapter, Model,
    data::{HeldOut, Question},
    device,
    error::told,
    memory::Memory,
    metrics::{Bootstrap, Likelihood, RougeScorer, SIGNATURE},
    report::{
        Answer, Breakdown, Evaluation, GenerationSample, HeldOutSummary, LossPoint, MemoryReport, Metric, Throughput,
        TimeReport, Times, compare_answers, compare_likelihoods,
    },
    score::score_while,
};

/// What is compared.
pub(super) struct Sides<'a> {
    /// The adapter and its PEFT directory, for the lane; none: the base alone.
    pub(super) adapter: Option<(&'a Adapter, &'a Path)>,
    pub(super) spec: &'a Spec,
    pub(super) held_out: &'a [HeldOut],
    /// Whether to go on.
    pub(super) stop: &'a Stop,
}

/// Hears of each part of the work how much of it is done, and may end it.
pub(super) type Watch<'a> = &'a mut dyn FnMut(Part, usize, usize) -> Result<(), JobError>;

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Rows that were scored, by base and adapter both.
    Scored,
    /// Questions that were answered, by base and adapter both.
    Answered,
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
    /// Has watched since the run began.
    pub(super) device: &'a device::Watch,
}

/// Evaluates the adapter of a run; `forecast` is what was said of it before.
pub(super) fn evaluate(
    dir: &Path,
    spec: &Spec,
    stop: &Stop,
    trained: Trained<'_>,
    forecast: Option<Forecast>,
) -> Result<Evaluation, JobError> {
    let Trained { model, adapter, held_out, peak, measured, times, device } = trained;
    let mut memory = memory_report(spec, &model, adapter.parameters(), forecast);
    memory.measured_peak = (peak > 0).then_some(peak);
    memory.measured = memory.measured_peak.map(|_| measured);
    let sides = Sides { adapter: Some((adapter, &dir.join("adapter"))), spec, held_out, stop };
    let (mut evaluation, [scoring, answers]) = compare(&sides, model, &mut |_, _, _| Ok(()))?;
    memory.device_peak = device.peak();
    (evaluation.training_loss, evaluation.evaluation_loss, evaluation.throughput.training) = curves(dir)?;
    evaluation.memory = Some(memory);
    evaluation.time = Some(TimeReport {
        predicted: forecast.map(|forecast| forecast.time),
        measured: Times { scoring, answers: Some(answers), ..times },
    });
    written(dir, evaluation)
}

pub(super) fn written(dir: &Path, evaluation: Evaluation) -> Result<Evaluation, JobError> {
    files::write(&dir.join("evaluation.json"), &evaluation)?;
    files::replace(&dir.join("report.html"), evaluation.to_html().as_bytes())?;
    Ok(evaluation)
}

/// All that held-out rows tell, and the seconds that likelihoods and answers took. The model is let go of in between: the lane
/// has its own.
pub(super) fn compare(
    sides: &Sides<'_>,
    model: Arc<Model>,
    watch: Watch<'_>,
) -> Result<(Evaluation, [f64; 2]), JobError> {
    let Sides { adapter, spec, held_out, stop } = *sides;
    let began = Instant::now();
    let bootstrap = Bootstrap { seed: spec.options.seed, ..Bootstrap::default() };
    let examples: Vec<_> = held_out.iter().map(|held| held.example.clone()).collect();
    let (times, mut done) = (1 + usize::from(adapter.is_some()), 0);
    let mut likelihoods = |adapter: Option<&Adapter>| -> Result<Vec<Likelihood>, JobError> {
        let at_once = spec.options.max_length * spec.options.batch_size;
        let mut all = Vec::with_capacity(examples.len());
        for (examples, held_out) in examples.chunks(AT_ONCE).zip(held_out.chunks(AT_ONCE)) {
            let scores = score_while(&model, adapter, examples, at_once, || stop.check())?;
            let of = |(score, held): (crate::score::Score, &HeldOut)| Likelihood {
                nll: score.nll,
                tokens: score.tokens,
                bytes: held.supervised_bytes,
            };
            all.extend(scores.into_iter().zip(held_out).map(of));
            done += examples.len();
            watch(Part::Scored, done / times, sides.held_out.len())?;
        }
        Ok(all)
    };
    let base = likelihoods(None)?;
    // A base alone is compared with itself, and of that its own side is kept.
    let with = adapter.map_or_else(|| Ok(base.clone()), |(adapter, _)| likelihoods(Some(adapter)))?;
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
    let [(base, base_speed), (with, with_speed)] = answers(sides, &prompts, longest, watch)?;
    let answering = began.elapsed().as_secs_f64();
    let answers: Vec<Answer<'_>> = questions
        .iter()
        .zip(base.iter().zip(&with))
        .map(|(question, (base, adapter))| Answer { reference: &question.reference, base, adapter })
        .collect();
    metrics.extend(compare_answers(&answers, RougeScorer { stemmed: true }, &bootstrap));
    if adapter.is_none() {
        metrics = metrics.into_iter().map(|metric| Metric { adapter: None, difference: None, ..metric }).collect();
    }
    let samples = questions.iter().zip(&answers).take(SHOWN).map(|(question, answer)| GenerationSample {
        prompt: question.prompt.clone(),
        reference: answer.reference.to_owned(),
        base: answer.base.to_owned(),
        adapter: adapter.map(|_| answer.adapter.to_owned()),
    });
    let evaluation = Evaluation {
        adapter: format!("an adapter on {}", spec.base),
        base: spec.base.clone(),
        dataset: match &spec.source {
            Source::File { .. } => "an uploaded file".into(),
            Source::Rows { .. } => "a datanet".into(),
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
        throughput: Throughput {
            training: None,
            decode_base: base_speed,
            decode_adapter: with_speed.filter(|_| adapter.is_some()),
        },
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
            let adapter = metric.adapter.map(|adapter| adapter.value);
            serde_json::json!({"metric": metric.kind, "base": metric.base.value, "adapter": adapter,
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
fn answers(sides: &Sides<'_>, prompts: &[Vec<u32>], longest: usize, watch: Watch<'_>) -> Result<[Spoken; 2], JobError> {
    let Sides { spec, stop, .. } = *sides;
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
    let attach = |saved: &Path| -> Result<_, JobError> {
        let trained = peft::Adapter::read(saved, &Limits::default()).map_err(|error| failed(&error))?;
        Ok(Arc::new(lane.attach(&trained).map_err(|error| failed(&error))?))
    };
    let attached = sides.adapter.map(|(_, saved)| attach(saved)).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let (times, mut answered) = (1 + usize::from(attached.is_some()), 0);
    let mut speak = |adapter: Option<Arc<cairn_lane::Attached>>| {
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
        let mut said = stream::iter(requests).buffered(prompts.len());
        let (mut texts, mut tokens) = (Vec::new(), 0);
        loop {
            let next: Option<Result<Completion, GenerateError>> = runtime.block_on(async {
                tokio::select! {
                    next = said.next() => Ok(next),
                    stopped = stop.wait() => Err(stopped),
                }
            })?;
            let Some(completion) = next else { break };
            let completion = completion.map_err(|error| failed(&error))?;
            tokens += completion.usage.completion_tokens;
            texts.extend(completion.choices.into_iter().next().map(|choice| choice.text.trim().to_owned()));
            answered += 1;
            watch(Part::Answered, answered / times, prompts.len())?;
        }
        Ok::<_, JobError>((texts, Some(tokens as f64 / started.elapsed().as_secs_f64())))
    };
    let base = speak(None)?;
    let with = attached.map_or_else(|| Ok(base.clone()), |attached| speak(Some(attached)))?;
    Ok([base, with])
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

/// What training takes by prediction; what was measured is for whoever measured it.
pub(super) fn memory_report(spec: &Spec, model: &Model, parameters: usize, forecast: Option<Forecast>) -> MemoryReport {
    let (config, options) = (model.config(), &spec.options);
    let predicted = forecast.map(|forecast| forecast.memory).unwrap_or_else(|| {
        let rows = options.batch_size * options.max_length;
        Memory::predict(config, options, parameters, rows, weight_bytes(&spec.serving))
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
        measured_peak: None,
        measured: None,
        evaluation_peak: None,
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

/// Rows that are scored between two reports of progress.
const AT_ONCE: usize = 32;
/// Answers that the report shows.
const SHOWN: usize = 8;
/// Tokens by which the lane's pages may exceed what is in them.
const PAGES: usize = 64;
/// Tokens that an answer in the evaluation may have at least, and at most.
const LEAST: usize = 16;
/// See [`LEAST`].
const LONGEST: usize = 192;
