//! Access to datanets: published terms, requests, decisions, grants.
//!
//! What terms and applications are made of, and how one is judged by the other, is `cairn-policy`'s.

use cairn_policy::{Application, Finding, Purpose, Scope, Simulation, Terms};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Why a caller may use a datanet, or what is left to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessBasis {
    /// It is the caller's.
    Owner,
    /// It is open to everyone with a credential.
    Public,
    /// A grant is in force.
    Grant,
    /// The caller governs this gateway.
    Administrator,
    /// Its terms are published: access may be asked for.
    #[default]
    OnRequest,
}

/// A version of a datanet's terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PublishedTerms {
    /// The datanet.
    pub datanet: String,
    /// From 1.
    pub version: u64,
    /// What they say.
    pub terms: Terms,
    /// What they say, in sentences.
    pub in_words: Vec<String>,
    /// What changed from the version before, in sentences.
    pub changes: Vec<String>,
    /// Who published them.
    pub published_by: String,
    /// When (RFC 3339, UTC).
    pub published_at: String,
    /// Hash of their entry as a leaf of the log (hex).
    pub leaf: String,
    /// The entry's place in the log.
    pub log_index: Option<u64>,
}

/// Versions of a datanet's terms, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TermsVersions {
    /// `list`.
    pub object: String,
    /// The versions.
    pub data: Vec<PublishedTerms>,
}

/// Terms to try out before they are published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulationRequest {
    /// The terms to try.
    pub terms: Terms,
    /// Who might ask; without any, a grid of typical applicants.
    #[serde(default)]
    pub applications: Vec<Application>,
}

/// Who would be granted under some terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimulationResult {
    /// The terms in sentences.
    pub in_words: Vec<String>,
    /// What would change from the terms in force, in sentences.
    pub changes: Vec<String>,
    /// The applications that were given, or typical ones.
    pub applicants: Simulation,
    /// Everyone who has asked so far (of many, the 1,000 who asked last), as they would be decided now.
    pub requests: Simulation,
    /// Requests that would be decided otherwise than under the terms in force.
    pub differently: Vec<Differently>,
}

/// A request that other terms would decide otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Differently {
    /// The request.
    pub request: String,
    /// Who asked.
    pub subject: String,
    /// Under the terms in force.
    pub now: cairn_policy::Outcome,
    /// Under those that are tried.
    pub then: cairn_policy::Outcome,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestStatus {
    /// For its reviewers.
    Waiting,
    /// A grant was issued.
    Granted,
    /// Denied, with the clauses that say why.
    Denied,
    /// Taken back by who asked.
    Withdrawn,
}

/// A request for access.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccessRequest {
    /// Its id.
    pub id: String,
    /// The datanet.
    pub datanet: String,
    /// Who asks.
    pub subject: String,
    /// For what.
    pub application: Application,
    /// The version of the terms that it was judged by.
    pub terms_version: u64,
    /// What each clause of the terms says to it.
    pub findings: Vec<Finding>,
    /// What is granted, or would be.
    pub scope: Option<Scope>,
    /// Where it stands.
    pub status: RequestStatus,
    /// `policy` or `review`, once it is decided.
    pub decided_by: Option<String>,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
    /// When it was decided.
    pub decided_at: Option<String>,
    /// When it is passed on, if nobody has decided it by then.
    pub deadline: Option<String>,
    /// When it was passed on.
    pub escalated_at: Option<String>,
    /// Who may decide it now; empty once it is decided.
    pub reviewers: Vec<String>,
    /// Approvals that it takes.
    pub required: u64,
    /// What was said to it so far.
    pub votes: Vec<ReviewVote>,
    /// The request whose denial this appeals against.
    pub appeal_of: Option<String>,
    /// The grant.
    pub grant: Option<String>,
    /// Its place in the log.
    pub log_index: Option<u64>,
}

