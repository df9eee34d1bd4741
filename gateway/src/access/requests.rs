//! Requests for access: decided at once by the published terms, or referred to people.

use cairn_openapi::{
    access::{AccessRequest, NewAbsence, NewAppeal, NewVote, RequestStatus, ReviewVote},
    keys::Role,
};
use cairn_policy::{
    Absence, Application, Outcome, Scope, Vote, evaluate,
    review::{Referral, Standing, Tally, tally},
};
use cairn_proof::{
    Entry, Salt,
    access::{DecidedBy, Outcome as Logged},
};
use chrono::{DateTime, Duration, Utc};

use super::{
    entries, grants,
    grants::{new_id, text},
    log_pending,
};
use crate::{
    auth::Caller,
    error::{ApiError, Code},
    state::AppState,
    store::{
        datanets::Description,
        grants::StoredGrant,
        now,
        requests::{Decided, StoredRequest, StoredTerms},
    },
};

/// Takes a request. The terms grant or deny it at once, or refer it to people.
pub(crate) async fn apply(
    state: &AppState,
    caller: &Caller,
    datanet: &Description,
    application: Application,
    appeal_of: Option<&StoredRequest>,
) -> Result<AccessRequest, ApiError> {
    if caller.subject == datanet.owner {
        return Err(ApiError::new(Code::AlreadyExists, format!("{} owns {}", caller.subject, datanet.name)));
    }
    let problems: Vec<String> = application.check().iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(ApiError::invalid("application", problems.join("; ")));
    }
    if let Some(rows) = &application.rows {
        grants::filter("rows", rows)?;
    }
    let terms = in_force(state, &datanet.name).await?;
    let waiting = state.store.waiting_requests(&datanet.name, &caller.subject).await?;
    if let Some(waiting) = waiting.iter().find(|it| it.application.purposes == application.purposes) {
        let message = format!("request {} for the same is waiting; withdraw it to ask anew", waiting.id);
        return Err(ApiError::new(Code::AlreadyExists, message));
    }
    let judged = evaluate(&terms.terms, &application);
    // Whom an appeal is for has been denied by people: they are not overruled by the terms' refusal to decide.
    let outcome = match (appeal_of, judged.outcome) {
        (Some(_), Outcome::Granted) => Outcome::Referred,
        (_, outcome) => outcome,
    };
    let at = Utc::now();
    let salt = Salt::random().map_err(ApiError::internal)?;
    let request = StoredRequest {
        id: new_id("access"),
        datanet: datanet.name.clone(),
        subject: caller.subject.clone(),
        application,
        terms_version: terms.version,
        findings: judged.findings,
        scope: judged.scope,
        status: "waiting".to_owned(),
        decided_by: None,
        created_at: text(at),
        decided_at: None,
        deadline: (outcome == Outcome::Referred)
            .then(|| text(at + Duration::hours(i64::from(terms.terms.review.deadline_hours)))),
        escalated_at: None,
        appeal_of: appeal_of.map(|appealed| appealed.id.clone()),
        grant_id: None,
        log_index: None,
    };
    let entry = entries::request(&request, &terms, &salt)?;
    let grant = match (outcome, &request.scope) {
        (Outcome::Granted, Some(scope)) => Some(granted(&request, scope, "policy", "policy", at)?),
        _ => None,
    };
    let grant_entry = grant.as_ref().map(|grant| entries::grant(grant, Some(&terms), &salt)).transpose()?;
    let logged = match outcome {
        Outcome::Granted => Logged::Granted,
        Outcome::Referred => Logged::Referred,
        Outcome::Denied => Logged::Denied,
    };
    let decision = entries::decision(&request, logged, DecidedBy::Policy, None, &text(at), &salt)?;
    let created = text(at);
    let appeal = appeal_of.map(|appealed| entries::appeal(&request, &appealed.id)).transpose()?;
    let decided = (outcome != Outcome::Referred).then(|| Decided {
        request: &request.id,
        status: if outcome == Outcome::Granted { "granted" } else { "denied" },
        by: "policy",
        at: &created,
        decision: &decision,
        grant: grant.as_ref().zip(grant_entry.as_ref()),
        salt: &salt,
    });
    // What is referred is said in the log as well, but decides nothing.
    let also: Vec<&Entry> = appeal.iter().chain(decided.is_none().then_some(&decision)).collect();
    state.store.create_request(&request, &entry, &also, &salt, decided).await?;
    if let Some(grant) = &grant {
        supersede(state, grant).await?;
    }
    log_pending(state).await?;
    described(state, stored(state, &request.id).await?).await
}

