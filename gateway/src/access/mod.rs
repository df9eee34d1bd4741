//! Who may use which datanet for what: the one rule, which every way to a datapoint goes through.
//!
//! [`permitted`] is that rule. A datanet's owner and administrators may do everything with it; a public one may be
//! retrieved from by anyone with a credential; all else takes a grant that is in force, for the purpose at hand, and is
//! confined to the rows of the grant. Grants come from published terms ([`requests`]) or from the owner ([`grants`]). What
//! was decided is in the log before it takes effect ([`log_pending`]); what is taken back ends at once.

mod entries;
pub(crate) mod grants;
pub(crate) mod lists;
pub(crate) mod requests;
pub(crate) mod statistics;
pub(crate) mod terms;

use std::sync::Arc;

use cairn_filter::Filter;
use cairn_index::{DatanetName, Source};
use cairn_openapi::access::AccessBasis;
use cairn_policy::Purpose;
use cairn_proof::log::Draft;
use futures::future::try_join_all;

use crate::{
    auth::Caller,
    error::{ApiError, Code},
    state::AppState,
    store::{datanets::Description, grants::StoredGrant, now},
};

/// Why a caller may use a datanet, and how much of it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) datanet: Description,
    pub(crate) name: DatanetName,
    pub(crate) basis: AccessBasis,
    /// The grant in force, where that is the basis.
    pub(crate) grant: Option<StoredGrant>,
    /// The rows it is confined to; none: all.
    pub(crate) rows: Option<Filter>,
}

impl Access {
    /// The datanet as it may be searched.
    pub(crate) fn source(&self) -> Source {
        Source { datanet: self.name.clone(), rows: self.rows.clone() }
    }

    /// Whether a datapoint is among the rows.
    pub(crate) fn covers(&self, datapoint: &cairn_index::Datapoint) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows.matches(datapoint))
    }
}

/// How the caller may use a datanet for a purpose. One that the caller may not know of does not exist; one that may be asked
/// for says how.
pub(crate) async fn permitted(
    state: &AppState,
    caller: &Caller,
    name: &str,
    purpose: Purpose,
) -> Result<Access, ApiError> {
    let missing = || ApiError::no_datanet(name);
    let datanet = state.store.datanet(name, None).await?.ok_or_else(missing)?;
    let parsed = datanet.name.parse().map_err(|_| missing())?;
    let access = |datanet, basis| Access { datanet, name: parsed, basis, grant: None, rows: None };
    if caller.subject == datanet.owner {
        return Ok(access(datanet, AccessBasis::Owner));
    }
    if caller.bounds().is_none() {
        return Ok(access(datanet, AccessBasis::Administrator));
    }
    let public = datanet.visibility == cairn_openapi::datanets::Visibility::Public;
    if public && purpose == Purpose::Retrieval {
        return Ok(access(datanet, AccessBasis::Public));
    }
    let held = state.store.grants_in_force(&datanet.name, &caller.subject).await?;
    let known = public || !held.is_empty();
    // The widest: all rows before some, then the one that lasts longest.
    let lasts = |grant: &StoredGrant| grant.expires_at.clone().unwrap_or_else(|| "9".to_owned());
    let fitting = held.into_iter().filter(|grant| grant.purposes.contains(&purpose));
    let best = fitting.max_by_key(|grant| (grant.rows.is_none(), grant.retrievals_per_day.is_none(), lasts(grant)));
    if let Some(grant) = best {
        let rows = grant.rows.as_deref().map(str::parse::<Filter>).transpose().map_err(ApiError::internal)?;
        return Ok(Access { grant: Some(grant), rows, ..access(datanet, AccessBasis::Grant) });
    }
    let asked = !state.store.terms(&datanet.name).await?.is_empty();
    if !known && !asked {
        return Err(missing());
    }
    let how = match asked {
        true => format!("ask for it with POST /v1/datanets/{name}/requests, or `cairn access request {name}`"),
        false => format!("its owner, {}, can grant it", datanet.owner),
    };
    let message = format!("{} has no access to datanet {name} for {}; {how}", caller.subject, purpose.name());
    Err(ApiError::new(Code::InsufficientScope, message))
}

