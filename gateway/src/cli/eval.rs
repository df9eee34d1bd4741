//! `cairn eval`: an adapter beside its base on rows of a file, on this machine alone.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use cairn_trainer::job::{EvaluationSpec, evaluate_adapter};
use clap::Args;
use indicatif::ProgressBar;

use super::Global;

/// Compares an adapter with its base on rows that it has not learnt: perplexity, bits per byte, BLEU, ROUGE, exact matches,
/// answers side by side.
#[derive(Args)]
pub(crate) struct Eval {
    /// Rows to evaluate on: chat, alpaca, sharegpt, prompt/completion or text
    data: PathBuf,
    /// The base, as pulled
    #[arg(long)]
    base: String,
    /// The adapter: a directory with adapter_config.json, as PEFT and `cairn train` write it
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// Where evaluation.json and report.html are written
    #[arg(long, short, value_name = "DIR", default_value = "evaluation")]
    output: PathBuf,
    /// Rows that base and adapter answer for BLEU, ROUGE and matches
    #[arg(long, default_value_t = 32)]
    samples: usize,
    /// Longer rows are cut off after so many tokens
    #[arg(long, default_value_t = 1024)]
    max_length: usize,
    /// The same seed gives the same intervals
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

pub(crate) async fn run(global: &Global, command: Eval) -> anyhow::Result<ExitCode> {
    let serving = global.config()?.models_dir.join(&command.base).join("serving");
    anyhow::ensure!(serving.is_dir(), "{} was not pulled; `cairn models` lists what is there", command.base);
    let spec = EvaluationSpec {
        base: command.base,
        serving,
        adapter: command.adapter,
        data: command.data,
        samples: command.samples,
        max_length: command.max_length,
        seed: command.seed,
    };
    let output = command.output;
    std::fs::create_dir_all(&output).with_context(|| format!("{} cannot be made", output.display()))?;
    let written = output.clone();
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(200));
    let shown = spinner.clone();
    let done = tokio::task::spawn_blocking(move || {
        evaluate_adapter(&written, &spec, &mut |stage| shown.set_message(stage.to_owned()))
    });
    let done = done.await?;
    spinner.finish_and_clear();
    let evaluation = done?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        for metric in &evaluation.metrics {
            println!("{}", metric.sentence());
        }
        println!("\nreport   {}", output.join("report.html").display());
    }
    Ok(ExitCode::SUCCESS)
}
