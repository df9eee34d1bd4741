//! Lists of requests, a page at a time: those for a datanet, a subject's own, and what a reviewer may decide now.

use std::collections::HashMap;

use cairn_openapi::{
    access::{AccessRequest, AccessRequestList},
    keys::Role,
    paging::ListQuery,
};

use super::requests::{concerns, datanet_of, described, terms_of_version};
use crate::{
    auth::Caller,
    error::ApiError,
    http::list_limit,
    state::AppState,
    store::{
        datanets::Description,
        requests::{Requests, StoredRequest},
    },
};

/// Requests for a datanet, for those who govern or review it and for auditors.
pub(crate) async fn of_datanet(
    state: &AppState,
    caller: &Caller,
    datanet: &Description,
    query: &ListQuery,
) -> Result<AccessRequestList, ApiError> {
    let all = caller.bounds().is_none() || caller.subject == datanet.owner || caller.has(&[Role::Auditor]);
    page(
        state,
        Requests::Of(&datanet.name),
        query,
        async |_: &StoredRequest| Ok(true),
        |request| all || concerns(request, &caller.subject),
    )
    .await
}

/// A subject's own requests.
pub(crate) async fn by_subject(
    state: &AppState,
    subject: &str,
    query: &ListQuery,
) -> Result<AccessRequestList, ApiError> {
    page(state, Requests::By(subject), query, async |_: &StoredRequest| Ok(true), |_| true).await
}

/// What a subject may decide now.
pub(crate) async fn inbox(state: &AppState, subject: &str, query: &ListQuery) -> Result<AccessRequestList, ApiError> {
    let voices = Voices { state, subject, for_whom: represented(state, subject).await?, known: HashMap::new() };
    let voices = tokio::sync::Mutex::new(voices);
    let may = async |request: &StoredRequest| voices.lock().await.possible(request).await;
    page(state, Requests::Waiting, query, may, |request| request.reviewers.iter().any(|reviewer| reviewer == subject))
        .await
}

/// Collects a page of requests that pass both tests, reading on for as long as it takes. The first test is on what is
/// stored; the second on a description, which costs several queries.
async fn page(
    state: &AppState,
    which: Requests<'_>,
    query: &ListQuery,
    possible: impl AsyncFn(&StoredRequest) -> Result<bool, ApiError>,
    keep: impl Fn(&AccessRequest) -> bool,
) -> Result<AccessRequestList, ApiError> {
    let limit = list_limit(query)?;
    let mut after = query.after.clone();
    let mut data: Vec<AccessRequest> = Vec::new();
    loop {
        let part = state.store.requests(which, after.as_deref(), PART).await?;
        let Some(last) = part.last() else { break };
        after = Some(last.id.clone());
        for request in part {
            if !possible(&request).await? {
                continue;
            }
            let request = described(state, request).await?;
            if keep(&request) {
                if data.len() == limit {
                    return Ok(AccessRequestList { object: "list".into(), data, has_more: true });
                }
                data.push(request);
            }
        }
    }
    Ok(AccessRequestList { object: "list".into(), data, has_more: false })
}

/// Which waiting requests somebody could have a voice on, by the terms they were made under; read once for each.
struct Voices<'a> {
    state: &'a AppState,
    subject: &'a str,
    /// Themselves, and those who are away and named them.
    for_whom: Vec<String>,
    known: HashMap<(String, u64), bool>,
}

impl Voices<'_> {
    async fn possible(&mut self, request: &StoredRequest) -> Result<bool, ApiError> {
        if request.subject == self.subject {
            return Ok(false);
        }
        let key = (request.datanet.clone(), request.terms_version);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let owner = datanet_of(self.state, &request.datanet).await?.owner;
        let review = terms_of_version(self.state, &request.datanet, request.terms_version).await?.terms.review;
        let reviewers = review.reviewers.iter().chain(&review.escalate_to).chain([&owner]);
        let possible = reviewers.into_iter().any(|reviewer| self.for_whom.contains(reviewer));
        self.known.insert(key, possible);
        Ok(possible)
    }
}

async fn represented(state: &AppState, subject: &str) -> Result<Vec<String>, ApiError> {
    let absences = state.store.absences().await?.into_iter().filter(|absence| absence.delegate == subject);
    Ok(absences.map(|absence| absence.reviewer).chain([subject.to_owned()]).collect())
}

/// Requests read at once.
const PART: usize = 200;
