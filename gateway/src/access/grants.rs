//! Grants: issued by an owner or through published terms, revoked at once, described.

use cairn_filter::Filter;
use cairn_openapi::access as wire;
use cairn_policy::Purpose;
use cairn_proof::Salt;
use chrono::{DateTime, Duration, SecondsFormat, Utc};

use super::{entries, log_pending};
use crate::{
    error::{ApiError, Code},
    state::AppState,
    store::{datanets::Description, grants::StoredGrant, now},
};

/// Grants a subject what its owner says; the same again changes nothing, something else takes the place of what the owner
/// had granted before.
pub(crate) async fn by_owner(
    state: &AppState,
    datanet: &Description,
    subject: &str,
    by: &str,
    query: &wire::GrantQuery,
) -> Result<StoredGrant, ApiError> {
    // In the order of their names, as the entry has them.
    let mut purposes = if query.evaluation { vec![Purpose::Evaluation] } else { Vec::new() };
    purposes.push(Purpose::Retrieval);
    if query.training {
        purposes.push(Purpose::Training);
    }
    let rows = query.rows.as_deref().map(|rows| filter("rows", rows)).transpose()?;
    let issued = Utc::now();
    let expires_at = match query.days {
        Some(days) => Some(after(issued, days).ok_or_else(|| ApiError::invalid("days", "give 1 to 36500 days"))?),
        None => None,
    };
    let held = state.store.grants_in_force(&datanet.name, subject).await?;
    let of_owner: Vec<StoredGrant> = held.into_iter().filter(|grant| grant.decided_by == "owner").collect();
    let grant = StoredGrant {
        id: new_id("grant"),
        datanet: datanet.name.clone(),
        subject: subject.to_owned(),
        purposes,
        rows: rows.map(|rows| rows.to_string()),
        retrievals_per_day: query.retrievals_per_day,
        terms_version: None,
        request: None,
        granted_by: by.to_owned(),
        decided_by: "owner".to_owned(),
        granted_at: text(issued),
        expires_at,
        revoked_at: None,
        revoked_by: None,
        revocation_reason: None,
        leaf: None,
        log_index: None,
    };
    let same = |held: &StoredGrant| {
        let what = |grant: &StoredGrant| (grant.purposes.clone(), grant.rows.clone(), grant.retrievals_per_day);
        what(held) == what(&grant) && held.expires_at.is_none() && grant.expires_at.is_none()
    };
    if let Some(held) = of_owner.iter().find(|held| same(held)) {
        return Ok(held.clone());
    }
    let salt = Salt::random().map_err(ApiError::internal)?;
    let entry = entries::grant(&grant, None, &salt)?;
    state.store.issue_grant(&grant, &entry, &salt).await?;
    for before in &of_owner {
        revoke(state, before, by, "another grant took its place").await?;
    }
    log_pending(state).await?;
    in_log(state, &grant.id).await
}

/// Takes back every grant that a subject holds on a datanet; how many there were.
pub(crate) async fn revoke_all(
    state: &AppState,
    datanet: &str,
    subject: &str,
    by: &str,
    reason: &str,
) -> Result<usize, ApiError> {
    let held = state.store.grants_in_force(datanet, subject).await?;
    for grant in &held {
        revoke(state, grant, by, reason).await?;
    }
    log_pending(state).await?;
    Ok(held.len())
}

/// Takes a grant back: from now on, whatever was cached. False when it had been already.
pub(crate) async fn revoke(state: &AppState, grant: &StoredGrant, by: &str, reason: &str) -> Result<bool, ApiError> {
    let salt = Salt::random().map_err(ApiError::internal)?;
    let at = now();
    let entry = entries::revocation(grant, by, reason, &at, &salt)?;
    Ok(state.store.revoke_grant(&grant.id, by, reason, &at, &entry, &salt).await?)
}

/// Gives grants from before there were terms their entries.
pub(super) async fn complete(state: &AppState) -> Result<(), ApiError> {
    for grant in state.store.grants_without_entry().await? {
        let salt = Salt::random().map_err(ApiError::internal)?;
        let entry = entries::grant(&grant, None, &salt)?;
        state.store.note_grant(&grant.id, &entry, &salt).await?;
    }
    Ok(())
}

/// A grant as it stands.
pub(crate) async fn in_log(state: &AppState, id: &str) -> Result<StoredGrant, ApiError> {
    let missing = || ApiError::new(Code::NotFound, format!("there is no grant {id:?}"));
    state.store.grant(id).await?.ok_or_else(missing)
}

/// A grant on the wire.
pub(crate) fn described(grant: StoredGrant) -> wire::Grant {
    let in_force = !grant.ended(&now()) && grant.log_index.is_some();
    wire::Grant {
        in_force,
        training: grant.purposes.contains(&Purpose::Training),
        granted_by: if grant.decided_by == "policy" { "policy".to_owned() } else { grant.granted_by },
        id: grant.id,
        datanet: grant.datanet,
        subject: grant.subject,
        purposes: grant.purposes,
        rows: grant.rows,
        retrievals_per_day: grant.retrievals_per_day,
        terms_version: grant.terms_version,
        request: grant.request,
        granted_at: grant.granted_at,
        expires_at: grant.expires_at,
        revoked_at: grant.revoked_at,
        revocation_reason: grant.revocation_reason,
        leaf: grant.leaf,
        log_index: grant.log_index,
    }
}

/// A row filter that a caller wrote.
pub(crate) fn filter(param: &str, text: &str) -> Result<Filter, ApiError> {
    text.parse().map_err(|error: cairn_filter::FilterError| ApiError::invalid(param, error.to_string()))
}

/// A moment some days on, as it is stored.
pub(super) fn after(from: DateTime<Utc>, days: u32) -> Option<String> {
    (1..=36_500).contains(&days).then(|| text(from + Duration::days(i64::from(days))))
}

pub(super) fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(super) fn new_id(kind: &str) -> String {
    format!("{kind}-{}", uuid::Uuid::now_v7().simple())
}