/// The datanets that a caller names, each once, for retrieval.
pub(crate) async fn readable(state: &AppState, caller: &Caller, names: &[String]) -> Result<Vec<Access>, ApiError> {
    let mut readable: Vec<Access> = Vec::new();
    for name in names {
        if readable.iter().all(|known| known.datanet.name != *name) {
            readable.push(permitted(state, caller, name, Purpose::Retrieval).await?);
        }
    }
    Ok(readable)
}

/// Whether a subject may see a datapoint now, for any purpose.
pub(crate) async fn covered(
    state: &AppState,
    subject: &str,
    datanet: &Description,
    datapoint: &cairn_index::Datapoint,
) -> Result<bool, ApiError> {
    if subject == datanet.owner || datanet.visibility == cairn_openapi::datanets::Visibility::Public {
        return Ok(true);
    }
    for grant in state.store.grants_in_force(&datanet.name, subject).await? {
        let rows = grant.rows.as_deref().map(str::parse::<Filter>).transpose().map_err(ApiError::internal)?;
        if rows.is_none_or(|rows| rows.matches(datapoint)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Counts a retrieval under each grant that has a quota.
pub(crate) async fn count(state: &AppState, accesses: &[Access]) -> Result<(), ApiError> {
    for grant in accesses.iter().filter_map(|access| access.grant.as_ref()) {
        let Some(most) = grant.retrievals_per_day else { continue };
        let day = now().chars().take("2024-05-01".len()).collect::<String>();
        if !state.store.use_grant(&grant.id, &day, most).await? {
            let message = format!(
                "the {most} retrievals a day of grant {} on datanet {} are used up; they begin anew at 00:00 UTC",
                grant.id, grant.datanet
            );
            return Err(ApiError::new(Code::QuotaExceeded, message));
        }
    }
    Ok(())
}

/// What access to a datanet is called where it is described to a caller.
pub(crate) async fn basis(state: &AppState, caller: &Caller, datanet: &Description) -> Result<AccessBasis, ApiError> {
    match permitted(state, caller, &datanet.name, Purpose::Retrieval).await {
        Ok(access) => Ok(access.basis),
        Err(error) if matches!(error.code, Code::InsufficientScope) => Ok(AccessBasis::OnRequest),
        Err(error) => Err(error),
    }
}

/// Brings what was decided into the log, in order; only then it is in force.
pub(crate) async fn log_pending(state: &AppState) -> Result<(), ApiError> {
    let _one_at_a_time = state.access_log.lock().await;
    let pending = state.store.pending_entries().await?;
    // All are handed over before the first is awaited, so they keep their order and share a checkpoint.
    let placed = pending.into_iter().map(|pending| async move {
        let placed = state.ledger.append(Draft::Entry(pending.entry.into_bytes())).await?;
        state.store.entry_logged(pending.id, placed.index).await.map_err(ApiError::from)
    });
    try_join_all(placed).await?;
    Ok(())
}

/// Completes what a crash interrupted, and passes on what nobody decided in time, for as long as the gateway runs.
pub(crate) async fn start(state: Arc<AppState>) -> Result<(), ApiError> {
    grants::complete(&state).await?;
    log_pending(&state).await?;
    tokio::spawn(async move {
        let mut first = true;
        loop {
            match requests::pass_on(&state, first).await {
                Ok(()) => first = false,
                Err(error) => tracing::error!(%error, "requests for access could not be looked through"),
            }
            if let Err(error) = log_pending(&state).await {
                tracing::error!(%error, "decisions on access could not be logged yet");
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    Ok(())
}

/// How often requests are looked through for those whose deadline has passed.
const LOOK: std::time::Duration = std::time::Duration::from_secs(20);
