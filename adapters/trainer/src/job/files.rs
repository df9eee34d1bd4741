//! The files of a job's directory: written whole or appended, durable before they count.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::JobError;

/// How serious an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Info,
    /// Worth a look.
    Warn,
    /// The end.
    Error,
}

/// Something that happened in a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When: seconds since 1970.
    pub at: i64,
    /// How serious.
    pub level: Level,
    /// In words.
    pub message: String,
    /// Figures; of a step those of [`crate::StepReport`]. Null where there are none.
    #[serde(default)]
    pub data: Value,
}

/// Reads a JSON file.
///
/// # Errors
/// It cannot be read, or is not what it should be.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, JobError> {
    let bytes = fs::read(path).map_err(|error| failed(path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(path, error))
}

/// Writes a JSON file so that it is there whole or not at all, whenever the machine stops.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), JobError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| failed(path, error))?;
    replace(path, &bytes)
}

/// As [`write`], for bytes.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), JobError> {
    let whole = || -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()
    };
    whole().map_err(|error| failed(path, error))
}

/// Writes values as lines, whole or not at all.
pub(super) fn lines(path: &Path, values: &[impl Serialize]) -> Result<(), JobError> {
    let mut bytes = Vec::new();
    for value in values {
        serde_json::to_writer(&mut bytes, value).map_err(|error| failed(path, error))?;
        bytes.push(b'\n');
    }
    replace(path, &bytes)
}

/// Appends an entry to a job's events, for whoever is not the job.
///
/// # Errors
/// It cannot be written.
pub fn append(dir: &Path, entry: &Entry) -> Result<(), JobError> {
    let path = dir.join(EVENTS);
    let mut line = serde_json::to_vec(entry).map_err(|error| failed(&path, error))?;
    line.push(b'\n');
    let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| failed(&path, error))?;
    file.write_all(&line).map_err(|error| failed(&path, error))
}

/// The entries from byte `from` on, and where the next ones will begin. A line that is not complete yet is left for later.
///
/// # Errors
/// The file cannot be read.
pub fn events(dir: &Path, from: u64) -> Result<(Vec<Entry>, u64), JobError> {
    let path = dir.join(EVENTS);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), from)),
        Err(error) => return Err(failed(&path, error)),
    };
    let mut reader = BufReader::new(file);
    io::Seek::seek(&mut reader, io::SeekFrom::Start(from)).map_err(|error| failed(&path, error))?;
    let (mut entries, mut at, mut line) = (Vec::new(), from, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| failed(&path, error))?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((entries, at));
        }
        at += read as u64;
        // What a power cut left of a line is skipped.
        entries.extend(serde_json::from_slice::<Entry>(&line));
    }
}

/// The events as they are written.
pub(super) struct Log<'a> {
    dir: &'a Path,
    on: &'a mut dyn FnMut(&Entry),
}

impl<'a> Log<'a> {
    pub(super) fn open(dir: &'a Path, on: &'a mut dyn FnMut(&Entry)) -> Result<Self, JobError> {
        // A line that a kill cut off must not swallow the next one.
        let path = dir.join(EVENTS);
        if let Ok(bytes) = fs::read(&path)
            && bytes.last().is_some_and(|last| *last != b'\n')
        {
            let mut file = OpenOptions::new().append(true).open(&path).map_err(|error| failed(&path, error))?;
            file.write_all(b"\n").map_err(|error| failed(&path, error))?;
        }
        Ok(Self { dir, on })
    }

    pub(super) fn write(&mut self, level: Level, message: String, data: Value) -> Result<(), JobError> {
        let entry = Entry { at: chrono::Utc::now().timestamp(), level, message, data };
        append(self.dir, &entry)?;
        (self.on)(&entry);
        Ok(())
    }
}

const EVENTS: &str = "events.jsonl";

pub(super) fn failed(path: &Path, reason: impl std::fmt::Display) -> JobError {
    JobError::File { path: path.to_owned(), reason: reason.to_string() }
}
