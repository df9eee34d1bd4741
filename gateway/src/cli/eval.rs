//! `cairn eval`: an adapter beside its base, on rows of a file on this machine alone, or on a datanet's through the gateway; and
//! the process of the gateway's evaluations.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use cairn_openapi::{
    evaluations::{EvaluationJob, EvaluationRequest},
    fine_tuning::{FineTuningEvent, RowTemplate},
};
use cairn_trainer::{
    job::{EvaluationSpec, Source, evaluate_adapter, run_evaluation},
    report::Evaluation,
};
use clap::Args;
use indicatif::ProgressBar;
use reqwest::Method;

use super::{Global, client::Events, worker};

/// Compares an adapter with its base on rows that it has not learnt: perplexity, bits per byte, BLEU, ROUGE, exact matches,
/// answers side by side, memory.
///
/// Without --adapter the base is evaluated alone.
///
/// With datanet:NAME the gateway does it, on rows that you were granted for evaluation, with an adapter that it serves.
#[derive(Args)]
#[command(about = "Compare an adapter with its base on rows of a file or a datanet")]
pub(crate) struct Eval {
    /// Rows to evaluate on: a file (chat, alpaca, sharegpt, prompt/completion or text), or datanet:NAME
    #[arg(required_unless_present = "worker", value_name = "FILE|datanet:NAME")]
    data: Option<String>,
    /// The base, as pulled
    #[arg(long, required_unless_present = "worker")]
    base: Option<String>,
    /// The adapter: a directory with adapter_config.json, as PEFT and `cairn train` write it; with a datanet its alias
    #[arg(long, value_name = "DIR|ALIAS")]
    adapter: Option<String>,
    /// Where evaluation.json and report.html are written
    #[arg(long, short, value_name = "DIR", default_value = "evaluation")]
    output: PathBuf,
    /// At most so many rows, evenly spread
    #[arg(long)]
    rows: Option<usize>,
    /// Rows that base and adapter answer for BLEU, ROUGE and matches
    #[arg(long, default_value_t = 32)]
    samples: usize,
    /// Longer rows are cut off after so many tokens
    #[arg(long, default_value_t = 1024)]
    max_length: usize,
    /// The same seed gives the same intervals
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Of a datanet's row: what is asked, such as "Define: {title}"
    #[arg(long, value_name = "TEMPLATE")]
    user: Option<String>,
    /// Of a datanet's row: what should be answered, such as "{text}"
    #[arg(long, value_name = "TEMPLATE")]
    assistant: Option<String>,
    /// Of a datanet's row: instructions, the same for all
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Do the evaluation in this directory, as the gateway tells it
    #[arg(long, hide = true, value_name = "DIR")]
    worker: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, command: Eval) -> anyhow::Result<ExitCode> {
    if let Some(dir) = command.worker {
        return worker::work(dir, |dir| run_evaluation(dir, &mut |_| ())).await;
    }
    let output = command.output.clone();
    std::fs::create_dir_all(&output).with_context(|| format!("{} cannot be made", output.display()))?;
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(200));
    let of_datanet = command.data.as_deref().is_some_and(|data| data.starts_with("datanet:"));
    let done = match of_datanet {
        true => through_gateway(global, command, &output, &spinner).await,
        false => here(global, command, &output, &spinner).await,
    };
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

async fn here(global: &Global, command: Eval, output: &Path, spinner: &ProgressBar) -> anyhow::Result<Evaluation> {
    anyhow::ensure!(
        command.user.is_none() && command.assistant.is_none() && command.system.is_none(),
        "--user, --assistant and --system are for datanet:NAME; a file has its own format"
    );
    let base = command.base.context("--base is missing")?;
    let serving = global.config()?.models_dir.join(&base).join("serving");
    anyhow::ensure!(serving.is_dir(), "{base} was not pulled; `cairn models` lists what is there");
    if let Some(adapter) = &command.adapter {
        anyhow::ensure!(
            Path::new(adapter).join("adapter_config.json").is_file(),
            "there is no adapter in {adapter}: adapter_config.json is missing; `cairn train` writes it to adapter/ in its output"
        );
    }
    let spec = EvaluationSpec {
        serving,
        name: command.adapter.clone().unwrap_or_else(|| format!("{base}, without an adapter")),
        adapter: command.adapter.map(PathBuf::from),
        base,
        source: Source::File { path: command.data.context("the data is missing")?.into() },
        rows: command.rows,
        samples: command.samples,
        max_length: command.max_length,
        seed: command.seed,
        memory_limit: None,
    };
    let (written, shown) = (output.to_owned(), spinner.clone());
    let done = tokio::task::spawn_blocking(move || {
        evaluate_adapter(&written, &spec, &mut |said| shown.set_message(said.to_owned()))
    });
    Ok(done.await??)
}

async fn through_gateway(
    global: &Global,
    command: Eval,
    output: &Path,
    spinner: &ProgressBar,
) -> anyhow::Result<Evaluation> {
    let missing = "rows of a datanet need a template, such as --user \"Define: {title}\" --assistant \"{text}\"";
    let template = RowTemplate {
        system: command.system,
        user: command.user.context(missing)?,
        assistant: command.assistant.context(missing)?,
    };
    let base = command.base.context("--base is missing")?;
    let request = EvaluationRequest {
        model: command.adapter.map_or_else(|| base.clone(), |adapter| format!("{base}:{adapter}")),
        evaluation_file: command.data.context("the data is missing")?,
        template: Some(template),
        max_rows: command.rows,
        evaluation_samples: Some(command.samples),
        max_length: Some(command.max_length),
        seed: Some(command.seed),
        metadata: None,
    };
    let client = global.client()?;
    let made: EvaluationJob = client.json(Method::POST, "/v1/evaluations", &request).await?;
    let path = format!("/v1/evaluations/{}", made.id);
    let answer = client.send(client.request(Method::GET, &format!("{path}/events?stream=true"))).await?;
    let mut events = Events::new(answer);
    while let Some(event) = events.next().await? {
        if let Ok(event) = serde_json::from_str::<FineTuningEvent>(&event) {
            spinner.set_message(event.message);
        }
    }
    let ended: EvaluationJob = client.get(&path).await?;
    if let Some(error) = ended.error {
        anyhow::bail!("{}", error.message);
    }
    anyhow::ensure!(ended.status == "succeeded", "{} is {}", ended.id, ended.status);
    let mut files = Vec::new();
    for (from, to) in [("result", "evaluation.json"), ("report", "report.html")] {
        let answer = client.send(client.request(Method::GET, &format!("{path}/{from}"))).await?;
        let (to, bytes) = (output.join(to), answer.bytes().await?);
        std::fs::write(&to, &bytes).with_context(|| format!("{} cannot be written", to.display()))?;
        files.push(bytes);
    }
    Ok(serde_json::from_slice(&files[0])?)
}
