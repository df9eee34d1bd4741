//! What a job does between its start and its outcome.

use std::{path::Path, sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::{
    Forecast, JobError, Level, Outcome, Spec, UsedRow, evaluate, evaluate::Trained, files, prepare, read, stop::Stop,
    write,
};
use crate::{
    Adapter, Control, Data, End, Event, Model, Run,
    device::Watch,
    memory,
    report::{Breakdown, Times},
};

pub(super) fn work(dir: &Path, log: &mut files::Log<'_>) -> Result<Outcome, JobError> {
    let program = memory::resident().map_or(0, |[now, _]| now);
    let stop = Stop::of(dir);
    let device = Watch::start();
    stop.check()?;
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
    stop.check()?;

    log.write(Level::Info, format!("Loading {}", spec.base), Value::Null)?;
    let began = Instant::now();
    let model = Arc::new(Model::open(&spec.serving, spec.options.form())?);
    let loading = began.elapsed().as_secs_f64();
    stop.check()?;
    let data = Data {
        train: ready.prepared.train,
        held_out: ready.prepared.held_out.iter().map(|held| held.example.clone()).collect(),
    };
    let (mut run, from) = match Run::resume(model.clone(), &spec.options, data.clone(), dir)? {
        Some(run) => (run, "Going on from the last checkpoint"),
        None => (Run::new(model.clone(), spec.options.clone(), &spec.base, data, dir)?, "Training"),
    };
    log.write(Level::Info, format!("{from}: {} steps in all", run.steps()), json!({"steps": run.steps()}))?;
    let end = train(&stop, &spec, &mut run, log)?;
    let tokens = run.tokens();
    if matches!(end, End::Paused | End::Cancelled) {
        return Err(JobError::Stopped(end));
    }
    let adapter: Adapter = run.adapter()?;
    adapter.export(&dir.join("adapter"))?;
    // What was not reached was not learnt, and must not be said to have been.
    let learnt = run.learnt();
    let used: Vec<&UsedRow> =
        ready.rows.iter().filter(|row| row.held_out || learnt.contains(row.row.as_str())).collect();
    files::lines(&dir.join("rows.jsonl"), &used)?;
    let peak = memory::resident().map_or(0, |[_, peak]| peak);
    log.write(Level::Info, "The adapter is written".into(), json!({"peak_memory_bytes": peak}))?;
    stop.check()?;
    let measured = breakdown(&run, program, peak);
    let [steps, watching] = run.seconds();
    drop(run);
    let held_out = &ready.prepared.held_out;
    if held_out.is_empty() {
        log.write(Level::Warn, "Nothing was held out, so there is no evaluation".into(), Value::Null)?;
    } else {
        log.write(Level::Info, "Evaluating base and adapter on the held-out rows".into(), Value::Null)?;
        let times = Times { loading, steps, watching, ..Times::default() };
        let trained = Trained { model, adapter: &adapter, held_out, peak, measured, times, device: &device };
        let evaluation = evaluate::evaluate(dir, &spec, &stop, trained, Forecast::read(dir))?;
        let data = evaluation.headline();
        log.write(Level::Info, "The evaluation is written".into(), data)?;
    }
    Ok(Outcome { end: Some(end), error: None, tokens, adapter: true })
}

/// What lay in memory at the peak, by use: activations and logits are what nothing else accounts for.
fn breakdown(run: &Run, program: u64, peak: u64) -> Breakdown {
    let session = run.session();
    let [gradients, optimizer] = session.bytes().map(|bytes| bytes as u64);
    let known = Breakdown {
        weights: session.model().bytes() as u64,
        adapter: 4 * session.adapter().parameters() as u64,
        gradients,
        optimizer,
        activations: 0,
        program,
    };
    Breakdown { activations: peak.saturating_sub(known.total()), ..known }
}

/// Makes the steps; how it ended.
fn train(stop: &Stop, spec: &Spec, run: &mut Run, log: &mut files::Log<'_>) -> Result<End, JobError> {
    let control = Control::default();
    let mut failed = None;
    let end = run.train(&control, &mut |event| {
        let said = match &event {
            Event::Step(step) => {
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
        match stop.asked() {
            Some(End::Cancelled) => control.cancel(),
            Some(_) => control.pause(),
            None => {}
        }
    });
    match failed {
        // That no checkpoint could be written either follows from it.
        Some(error) => Err(error),
        None => Ok(end?),
    }
}
