//! Published terms: every version stays, and is an entry of the log.

use cairn_openapi::access::{Differently, PublishedTerms, SimulationRequest, SimulationResult};
use cairn_policy::{Application, Terms, diff, evaluate, simulate, typical_applications};
use cairn_proof::Salt;

use super::{entries, grants, log_pending};
use crate::{
    auth::Caller,
    error::{ApiError, Code},
    state::AppState,
    store::{
        datanets::Description,
        now,
        requests::{Requests, StoredTerms},
    },
};

/// Publishes terms for a datanet. Grants that were given under earlier ones stay until they end or are renewed.
pub(crate) async fn publish(
    state: &AppState,
    caller: &Caller,
    datanet: &Description,
    terms: Terms,
) -> Result<PublishedTerms, ApiError> {
    check(&terms)?;
    let before = state.store.terms(&datanet.name).await?.into_iter().next();
    if before.as_ref().is_some_and(|before| before.terms == terms) {
        return current(state, &datanet.name).await;
    }
    let last = state.store.last_terms(&datanet.name).await?;
    let salt = Salt::random().map_err(ApiError::internal)?;
    let mut published = StoredTerms {
        datanet: datanet.name.clone(),
        version: last.as_ref().map_or(1, |(version, _)| version + 1),
        terms,
        published_by: caller.subject.clone(),
        published_at: now(),
        leaf: String::new(),
        log_index: None,
    };
    let entry = entries::terms(&published, last.as_ref().map(|(_, leaf)| leaf.as_str()), &salt)?;
    published.leaf = entry.leaf().map_err(ApiError::internal)?.to_string();
    if !state.store.publish_terms(&published, &entry, &salt).await? {
        let message =
            format!("version {} of the terms was published by someone else just now; look at it", published.version);
        return Err(ApiError::new(Code::AlreadyExists, message));
    }
    log_pending(state).await?;
    current(state, &datanet.name).await
}

/// The terms in force.
pub(crate) async fn current(state: &AppState, datanet: &str) -> Result<PublishedTerms, ApiError> {
    let none = || {
        let message = format!("datanet {datanet} has no published terms; its owner alone gives access");
        ApiError::new(Code::NotFound, message)
    };
    versions(state, datanet).await?.into_iter().next().ok_or_else(none)
}

/// Every version, newest first.
pub(crate) async fn versions(state: &AppState, datanet: &str) -> Result<Vec<PublishedTerms>, ApiError> {
    let stored = state.store.terms(datanet).await?;
    let changes = |at: usize| match stored.get(at + 1) {
        Some(before) => diff(&before.terms, &stored[at].terms),
        None => Vec::new(),
    };
    let described = |(at, terms): (usize, &StoredTerms)| PublishedTerms {
        datanet: terms.datanet.clone(),
        version: terms.version,
        in_words: terms.terms.in_words(),
        changes: changes(at),
        terms: terms.terms.clone(),
        published_by: terms.published_by.clone(),
        published_at: terms.published_at.clone(),
        leaf: terms.leaf.clone(),
        log_index: terms.log_index,
    };
    Ok(stored.iter().enumerate().map(described).collect())
}

/// Who would be granted under some terms, and which of the requests so far they would decide otherwise.
pub(crate) async fn try_out(
    state: &AppState,
    datanet: &str,
    request: SimulationRequest,
) -> Result<SimulationResult, ApiError> {
    let SimulationRequest { terms, applications } = request;
    check(&terms)?;
    if applications.len() > MOST_APPLICATIONS {
        return Err(ApiError::invalid("applications", format!("give at most {MOST_APPLICATIONS} applications")));
    }
    let in_force = state.store.terms(datanet).await?.into_iter().next();
    let requests = state.store.requests(Requests::Of(datanet), None, MOST_REQUESTS).await?;
    let asked: Vec<Application> = requests.iter().map(|request| request.application.clone()).collect();
    let mut differently = Vec::new();
    if let Some(in_force) = &in_force {
        for request in &requests {
            let outcome = |terms: &Terms| evaluate(terms, &request.application).outcome;
            let (now, then) = (outcome(&in_force.terms), outcome(&terms));
            if now != then {
                differently.push(Differently {
                    request: request.id.clone(),
                    subject: request.subject.clone(),
                    now,
                    then,
                });
            }
        }
    }
    let applicants = if applications.is_empty() { typical_applications(&terms) } else { applications };
    Ok(SimulationResult {
        in_words: terms.in_words(),
        changes: in_force.map(|in_force| diff(&in_force.terms, &terms)).unwrap_or_default(),
        applicants: simulate(&terms, &applicants),
        requests: simulate(&terms, &asked),
        differently,
    })
}

/// Terms that contradict themselves are refused, with every place.
fn check(terms: &Terms) -> Result<(), ApiError> {
    let problems = terms.check();
    if !problems.is_empty() {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        return Err(ApiError::invalid("terms", words.join("; ")));
    }
    if let Some(rows) = &terms.rows {
        grants::filter("terms.rows", rows)?;
    }
    Ok(())
}

/// Requests in one simulation: those that were made last.
const MOST_REQUESTS: usize = 1000;
/// Applications in one simulation.
const MOST_APPLICATIONS: usize = 1000;
