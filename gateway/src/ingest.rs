//! From an uploaded file to drafts of datapoints.
//!
//! What strangers' formats hold is taken out by a process of its own with limits on memory and time (`cairn extract`): a file
//! made to exhaust or crash a parser ends that process and nothing else. Originals of documents are kept beside the datanet, so
//! that a passage points at its place in them.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use cairn_documents::{Document, Format};
use cairn_index::{Draft, Drafts, IngestDefaults, IngestOptions, IngestStage, readers};
use cairn_openapi::datanets::{Examination, IngestFormat, NearDuplicate, NearDuplicates, Rejection, Sample};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{ApiError, Code},
    jobs::IngestSpec,
    state::AppState,
};

pub(crate) mod originals;
pub(crate) mod rejections;

/// Checks what can be said of a file's reading before it is read.
pub(crate) fn check(spec: &IngestSpec) -> Result<(), ApiError> {
    columns(spec)?;
    limits(spec)?;
    let wanted = if spec.query.format == IngestFormat::Dictd { 2 } else { 1 };
    if spec.files.len() != wanted {
        let message =
            format!("{} files were sent; {} takes {wanted}", spec.files.len(), format_name(spec.query.format));
        return Err(ApiError::invalid("file", message));
    }
    Ok(())
}

/// The drafts in a job's files. Extracts first what is not extracted yet.
pub(crate) async fn drafts(spec: &IngestSpec, directory: &Path) -> Result<Drafts, ApiError> {
    if let Some(format) = extracted_format(spec.query.format) {
        extract(format, spec, directory).await?;
    }
    let (spec, directory) = (spec.clone(), directory.to_owned());
    tokio::task::spawn_blocking(move || read(&spec, &directory)).await.map_err(ApiError::internal)?
}

/// Blocking.
fn read(spec: &IngestSpec, directory: &Path) -> Result<Drafts, ApiError> {
    let limits = limits(spec)?;
    let path = |index: usize| {
        let file =
            spec.files.get(index).ok_or_else(|| ApiError::internal("a job has fewer files than its format takes"));
        file.map(|file| directory.join(file))
    };
    let unreadable = |error: readers::ReadError| ApiError::new(Code::InvalidRequest, error.to_string());
    let drafts: Drafts = match spec.query.format {
        IngestFormat::Jsonl if spec.query.columns.is_none() => {
            Box::new(readers::jsonl(&path(0)?, &limits).map_err(unreadable)?)
        }
        IngestFormat::Jsonl => Box::new(readers::rows(&path(0)?, &columns(spec)?, &limits).map_err(unreadable)?),
        IngestFormat::Csv => Box::new(readers::csv(&path(0)?, &columns(spec)?, &limits).map_err(unreadable)?),
        IngestFormat::Parquet => {
            Box::new(readers::rows(&extracted(directory), &columns(spec)?, &limits).map_err(unreadable)?)
        }
        IngestFormat::Markdown => Box::new(readers::markdown(&path(0)?, &limits).map_err(unreadable)?),
        IngestFormat::Text => Box::new(readers::text(&path(0)?, &limits).map_err(unreadable)?),
        IngestFormat::Html | IngestFormat::Docx | IngestFormat::Pdf => {
            let text = std::fs::read(extracted(directory)).map_err(ApiError::internal)?;
            let document: Document = serde_json::from_slice(&text).map_err(ApiError::internal)?;
            Box::new(readers::document(&path(0)?, document, &limits).map_err(unreadable)?)
        }
        IngestFormat::Dictd => {
            let (mut index, mut dictionary) = (path(0)?, path(1)?);
            if index.extension().is_none_or(|extension| extension != "index") {
                std::mem::swap(&mut index, &mut dictionary);
            }
            Box::new(readers::dictd(&index, &dictionary, &limits).map_err(unreadable)?)
        }
    };
    Ok(match place_of_row(spec) {
        Some((file, unit)) => Box::new(drafts.map(move |draft| draft.map(|draft| placed(draft, &file, unit)))),
        None => drafts,
    })
}

/// The file whose lines or rows are datapoints, and what they are called; none where passages say themselves where they stand.
fn place_of_row(spec: &IngestSpec) -> Option<(String, &'static str)> {
    let unit = match spec.query.format {
        IngestFormat::Jsonl | IngestFormat::Csv | IngestFormat::Dictd => "line",
        IngestFormat::Parquet => "row",
        IngestFormat::Markdown | IngestFormat::Text | IngestFormat::Html | IngestFormat::Docx | IngestFormat::Pdf => {
            return None;
        }
    };
    // Of a dictionary the lines are those of its index.
    let of_index = spec.files.iter().find(|file| file.ends_with(".index"));
    Some((of_index.or(spec.files.first())?.clone(), unit))
}

