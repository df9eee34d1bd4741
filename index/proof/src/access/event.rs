//! What happens between terms and grants: requests, votes, decisions, revocations, appeals.

use serde::{Deserialize, Serialize};

use super::{DecidedBy, timed, wrong};
use crate::error::Result;
use crate::hash::Hash;
use crate::record::present;

/// One event, told apart by `action`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum AccessEntry {
    /// Somebody asked for access.
    Request(AccessRequest),
    /// A request was decided, or passed on.
    Decision(AccessDecision),
    /// A reviewer voted.
    Vote(Vote),
    /// A grant ended before its time.
    Revocation(Revocation),
    /// A decision is to be looked at again, by others.
    Appeal(Appeal),
}

/// Somebody asked for access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRequest {
    /// Always `cairn/access/v1`.
    #[serde(rename = "type")]
    pub kind: AccessKind,
    /// Its id.
    pub id: String,
    /// The datanet.
    pub datanet: String,
    /// Commitment to who asked, field name [`super::field::REQUESTER`].
    pub requester: Hash,
    /// Commitment to the application, field name [`super::field::APPLICATION`].
    pub application: Hash,
    /// Leaf hash of the [`super::TermsEntry`] in force; `null` where none are published.
    #[serde(deserialize_with = "present")]
    pub terms: Option<Hash>,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// A request was decided, or passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessDecision {
    /// Always `cairn/access/v1`.
    #[serde(rename = "type")]
    pub kind: AccessKind,
    /// The datanet.
    pub datanet: String,
    /// Id of the request.
    pub request: String,
    /// What came out.
    pub outcome: Outcome,
    /// Who decided.
    pub by: DecidedBy,
    /// Names of the clauses that it rests on.
    pub clauses: Vec<String>,
    /// Commitment to who decided, field name [`super::field::ACTOR`]; `null` where the policy did.
    #[serde(deserialize_with = "present")]
    pub actor: Option<Hash>,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// A reviewer voted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// Always `cairn/access/v1`.
    #[serde(rename = "type")]
    pub kind: AccessKind,
    /// The datanet.
    pub datanet: String,
    /// Id of the request.
    pub request: String,
    /// Commitment to who voted, field name [`super::field::REVIEWER`].
    pub reviewer: Hash,
    /// For or against.
    pub approve: bool,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// A grant ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Always `cairn/access/v1`.
    #[serde(rename = "type")]
    pub kind: AccessKind,
    /// The datanet.
    pub datanet: String,
    /// Leaf hash of the [`super::GrantEntry`].
    pub grant: Hash,
    /// Id of the grant.
    pub id: String,
    /// Commitment to who revoked it, field name [`super::field::ACTOR`].
    pub actor: Hash,
    /// Commitment to why, field name [`super::field::REASON`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Hash>,
    /// From when it does not hold any more, RFC 3339 in UTC.
    pub time: String,
}

/// A decision is to be looked at again, by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appeal {
    /// Always `cairn/access/v1`.
    #[serde(rename = "type")]
    pub kind: AccessKind,
    /// The datanet.
    pub datanet: String,
    /// Id of the request that the appeal is decided under.
    pub request: String,
    /// Id of the request whose decision is appealed against.
    pub of: String,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// The type string of an [`AccessEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessKind {
    /// `cairn/access/v1`
    #[default]
    #[serde(rename = "cairn/access/v1")]
    V1,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A grant follows.
    Granted,
    /// It was refused.
    Denied,
    /// Reviewers are to decide.
    Referred,
    /// The reviewers' time is over, and others are to decide.
    Escalated,
    /// Nobody decided in time.
    Expired,
    /// Who asked took it back.
    Withdrawn,
}

impl AccessEntry {
    /// The datanet.
    pub fn datanet(&self) -> &str {
        match self {
            AccessEntry::Request(request) => &request.datanet,
            AccessEntry::Decision(decision) => &decision.datanet,
            AccessEntry::Vote(vote) => &vote.datanet,
            AccessEntry::Revocation(revocation) => &revocation.datanet,
            AccessEntry::Appeal(appeal) => &appeal.datanet,
        }
    }

    /// When, RFC 3339 in UTC.
    pub fn time(&self) -> &str {
        match self {
            AccessEntry::Request(request) => &request.time,
            AccessEntry::Decision(decision) => &decision.time,
            AccessEntry::Vote(vote) => &vote.time,
            AccessEntry::Revocation(revocation) => &revocation.time,
            AccessEntry::Appeal(appeal) => &appeal.time,
        }
    }

    /// Checks that the parts of the entry fit together.
    pub fn check(&self) -> Result<()> {
        timed("access", self.time())?;
        match self {
            AccessEntry::Decision(decision) if decision.actor.is_some() == (decision.by == DecidedBy::Policy) => {
                wrong("access", "a decision has an actor, unless the policy decided".to_owned())
            }
            AccessEntry::Decision(AccessDecision { outcome, by, .. })
                if (*outcome == Outcome::Withdrawn) != (*by == DecidedBy::Requester) =>
            {
                wrong("access", "the requester withdraws, and decides nothing else".to_owned())
            }
            AccessEntry::Appeal(appeal) if appeal.request == appeal.of => {
                wrong("access", format!("{} appeals against itself", appeal.of))
            }
            _ => Ok(()),
        }
    }
}
