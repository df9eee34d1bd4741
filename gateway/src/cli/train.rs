//! `cairn train`: an adapter from a file, on this machine alone; and the process of the gateway's jobs.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use cairn_trainer::{
    TrainOptions,
    job::{self, Entry, Outcome, Source, Spec},
};
use clap::Args;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::{Global, worker};

/// Trains an adapter as a file says, and evaluates it:
///
///   base   = "smollm2-135m-instruct"   # as pulled
///   data   = "examples.jsonl"          # chat, alpaca, sharegpt, prompt/completion or text
///   output = "my-adapter"              # a directory: checkpoints, the adapter, the report
///
///   [options]
///   preset = "balanced"                # fast, balanced or thorough; any option may follow
///
/// Interrupted or killed, the same command goes on from the last checkpoint.
#[derive(Args)]
#[command(verbatim_doc_comment)]
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
    let spec = match job::read::<Spec>(&output.join("job.json")) {
        // The steps that were found to fit into max_time then are those of this run.
        Ok(before) if there && spec.options.max_time.is_some() => {
            let max_steps = spec.options.max_steps.or(before.options.max_steps);
            Spec { options: TrainOptions { max_steps, ..spec.options }, ..spec }
        }
        _ => {
            let mut spec = spec;
            let (planned, forecast) =
                tokio::task::spawn_blocking(move || job::plan(&mut spec).map(|(_, forecast)| (spec, forecast)))
                    .await??;
            forecast.write(&output)?;
            planned
        }
    };
    // What stopped an earlier part of the run does not stop this one.
    for name in ["pause", "cancel"] {
        let _ = std::fs::remove_file(output.join(name));
    }
    job::write(&output.join("job.json"), &spec)?;
    let (shown, json) = (output.clone(), global.json);
    let outcome = tokio::task::spawn_blocking(move || {
        let mut view = View::new(json);
        job::run(&shown, &mut |entry| view.show(entry)).map_err(|error| anyhow::anyhow!(job::reason(&shown, &error)))
    });
    report(&output, outcome.await??, global.json)
}

fn report(output: &Path, outcome: Outcome, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else if outcome.adapter {
        println!("\nadapter  {}", output.join("adapter").display());
        if output.join("report.html").is_file() {
            println!("report   {}", output.join("report.html").display());
        }
        println!("next     cairn adapters push {} --base NAME --name ALIAS", output.join("adapter").display());
    }
    Ok(if outcome.adapter { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a terminal shows: a bar with the figures of the last step, other entries above it; elsewhere a line an entry.
struct View {
    bar: Option<ProgressBar>,
    json: bool,
    held_out: Option<f64>,
}

impl View {
    fn new(json: bool) -> Self {
        Self { bar: None, json, held_out: None }
    }

    fn show(&mut self, entry: &Entry) {
        if self.json {
            if let Ok(line) = serde_json::to_string(entry) {
                println!("{line}");
            }
            return;
        }
        let data = &entry.data;
        if data["event"] == "evaluated" {
            self.held_out = data["loss"].as_f64();
        }
        if data["event"] != "step" {
            match &self.bar {
                Some(bar) if std::io::stderr().is_terminal() => bar.println(&entry.message),
                _ => eprintln!("{}", entry.message),
            }
            for metric in data["metrics"].as_array().into_iter().flatten() {
                eprintln!("  {}", metric["sentence"].as_str().unwrap_or_default());
            }
            return;
        }
        let number = |name: &str| data[name].as_f64().unwrap_or(0.0);
        let (step, steps) = (number("step") as u64, number("steps") as u64);
        let held_out = self.held_out.map(|loss| format!(" held-out {loss:.4}")).unwrap_or_default();
        let figures = format!(
            "loss {:.4}{held_out}  {:.0} tokens/s  {}  {} left",
            number("loss"),
            number("tokens_per_second"),
            HumanBytes(number("resident") as u64),
            HumanDuration(std::time::Duration::from_secs_f64(number("eta").max(0.0))),
        );
        if !std::io::stderr().is_terminal() {
            if step == steps || step.is_multiple_of(10) {
                eprintln!("step {step}/{steps}  {figures}");
            }
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
            ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(step);
        bar.set_message(figures);
        if step == steps {
            bar.finish();
        }
    }
}
