//! `cairn ingest` and `cairn contribute`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use cairn_openapi::{
    contributions::{Contribution, ContributionQuery, ContributionState},
    datanets::{Examination, IngestFormat, IngestQuery, NearDuplicate, NearDuplicates},
    jobs::{Job, JobState},
};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Body, Method, multipart};

use super::{
    Global,
    client::{Client, Events},
    search::excerpt,
};

#[derive(Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    input: Input,
    /// Add what is valid though something else is not [default: all or nothing]
    #[arg(long)]
    keep_good: bool,
    /// What to do with datapoints that nearly repeat others
    #[arg(long, value_enum, default_value_t = Near::Report)]
    near_duplicates: Near,
    /// Read and check the file, say what adding it would do, and add nothing
    #[arg(long)]
    check: bool,
    /// Start the job and return; `GET /v1/jobs` shows how far it is
    #[arg(long, conflicts_with = "check")]
    detach: bool,
}

#[derive(Args)]
pub(crate) struct Contribute {
    #[command(flatten)]
    input: Input,
    /// What its reviewer should know
    #[arg(long)]
    note: Option<String>,
    /// The contribution that this is a new version of
    #[arg(long, value_name = "ID")]
    supersedes: Option<String>,
}

/// A file, and how to read it.
#[derive(Args)]
struct Input {
    /// The file; for dictd, NAME.index or NAME.dict.dz with the other beside it
    file: PathBuf,
    /// The datanet
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
    /// Which column of a table is which field, such as 'text=body,contributor=author'
    #[arg(long, value_name = "FIELD=COLUMN,…")]
    columns: Option<String>,
    /// Longest passage cut from prose, in characters [default: 900]
    #[arg(long, value_name = "N")]
    passage_characters: Option<usize>,
    /// Most characters that a passage repeats of the one before it [default: 0]
    #[arg(long, value_name = "N")]
    passage_overlap: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Near {
    /// They are not looked for
    Ignore,
    /// They are named
    Report,
    /// They are named and left out
    Refuse,
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
    /// A table; the column `text` is required
    Parquet,
    /// A web page, cut along its headings
    Html,
    /// A Word document, cut along its headings
    Docx,
    /// A PDF with text in it
    Pdf,
}

pub(crate) async fn run(global: &Global, command: Ingest) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let Ingest { input, keep_good, near_duplicates, check, detach } = command;
    let format = format(&input)?;
    let form = form(&input.file, format).await?;
    let action = if check { "examine" } else { "ingest" };
    let path = format!("/v1/datanets/{}/{action}", input.datanet);
    let query = IngestQuery {
        format,
        contributor: input.contributor,
        contributed_at: input.contributed_at,
        source: input.source,
        licence: input.licence,
        keep_good,
        columns: input.columns,
        passage_characters: input.passage_characters,
        passage_overlap: input.passage_overlap,
        near_duplicates: match near_duplicates {
            Near::Ignore => NearDuplicates::Ignore,
            Near::Report => NearDuplicates::Report,
            Near::Refuse => NearDuplicates::Refuse,
        },
    };
    let request = client.request(Method::POST, &path).query(&query).multipart(form);
    let answer = client.send(request).await?;
    if check {
        return examined(global, &answer.json().await?);
    }
    let job: Job = answer.json().await?;
    let job = if detach { job } else { follow(&client, job, global.json).await? };
    if global.json {
        println!("{}", serde_json::to_string_pretty(&job)?);
    } else if detach {
        println!("{} is at work", job.id);
    } else if let Some(result) = &job.result {
        println!(
            "added {} datapoints to {}, {} were there already",
            result["added"], job.target, result["skipped_duplicates"]
        );
        let near: Vec<NearDuplicate> = serde_json::from_value(result["near_duplicates"].clone()).unwrap_or_default();
        print_near(&near, result["near_duplicates_total"].as_u64().unwrap_or_default());
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

pub(crate) async fn contribute(global: &Global, command: Contribute) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let Contribute { input, note, supersedes } = command;
    let format = format(&input)?;
    let form = form(&input.file, format).await?;
    let path = format!("/v1/datanets/{}/contributions", input.datanet);
    let query = ContributionQuery {
        format,
        contributor: input.contributor,
        contributed_at: input.contributed_at,
        source: input.source,
        licence: input.licence,
        columns: input.columns,
        passage_characters: input.passage_characters,
        passage_overlap: input.passage_overlap,
        note,
        supersedes,
    };
    let request = client.request(Method::POST, &path).query(&query).multipart(form);
    let offered: Contribution = client.send(request).await?.json().await?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&offered)?);
    } else {
        let said = match offered.state {
            ContributionState::Waiting => "waits for the datanet's owner",
            _ => "is taken by the datanet's terms and being added",
        };
        println!("{} {said}: {} datapoints", offered.id, offered.report["new"]);
    }
    Ok(ExitCode::SUCCESS)
}

fn examined(global: &Global, found: &Examination) -> anyhow::Result<ExitCode> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(found)?);
        return Ok(ExitCode::from(u8::from(found.rejected_total > 0)));
    }
    println!("{} datapoints: {} new, {} there already", found.read, found.new, found.duplicates);
    for sample in &found.first {
        println!("  {}  {} ({})", sample.id, excerpt(&sample.text, 100), sample.contributor);
    }
    print_near(&found.near_duplicates, found.near_duplicates_total);
    for rejected in &found.rejected {
        println!("line {}: {}", rejected.line, rejected.reason);
    }
    if found.rejected_total > 0 {
        eprintln!("error: {} datapoints have to be mended; --keep-good adds the others", found.rejected_total);
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn print_near(near: &[NearDuplicate], total: u64) {
    if total == 0 {
        return;
    }
    println!("{total} nearly repeat others:");
    for one in near.iter().take(10) {
        println!("  {} repeats {} ({:.0} % of their words)", one.id, one.of, one.similarity * 100.0);
    }
}

async fn form(file: &Path, format: IngestFormat) -> anyhow::Result<multipart::Form> {
    let mut form = multipart::Form::new();
    for path in files(file, format)? {
        form = form.part("file", part(&path).await?);
    }
    Ok(form)
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

fn format(command: &Input) -> anyhow::Result<IngestFormat> {
    let name = command.file.to_string_lossy().to_lowercase();
    Ok(match command.format {
        Some(Format::Jsonl) => IngestFormat::Jsonl,
        Some(Format::Csv) => IngestFormat::Csv,
        Some(Format::Markdown) => IngestFormat::Markdown,
        Some(Format::Text) => IngestFormat::Text,
        Some(Format::Dictd) => IngestFormat::Dictd,
        Some(Format::Parquet) => IngestFormat::Parquet,
        Some(Format::Html) => IngestFormat::Html,
        Some(Format::Docx) => IngestFormat::Docx,
        Some(Format::Pdf) => IngestFormat::Pdf,
        None if name.ends_with(".parquet") => IngestFormat::Parquet,
        None if name.ends_with(".html") || name.ends_with(".htm") => IngestFormat::Html,
        None if name.ends_with(".docx") => IngestFormat::Docx,
        None if name.ends_with(".pdf") => IngestFormat::Pdf,
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