/// Asks again for what a request asked for.
pub(crate) async fn renew(state: &AppState, caller: &Caller, id: &str) -> Result<AccessRequest, ApiError> {
    let before = own(state, caller, id).await?;
    let datanet = datanet_of(state, &before.datanet).await?;
    apply(state, caller, &datanet, before.application, None).await
}

/// Appeals against a denial by people or by the terms.
pub(crate) async fn appeal(
    state: &AppState,
    caller: &Caller,
    id: &str,
    appeal: NewAppeal,
) -> Result<AccessRequest, ApiError> {
    let denied = own(state, caller, id).await?;
    if denied.status != "denied" || denied.decided_by.as_deref() != Some("review") {
        let message =
            "only what people denied can be appealed against; where the terms deny, mend what they name and ask anew";
        return Err(ApiError::new(Code::AlreadyExists, message));
    }
    let mut application = denied.application.clone();
    if !appeal.statement.trim().is_empty() {
        application.statement = appeal.statement;
    }
    let datanet = datanet_of(state, &denied.datanet).await?;
    apply(state, caller, &datanet, application, Some(&denied)).await
}

/// Takes a waiting request back.
pub(crate) async fn withdraw(state: &AppState, caller: &Caller, id: &str) -> Result<(), ApiError> {
    let request = own(state, caller, id).await?;
    let (salt, at) = (Salt::random().map_err(ApiError::internal)?, now());
    let decision =
        entries::decision(&request, Logged::Withdrawn, DecidedBy::Requester, Some(&caller.subject), &at, &salt)?;
    let decided = Decided {
        request: &request.id,
        status: "withdrawn",
        by: "requester",
        at: &at,
        decision: &decision,
        grant: None,
        salt: &salt,
    };
    if !state.store.decide_request(decided).await? {
        return Err(ApiError::new(Code::AlreadyExists, format!("request {id} is {} already", request.status)));
    }
    log_pending(state).await
}

/// A reviewer says yes or no; the last voice that it takes decides.
pub(crate) async fn vote(
    state: &AppState,
    caller: &Caller,
    id: &str,
    said: NewVote,
) -> Result<AccessRequest, ApiError> {
    let request = visible_stored(state, caller, id).await?;
    if !said.approve && said.reason.trim().is_empty() {
        return Err(ApiError::invalid("reason", "a no needs a reason, which the requester reads"));
    }
    if said.reason.chars().count() > MOST_REASON {
        return Err(ApiError::invalid("reason", format!("is longer than {MOST_REASON} characters")));
    }
    if request.status != "waiting" {
        return Err(ApiError::new(Code::AlreadyExists, format!("request {id} is {} already", request.status)));
    }
    let at = Utc::now();
    let counted = count(state, &request, at).await?;
    let voice = counted.voices.iter().find(|voice| voice.person == caller.subject);
    let Some(voice) = voice else {
        let message = match caller.subject == request.subject {
            true => "nobody decides on their own request".to_owned(),
            false => format!("{} has no voice on request {id}, or has used it", caller.subject),
        };
        return Err(ApiError::new(Code::InsufficientScope, message));
    };
    let vote = Vote {
        reviewer: caller.subject.clone(),
        on_behalf_of: voice.on_behalf_of.clone(),
        approve: said.approve,
        reason: said.reason,
        at,
    };
    let salt = Salt::random().map_err(ApiError::internal)?;
    let entry = entries::vote(&request, &vote, &salt)?;
    if !state.store.vote(&request.id, &vote, &entry, &salt).await? {
        return Err(ApiError::new(Code::AlreadyExists, format!("{} has voted on {id} already", caller.subject)));
    }
    settle(state, &request, &caller.subject, at).await?;
    log_pending(state).await?;
    described(state, stored(state, id).await?).await
}

