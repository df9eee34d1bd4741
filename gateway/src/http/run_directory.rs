//! What the process of a run, a training or an evaluation, leaves in its directory, over the wire: events and results.

use std::{path::PathBuf, time::Duration};

use actix_web::HttpResponse;
use cairn_openapi::fine_tuning::{FineTuningEvent, FineTuningEvents, PageQuery};
use cairn_trainer::job::{self, Entry, Level};

use super::sse;
use crate::error::{ApiError, Code};

/// A run's directory, and what its events are called over the wire.
pub(super) struct RunDirectory {
    pub(super) id: String,
    pub(super) dir: PathBuf,
    /// The `object` of an event.
    pub(super) event: &'static str,
}

impl RunDirectory {
    /// What was noted from byte `from` on, and where the next will stand.
    pub(super) async fn entries(&self, from: u64) -> Result<(Vec<Entry>, u64), ApiError> {
        let dir = self.dir.clone();
        let entries = tokio::task::spawn_blocking(move || job::events(&dir, from)).await.map_err(ApiError::internal)?;
        entries.map_err(|error| ApiError::internal(cairn_trainer::told(&error)))
    }

    /// A page of events, newest first.
    pub(super) async fn events(&self, page: &PageQuery) -> Result<HttpResponse, ApiError> {
        let limit = limit(page)?;
        let mut all = self.wire(0, &self.entries(0).await?.0);
        all.reverse();
        let from = match &page.after {
            None => 0,
            Some(after) => all.iter().position(|event| event.id == *after).map_or(all.len(), |at| at + 1),
        };
        let has_more = all.len() > from + limit;
        let data = all.into_iter().skip(from).take(limit).collect();
        Ok(HttpResponse::Ok().json(FineTuningEvents { object: "list".into(), data, has_more }))
    }

    /// Events from the first one on, as server-sent events, until nothing more will come: `over` says so, or nothing where
    /// the run is not known any more.
    pub(super) fn follow<F>(self, over: impl Fn() -> F + 'static) -> HttpResponse
    where
        F: Future<Output = Option<bool>>,
    {
        let (sender, receiver) = tokio::sync::mpsc::channel(64);
        actix_web::rt::spawn(async move {
            let (mut at, mut number) = (0, 0);
            loop {
                // Looked at before the events, so that what was written last is not missed.
                let Some(over) = over().await else { return };
                let Ok((entries, next)) = self.entries(at).await else { return };
                let new = self.wire(number, &entries);
                (at, number) = (next, number + new.len());
                for event in &new {
                    if sender.send(sse::event(event)).await.is_err() {
                        return;
                    }
                }
                if over {
                    let _ = sender.send(sse::done()).await;
                    return;
                }
                if sender.is_closed() {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        sse::response(tokio_stream::wrappers::ReceiverStream::new(receiver))
    }

    /// A file that the run writes when it is done. `status` is where the run stands, for the message when it is not there.
    pub(super) async fn file(&self, name: &str, kind: &'static str, status: &str) -> Result<HttpResponse, ApiError> {
        match tokio::fs::read(self.dir.join(name)).await {
            Ok(bytes) => Ok(HttpResponse::Ok().content_type(kind).body(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(ApiError::new(Code::NotFound, format!("{} has no {name} yet; it is {status}", self.id)))
            }
            Err(error) => Err(ApiError::internal(error)),
        }
    }

    fn wire(&self, first: usize, entries: &[Entry]) -> Vec<FineTuningEvent> {
        let event = |(number, entry): (usize, &Entry)| FineTuningEvent {
            id: format!("ftevent-{}-{}", self.id, first + number),
            object: self.event.into(),
            created_at: entry.at,
            level: match entry.level {
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            }
            .into(),
            message: entry.message.clone(),
            kind: if entry.data["event"] == "step" { "metrics" } else { "message" }.into(),
            data: entry.data.clone(),
        };
        entries.iter().enumerate().map(event).collect()
    }
}

/// How often a followed run is looked at.
const LOOK: Duration = Duration::from_millis(250);

pub(super) fn limit(page: &PageQuery) -> Result<usize, ApiError> {
    match page.limit.unwrap_or(20) {
        limit @ 1..=1000 => Ok(limit),
        limit => Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to 1000"))),
    }
}

/// RFC 3339 as seconds since 1970.
pub(super) fn seconds(time: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(time).map_or(0, |time| time.timestamp())
}
