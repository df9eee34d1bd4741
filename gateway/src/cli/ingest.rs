//! `cairn ingest`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use cairn_openapi::{
    datanets::{IngestFormat, IngestQuery},
    jobs::{Job, JobState},
};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Body, Method, multipart};

use super::{
    Global,
    client::{Client, Events},
};

#[derive(Args)]
pub(crate) struct Ingest {
    /// The file; for dictd, NAME.index or NAME.dict.dz with the other beside it
    file: PathBuf,
    /// The datanet to add to
    #[arg(long, short, value_name = "NAME")]
    datanet: String,
    /// The file's format [default: by its extension]
    #[arg(long, short, value_enum)]
    format: Option<Format>,
    /// Contributor of datapoints that name none
    #[arg(long)]
    contributor: Option<String>,
    /// Date of datapoints that name none (2024-05-01 or RFC 3339) [default: now]
    #[arg(long, value_name = "DATE")]
    contributed_at: Option<String>,
    /// Source of datapoints that name none
    #[arg(long)]
    source: Option<String>,
    /// Licence of datapoints that name none [default: the datanet's]
    #[arg(long)]
    licence: Option<String>,
    /// Add what is valid though something else is not [default: all or nothing]
    #[arg(long)]
    keep_good: bool,
    /// Start the job and return; `GET /v1/jobs` shows how far it is
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON object a line
    Jsonl,
    /// A header row; the column `text` is required
    Csv,
    /// Cut along its headings
    Markdown,
    /// Cut along its paragraphs
    Text,
    /// A dictd dictionary
    Dictd,
}

pub(crate) async fn run(global: &Global, command: Ingest) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let format = format(&command)?;
    let mut form = multipart::Form::new();
    for path in files(&command.file, format)? {
        form = form.part("file", part(&path).await?);
    }
    let query = IngestQuery {
        keep_good: command.keep_good,
        format,
        contributor: command.contributor,
        contributed_at: command.contributed_at,
        source: command.source,
        licence: command.licence,
    };
    let path = format!("/v1/datanets/{}/ingest", command.datanet);
    let request = client.request(Method::POST, &path).query(&query).multipart(form);
    let job: Job = client.send(request).await?.json().await?;
    let job = if command.detach { job } else { follow(&client, job, global.json).await? };
    if global.json {
        println!("{}", serde_json::to_string_pretty(&job)?);
    } else if command.detach {
        println!("{} is at work", job.id);
    } else if let Some(result) = &job.result {
        println!(
            "added {} datapoints to {}, {} were there already",
            result["added"], job.target, result["skipped_duplicates"]
        );
    }
    match job.state {
        JobState::Failed => {
            eprintln!("error: {}", job.error.unwrap_or_default());
            Ok(ExitCode::from(1))
        }
        JobState::Cancelled => {
            eprintln!("error: the job was cancelled; nothing was added");
            Ok(ExitCode::from(1))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Draws the job's progress until it has ended; a lost connection is taken up again, the job goes on meanwhile.
async fn follow(client: &Client, mut job: Job, quiet: bool) -> anyhow::Result<Job> {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    bar.set_style(ProgressStyle::with_template("{msg:10} {bar:40} {pos}/{len} {eta}")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let path = format!("/v1/jobs/{}/events", job.id);
    let mut lost = 0;
    while !job.state.ended() {
        let response = match client.send(client.request(Method::GET, &path)).await {
            Ok(response) => response,
            Err(error) if lost >= 30 => return Err(error.context(format!("{} may still be at work", job.id))),
            Err(_) => {
                lost += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let mut events = Events::new(response);
        while let Ok(Some(event)) = events.next().await {
            lost = 0;
            job = serde_json::from_str(&event)?;
            bar.set_length(job.total);
            bar.set_position(job.done);
            bar.set_message(job.stage.clone());
            if !bar.is_hidden() {
                continue;
            }
            if !quiet && !console_is_terminal() {
                eprintln!("{} {}/{}", job.stage, job.done, job.total);
            }
        }
    }
    bar.finish_and_clear();
    Ok(job)
}

fn console_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

pub(super) async fn part(path: &Path) -> anyhow::Result<multipart::Part> {
    let file = tokio::fs::File::open(path).await.with_context(|| format!("{} cannot be read", path.display()))?;
    let length = file.metadata().await?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let body = Body::wrap_stream(tokio_util::io::ReaderStream::new(file));
    Ok(multipart::Part::stream_with_length(body, length).file_name(name))
}

fn format(command: &Ingest) -> anyhow::Result<IngestFormat> {
    let name = command.file.to_string_lossy().to_lowercase();
    Ok(match command.format {
        Some(Format::Jsonl) => IngestFormat::Jsonl,
        Some(Format::Csv) => IngestFormat::Csv,
        Some(Format::Markdown) => IngestFormat::Markdown,
        Some(Format::Text) => IngestFormat::Text,
        Some(Format::Dictd) => IngestFormat::Dictd,
        None if name.ends_with(".jsonl") || name.ends_with(".ndjson") => IngestFormat::Jsonl,
        None if name.ends_with(".csv") => IngestFormat::Csv,
        None if name.ends_with(".md") || name.ends_with(".markdown") => IngestFormat::Markdown,
        None if name.ends_with(".txt") => IngestFormat::Text,
        None if name.ends_with(".index") || name.ends_with(".dict") || name.ends_with(".dict.dz") => {
            IngestFormat::Dictd
        }
        None => bail!("the extension of {} names no format; give --format", command.file.display()),
    })
}

fn files(path: &Path, format: IngestFormat) -> anyhow::Result<Vec<PathBuf>> {
    if format != IngestFormat::Dictd {
        return Ok(vec![path.to_owned()]);
    }
    let text = path.to_string_lossy();
    let stem = [".index", ".dict.dz", ".dict"].iter().find_map(|end| text.strip_suffix(end)).unwrap_or(&text);
    let index = PathBuf::from(format!("{stem}.index"));
    let dictionary =
        [".dict.dz", ".dict"].iter().map(|end| PathBuf::from(format!("{stem}{end}"))).find(|it| it.exists());
    match dictionary {
        Some(dictionary) if index.exists() => Ok(vec![index, dictionary]),
        _ => bail!("a dictd dictionary is two files: {stem}.index and {stem}.dict or {stem}.dict.dz; one is missing"),
    }
}
