//! A replica and its primary. The primary keeps the log and decides; a replica answers questions over the same datanets,
//! adapters and database, has the primary log each answer's record before its last byte, and passes on all that is no question.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody, SizedStream},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING},
    },
    middleware::Next,
    web::{Bytes, Data},
};
use anyhow::Context;
use cairn_index::{DatanetName, Snapshot};
use cairn_openapi::{
    error::ErrorEnvelope,
    log::{LogKey, LoggedEntry},
};
use cairn_proof::{
    Entry, Origin, VerifyingKey,
    log::{Draft, Placed},
};
use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    config::OfPrimary,
    convert,
    error::{ApiError, Code},
    state::AppState,
};

/// A replica's way to its primary.
#[derive(Debug)]
pub(crate) struct Primary {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// Why the primary did not log an entry, as far as that is known: it may have been logged all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrimaryError {
    /// It is not there.
    #[error("the primary cannot be reached")]
    Away(#[source] reqwest::Error),
    /// It refused.
    #[error("the primary refused ({status}): {message}")]
    Refused {
        /// Its status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// What it said is not understood.
    #[error("the primary's answer is not understood: {0}")]
    Garbled(String),
}

impl Primary {
    /// Reads the key; asks nothing yet.
    pub(crate) fn new(of: &OfPrimary) -> anyhow::Result<Self> {
        let key = std::fs::read_to_string(&of.key_file)
            .with_context(|| format!("replica.key_file: {} cannot be read", of.key_file.display()))?;
        let http = reqwest::Client::builder()
            .user_agent(concat!("cairn-replica/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            // A sign-in's redirects are the browser's to follow.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, url: of.url.clone(), key: key.trim().to_owned() })
    }

    /// The name and key of the primary's log. Waits for a primary that is starting too.
    pub(crate) async fn log_key(&self) -> anyhow::Result<(Origin, VerifyingKey)> {
        let mut tries = 0;
        let known = loop {
            let asked =
                self.http.get(format!("{}/v1/log/key", self.url)).bearer_auth(&self.key).timeout(ANSWER).send().await;
            tries += 1;
            match asked {
                Err(error) if tries < TRIES => {
                    tracing::warn!(%error, "the primary does not answer yet");
                    tokio::time::sleep(PAUSE).await;
                }
                asked => break asked,
            }
        };
        let known = known.with_context(|| format!("the primary, {}, cannot be reached", self.url))?;
        let known = known.error_for_status().context("the primary does not take replica.key_file's key")?;
        let known: LogKey = known.json().await.context("replica.primary is no gateway")?;
        Ok((Origin::new(known.origin)?, known.key.parse::<VerifyingKey>()?))
    }

    /// Has the primary append an entry; returns once it is durable and covered by a signed checkpoint.
    pub(crate) async fn append(&self, draft: Draft) -> Result<Placed, PrimaryError> {
        let garbled = |error: &dyn std::fmt::Display| PrimaryError::Garbled(error.to_string());
        let entry = match draft {
            Draft::Entry(entry) => entry,
            Draft::Record(record) => Entry::Record(record).to_bytes().map_err(|error| garbled(&error))?,
        };
        let request = || {
            let to = self.http.post(format!("{}/v1/log/entries", self.url)).bearer_auth(&self.key);
            to.header("content-type", "application/json").body(entry.clone()).timeout(ANSWER).send()
        };
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match request().await {
                // Nothing was sent, so nothing can be logged twice.
                Err(error) if error.is_connect() && tries < TRIES => tokio::time::sleep(PAUSE).await,
                answer => break answer.map_err(PrimaryError::Away)?,
            }
        };
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            let said = answer.json::<ErrorEnvelope>().await.map(|said| said.error.message);
            return Err(PrimaryError::Refused { status, message: said.unwrap_or_default() });
        }
        let logged: LoggedEntry = answer.json().await.map_err(|error| garbled(&error))?;
        Ok(Placed {
            index: logged.index,
            leaf: logged.leaf.parse().map_err(|error| garbled(&error))?,
            entry: logged.entry.into_bytes(),
            size: logged.tree_size,
            root: logged.root.parse().map_err(|error| garbled(&error))?,
        })
    }

    /// Passes a request on, body and answer streaming.
    async fn pass_on(&self, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
        let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes()).map_err(ApiError::internal)?;
        let mut onward = self.http.request(method, format!("{}{}", self.url, request.uri()));
        for (name, value) in request.headers().iter().filter(|(name, _)| travels(name) && *name != HOST) {
            onward = onward.header(name.as_str(), value.as_bytes());
        }
        if has_body(request.headers()) {
            onward = onward.body(reqwest::Body::wrap_stream(ReceiverStream::new(sent(payload))));
        }
        let answer = onward.send().await.map_err(|error| {
            tracing::error!(%error, "the primary cannot be reached");
            away()
        })?;
        let status = StatusCode::from_u16(answer.status().as_u16()).map_err(ApiError::internal)?;
        let mut response = HttpResponse::build(status);
        for (name, value) in answer.headers() {
            let (name, value) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value.as_bytes()));
            if let (Ok(name), Ok(value)) = (name, value)
                && travels(&name)
                && name != CONTENT_LENGTH
            {
                response.append_header((name, value));
            }
        }
        let length = answer.content_length();
        let body = answer.bytes_stream().map(|part| part.map_err(std::io::Error::other));
        Ok(match length {
            Some(length) if *request.method() != Method::HEAD => response.body(SizedStream::new(length, body)),
            _ => response.streaming(body),
        })
    }
}

