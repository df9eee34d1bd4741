//! The files of a job's directory: written whole or appended, durable before they count.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, Write},
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
    reader.seek(io::SeekFrom::Start(from)).map_err(|error| failed(&path, error))?;
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

/// The last entry that `wanted` wants, looked for from the end.
///
/// # Errors
/// The file cannot be read.
pub fn last_event(dir: &Path, wanted: impl Fn(&Entry) -> bool) -> Result<Option<Entry>, JobError> {
    let path = dir.join(EVENTS);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, error)),
    };
    let mut search = || -> io::Result<Option<Entry>> {
        let (mut at, mut tail) = (file.seek(io::SeekFrom::End(0))?, Vec::new());
        while at > 0 {
            let part = at.min(PART);
            at -= part;
            file.seek(io::SeekFrom::Start(at))?;
            let mut bytes = vec![0; part as usize];
            file.read_exact(&mut bytes)?;
            bytes.append(&mut tail);
            // What is before the first line break may begin further ahead.
            let whole = if at == 0 {
                0
            } else {
                bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1)
            };
            let lines = bytes[whole..].split(|byte| *byte == b'\n').rev();
            if let Some(entry) = lines.filter_map(|line| serde_json::from_slice::<Entry>(line).ok()).find(&wanted) {
                return Ok(Some(entry));
            }
            bytes.truncate(whole);
            tail = bytes;
        }
        Ok(None)
    };
    search().map_err(|error| failed(&path, error))
}

/// Bytes that are read at once from the end.
const PART: u64 = 16 << 10;

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
        let written = append(self.dir, &entry);
        (self.on)(&entry);
        written
    }

    /// As [`Self::write`], where the job ends anyway, whether or not there is room to say so.
    pub(super) fn last(&mut self, level: Level, message: String) {
        let _ = self.write(level, message, Value::Null);
    }
}

const EVENTS: &str = "events.jsonl";

pub(super) fn failed(path: &Path, source: impl Into<io::Error>) -> JobError {
    JobError::File { path: path.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_entry_is_found_from_the_end() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_event(dir.path(), |_| true).unwrap(), None);
        for at in 0..2000 {
            let data = json!({"event": if at == 3 || at == 700 { "step" } else { "other" }});
            append(dir.path(), &Entry { at, level: Level::Info, message: "x".repeat(at as usize % 50), data }).unwrap();
        }
        let last =
            |wanted: &str| last_event(dir.path(), |entry| entry.data["event"] == wanted).unwrap().map(|it| it.at);
        assert_eq!((last("step"), last("other"), last("none")), (Some(700), Some(1999), None));
        // A line that is being written is no entry yet.
        let mut file = OpenOptions::new().append(true).open(dir.path().join(EVENTS)).unwrap();
        file.write_all(b"{\"at\": 5").unwrap();
        assert_eq!(last("other"), Some(1999));
    }
}
