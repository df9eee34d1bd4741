//! Following a log: each look at its checkpoint proves that it goes on from the last one seen, or raises an alarm.
//!
//! The last checkpoint is kept in a file, replaced atomically, and only ever by one that goes on from it. After a
//! rollback or fork the file stays as it was, so the alarm repeats until a person has looked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::audit::{AuditError, Fetch, Open, Relation, checkpoint, relation};
use crate::checkpoint::SignedCheckpoint;
use crate::error::Error;
use crate::log::{Directory, Storage as _};

/// What a look at a log showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing was seen before: this checkpoint is the first to be remembered.
    First {
        /// The checkpoint.
        now: SignedCheckpoint,
    },
    /// It is the same as before.
    Consistent {
        /// The checkpoint.
        now: SignedCheckpoint,
    },
    /// It has grown, and all that was there before is there unchanged.
    Grew {
        /// Entries before.
        from: u64,
        /// The checkpoint.
        now: SignedCheckpoint,
    },
    /// It is shorter than before. An alarm.
    Rollback {
        /// The checkpoint seen before.
        before: SignedCheckpoint,
        /// The checkpoint served now.
        now: SignedCheckpoint,
    },
    /// It has signed two histories. An alarm: the two checkpoints are the evidence.
    Fork {
        /// The checkpoint seen before.
        before: SignedCheckpoint,
        /// The checkpoint served now.
        now: SignedCheckpoint,
    },
}

/// Why a look showed nothing.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The log could not be read or does not hold together.
    #[error(transparent)]
    Log(#[from] AuditError),

    /// The file with the last checkpoint cannot be read or written, or is none.
    #[error("{path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
}

/// Looks at a log, compares with the checkpoint in the file `state`, and keeps the new one there if all is well.
///
/// A `state` that is absent means that nothing was seen yet. One that cannot be believed is an error and not a fresh
/// start: somebody may want it forgotten.
pub fn look(fetch: &dyn Fetch, open: Open<'_>, state: &Path) -> Result<Sighting, MonitorError> {
    let at = |source| MonitorError::State { path: state.to_owned(), source };
    let before = match fs::read_to_string(state) {
        Ok(text) => Some(open(&text).map_err(at)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(at(Error::Io { path: state.to_owned(), source })),
    };
    let now = checkpoint(fetch, open)?;
    let Some(before) = before else {
        keep(state, &now).map_err(at)?;
        return Ok(Sighting::First { now });
    };
    Ok(match relation(fetch, &before, &now)? {
        Relation::Same { .. } => Sighting::Consistent { now },
        Relation::Grew { from, .. } => {
            keep(state, &now).map_err(at)?;
            Sighting::Grew { from, now }
        }
        Relation::Rollback { .. } => Sighting::Rollback { before, now },
        Relation::Fork { .. } => Sighting::Fork { before, now },
    })
}

/// Replaces the file durably and atomically.
fn keep(state: &Path, checkpoint: &SignedCheckpoint) -> Result<(), Error> {
    let invalid = || Error::Io { path: state.to_owned(), source: io::Error::from(io::ErrorKind::InvalidInput) };
    let name = state.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
    Directory::shared(state.parent().unwrap_or(Path::new(""))).write(name, checkpoint.to_string().as_bytes())
}

impl Sighting {
    /// Whether a person must look.
    pub fn is_alarm(&self) -> bool {
        matches!(self, Sighting::Rollback { .. } | Sighting::Fork { .. })
    }

    /// The checkpoint that the log serves now.
    pub fn now(&self) -> &SignedCheckpoint {
        match self {
            Sighting::First { now }
            | Sighting::Consistent { now }
            | Sighting::Grew { now, .. }
            | Sighting::Rollback { now, .. }
            | Sighting::Fork { now, .. } => now,
        }
    }

    /// 0 when all is well, 1 on an alarm.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.is_alarm())
    }

    /// For people. An alarm shows both checkpoints in full.
    pub fn to_text(&self) -> String {
        let size = self.now().size();
        let origin = &self.now().checkpoint().origin;
        let evidence = |before: &SignedCheckpoint| format!("Seen before:\n\n{before}\nServed now:\n\n{}", self.now());
        match self {
            Sighting::First { .. } => format!("{origin}: first seen at size {size}; remembered.\n"),
            Sighting::Consistent { .. } => format!("{origin}: unchanged at size {size}.\n"),
            Sighting::Grew { from, .. } => {
                format!("{origin}: grew from {from} to {size} entries; the first {from} are unchanged.\n")
            }
            Sighting::Rollback { before, .. } => format!(
                "ALARM: {origin} went back from size {} to {size}. An old copy is served, or a backup was restored and \
                 the log may fork.\n\n{}",
                before.size(),
                evidence(before)
            ),
            Sighting::Fork { before, .. } => format!(
                "ALARM: {origin} signed two histories. The checkpoint at size {size} does not go on from the one at size \
                 {}. Keep both: together they prove it.\n\n{}",
                before.size(),
                evidence(before)
            ),
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let (name, before) = match self {
            Sighting::First { .. } => ("first", None),
            Sighting::Consistent { .. } => ("consistent", None),
            Sighting::Grew { from, .. } => ("grew", Some(json!({"size": from}))),
            Sighting::Rollback { before, .. } => ("rollback", Some(json!(Seen::of(before)))),
            Sighting::Fork { before, .. } => ("fork", Some(json!(Seen::of(before)))),
        };
        json!({"sighting": name, "alarm": self.is_alarm(), "before": before, "now": Seen::of(self.now())})
    }
}

/// A checkpoint in JSON.
#[derive(Serialize)]
struct Seen {
    size: u64,
    root: String,
    checkpoint: String,
}

impl Seen {
    fn of(signed: &SignedCheckpoint) -> Seen {
        Seen { size: signed.size(), root: signed.root().to_string(), checkpoint: signed.to_string() }
    }
}
