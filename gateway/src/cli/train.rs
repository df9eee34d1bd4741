//! `cairn train`: an adapter from a file, on this machine alone, or from a datanet, through the gateway ([`remote`]); and the
//! process of the gateway's jobs.

mod remote;
mod view;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use cairn_openapi::fine_tuning::RowTemplate;
use cairn_trainer::{
    End, TrainOptions,
    job::{self, Entry, Forecast, Level, Outcome, Source, Spec},
};
use clap::Args;
use indicatif::{HumanBytes, HumanDuration};
use serde::Deserialize;
use serde_json::json;

use self::view::View;
use super::{Global, worker};

/// Trains an adapter as a file says, and evaluates it:
///
///   base   = "smollm2-135m-instruct"   # as pulled
///   data   = "examples.jsonl"          # chat, alpaca, sharegpt, prompt/completion or text; or "datanet:NAME", see below
///   output = "my-adapter"              # a directory: checkpoints, the adapter, the report
///
///   [options]
///   preset = "balanced"                # fast, balanced or thorough; any option may follow
///
/// Ctrl-C writes a checkpoint after the step in hand and stops; a second one stops at once. Interrupted or killed, the same
/// command with --resume goes on from the last checkpoint, with the losses that the run would have had.
///
/// Rows of a datanet are trained on by the gateway alone, so that it is on record whose data was used: with
/// data = "datanet:foldoc" the run is a job there, followed here. It needs a template, and may name the adapter:
///
///   suffix = "terms"                   # the adapter answers as BASE:terms
///
///   [template]
///   user      = "Define: {title}"
///   assistant = "{text}"
#[derive(Args)]
#[command(about = "Train a LoRA or QLoRA adapter and evaluate it", verbatim_doc_comment)]
pub(crate) struct Train {
    /// What to train
    #[arg(value_name = "FILE.toml", required_unless_present = "worker")]
    recipe: Option<PathBuf>,
    /// Go on from the last checkpoint in the output directory; without it, one that is there is refused
    #[arg(long)]
    resume: bool,
    /// Do the job in this directory, as the gateway tells it
    #[arg(long, hide = true, value_name = "DIR")]
    worker: Option<PathBuf>,
}

/// What is to be trained. Unknown keys are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// The base, as pulled.
    base: String,
    /// What to learn from.
    data: PathBuf,
    /// Where everything goes.
    output: PathBuf,
    /// What to evaluate on.
    validation: Option<PathBuf>,
    /// The part that is held out where there is no `validation`.
    held_out: Option<f64>,
    /// Held-out rows that are answered for the comparison.
    samples: Option<usize>,
    /// Of a datanet: how a row becomes an example.
    template: Option<RowTemplate>,
    /// Of a datanet: the adapter's alias.
    suffix: Option<String>,
    /// Hyper-parameters.
    #[serde(default)]
    options: serde_json::Map<String, serde_json::Value>,
}

