//! [`Outcome`]: how a job ended. It can be written on a full disk, in a place that was kept for it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    JobError,
    files::{failed, read, replace, write},
};
use crate::End;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How; none where it failed.
    pub end: Option<End>,
    /// Why it failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Tokens that were trained on.
    pub tokens: u64,
    /// Whether there is an adapter.
    pub adapter: bool,
}

impl Outcome {
    /// Of a job that ended, or was stopped, without an adapter.
    #[must_use]
    pub fn stopped(end: End) -> Self {
        Self { end: Some(end), error: None, tokens: 0, adapter: false }
    }

    pub(super) fn failed(error: &str) -> Self {
        let error: String = error.chars().take(LONGEST).collect();
        Self { end: None, error: Some(error), tokens: 0, adapter: false }
    }

    /// Reads a job's outcome; none where it has not ended.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Self>, JobError> {
        let path = dir.join(OUTCOME);
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// Writes it to a job's directory, into [`reserve`]'s place where there is no other.
    pub(super) fn write(&self, dir: &Path) -> Result<(), JobError> {
        let (path, kept) = (dir.join(OUTCOME), dir.join(RESERVED));
        let Err(error) = write(&path, self) else {
            let _ = fs::remove_file(kept);
            return Ok(());
        };
        let in_place = || -> io::Result<()> {
            let bytes = serde_json::to_vec(self)?;
            let mut file = OpenOptions::new().write(true).open(&kept)?;
            file.write_all(&bytes)?;
            file.set_len(bytes.len() as u64)?;
            file.sync_all()?;
            fs::rename(&kept, &path)?;
            File::open(dir)?.sync_all()
        };
        in_place().map_err(|_| error)
    }
}

/// Keeps room in a job's directory for how it will end: a full disk must not keep the reason from being told.
///
/// # Errors
/// There is no room.
pub fn reserve(dir: &Path) -> Result<(), JobError> {
    let path = dir.join(RESERVED);
    match fs::metadata(&path) {
        Ok(there) if there.len() >= ROOM as u64 => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
        _ => replace(&path, &[b' '; ROOM]),
    }
}

/// Forgets how a job ended, before it goes on.
pub(super) fn forget(dir: &Path) {
    let _ = fs::remove_file(dir.join(OUTCOME));
}

const OUTCOME: &str = "outcome.json";
const RESERVED: &str = "outcome.reserved";
/// Bytes that are kept.
const ROOM: usize = 16 << 10;
/// Characters of a reason: escaped, they fit.
const LONGEST: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_into_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        reserve(dir.path()).unwrap();
        let outcome = Outcome::failed(&"\u{1}".repeat(3000));
        assert!(serde_json::to_vec(&outcome).unwrap().len() < ROOM);
        outcome.write(dir.path()).unwrap();
        assert_eq!(Outcome::read(dir.path()).unwrap(), Some(outcome));
        assert!(!dir.path().join(RESERVED).exists());
        forget(dir.path());
        assert_eq!(Outcome::read(dir.path()).unwrap(), None);
    }
}