/// Looks through waiting requests: passes on those whose deadline is over, and grants what the terms grant by silence. The
/// first look, at the start, is at all of them; the others at those that time or a vote may have ended, and at new ones.
pub(super) async fn pass_on(state: &AppState, first: bool) -> Result<(), ApiError> {
    let at = Utc::now();
    let since = if first { String::new() } else { text(at - Duration::minutes(NEW_MINUTES)) };
    let mut after: Option<String> = None;
    loop {
        let part = state.store.due_requests(&text(at), &since, after.as_deref(), PART).await?;
        let Some(last) = part.last() else { return Ok(()) };
        after = Some(last.id.clone());
        for request in part {
            // One that cannot be counted keeps no other waiting.
            if let Err(error) = look_at(state, &request, at).await {
                tracing::error!(request = request.id, %error, "a waiting request could not be looked at");
            }
        }
    }
}

async fn look_at(state: &AppState, request: &StoredRequest, at: DateTime<Utc>) -> Result<(), ApiError> {
    let counted = count(state, request, at).await?;
    if counted.escalated && request.escalated_at.is_none() {
        let salt = Salt::random().map_err(ApiError::internal)?;
        let entry = entries::decision(request, Logged::Escalated, DecidedBy::Policy, None, &text(at), &salt)?;
        state.store.escalate_request(&request.id, &text(at), &entry, &salt).await?;
    }
    settle(state, request, "policy", at).await
}

/// One request, where the caller has to do with it.
pub(crate) async fn visible(state: &AppState, caller: &Caller, id: &str) -> Result<AccessRequest, ApiError> {
    described(state, visible_stored(state, caller, id).await?).await
}

/// Who votes for a subject, unless that is over.
pub(crate) async fn absence(state: &AppState, subject: &str) -> Result<Option<NewAbsence>, ApiError> {
    let now = Utc::now();
    let all = state.store.absences().await?;
    let own = all.into_iter().find(|absence| absence.reviewer == subject && absence.until > now);
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    Ok(own.map(|Absence { delegate, from, until, .. }| NewAbsence {
        delegate,
        from: Some(text(from)),
        until: text(until),
    }))
}

/// Says who votes for a subject meanwhile.
pub(crate) async fn set_absence(state: &AppState, subject: &str, absence: Option<NewAbsence>) -> Result<(), ApiError> {
    let Some(NewAbsence { delegate, from, until }) = absence else {
        return Ok(state.store.set_absence(subject, None).await?);
    };
    if delegate == subject {
        return Err(ApiError::invalid("delegate", "name somebody else"));
    }
    let moment = |param: &str, text: &str| {
        text.parse::<DateTime<Utc>>()
            .map_err(|_| ApiError::invalid(param, format!("{text:?} is not a moment such as 2026-01-31T12:00:00Z")))
    };
    let from = from.as_deref().map_or(Ok(Utc::now()), |from| moment("from", from))?;
    let until = moment("until", &until)?;
    if until <= from {
        return Err(ApiError::invalid("until", "must be after from"));
    }
    let absence = Absence { reviewer: subject.to_owned(), delegate, from, until };
    Ok(state.store.set_absence(subject, Some(&absence)).await?)
}

