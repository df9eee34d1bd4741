//! Server-sent events: `data: {json}` lines, as OpenAI sends them.

use actix_web::{HttpResponse, http::header, web::Bytes};
use futures::{Stream, StreamExt};
use serde::Serialize;

/// One event.
pub(crate) fn event(data: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(data).unwrap_or_else(|error| {
        // Wire types hold no maps with keys other than strings, which is the one thing that can fail.
        tracing::error!(%error, "an event could not be written");
        "{}".into()
    });
    Bytes::from(format!("data: {json}\n\n"))
}

/// The end of a stream, for OpenAI's clients.
pub(crate) fn done() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}

/// A response that streams events as they come; nothing in between may buffer them.
pub(crate) fn response(events: impl Stream<Item = Bytes> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events.map(Ok::<_, std::convert::Infallible>))
}
