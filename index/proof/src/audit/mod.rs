//! Auditing a log from outside: every tile, every entry and the signature, from what the log serves.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use cairn_proof::audit::{LocalLog, audit};
//! use cairn_proof::{SignedCheckpoint, VerifyingKey};
//! let key = VerifyingKey::load("cairn.pub".as_ref())?;
//! let report = audit(&LocalLog("log".into()), &|text| SignedCheckpoint::open(text, &key), None)?;
//! print!("{}", report.to_text());
//! # Ok(()) }
//! ```
//!
//! Unlike [`crate::log::check`], which the log's owner runs on its own files, an audit needs only what is public, keeps
//! just a few tiles in memory (and grants, for [`crate::access::AccessAudit`], and changes of adapters, for
//! [`AdapterAudit`]), goes on after a fault and says which file is at fault. [`crate::monitor`] is the cheap
//! sister for every minute: it looks at the checkpoint alone and proves that it goes on from the last one.

mod fetch;
mod walk;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::adapters::AdapterAudit;
use crate::checkpoint::SignedCheckpoint;
use crate::error::Error;
use crate::hash::Hash;
use crate::merkle::verify_consistency;
use fetch::NoTile;
use walk::Walk;

pub(crate) use fetch::Tiles;
pub use fetch::{Fetch, LocalLog};

/// How an auditor believes a checkpoint: reads its text and checks its signature, with the key or keys it trusts.
pub type Open<'a> = &'a dyn Fn(&str) -> Result<SignedCheckpoint, Error>;

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct AuditReport {
    /// Name of the log.
    pub origin: String,
    /// Entries under the checkpoint.
    pub size: u64,
    /// Root hash that was signed.
    pub root: Hash,
    /// Entries by their type.
    pub entries: BTreeMap<String, u64>,
    /// Hash tiles compared.
    pub tiles: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How the log stands to the earlier checkpoint, if one was given.
    pub earlier: Option<Relation>,
    /// What is wrong, by the first entry it touches.
    pub faults: Vec<Fault>,
    /// What aliases of adapters meant, as the entries say.
    #[serde(skip)]
    pub adapters: AdapterAudit,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// The first entry it touches.
    pub position: u64,
    /// The file.
    pub path: String,
    /// In words.
    pub problem: String,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It is not there.
    Missing,
    /// It is not what was signed.
    Changed,
    /// It contradicts another file, and which of them is right cannot be told.
    Unclear,
    /// An entry is as it was logged, but no entry of a Cairn log, or contradicts itself.
    Entry,
    /// The entries do not lead to the root that was signed.
    Root,
    /// Entries are as they were logged, but an answer cites a grant that did not hold, or terms have a gap.
    Access,
    /// Entries are as they were logged, but contradict one another about an adapter, or an answer names another generation
    /// than its alias meant.
    Adapter,
}