/// Carries out what the votes amount to, if they amount to anything.
async fn settle(state: &AppState, request: &StoredRequest, actor: &str, at: DateTime<Utc>) -> Result<(), ApiError> {
    let approved = match count(state, request, at).await?.standing {
        Standing::Waiting => return Ok(()),
        Standing::Approved | Standing::ApprovedBySilence => true,
        Standing::Rejected => false,
    };
    let terms = terms_of(state, request).await?;
    let salt = Salt::random().map_err(ApiError::internal)?;
    let grant = match (&request.scope, approved) {
        (Some(scope), true) => Some(granted(request, scope, actor, "review", at)?),
        (None, true) => return Err(ApiError::internal("a request without a scope was referred")),
        (_, false) => None,
    };
    let grant_entry = grant.as_ref().map(|grant| entries::grant(grant, Some(&terms), &salt)).transpose()?;
    let (outcome, logged) = if approved { ("granted", Logged::Granted) } else { ("denied", Logged::Denied) };
    let decided_at = text(at);
    let decision = entries::decision(request, logged, DecidedBy::Review, Some(actor), &decided_at, &salt)?;
    let decided = Decided {
        request: &request.id,
        status: outcome,
        by: "review",
        at: &decided_at,
        decision: &decision,
        grant: grant.as_ref().zip(grant_entry.as_ref()),
        salt: &salt,
    };
    if state.store.decide_request(decided).await?
        && let Some(grant) = &grant
    {
        supersede(state, grant).await?;
    }
    Ok(())
}

/// The grant that a request leads to.
fn granted(
    request: &StoredRequest,
    scope: &Scope,
    by: &str,
    decided_by: &str,
    at: DateTime<Utc>,
) -> Result<StoredGrant, ApiError> {
    let filters: Vec<cairn_filter::Filter> =
        scope.rows.iter().map(|rows| grants::filter("rows", rows)).collect::<Result<_, _>>()?;
    let rows = filters.into_iter().reduce(|all, one| all.and(&one));
    Ok(StoredGrant {
        id: new_id("grant"),
        datanet: request.datanet.clone(),
        subject: request.subject.clone(),
        purposes: scope.purposes.iter().copied().collect(),
        rows: rows.map(|rows| rows.to_string()),
        retrievals_per_day: scope.retrievals_per_day,
        terms_version: Some(request.terms_version),
        request: Some(request.id.clone()),
        granted_by: by.to_owned(),
        decided_by: decided_by.to_owned(),
        granted_at: text(at),
        expires_at: grants::after(at, scope.days),
        revoked_at: None,
        revoked_by: None,
        revocation_reason: None,
        leaf: None,
        log_index: None,
    })
}

/// A grant by request takes the place of earlier ones by request for the same purposes.
async fn supersede(state: &AppState, grant: &StoredGrant) -> Result<(), ApiError> {
    for earlier in state.store.grants_in_force(&grant.datanet, &grant.subject).await? {
        let same = earlier.request.is_some() && earlier.purposes == grant.purposes && earlier.id != grant.id;
        if same {
            grants::revoke(state, &earlier, "policy", "a newer grant took its place").await?;
        }
    }
    Ok(())
}

/// Where a request stands at a moment.
async fn count(state: &AppState, request: &StoredRequest, at: DateTime<Utc>) -> Result<Tally, ApiError> {
    let terms = terms_of(state, request).await?;
    let datanet = datanet_of(state, &request.datanet).await?;
    let barred: Vec<String> = match &request.appeal_of {
        Some(appealed) => state.store.votes(appealed).await?.into_iter().map(|vote| vote.reviewer).collect(),
        None => Vec::new(),
    };
    let since = request.created_at.parse().map_err(ApiError::internal)?;
    let referral =
        Referral { terms: &terms.terms, owner: &datanet.owner, requester: &request.subject, barred: &barred, since };
    let votes = state.store.votes(&request.id).await?;
    Ok(tally(&referral, &votes, &state.store.absences().await?, at))
}

