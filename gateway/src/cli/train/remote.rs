//! `cairn train` on a datanet: a job of the gateway, started and followed from here. It goes on there whatever becomes of this
//! process; `--resume` follows it again, and goes on with it where it was paused.

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use cairn_openapi::fine_tuning::{FineTuningEvent, FineTuningJob, FineTuningRequest, TrainingMethod};
use cairn_trainer::job::{self, Entry, Level};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{INTERRUPTED, Recipe, View, interrupted};
use crate::cli::{
    Global,
    client::{Client, Events},
};

/// Which job the output directory is of.
#[derive(Serialize, Deserialize)]
struct Followed {
    id: String,
}

pub(super) async fn run(global: &Global, recipe: Recipe, output: &Path, resume: bool) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    std::fs::create_dir_all(output).with_context(|| format!("{} cannot be made", output.display()))?;
    let place = output.join("gateway-job.json");
    let mut view = View::new(global.json);
    let id = if resume {
        let Followed { id } =
            job::read(&place).context("there is no job to resume; leave out --resume to start one")?;
        let path = format!("/v1/fine_tuning/jobs/{id}");
        let stands: FineTuningJob = client.get(&path).await?;
        if matches!(stands.status.as_str(), "paused" | "failed") {
            client.send(client.request(Method::POST, &format!("{path}/resume"))).await?;
        }
        id
    } else {
        anyhow::ensure!(
            !place.exists(),
            "{} is of a job already; --resume follows it, another output begins anew",
            output.display()
        );
        let request = request(recipe)?;
        let preview: Value = client.json(Method::POST, "/v1/fine_tuning/preview", &request).await?;
        view.show(&predicted(&preview));
        let made: FineTuningJob = client.json(Method::POST, "/v1/fine_tuning/jobs", &request).await?;
        job::write(&place, &Followed { id: made.id.clone() })?;
        made.id
    };
    let path = format!("/v1/fine_tuning/jobs/{id}");
    let stopped = follow(&client, &path, &mut view).await?;
    let job: FineTuningJob = client.get(&path).await?;
    if job.status == "succeeded" {
        fetch(&client, &path, output).await?;
    }
    report(&job, output, global.json)?;
    Ok(match job.status.as_str() {
        "succeeded" => ExitCode::SUCCESS,
        _ if stopped => ExitCode::from(INTERRUPTED),
        _ => ExitCode::FAILURE,
    })
}

/// The recipe as the gateway takes it.
fn request(recipe: Recipe) -> anyhow::Result<FineTuningRequest> {
    anyhow::ensure!(
        recipe.validation.is_none(),
        "validation is a file of this machine, and a datanet's rows stay with the gateway; use held_out"
    );
    let template = recipe.template.context(
        "rows of a datanet need a template, such as [template] user = \"Define: {title}\" assistant = \"{text}\"",
    )?;
    let mut options: Map<String, Value> = recipe.options;
    let mut named = |name: &str| options.remove(name).and_then(|value| value.as_str().map(str::to_owned));
    let method = TrainingMethod {
        kind: named("method").unwrap_or_else(|| "qlora".to_owned()),
        preset: named("preset"),
        options,
        supervised: None,
    };
    Ok(FineTuningRequest {
        model: recipe.base,
        training_file: recipe.data.to_string_lossy().into_owned(),
        validation_file: None,
        suffix: recipe.suffix,
        method: Some(method),
        hyperparameters: None,
        seed: None,
        template: Some(template),
        held_out: recipe.held_out,
        evaluation_samples: recipe.samples,
        metadata: None,
    })
}

fn predicted(preview: &Value) -> Entry {
    let number = |name: &str| preview[name].as_f64().unwrap_or(0.0);
    let message = format!(
        "Predicted: {} steps on {} trained numbers\n  memory  {} of the {} that a job may have\n  time    {}",
        number("steps"),
        number("trained_parameters"),
        indicatif::HumanBytes(number("memory_bytes") as u64),
        indicatif::HumanBytes(number("memory_limit_bytes") as u64),
        indicatif::HumanDuration(std::time::Duration::from_secs_f64(number("seconds").max(0.0))),
    );
    entry(Level::Info, message, json!({"event": "predicted", "prediction": preview}))
}

/// Shows the job's events from the first on, until it has ended or is paused. The first Ctrl-C pauses it, the second leaves it to
/// itself; whether there was one.
async fn follow(client: &Client, path: &str, view: &mut View) -> anyhow::Result<bool> {
    let answer = client.send(client.request(Method::GET, &format!("{path}/events?stream=true"))).await?;
    let mut events = Events::new(answer);
    let mut stopped = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            () = interrupted() => {
                if stopped {
                    return Ok(true);
                }
                stopped = true;
                eprintln!("\npausing the job after this step; once more leaves it to the gateway");
                client.send(client.request(Method::POST, &format!("{path}/pause"))).await?;
                continue;
            }
        };
        let Some(event) = event else { return Ok(stopped) };
        if event == "[DONE]" {
            return Ok(stopped);
        }
        let event: FineTuningEvent = serde_json::from_str(&event).context("the gateway sent something else")?;
        let level = match event.level.as_str() {
            "warn" => Level::Warn,
            "error" => Level::Error,
            _ => Level::Info,
        };
        view.show(&Entry { at: event.created_at, ..entry(level, event.message, event.data) });
    }
}

/// The results that a job leaves, into the output directory; those that there are.
async fn fetch(client: &Client, path: &str, output: &Path) -> anyhow::Result<()> {
    for (from, to) in [("evaluation", "evaluation.json"), ("report", "report.html"), ("provenance", "provenance.json")]
    {
        // Without held-out rows there is no evaluation.
        let Ok(answer) = client.send(client.request(Method::GET, &format!("{path}/{from}"))).await else { continue };
        let to = output.join(to);
        std::fs::write(&to, answer.bytes().await?).with_context(|| format!("{} cannot be written", to.display()))?;
    }
    Ok(())
}

fn report(job: &FineTuningJob, output: &Path, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(job)?);
        return Ok(());
    }
    match (&job.fine_tuned_model, &job.error) {
        (Some(model), _) => {
            println!("\nadapter  answers as {model}");
            if output.join("report.html").is_file() {
                println!("report   {}", output.join("report.html").display());
            }
            println!("proof    cairn proof {} --row DATANET/ID", job.id);
        }
        (None, Some(error)) => println!("\nfailed   {}", error.message),
        (None, None) => println!("\n{}   {}; --resume goes on", job.status, job.id),
    }
    Ok(())
}

fn entry(level: Level, message: String, data: Value) -> Entry {
    Entry { at: chrono::Utc::now().timestamp(), level, message, data }
}