/// A reviewer's word on a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReviewVote {
    /// Who.
    pub reviewer: String,
    /// For whom, where they were away.
    pub on_behalf_of: Option<String>,
    /// Yes or no.
    pub approve: bool,
    /// Why.
    pub reason: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

/// Requests, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccessRequestList {
    /// `list`.
    pub object: String,
    /// The requests.
    pub data: Vec<AccessRequest>,
    /// Whether there are more; ask for them with `after`.
    #[serde(default)]
    pub has_more: bool,
}

/// A reviewer's vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVote {
    /// Yes or no.
    pub approve: bool,
    /// Why; the requester reads it. A no needs one.
    #[serde(default)]
    pub reason: String,
}

/// Why somebody appeals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppeal {
    /// What the reviewers should know; takes the place of the application's statement.
    pub statement: String,
}

/// How requests for a datanet were decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccessStatistics {
    /// The datanet.
    pub datanet: String,
    /// All requests.
    pub requests: u64,
    /// Granted.
    pub granted: u64,
    /// Denied.
    pub denied: u64,
    /// Waiting for people.
    pub waiting: u64,
    /// Part of the decided ones that the terms decided alone, 0 to 1; none before the first decision.
    pub automatic: Option<f64>,
    /// Median time to a decision, in seconds.
    pub median_seconds: Option<f64>,
    /// 95th percentile of the time to a decision, in seconds.
    pub p95_seconds: Option<f64>,
    /// How often each clause was the reason of a denial or a referral.
    pub clauses: Vec<ClauseCount>,
}

/// How often a clause was a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClauseCount {
    /// The clause.
    pub clause: String,
    /// It denied.
    pub denied: u64,
    /// It referred to people.
    pub referred: u64,
}

/// Until when somebody is away, and who votes for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAbsence {
    /// Who votes meanwhile.
    pub delegate: String,
    /// From when (RFC 3339, UTC); default: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Until when.
    pub until: String,
}

/// What the caller has said of being away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnAbsence {
    /// Until when, and who votes meanwhile; none: the caller votes.
    pub absence: Option<NewAbsence>,
}

/// A grant on a datanet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// Its id.
    pub id: String,
    /// The datanet.
    pub datanet: String,
    /// Who: the subject of a key or of a JWT.
    pub subject: String,
    /// For what.
    pub purposes: Vec<Purpose>,
    /// Which rows, a filter; none: all.
    pub rows: Option<String>,
    /// Retrievals a day (UTC); none: as many as wanted.
    pub retrievals_per_day: Option<u64>,
    /// The terms it was granted under; none: by the owner alone.
    pub terms_version: Option<u64>,
    /// The request that led to it.
    pub request: Option<String>,
    /// Who granted it; `policy` where the terms did.
    pub granted_by: String,
    /// When (RFC 3339, UTC).
    pub granted_at: String,
    /// When it ends; none: when it is revoked.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Why it was revoked.
    pub revocation_reason: Option<String>,
    /// Whether it is in force now.
    pub in_force: bool,
    /// Whether training is among its purposes.
    pub training: bool,
    /// Hash of its entry as a leaf of the log (hex): what answers cite.
    pub leaf: Option<String>,
    /// The entry's place in the log.
    pub log_index: Option<u64>,
}

/// Grants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GrantList {
    /// `list`.
    pub object: String,
    /// The grants.
    pub data: Vec<Grant>,
}

/// For what a datanet is granted by its owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GrantQuery {
    /// Also to train on its rows.
    #[serde(default)]
    pub training: bool,
    /// Also to evaluate adapters on its rows.
    #[serde(default)]
    pub evaluation: bool,
    /// Only these rows, a filter such as `metadata.topic = "storage"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// Until it ends; default: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Retrievals a day; default: as many as wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrievals_per_day: Option<u64>,
}

/// Why a grant is revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevocationQuery {
    /// For its holder; the log gets a commitment to it.
    #[serde(default)]
    pub reason: String,
}