pub(super) async fn described(state: &AppState, request: StoredRequest) -> Result<AccessRequest, ApiError> {
    let waiting = request.status == "waiting";
    let counted = count(state, &request, Utc::now()).await?;
    let votes = state.store.votes(&request.id).await?;
    let mut reviewers: Vec<String> = counted.voices.into_iter().map(|voice| voice.person).collect();
    reviewers.dedup();
    Ok(AccessRequest {
        id: request.id,
        datanet: request.datanet,
        subject: request.subject,
        application: request.application,
        terms_version: request.terms_version,
        findings: request.findings,
        scope: request.scope,
        status: match request.status.as_str() {
            "granted" => RequestStatus::Granted,
            "denied" => RequestStatus::Denied,
            "withdrawn" => RequestStatus::Withdrawn,
            _ => RequestStatus::Waiting,
        },
        decided_by: request.decided_by,
        created_at: request.created_at,
        decided_at: request.decided_at,
        deadline: request.deadline,
        escalated_at: request.escalated_at,
        reviewers: if waiting { reviewers } else { Vec::new() },
        required: u64::from(counted.required),
        votes: votes
            .into_iter()
            .map(|vote| ReviewVote {
                reviewer: vote.reviewer,
                on_behalf_of: vote.on_behalf_of,
                approve: vote.approve,
                reason: vote.reason,
                at: text(vote.at),
            })
            .collect(),
        appeal_of: request.appeal_of,
        grant: request.grant_id,
        log_index: request.log_index,
    })
}

/// Whether a request is somebody's own, or theirs to decide or decided by them.
pub(super) fn concerns(request: &AccessRequest, subject: &str) -> bool {
    request.subject == subject
        || request.reviewers.iter().any(|reviewer| reviewer == subject)
        || request.votes.iter().any(|vote| vote.reviewer == subject)
}

async fn visible_stored(state: &AppState, caller: &Caller, id: &str) -> Result<StoredRequest, ApiError> {
    let request = stored(state, id).await?;
    let owner = datanet_of(state, &request.datanet).await?.owner;
    // A reviewer sees what others decided, too.
    let review = terms_of(state, &request).await?.terms.review;
    let reviews = review.reviewers.iter().chain(&review.escalate_to).any(|reviewer| *reviewer == caller.subject);
    let governs = caller.bounds().is_none() || caller.subject == owner || caller.has(&[Role::Auditor]);
    if governs || reviews || concerns(&described(state, request.clone()).await?, &caller.subject) {
        return Ok(request);
    }
    Err(missing(id))
}

async fn own(state: &AppState, caller: &Caller, id: &str) -> Result<StoredRequest, ApiError> {
    let request = stored(state, id).await?;
    if request.subject == caller.subject { Ok(request) } else { Err(missing(id)) }
}

async fn stored(state: &AppState, id: &str) -> Result<StoredRequest, ApiError> {
    state.store.request(id).await?.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no request {id:?}"))
}

pub(super) async fn datanet_of(state: &AppState, name: &str) -> Result<Description, ApiError> {
    state.store.datanet(name, None).await?.ok_or_else(|| ApiError::no_datanet(name))
}

async fn in_force(state: &AppState, datanet: &str) -> Result<StoredTerms, ApiError> {
    let none = || {
        let message =
            format!("datanet {datanet} has no published terms, so there is nothing to ask under; see its owner");
        ApiError::new(Code::NotFound, message)
    };
    state.store.terms(datanet).await?.into_iter().next().ok_or_else(none)
}

/// The terms that a request was made under.
async fn terms_of(state: &AppState, request: &StoredRequest) -> Result<StoredTerms, ApiError> {
    terms_of_version(state, &request.datanet, request.terms_version).await
}

/// A version of a datanet's terms.
pub(super) async fn terms_of_version(state: &AppState, datanet: &str, version: u64) -> Result<StoredTerms, ApiError> {
    let versions = state.store.terms(datanet).await?;
    let version = versions.into_iter().find(|terms| terms.version == version);
    version.ok_or_else(|| ApiError::internal("a request's terms are missing"))
}

/// Requests looked at in one part.
const PART: usize = 200;
/// For so long a request counts as new: as one that is to be passed on at once, because too few may decide it.
const NEW_MINUTES: i64 = 10;
/// Longest reason, in characters.
const MOST_REASON: usize = 2000;
