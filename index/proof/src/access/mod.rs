//! Who may use a datanet, and on what terms: the log entries from published terms to the grant that a search cites.
//!
//! ```text
//! terms v1 ← terms v2 ← … ; request → (votes) → decision → grant → revocation
//!      └──────────────────────── named by its leaf hash ───┘
//! ```
//!
//! Terms and grants are public, people are not: whoever asked, decided or was granted stands in an entry as a salted
//! commitment ([`crate::commitment`]) with a field name of [`field`]. The two entries that others build on are here, what
//! happens between them in [`AccessEntry`], what was offered to a datanet in [`ContributionEntry`]; [`AccessAudit`]
//! reads a whole log. The place of a grant in a bundle is [`crate::bundle::GrantProof`]. Deciding is not done here.

mod audit;
mod contribution;
mod event;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical::to_canonical;
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::record::{instant, is_utc, present};

pub use audit::{AccessAudit, AccessFinding};
pub use contribution::{ContributionBy, ContributionEntry, ContributionKind, ContributionOutcome};
pub use event::{AccessDecision, AccessEntry, AccessKind, AccessRequest, Appeal, Outcome, Revocation, Vote};

/// Field names from which the salts of these entries' commitments are derived.
pub mod field {
    /// Whom a grant was given to.
    pub const SUBJECT: &str = "subject";
    /// Who asked.
    pub const REQUESTER: &str = "requester";
    /// The application: purposes, statement, affirmations.
    pub const APPLICATION: &str = "application";
    /// Who published, decided or revoked.
    pub const ACTOR: &str = "actor";
    /// Who voted.
    pub const REVIEWER: &str = "reviewer";
    /// Why something was revoked.
    pub const REASON: &str = "reason";
}

/// A datanet's terms, as published: who may ask for what, and how it is decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsEntry {
    /// Always `cairn/terms/v1`.
    #[serde(rename = "type")]
    pub kind: TermsKind,
    /// The datanet.
    pub datanet: String,
    /// Counts from 1, without a gap, for ever: a datanet made anew under an old name goes on.
    pub version: u64,
    /// The document. Terms are public.
    pub terms: Map<String, Value>,
    /// Leaf hash of the entry of the version before; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Hash>,
    /// Commitment to who published them, field name [`field::ACTOR`].
    pub actor: Hash,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// A right to use a datanet, given to one subject for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantEntry {
    /// Always `cairn/grant/v1`.
    #[serde(rename = "type")]
    pub kind: GrantKind,
    /// Its id.
    pub id: String,
    /// The datanet.
    pub datanet: String,
    /// Commitment to whom it was given to, field name [`field::SUBJECT`].
    pub subject: Hash,
    /// What for: at least one, in the order of their names, none twice.
    pub purposes: Vec<Purpose>,
    /// The filter that a row must pass; `null` for all rows.
    #[serde(deserialize_with = "present")]
    pub rows: Option<String>,
    /// Most retrievals a day; `null` without such a bound.
    #[serde(deserialize_with = "present")]
    pub retrievals_per_day: Option<u64>,
    /// Leaf hash of the [`TermsEntry`] that it was decided by; `null` where none were published.
    #[serde(deserialize_with = "present")]
    pub terms: Option<Hash>,
    /// The request that it answers; `null` where nobody asked.
    #[serde(deserialize_with = "present")]
    pub request: Option<String>,
    /// Who decided; not the requester.
    #[serde(deserialize_with = "granter")]
    pub by: DecidedBy,
    /// From when it holds, RFC 3339 in UTC.
    pub issued: String,
    /// When it ends, itself excluded; `null` where it does not.
    #[serde(deserialize_with = "present")]
    pub expires: Option<String>,
}

/// The type string of a [`TermsEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TermsKind {
    /// `cairn/terms/v1`
    #[default]
    #[serde(rename = "cairn/terms/v1")]
    V1,
}

/// The type string of a [`GrantEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantKind {
    /// `cairn/grant/v1`
    #[default]
    #[serde(rename = "cairn/grant/v1")]
    V1,
}

