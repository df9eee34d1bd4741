//! Anchors of the log on a chain: how far they are, and proofs of registrations.

use actix_web::{
    HttpResponse, get,
    web::{Data, Json, Path},
};
use cairn_openapi::{
    anchors::{AnchorInFlight, Anchored, Anchoring},
    error::ErrorEnvelope,
};
use cairn_proof::{
    Hash,
    canonical::to_canonical,
    registration::{Registered, RegistrationFormat, RegistrationProof},
};

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
        anchored,
        in_flight: in_flight.collect(),
        waiting_registrations: now.waiting as u64,
        spent_gwei: Some(now.spent_gwei),
        budget_gwei: Some(now.budget_gwei),
        balance_gwei: now.balance_gwei,
        problem: now.problem,
        alarm: now.alarm,
    })
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
        let message = match state.ledger.outside().anchoring() {
            None => "this log is not anchored on a chain, so nothing is registered there",
            Some(_) => "it is not registered on the chain for good yet; ask again when its block is deep enough",
        };
        return Err(ApiError::new(Code::NotFound, message));
    };
    let proof = RegistrationProof { format: RegistrationFormat::V1, registered: what, registration };
    let mut file = to_canonical(&proof).map_err(ApiError::internal)?;
    file.push(b'\n');
    Ok(HttpResponse::Ok().content_type("application/json").body(file))
}