/// Says in its metadata where a row stands in its file, unless it says something under these names itself.
fn placed(mut draft: Draft, file: &str, unit: &str) -> Draft {
    let place = [("file", serde_json::Value::from(file)), (unit, serde_json::Value::from(draft.line))];
    if place.iter().all(|(key, _)| !draft.metadata.contains_key(*key)) {
        draft.metadata.extend(place.map(|(key, value)| (key.to_owned(), value)));
    }
    draft
}

/// What an ingest assumes, where it stages, how it is stopped and followed.
pub(crate) fn options(
    spec: &IngestSpec,
    directory: &Path,
    cancel: CancellationToken,
    progress: impl Fn(&str, u64, u64) + Send + Sync + 'static,
) -> IngestOptions {
    let query = &spec.query;
    let licence = query.licence.clone().or_else(|| (!spec.licence.is_empty()).then(|| spec.licence.clone()));
    IngestOptions {
        keep_good: spec.query.keep_good,
        near_duplicates: match query.near_duplicates {
            NearDuplicates::Ignore => cairn_index::NearDuplicates::Ignore,
            NearDuplicates::Report => cairn_index::NearDuplicates::Report,
            NearDuplicates::Refuse => cairn_index::NearDuplicates::Refuse,
        },
        staging_dir: directory.join("staging"),
        defaults: IngestDefaults {
            contributor: query.contributor.clone(),
            contributed_at: Some(spec.contributed_at.clone()),
            source: query.source.clone(),
            licence,
        },
        cancel,
        progress: Some(Arc::new(move |step| {
            let stage = match step.stage {
                IngestStage::Reading => "reading",
                IngestStage::Comparing => "comparing",
                IngestStage::Embedding => "embedding",
                IngestStage::Writing => "writing",
                IngestStage::Indexing => "indexing",
            };
            progress(stage, step.done, step.total);
        })),
    }
}

/// What adding a file would do; nothing is written.
pub(crate) async fn examine(state: &AppState, spec: &IngestSpec, directory: &Path) -> Result<Examination, ApiError> {
    let name = spec.datanet.parse().map_err(crate::convert::index_error)?;
    let options = options(spec, directory, CancellationToken::new(), |_, _, _| {});
    let drafts = drafts(spec, directory).await;
    let (of_table, at) = (spec.clone(), directory.to_owned());
    let columns =
        tokio::task::spawn_blocking(move || columns_there(&of_table, &at)).await.map_err(ApiError::internal)?;
    let drafts = match (drafts, columns.as_ref()) {
        (Ok(drafts), _) => drafts,
        // A table whose columns are not understood yet: what they are is what the caller needs.
        (Err(error), Ok(columns)) if !columns.is_empty() => {
            let rejected = vec![Rejection { line: 1, reason: error.message }];
            return Ok(Examination { rejected, rejected_total: 1, columns: columns.clone(), ..Examination::default() });
        }
        (Err(error), _) => return Err(error),
    };
    let columns = columns.map_err(ApiError::internal)?;
    let index = state.index.clone();
    let examined = state.runtime.spawn(async move { index.examine(&name, drafts, options).await });
    let examined = examined.await.map_err(ApiError::internal)?.map_err(crate::convert::index_error)?;
    let rejection = |it: cairn_index::Rejection| Rejection { line: it.line, reason: it.reason };
    let near = |it: cairn_index::NearDuplicate| NearDuplicate {
        line: it.line,
        id: it.id,
        of: it.of,
        similarity: it.similarity,
    };
    let sample =
        |it: cairn_index::Sample| Sample { id: it.id, text: it.text, contributor: it.contributor, licence: it.licence };
    Ok(Examination {
        read: examined.read,
        new: examined.new,
        duplicates: examined.duplicates,
        rejected: examined.rejected.into_iter().map(rejection).collect(),
        rejected_total: examined.rejected_total,
        near_duplicates: examined.near_duplicates.into_iter().map(near).collect(),
        near_duplicates_total: examined.near_duplicates_total,
        columns,
        first: examined.first.into_iter().map(sample).collect(),
    })
}

