//! `cairn extract`: takes text or rows out of a file, within limits on memory and time. The gateway runs it on uploads.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, bail};
use cairn_documents::{Document, parquet_rows};
use clap::Args;
use rlimit::Resource;

use crate::ingest::Extracted;

#[derive(Args)]
pub(crate) struct Extract {
    /// html, docx, pdf or parquet
    format: String,
    /// The file
    from: PathBuf,
    /// Where to write the document as JSON, or the rows as JSON lines
    to: PathBuf,
}

pub(crate) fn run(command: &Extract) -> anyhow::Result<ExitCode> {
    Resource::AS.set(MEMORY, MEMORY).context("the limit on memory cannot be set")?;
    Resource::CPU.set(SECONDS, SECONDS).context("the limit on time cannot be set")?;
    Resource::FSIZE.set(OUTPUT, OUTPUT).context("the limit on files cannot be set")?;
    let Some(format) = Extracted::named(&command.format) else {
        bail!("{:?} is no format to extract from; there are html, docx, pdf and parquet", command.format);
    };
    let directory = command.to.parent().context("there is nowhere to write to")?;
    let mut out = tempfile::NamedTempFile::new_in(directory)?;
    match format {
        Extracted::Document(format) => {
            let document = Document::read(format, &std::fs::read(&command.from)?)?;
            let mut writer = BufWriter::new(&mut out);
            serde_json::to_writer(&mut writer, &document)?;
            writer.flush()?;
        }
        Extracted::Parquet => {
            let mut writer = BufWriter::new(&mut out);
            parquet_rows(File::open(&command.from)?, &mut writer)?;
            writer.flush()?;
        }
    }
    out.persist(&command.to)?;
    Ok(ExitCode::SUCCESS)
}

/// Address space, in bytes.
const MEMORY: u64 = 4 << 30;
/// Processor time, in seconds.
const SECONDS: u64 = 120;
/// Longest output, in bytes.
const OUTPUT: u64 = 2 << 30;
