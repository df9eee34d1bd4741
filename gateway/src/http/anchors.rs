//! Anchors of the log on a chain: how far they are, and proofs of registrations.

use actix_web::{
    HttpResponse, get,
    web::{Data, Json, Path, Query},
};
use cairn_anchor::proof::{Anchor, Header};
use cairn_openapi::{
    anchors::{AnchorFailure, AnchorInFlight, AnchorPage, AnchorQuery, Anchored, Anchoring, KeptAnchor},
    error::ErrorEnvelope,
};
use cairn_proof::{
    Hash,
    canonical::to_canonical,
    registration::{Registered, RegistrationFormat, RegistrationProof},
};
use chrono::{DateTime, SecondsFormat};

use crate::{
    auth::{Allowed, Anyone},
    error::{ApiError, Code},
    state::AppState,
};

/// How far the log's anchors on a chain are.
#[utoipa::path(operation_id = "log_anchors", tag = "log", responses((status = 200, body = Anchoring)))]
#[get("/v1/log/anchors")]
pub(crate) async fn status(_caller: Allowed<Anyone>, state: Data<AppState>) -> Json<Anchoring> {
    let Some(now) = state.ledger.outside().anchoring() else { return Json(Anchoring::default()) };
    let anchored = now.anchored.map(|last| Anchored {
        size: last.size,
        root: Hash::from(last.root.0).to_string(),
        transaction: last.transaction.to_string(),
        block_hash: last.block_hash.to_string(),
        block_number: last.block_number,
        at: last.at.map(moment),
    });
    let in_flight = now.in_flight.into_iter().map(|one| AnchorInFlight {
        size: one.size,
        transaction: one.transaction.to_string(),
        attempts: one.attempts as u64,
        block_number: one.block_number,
    });
    Json(Anchoring {
        enabled: true,
        chain_id: Some(now.chain_id),
        contract: Some(now.contract.to_string()),
        sender: Some(now.sender.to_string()),
        connected: Some(now.connected),
        block_number: now.block_number,
        confirmations: Some(now.confirmations),
        offered: now.offered,
        anchored,
        proofs: now.proofs as u64,
        next_at: now.next_at.map(moment),
        in_flight: in_flight.collect(),
        waiting_registrations: now.waiting as u64,
        spent_gwei: Some(now.spent_gwei),
        budget_gwei: Some(now.budget_gwei),
        balance_gwei: now.balance_gwei,
        problem: now.problem,
        last_failure: now.last_failure.map(|last| AnchorFailure { at: moment(last.at), problem: last.problem }),
        alarm: now.alarm,
    })
}

/// The anchors whose proofs are kept, the newest first, at most 100 at once.
#[utoipa::path(operation_id = "log_anchor_history", tag = "log", params(AnchorQuery), responses((status = 200, body = AnchorPage), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/log/anchors/history")]
pub(crate) async fn history(
    _caller: Allowed<Anyone>,
    state: Data<AppState>,
    query: Query<AnchorQuery>,
) -> Result<Json<AnchorPage>, ApiError> {
    let limit = query.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to 100")));
    }
    let mut found = state.ledger.outside().anchors(query.before, limit + 1).await.map_err(ApiError::internal)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let data = found.iter().map(kept).collect::<Result<Vec<_>, _>>().map_err(ApiError::internal)?;
    Ok(Json(AnchorPage { data, has_more }))
}

/// The proof that a contributor was registered on a chain, by its pseudonym as records have it.
#[utoipa::path(operation_id = "contributor_registration", tag = "log", params(("contributor" = String, Path, description = "the pseudonym (hex)")), responses((status = 200, content_type = "application/json", body = Object), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/log/contributors/{contributor}/registration")]
pub(crate) async fn contributor(
    _caller: Allowed<Anyone>,
    state: Data<AppState>,
    contributor: Path<String>,
) -> Result<HttpResponse, ApiError> {
    let contributor: Hash = contributor.parse().map_err(|_| {
        ApiError::invalid("contributor", "is no pseudonym: 64 hexadecimal digits, as a record's uses have it")
    })?;
    registered(&state, Registered::Contributor { contributor }).await
}

/// The proof of a registration as the file that verifiers take.
pub(super) async fn registered(state: &AppState, what: Registered) -> Result<HttpResponse, ApiError> {
    let found = state.ledger.outside().registration(&what).map_err(ApiError::internal)?;
    let Some(registration) = found else {
        let message = match (state.ledger.outside().anchoring(), &what) {
            (None, _) => "this log is not anchored on a chain, so nothing is registered there",
            (Some(_), Registered::Datanet { .. }) => {
                "it is not registered on the chain for good yet; ask again when its block is deep enough"
            }
            (Some(_), Registered::Contributor { .. }) => {
                "it is not registered on the chain for good: ask again when its block is deep enough, if an answer drew on \
                 this contributor for the first time while anchors were on"
            }
        };
        return Err(ApiError::new(Code::NotFound, message));
    };
    let proof = RegistrationProof { format: RegistrationFormat::V1, registered: what, registration };
    let mut file = to_canonical(&proof).map_err(ApiError::internal)?;
    file.push(b'\n');
    Ok(HttpResponse::Ok().content_type("application/json").body(file))
}

/// What an anchor's proof says, in short.
fn kept(anchor: &Anchor) -> Result<KeptAnchor, cairn_anchor::proof::Error> {
    let block = Header::read(&anchor.event.header)?;
    Ok(KeptAnchor {
        size: anchor.size,
        root: Hash::from(anchor.root.0).to_string(),
        transaction: anchor.event.transaction.as_ref().map(|transaction| transaction.hash.to_string()),
        block_hash: anchor.event.block_hash.to_string(),
        block_number: block.number,
        block_time: moment(block.timestamp),
    })
}

/// Seconds since 1970 in RFC 3339; empty beyond what calendars have.
fn moment(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default()
}