/// The columns of a table: of CSV all, of others those of the first rows.
fn columns_there(spec: &IngestSpec, directory: &Path) -> anyhow::Result<Vec<String>> {
    let Some(file) = spec.files.first().map(|file| directory.join(file)) else { return Ok(Vec::new()) };
    let rows = match spec.query.format {
        IngestFormat::Csv => {
            let mut reader = csv::Reader::from_path(file)?;
            let names = reader.headers()?.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned());
            return Ok(names.collect());
        }
        IngestFormat::Parquet => extracted(directory),
        _ => return Ok(Vec::new()),
    };
    let mut columns = Vec::new();
    for line in BufReader::new(std::fs::File::open(rows)?).lines().take(100) {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line?)?;
        columns.extend(row.into_iter().map(|(name, _)| name));
    }
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}

/// The format's name, for messages and the command line.
pub(crate) fn format_name(format: IngestFormat) -> &'static str {
    match format {
        IngestFormat::Jsonl => "jsonl",
        IngestFormat::Csv => "csv",
        IngestFormat::Markdown => "markdown",
        IngestFormat::Text => "text",
        IngestFormat::Dictd => "dictd",
        IngestFormat::Parquet => "parquet",
        IngestFormat::Html => "html",
        IngestFormat::Docx => "docx",
        IngestFormat::Pdf => "pdf",
    }
}

/// What `cairn extract` takes a file for; none: the format is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extracted {
    Document(Format),
    Parquet,
}

impl Extracted {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "html" => Self::Document(Format::Html),
            "docx" => Self::Document(Format::Docx),
            "pdf" => Self::Document(Format::Pdf),
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }
}

fn extracted_format(format: IngestFormat) -> Option<&'static str> {
    Some(format_name(format)).filter(|name| Extracted::named(name).is_some())
}

/// Where the text or the rows taken out of a job's file are. Uploads cannot have a name that begins with a dot.
fn extracted(directory: &Path) -> PathBuf {
    directory.join(".extracted")
}

/// Runs `cairn extract` on a job's file, unless that was done before a restart.
async fn extract(format: &str, spec: &IngestSpec, directory: &Path) -> Result<(), ApiError> {
    let to = extracted(directory);
    if tokio::fs::try_exists(&to).await.map_err(ApiError::internal)? {
        return Ok(());
    }
    let Some(file) = spec.files.first() else {
        return Err(ApiError::internal("a job has no file"));
    };
    let child = tokio::process::Command::new(std::env::current_exe().map_err(ApiError::internal)?)
        .arg("extract")
        .arg(format)
        .arg(directory.join(file))
        .arg(&to)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(ApiError::internal)?;
    let said = match tokio::time::timeout(EXTRACTION, child.wait_with_output()).await {
        Ok(ended) => ended.map_err(ApiError::internal)?,
        Err(_) => {
            let message = format!(
                "{file} could not be read within {} seconds; split it, or save it in a simpler form",
                EXTRACTION.as_secs()
            );
            return Err(ApiError::invalid("file", message));
        }
    };
    if said.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&said.stderr);
    // What it knows it says in one line; anything else is the end of a parser that met what it did not expect.
    let message = match reason.lines().find_map(|line| line.strip_prefix("error: ")) {
        Some(reason) if said.status.code() == Some(2) => format!("{file}: {reason}"),
        _ => {
            tracing::warn!(%reason, status = %said.status, "a file could not be extracted");
            format!("{file} is damaged, or needs more memory or time than a file may take; save it anew, or split it")
        }
    };
    Err(ApiError::invalid("file", message))
}

fn columns(spec: &IngestSpec) -> Result<readers::Columns, ApiError> {
    let text = spec.query.columns.as_deref().unwrap_or_default();
    text.parse().map_err(|reason: String| ApiError::invalid("columns", reason))
}

fn limits(spec: &IngestSpec) -> Result<readers::ReadLimits, ApiError> {
    let mut limits = readers::ReadLimits::default();
    if let Some(characters) = spec.query.passage_characters {
        if !(100..=4000).contains(&characters) {
            return Err(ApiError::invalid("passage_characters", format!("is {characters}; give 100 to 4000")));
        }
        limits.passage_chars = characters;
    }
    if let Some(overlap) = spec.query.passage_overlap {
        let most = limits.passage_chars / 2;
        if overlap > most {
            return Err(ApiError::invalid(
                "passage_overlap",
                format!("is {overlap}; give at most half a passage, {most}"),
            ));
        }
        limits.passage_overlap = overlap;
    }
    Ok(limits)
}

/// How long an extraction may take: a 1,000-page PDF takes some ten seconds.
const EXTRACTION: Duration = Duration::from_secs(120);