/// What a datanet is used for. The order is that of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Measuring a model.
    Evaluation,
    /// Searching for an answer.
    Retrieval,
    /// Teaching an adapter.
    Training,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// The published terms, without a person.
    Policy,
    /// Reviewers.
    Review,
    /// The datanet's owner.
    Owner,
    /// Who asked, by taking the request back.
    Requester,
}

impl TermsEntry {
    /// The canonical JSON: the bytes to append to the log. Fails on an entry that contradicts itself.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        to_canonical(self)
    }

    /// The leaf hash in the log's tree, by which grants and the next version name it.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&self.to_bytes()?))
    }

    /// Checks that the parts of the entry fit together.
    pub fn check(&self) -> Result<()> {
        timed("terms", &self.time)?;
        match (self.version, self.previous) {
            (0, _) => wrong("terms", "versions count from 1".to_owned()),
            (1, Some(_)) => wrong("terms", "version 1 has none before it".to_owned()),
            (2.., None) => wrong("terms", format!("version {} must name the one before", self.version)),
            _ => Ok(()),
        }
    }
}

impl GrantEntry {
    /// The canonical JSON: the bytes to append to the log. Fails on an entry that contradicts itself.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        to_canonical(self)
    }

    /// The leaf hash in the log's tree, by which records and revocations name it.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&self.to_bytes()?))
    }

    /// Checks that the parts of the entry fit together.
    pub fn check(&self) -> Result<()> {
        timed("grant", &self.issued)?;
        if self.purposes.is_empty() || !self.purposes.is_sorted_by(|a, b| a < b) {
            return wrong("grant", "its purposes are none, or not in order".to_owned());
        }
        if self.by == DecidedBy::Requester {
            return wrong("grant", SELF_GRANTED.to_owned());
        }
        let Some(expires) = &self.expires else { return Ok(()) };
        timed("grant", expires)?;
        if instant(&self.issued) >= instant(expires) {
            return wrong("grant", format!("it is issued at {} and ends at {expires}", self.issued));
        }
        Ok(())
    }

    /// Why it does not allow this use of this datanet at this time; `None` if it does. Revocations are not looked at.
    pub(crate) fn objection(&self, datanet: &str, purpose: Purpose, time: &str) -> Option<String> {
        let GrantEntry { id, issued, expires, .. } = self;
        if self.datanet != datanet {
            return Some(format!("grant {id} is of {}, not of {datanet}", self.datanet));
        }
        if !self.purposes.contains(&purpose) {
            return Some(format!("grant {id} is not for {}", purpose.name()));
        }
        if instant(time) < instant(issued) {
            return Some(format!("grant {id} was issued at {issued}, and {time} is before that"));
        }
        let ended = expires.as_ref().filter(|expires| instant(time) >= instant(expires));
        ended.map(|expires| format!("grant {id} ended at {expires}, and {time} is not before that"))
    }
}

impl Purpose {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Evaluation => "evaluation",
            Purpose::Retrieval => "retrieval",
            Purpose::Training => "training",
        }
    }
}

impl DecidedBy {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            DecidedBy::Policy => "policy",
            DecidedBy::Review => "review",
            DecidedBy::Owner => "owner",
            DecidedBy::Requester => "requester",
        }
    }
}

/// Nobody grants anything to themselves, so what says so is no grant at all.
fn granter<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<DecidedBy, D::Error> {
    match DecidedBy::deserialize(deserializer)? {
        DecidedBy::Requester => Err(serde::de::Error::custom(SELF_GRANTED)),
        by => Ok(by),
    }
}

const SELF_GRANTED: &str = "the requester decided on it";

fn timed(entry: &'static str, time: &str) -> Result<()> {
    if is_utc(time) { Ok(()) } else { wrong(entry, format!("time `{time}` is not RFC 3339 in UTC")) }
}

fn wrong<T>(entry: &'static str, problem: String) -> Result<T> {
    Err(Error::InconsistentAccess { entry, problem })
}