/// How a log's checkpoint stands to an earlier one of the same log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "relation", rename_all = "snake_case")]
pub enum Relation {
    /// It is the same.
    Same {
        /// Entries in both.
        size: u64,
    },
    /// It has more entries, and those of the earlier one unchanged.
    Grew {
        /// Entries in the earlier one.
        from: u64,
        /// Entries now.
        to: u64,
    },
    /// It has fewer entries: an older checkpoint is served, as after a backup was restored.
    Rollback {
        /// Entries in the earlier one.
        from: u64,
        /// Entries now.
        to: u64,
    },
    /// The log signed two histories: at this size the earlier root was signed, and now another.
    Fork {
        /// Entries in the earlier checkpoint.
        size: u64,
        /// Its root.
        seen: Hash,
        /// The root that the log now has at this size.
        now: Hash,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file could not be read, so nothing is known of it.
    #[error("{path}: {source}")]
    Fetch {
        /// Path within the log.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// There is no checkpoint.
    #[error("the log has no checkpoint")]
    NoCheckpoint,

    /// The checkpoint is malformed or not signed by a trusted key.
    #[error("checkpoint: {0}")]
    Checkpoint(#[source] Error),

    /// The checkpoint may go on from the earlier one, but the tiles do not prove it.
    #[error("the log's tiles do not prove that size {to} goes on from size {from}: {problem}")]
    Unproven {
        /// Entries in the earlier checkpoint.
        from: u64,
        /// Entries now.
        to: u64,
        /// What is wrong with them.
        problem: String,
    },
}

/// Reads the whole log and checks it. With `earlier`, a checkpoint seen before, also that the log goes on from it.
///
/// Reads as much as the log holds, in order, and keeps only the open tile of each level, and the grants: the memory needed
/// does not grow with the answers in the log. Faults are in the report; an error means that there is nothing to report on.
pub fn audit(fetch: &dyn Fetch, open: Open<'_>, earlier: Option<&SignedCheckpoint>) -> Result<AuditReport, AuditError> {
    let signed = checkpoint(fetch, open)?;
    let mut tiles = Tiles::new(fetch, signed.size());
    let Walk { mut faults, types, tiles: count, bytes, adapters, .. } =
        Walk::run(&mut tiles, signed.size(), signed.root())?;
    faults.sort_by_key(|fault| fault.position);
    let earlier = match earlier.map(|earlier| relation(fetch, earlier, &signed)) {
        // Tiles that prove nothing are among the faults already.
        Some(Err(AuditError::Unproven { .. })) if !faults.is_empty() => None,
        relation => relation.transpose()?,
    };
    let origin = signed.checkpoint().origin.to_string();
    let (size, root) = (signed.size(), signed.root());
    Ok(AuditReport { origin, size, root, entries: types, tiles: count, bytes, earlier, faults, adapters })
}

/// Reads the log's checkpoint and believes it or not.
pub(crate) fn checkpoint(fetch: &dyn Fetch, open: Open<'_>) -> Result<SignedCheckpoint, AuditError> {
    let path = "checkpoint".to_owned();
    let bytes = fetch.fetch(&path).map_err(|source| AuditError::Fetch { path, source })?;
    let text = String::from_utf8(bytes.ok_or(AuditError::NoCheckpoint)?);
    let text = text.map_err(|_| AuditError::Checkpoint(Error::MalformedCheckpoint("it is not UTF-8")))?;
    open(&text).map_err(AuditError::Checkpoint)
}

/// How `now` stands to `earlier`, both of which are believed. Reads a few tiles when the log has grown.
pub(crate) fn relation(
    fetch: &dyn Fetch,
    earlier: &SignedCheckpoint,
    now: &SignedCheckpoint,
) -> Result<Relation, AuditError> {
    let (from, to) = (earlier.size(), now.size());
    if to < from {
        return Ok(Relation::Rollback { from, to });
    }
    if to == from {
        let (seen, now) = (earlier.root(), now.root());
        return Ok(if seen == now { Relation::Same { size: from } } else { Relation::Fork { size: from, seen, now } });
    }
    let unproven = |problem: String| AuditError::Unproven { from, to, problem };
    let (root, proof) = Tiles::new(fetch, to).consistency(from).map_err(|why| match why {
        NoTile::Trouble(trouble) => trouble,
        NoTile::Missing => unproven("a tile is missing or too short".to_owned()),
        NoTile::Malformed(problem) => unproven(problem),
    })?;
    // First that the new checkpoint's log has this root at the old size, then that it is the root seen there: so damage
    // to the tiles is not taken for a fork, which is a grave charge.
    verify_consistency(from, &root, to, &now.root(), &proof).map_err(|error| unproven(error.to_string()))?;
    let seen = earlier.root();
    Ok(if root == seen { Relation::Grew { from, to } } else { Relation::Fork { size: from, seen, now: root } })
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.earlier.as_ref().is_none_or(Relation::is_sound)
    }

    /// The first entry that something is wrong with.
    pub fn first_fault(&self) -> Option<&Fault> {
        self.faults.first()
    }

    /// 0 when nothing is wrong, 1 when something is.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_sound())
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::from(if self.is_sound() { "SOUND\n\n" } else { "NOT SOUND\n\n" });
        let AuditReport { origin, size, root, tiles, bytes, .. } = self;
        let _ = writeln!(text, "  The log {origin} signed a checkpoint over {size} entries, root {root}.");
        let _ = writeln!(text, "  Read {bytes} bytes: every entry, and {tiles} tiles of hashes.");
        for (kind, count) in &self.entries {
            let _ = writeln!(text, "  {count:>9}  {}", kind.escape_debug());
        }
        if let Some(earlier) = &self.earlier {
            let _ = writeln!(text, "  {}", earlier.to_text());
        }
        for fault in self.faults.iter().take(MOST_SHOWN) {
            let _ =
                writeln!(text, "\n  From entry {}: {}: {}", fault.position, fault.path, fault.problem.escape_debug());
        }
        if self.faults.len() > MOST_SHOWN {
            let _ = writeln!(text, "\n  … and {} more.", self.faults.len() - MOST_SHOWN);
        }
        text
    }

    /// For programs: the report, and `verdict`, which is `sound` or `not_sound`.
    pub fn to_json(&self) -> Value {
        let verdict = if self.is_sound() { "sound" } else { "not_sound" };
        serde_json::json!({"verdict": verdict, "first_fault": self.first_fault(), "report": self})
    }
}

impl AuditError {
    /// 1 when the log is to blame, 2 when nothing is known.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, AuditError::Fetch { .. }) { 2 } else { 1 }
    }
}

impl Relation {
    /// Whether an honest log can stand so.
    pub fn is_sound(&self) -> bool {
        matches!(self, Relation::Same { .. } | Relation::Grew { .. })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        match self {
            Relation::Same { size } => format!("It is the checkpoint seen before, at size {size}."),
            Relation::Grew { from, to } => {
                format!("It grew from {from} to {to} entries, and the first {from} are those seen before.")
            }
            Relation::Rollback { from, to } => format!(
                "ROLLBACK: it was at size {from} before and is now at {to}. An old copy is served, or a backup was restored."
            ),
            Relation::Fork { size, seen, now } => format!(
                "FORK: at size {size} the log signed root {seen} before, and now {now}. It has shown two histories; keep \
                 both checkpoints, they are the evidence."
            ),
        }
    }
}

/// Faults printed for people; programs get all of them.
const MOST_SHOWN: usize = 20;
