//! Readers: one file format each, as an iterator of [`Draft`]s.
//!
//! | reader | one datapoint is | metadata |
//! | --- | --- | --- |
//! | [`jsonl`] | a line | what the line says |
//! | [`csv`] | a row | columns that are not known |
//! | [`rows`] | a line, with the columns of any table | columns that are not known |
//! | [`markdown`], [`text`], [`document`] | a passage | `headings`, `file`, `document`, `passage`, `characters`, `page` |
//! | [`dictd`] | an entry | `headword`, `aliases`, `category`, `pronunciation` |
//!
//! A reader reports an unusable datapoint with its line and goes on, so that one run shows everything there is to mend.
//! It never fetches anything and never holds more than [`ReadLimits`] allow. Defaults and the checks common to all
//! formats are the ingest's.

mod columns;
mod csv;
mod dictd;
mod jsonl;
mod prose;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use self::columns::Columns;
pub use self::csv::{Csv, csv};
pub use self::dictd::{Dictd, DictionaryInfo, dictd};
pub use self::jsonl::{Jsonl, jsonl, rows};
pub use self::prose::{Prose, document, markdown, text};
use crate::Draft;

/// What an ingest reads from.
pub type Drafts = Box<dyn Iterator<Item = Result<Draft, ReadError>> + Send>;

/// How much a reader takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLimits {
    /// Most bytes of one datapoint's text.
    pub datapoint_bytes: usize,
    /// Most bytes of a file that is read as a whole (Markdown, text, dictd), after unpacking.
    pub file_bytes: u64,
    /// Most characters of a passage cut from Markdown or text. 900 are about 200 tokens, and 256 are embedded.
    pub passage_chars: usize,
    /// Most characters that a passage repeats of the one before it; 0: none, so that every word is cited from one place.
    pub passage_overlap: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { datapoint_bytes: 256 * 1024, file_bytes: 1 << 30, passage_chars: 900, passage_overlap: 0 }
    }
}

/// Why a file, or one datapoint of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Reading broke off.
    #[error("{path}, line {line}: reading failed: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than allowed.
    #[error("{path} is larger than {most} bytes: split it")]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: u64,
    },
    /// One datapoint is larger than allowed.
    #[error("{path}, line {line}: the datapoint is larger than {most} bytes: split it")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// The limit.
        most: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("{path}, line {line}: not UTF-8 after {byte} bytes: convert the file, for instance with iconv -t UTF-8")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// Valid bytes before the first invalid one, counted from the start of the line or entry.
        byte: usize,
    },
    /// A line that is not the JSON it should be.
    #[error("{path}, line {line}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A row that is not the CSV it should be.
    #[error("{path}, line {line}: {source}")]
    Csv {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// What is wrong with it.
        source: ::csv::Error,
    },
    /// Anything else that the format does not allow.
    #[error("{path}, line {line}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// What is wrong and how to mend it.
        reason: String,
    },
}

impl ReadError {
    /// The line that it is about, from 1; none if it is about the file.
    pub fn line(&self) -> Option<u64> {
        match self {
            Self::Open { .. } | Self::FileTooLarge { .. } => None,
            Self::Read { line, .. }
            | Self::TooLarge { line, .. }
            | Self::NotUtf8 { line, .. }
            | Self::Json { line, .. }
            | Self::Csv { line, .. }
            | Self::Malformed { line, .. } => Some(*line),
        }
    }
}

fn open(path: &Path) -> Result<File, ReadError> {
    File::open(path).map_err(|source| ReadError::Open { path: path.to_owned(), source })
}

/// All of a stream, unless it is longer than `most` bytes: a small file may unpack to a huge one.
fn read_whole(reader: impl Read, path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let read = reader.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|source| ReadError::Read { path: path.to_owned(), line: 1, source })?;
    if bytes.len() as u64 > most {
        return Err(ReadError::FileTooLarge { path: path.to_owned(), most });
    }
    Ok(bytes)
}