pub(crate) async fn run(global: &Global, command: Train) -> anyhow::Result<ExitCode> {
    if let Some(dir) = command.worker {
        return worker::work(dir, |dir| job::run(dir, &mut |_| ())).await;
    }
    let path = command.recipe.context("say what to train: cairn train FILE.toml")?;
    let recipe: Recipe = config::Config::builder()
        .add_source(config::File::from(path.as_path()).format(config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize)
        .with_context(|| format!("{} is not a description of a training run", path.display()))?;
    // Paths in the file are relative to it.
    let home = path.parent().unwrap_or(Path::new("."));
    let output = home.join(&recipe.output);
    if recipe.data.to_string_lossy().starts_with(DATANET) {
        return remote::run(global, recipe, &output, command.resume).await;
    }
    anyhow::ensure!(
        recipe.template.is_none() && recipe.suffix.is_none(),
        "template and suffix are for data = \"datanet:NAME\"; a file has its own format, and its adapter is published with \
         `cairn adapters push`"
    );
    let serving = global.config()?.models_dir.join(&recipe.base).join("serving");
    anyhow::ensure!(serving.is_dir(), "{} was not pulled; `cairn models` lists what is there", recipe.base);
    let spec = Spec {
        base: recipe.base,
        serving,
        source: Source::File { path: home.join(recipe.data).canonicalize().context("data cannot be read")? },
        validation: recipe.validation.map(|path| home.join(path)),
        held_out: recipe.held_out.unwrap_or(0.1),
        samples: recipe.samples.unwrap_or(32),
        options: TrainOptions::from_json(recipe.options)?,
        memory_limit: None,
    };
    let there = output.join("checkpoints").is_dir();
    anyhow::ensure!(
        command.resume || !there,
        "{} has the checkpoints of a run; --resume goes on with it, another output begins anew",
        output.display()
    );
    std::fs::create_dir_all(&output).with_context(|| format!("{} cannot be made", output.display()))?;
    let mut view = View::new(global.json);
    let spec = match job::read::<Spec>(&output.join("job.json")) {
        // The steps that were found to fit into max_time then are those of this run.
        Ok(before) if there && spec.options.max_time.is_some() => {
            let max_steps = spec.options.max_steps.or(before.options.max_steps);
            Spec { options: TrainOptions { max_steps, ..spec.options }, ..spec }
        }
        _ => {
            let mut spec = spec;
            let planned =
                tokio::task::spawn_blocking(move || job::plan(&mut spec).map(|(_, forecast)| (spec, forecast)));
            let (planned, forecast) = planned.await??;
            forecast.write(&output)?;
            let entry = predicted(&forecast);
            job::append(&output, &entry)?;
            view.show(&entry);
            planned
        }
    };
    // What stopped an earlier part of the run does not stop this one.
    for name in ["pause", "cancel"] {
        let _ = std::fs::remove_file(output.join(name));
    }
    job::write(&output.join("job.json"), &spec)?;
    pause_when_interrupted(output.join("pause"));
    let shown = output.clone();
    let outcome = tokio::task::spawn_blocking(move || {
        job::run(&shown, &mut |entry| view.show(entry)).map_err(|error| anyhow::anyhow!(job::reason(&shown, &error)))
    });
    report(&path, &output, outcome.await??, global.json)
}

/// What is said before the start.
fn predicted(forecast: &Forecast) -> Entry {
    let Forecast { steps, trained, time, memory, evaluation } = forecast;
    let bytes = |bytes: usize| HumanBytes(bytes as u64);
    let duration = |seconds: f64| HumanDuration(Duration::from_secs_f64(seconds.max(0.0)));
    let message = format!(
        "Predicted: {steps} steps on {trained} trained numbers\n  memory  {} (weights {}, adapter {}, gradients {}, optimizer \
         {}, activations {}, logits {}, program {}); {} for the evaluation at the end\n  time    {} to train, {} to score the \
         held-out rows, and what the answers take",
        bytes(memory.total()),
        bytes(memory.weights),
        bytes(memory.adapter),
        bytes(memory.gradients),
        bytes(memory.optimizer),
        bytes(memory.activations),
        bytes(memory.logits),
        bytes(memory.program),
        bytes(*evaluation),
        duration(time.loading + time.steps + time.watching),
        duration(time.scoring),
    );
    let data = json!({"event": "predicted", "prediction": forecast});
    Entry { at: chrono::Utc::now().timestamp(), level: Level::Info, message, data }
}

/// The first Ctrl-C or SIGTERM asks for a checkpoint, by the file that the job looks for; the second ends at once.
fn pause_when_interrupted(pause: PathBuf) {
    tokio::spawn(async move {
        interrupted().await;
        eprintln!("\nstopping after this step, with a checkpoint; once more stops at once");
        if let Err(error) = std::fs::write(&pause, b"") {
            eprintln!("error: {} cannot be written: {error}", pause.display());
        }
        interrupted().await;
        std::process::exit(INTERRUPTED.into());
    });
}

/// Returns when the process is asked to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        done = tokio::signal::ctrl_c() => if done.is_err() { std::future::pending().await },
        _ = terminated.recv() => {}
    }
}

fn report(recipe: &Path, output: &Path, outcome: Outcome, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else if outcome.end == Some(End::Paused) {
        println!("\nstopped  with a checkpoint; `cairn train --resume {}` goes on", recipe.display());
    } else if outcome.adapter {
        println!("\nadapter  {}", output.join("adapter").display());
        if output.join("report.html").is_file() {
            println!("report   {}", output.join("report.html").display());
        }
        println!("next     cairn adapters push {} --base NAME --name ALIAS", output.join("adapter").display());
    }
    Ok(match outcome.end {
        Some(End::Paused) => ExitCode::from(INTERRUPTED),
        _ if outcome.adapter => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// What `data` begins with where it names a datanet.
const DATANET: &str = "datanet:";
/// As shells have it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;
