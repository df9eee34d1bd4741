//! Health, readiness, metrics, and the way in for people.

use actix_web::{HttpResponse, get, http::header::LOCATION, web::Data};

use crate::{
    auth::{Allowed, Auditors},
    error::ApiError,
    state::AppState,
};

/// The process is alive.
#[utoipa::path(operation_id = "healthz", tag = "operations", security(()), responses((status = 200, description = "alive")))]
#[get("/healthz")]
pub(crate) async fn healthz() -> &'static str {
    "ok"
}

/// The gateway can answer: the database answers and the log is open.
#[utoipa::path(operation_id = "readyz", tag = "operations", security(()), responses((status = 200, description = "ready"), (status = 503, description = "not ready")))]
#[get("/readyz")]
pub(crate) async fn readyz(state: Data<AppState>) -> HttpResponse {
    match state.store.ping().await {
        Ok(()) => HttpResponse::Ok().body("ready"),
        Err(error) => {
            tracing::error!(error = %error, "not ready");
            HttpResponse::ServiceUnavailable().body("the database does not answer")
        }
    }
}

/// Metrics in Prometheus' text format.
#[utoipa::path(operation_id = "metrics", tag = "operations", responses((status = 200, description = "metrics", content_type = "text/plain", body = String)))]
#[get("/metrics")]
pub(crate) async fn render(_caller: Allowed<Auditors>, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    for (model, figures) in state.models.figures() {
        for (name, value) in figures {
            metrics::gauge!(name, "model" => model.to_string()).set(value);
        }
    }
    for (index, card) in state.devices.iter().flat_map(|devices| devices.sample()).enumerate() {
        let of = [("total", Some(card.total)), ("used", Some(card.used)), ("process", card.by_process)];
        for (part, bytes) in of.into_iter().filter_map(|(part, bytes)| Some((part, bytes?))) {
            let labels = [("device", index.to_string()), ("name", card.name.clone()), ("part", part.to_owned())];
            metrics::gauge!("cairn_device_memory_bytes", &labels).set(bytes as f64);
        }
    }
    if let Some(anchoring) = state.ledger.outside().anchoring() {
        metrics::gauge!("cairn_anchor_connected").set(u8::from(anchoring.connected));
        metrics::gauge!("cairn_anchor_size").set(anchoring.anchored.map_or(0, |last| last.size) as f64);
        if let Some(at) = anchoring.anchored.and_then(|last| last.at) {
            let now = chrono::Utc::now().timestamp().unsigned_abs();
            metrics::gauge!("cairn_anchor_age_seconds").set(now.saturating_sub(at) as f64);
        }
        metrics::gauge!("cairn_anchor_spent_gwei").set(anchoring.spent_gwei as f64);
        metrics::counter!("cairn_anchor_confirmed_total").absolute(anchoring.counts.confirmed);
        metrics::counter!("cairn_anchor_failures_total").absolute(anchoring.counts.failures);
        metrics::gauge!("cairn_anchor_alarm").set(u8::from(anchoring.alarm.is_some()));
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(state.metrics.render()))
}

/// People who open the address in a browser find the studio.
pub(crate) async fn root() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, super::studio::PREFIX)).finish()
}

/// The interactive documentation.
pub(crate) async fn docs() -> HttpResponse {
    HttpResponse::Found().insert_header((LOCATION, "/docs/")).finish()
}