/// A replica's middleware: what is no question goes to the primary, which knows who may do it.
pub(crate) async fn pass_on(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let state = request.app_data::<Data<AppState>>().cloned();
    let primary = state.as_ref().and_then(|state| state.primary.as_ref());
    let Some(primary) = primary.filter(|_| !answered_here(request.method(), request.path())) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let payload = request.take_payload();
    let passed = primary.pass_on(request.request(), payload).await;
    Ok(match passed {
        Ok(response) => request.into_response(response),
        Err(error) => request.error_response(error),
    })
}

/// What a replica answers itself: questions, which models it has, and how it is.
fn answered_here(method: &Method, path: &str) -> bool {
    match path {
        "/healthz" | "/readyz" | "/metrics" => true,
        "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" | "/v1/search" => *method == Method::POST,
        _ => path == "/v1/models" || path.starts_with("/v1/models/"),
    }
}

/// The parts of a body, across threads.
fn sent(mut payload: Payload) -> tokio::sync::mpsc::Receiver<std::io::Result<Bytes>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    actix_web::rt::spawn(async move {
        while let Some(part) = payload.next().await {
            if sender.send(part.map_err(std::io::Error::other)).await.is_err() {
                return;
            }
        }
    });
    receiver
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// Whether a header says something of the message rather than of the connection (RFC 9110, 7.6.1).
fn travels(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The primary cannot be reached.
pub(crate) fn away() -> ApiError {
    ApiError {
        retry_after: Some(PAUSE),
        ..ApiError::new(
            Code::PrimaryAway,
            "the gateway that keeps the log cannot be reached; nothing is answered without it",
        )
    }
}

/// Brings these datanets up to what the primary told of, so that nothing erased or withdrawn since is found.
pub(crate) async fn follow(state: &AppState, datanets: impl Iterator<Item = &DatanetName>) -> Result<(), ApiError> {
    for name in datanets {
        let noted = noted(state, name).await?;
        let has = state.index.snapshot(name).ok();
        // The root tells a datanet from an earlier one of its name.
        let current = noted.as_ref().is_some_and(|noted| {
            has.is_some_and(|has| has.lance_version >= noted.lance_version)
                && state.index.root_at(name, noted.size).is_ok_and(|root| root == noted.root)
        });
        if !current {
            state.index.follow(name, noted.as_ref()).await.map_err(convert::index_error)?;
        }
    }
    Ok(())
}

/// The last snapshot of a datanet that is on record; none of one that has no rows yet.
async fn noted(state: &AppState, name: &DatanetName) -> Result<Option<Snapshot>, ApiError> {
    let Some(noted) = state.store.last_snapshot(name.as_str()).await? else { return Ok(None) };
    let root = noted.root.parse().map_err(ApiError::internal)?;
    Ok(Some(Snapshot { datanet: name.clone(), lance_version: noted.lance_version, size: noted.size, root }))
}

/// Keeps all datanets near what the primary wrote, its indices too, for as long as the gateway runs.
pub(crate) fn start(state: Arc<AppState>) {
    tokio::spawn(async move {
        loop {
            if let Err(error) = follow_all(&state).await {
                tracing::warn!(error = error.message, "what the primary wrote could not be taken over");
            }
            tokio::time::sleep(LOOK).await;
        }
    });
}

async fn follow_all(state: &AppState) -> Result<(), ApiError> {
    for description in state.store.datanets(None).await? {
        let name = description.name.parse().map_err(ApiError::internal)?;
        let noted = noted(state, &name).await?;
        if let Err(error) = state.index.follow(&name, noted.as_ref()).await {
            tracing::warn!(datanet = %name, %error, "what the primary wrote could not be taken over");
        }
    }
    Ok(())
}

/// Longest wait for a connection, and for an answer of the log.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);
/// How often, and with what pause, a primary is tried that is not there: it may be starting anew.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// How often indices that the primary built are looked for.
const LOOK: Duration = Duration::from_secs(10);
