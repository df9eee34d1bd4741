//! Entries of the log about access. People stand in them as commitments, so that the log names nobody.

use cairn_policy::{Answer, Purpose};
use cairn_proof::{
    Entry, Hash, Salt,
    access::{
        AccessDecision, AccessEntry, AccessKind, AccessRequest, Appeal, DecidedBy, GrantEntry, GrantKind, Outcome,
        Purpose as LoggedPurpose, Revocation, TermsEntry, TermsKind, Vote, field,
    },
};
use serde_json::Value;

use crate::{
    error::ApiError,
    store::{
        grants::StoredGrant,
        requests::{StoredRequest, StoredTerms},
    },
};

/// A version of terms, after the last one that there was.
pub(super) fn terms(terms: &StoredTerms, previous: Option<&str>, salt: &Salt) -> Result<Entry, ApiError> {
    let Ok(Value::Object(document)) = serde_json::to_value(&terms.terms) else {
        return Err(ApiError::internal("terms are not an object"));
    };
    Ok(Entry::Terms(Box::new(TermsEntry {
        kind: TermsKind::V1,
        datanet: terms.datanet.clone(),
        version: terms.version,
        terms: document,
        previous: previous.map(str::parse).transpose().map_err(ApiError::internal)?,
        actor: committed(salt, field::ACTOR, &terms.published_by)?,
        time: terms.published_at.clone(),
    })))
}

/// Somebody asked.
pub(super) fn request(request: &StoredRequest, terms: &StoredTerms, salt: &Salt) -> Result<Entry, ApiError> {
    let application = serde_json::to_value(&request.application).map_err(ApiError::internal)?;
    access(AccessEntry::Request(AccessRequest {
        kind: AccessKind::V1,
        id: request.id.clone(),
        datanet: request.datanet.clone(),
        requester: committed(salt, field::REQUESTER, &request.subject)?,
        application: salt.commit(field::APPLICATION, &application).map_err(ApiError::internal)?,
        terms: Some(terms.leaf.parse().map_err(ApiError::internal)?),
        time: request.created_at.clone(),
    }))
}

/// Somebody asks others to look again.
pub(super) fn appeal(request: &StoredRequest, of: &str) -> Result<Entry, ApiError> {
    access(AccessEntry::Appeal(Appeal {
        kind: AccessKind::V1,
        datanet: request.datanet.clone(),
        request: request.id.clone(),
        of: of.to_owned(),
        time: request.created_at.clone(),
    }))
}

/// What became of a request; `actor` where people decided.
pub(super) fn decision(
    request: &StoredRequest,
    outcome: Outcome,
    by: DecidedBy,
    actor: Option<&str>,
    at: &str,
    salt: &Salt,
) -> Result<Entry, ApiError> {
    let against = request.findings.iter().filter(|finding| finding.answer != Answer::Allow);
    access(AccessEntry::Decision(AccessDecision {
        kind: AccessKind::V1,
        datanet: request.datanet.clone(),
        request: request.id.clone(),
        outcome,
        by,
        clauses: against.map(|finding| finding.clause.name().to_owned()).collect(),
        actor: actor.map(|actor| committed(salt, field::ACTOR, actor)).transpose()?,
        time: at.to_owned(),
    }))
}

/// A reviewer voted.
pub(super) fn vote(request: &StoredRequest, vote: &cairn_policy::Vote, salt: &Salt) -> Result<Entry, ApiError> {
    access(AccessEntry::Vote(Vote {
        kind: AccessKind::V1,
        datanet: request.datanet.clone(),
        request: request.id.clone(),
        reviewer: committed(salt, field::REVIEWER, &vote.reviewer)?,
        approve: vote.approve,
        time: super::grants::text(vote.at),
    }))
}

/// A grant; `terms` where it was decided under them.
pub(super) fn grant(grant: &StoredGrant, terms: Option<&StoredTerms>, salt: &Salt) -> Result<Entry, ApiError> {
    let mut purposes: Vec<LoggedPurpose> = grant.purposes.iter().map(|purpose| logged(*purpose)).collect();
    purposes.sort_unstable();
    purposes.dedup();
    Ok(Entry::Grant(Box::new(GrantEntry {
        kind: GrantKind::V1,
        id: grant.id.clone(),
        datanet: grant.datanet.clone(),
        subject: committed(salt, field::SUBJECT, &grant.subject)?,
        purposes,
        rows: grant.rows.clone(),
        retrievals_per_day: grant.retrievals_per_day,
        terms: terms.map(|terms| terms.leaf.parse()).transpose().map_err(ApiError::internal)?,
        request: grant.request.clone(),
        by: match grant.decided_by.as_str() {
            "policy" => DecidedBy::Policy,
            "review" => DecidedBy::Review,
            _ => DecidedBy::Owner,
        },
        issued: grant.granted_at.clone(),
        expires: grant.expires_at.clone(),
    })))
}

/// A grant ended before its time.
pub(super) fn revocation(
    grant: &StoredGrant,
    by: &str,
    reason: &str,
    at: &str,
    salt: &Salt,
) -> Result<Entry, ApiError> {
    let leaf = grant.leaf.as_deref().ok_or_else(|| ApiError::internal("a grant has no entry"))?;
    access(AccessEntry::Revocation(Revocation {
        kind: AccessKind::V1,
        datanet: grant.datanet.clone(),
        grant: leaf.parse().map_err(ApiError::internal)?,
        id: grant.id.clone(),
        actor: committed(salt, field::ACTOR, by)?,
        reason: (!reason.is_empty()).then(|| committed(salt, field::REASON, reason)).transpose()?,
        time: at.to_owned(),
    }))
}

fn access(entry: AccessEntry) -> Result<Entry, ApiError> {
    Ok(Entry::Access(Box::new(entry)))
}

fn committed(salt: &Salt, name: &str, value: &str) -> Result<Hash, ApiError> {
    salt.commit(name, &Value::String(value.to_owned())).map_err(ApiError::internal)
}

fn logged(purpose: Purpose) -> LoggedPurpose {
    match purpose {
        Purpose::Retrieval => LoggedPurpose::Retrieval,
        Purpose::Training => LoggedPurpose::Training,
        Purpose::Evaluation => LoggedPurpose::Evaluation,
    }
}
