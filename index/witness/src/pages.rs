//! What a witness shows to everybody: who it is, what it witnesses, and the last checkpoint of each log.

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use cairn_proof::{CosignedCheckpoint, Hash};

use crate::server::State;

/// `GET /`
pub(crate) async fn index(state: web::Data<State>) -> HttpResponse {
    let name = escaped(state.witness.public_key().name().as_str());
    let key = escaped(&state.witness.public_key().to_string());
    let mut rows = String::new();
    for origin in &state.origins {
        let latest = state.witness.latest(origin).ok().flatten();
        let size = latest.and_then(|text| CosignedCheckpoint::parse(&text).ok()).map(|latest| latest.signed().size());
        let size = size.map_or("nothing yet".to_owned(), |size| size.to_string());
        let link = Hash::of(origin.as_bytes());
        rows.push_str(&format!(
            "<tr><td>{}</td><td><a href=\"checkpoint/{link}\">{size}</a></td></tr>\n",
            escaped(origin)
        ));
    }
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\n<h1>Witness {name}</h1>\n\
         <p>It cosigns a checkpoint of a log below only after a proof that the log goes on from the last one (C2SP \
         tlog-witness).</p>\n<p>Verifier key: <code>{key}</code></p>\n\
         <table>\n<tr><th>Log</th><th>Size cosigned last</th></tr>\n{rows}</table>\n</html>\n"
    );
    HttpResponse::Ok().content_type(ContentType::html()).body(page)
}

/// `GET /key`
pub(crate) async fn key(state: web::Data<State>) -> HttpResponse {
    text(format!("{}\n", state.witness.public_key()))
}

/// `GET /checkpoint/{SHA-256 of the origin}`
pub(crate) async fn checkpoint(state: web::Data<State>, log: web::Path<String>) -> HttpResponse {
    let origin = state.origins.iter().find(|origin| Hash::of(origin.as_bytes()).to_string() == *log);
    match origin.map(|origin| state.witness.latest(origin)) {
        Some(Ok(Some(latest))) => text(latest),
        Some(Err(_)) => HttpResponse::InternalServerError().body("the state of that log cannot be read\n"),
        _ => HttpResponse::NotFound().body("no such log, or nothing of it is cosigned yet\n"),
    }
}

/// `GET /healthz`: the state of every log can be read.
pub(crate) async fn health(state: web::Data<State>) -> HttpResponse {
    match state.origins.iter().try_for_each(|origin| state.witness.latest(origin).map(drop)) {
        Ok(()) => text("ok\n".to_owned()),
        Err(error) => {
            tracing::error!(%error, "the state cannot be read");
            HttpResponse::ServiceUnavailable().body("the state cannot be read\n")
        }
    }
}

fn text(body: String) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::plaintext()).body(body)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
