//! How much an API key may be used: requests in a minute, tokens in a day. Asked before a request does any work.
//!
//! Requests are counted by a bucket that fills evenly, in memory: a restart fills it. Tokens are counted in the database,
//! once an answer has ended; so those under way together may go beyond a day's limit by what they say, and the next is
//! refused.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    dev::Payload,
    http::header::{HeaderMap, HeaderName, HeaderValue},
    web::Data,
};
use futures::future::LocalBoxFuture;
use parking_lot::Mutex;

use crate::{
    auth::{Caller, KeyInUse},
    error::{ApiError, Code},
    state::AppState,
};

/// The buckets of keys. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// Requests left by key. Written by [`Limits::take`], held for a few instructions.
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Left {
    limit: u64,
    remaining: u64,
    /// Until all of it is there again.
    reset: Duration,
    /// Until something is there again; none: something is.
    wait: Option<Duration>,
}

/// In a handler's signature: the caller's key may be used for this request, and it is counted.
#[derive(Debug)]
pub(crate) struct Admitted;

/// What an answer says of limits, kept with its request until its headers are written.
#[derive(Debug, Clone, Default)]
struct Said(Vec<(&'static str, String)>);

impl FromRequest for Admitted {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let key = request.extensions().get::<Arc<Caller>>().and_then(|caller| caller.key.clone());
            let Some(key) = key else { return Ok(Self) };
            let state = request.app_data::<Data<AppState>>().cloned();
            let state = state.ok_or_else(|| ApiError::internal("no application state"))?;
            let mut said = Said::default();
            let admitted = admit(&state, &key, &mut said).await;
            request.extensions_mut().insert(said);
            admitted.map(|()| Self)
        })
    }
}

/// Writes OpenAI's `x-ratelimit-*` headers, where the request's key has limits.
pub(crate) fn headers(request: &HttpRequest, headers: &mut HeaderMap) {
    let extensions = request.extensions();
    let Some(Said(said)) = extensions.get::<Said>() else { return };
    for (name, value) in said {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

async fn admit(state: &AppState, key: &KeyInUse, said: &mut Said) -> Result<(), ApiError> {
    // Tokens first: what is refused for them is not counted as a request.
    if let Some(limit) = key.limits.tokens_per_day {
        let left = tokens_left(limit, state.store.tokens_today(&key.id).await?, until_midnight());
        said.0.extend([
            ("x-ratelimit-limit-tokens", left.limit.to_string()),
            ("x-ratelimit-remaining-tokens", left.remaining.to_string()),
            ("x-ratelimit-reset-tokens", written(left.reset)),
        ]);
        refuse(left, || {
            format!("this key has used its {limit} tokens of today; they are counted anew at midnight UTC")
        })?;
    }
    if let Some(limit) = key.limits.requests_per_minute {
        let left = state.limits.take(&key.id, limit, Instant::now());
        said.0.extend([
            ("x-ratelimit-limit-requests", left.limit.to_string()),
            ("x-ratelimit-remaining-requests", left.remaining.to_string()),
            ("x-ratelimit-reset-requests", written(left.reset)),
        ]);
        refuse(left, || {
            format!("this key may make {limit} requests a minute; wait, or ask an administrator for more")
        })?;
    }
    Ok(())
}

fn refuse(left: Left, message: impl Fn() -> String) -> Result<(), ApiError> {
    let Some(wait) = left.wait else { return Ok(()) };
    metrics::counter!("cairn_rate_limited_total").increment(1);
    // Whole seconds, so that whoever waits as long is not refused again.
    let wait = Duration::from_secs(wait.as_secs_f64().ceil() as u64);
    Err(ApiError { retry_after: Some(wait), ..ApiError::new(Code::RateLimitExceeded, message()) })
}

impl Limits {
    /// Takes one request from a key's bucket, which holds `limit` and fills in a minute; an empty one gives none.
    fn take(&self, key: &str, limit: u32, now: Instant) -> Left {
        let most = f64::from(limit);
        let a_second = most / 60.0;
        let mut buckets = self.buckets.lock();
        if buckets.len() >= KEPT && !buckets.contains_key(key) {
            // What was not used for a minute is full, as one that is not there.
            buckets.retain(|_, bucket| now.duration_since(bucket.at) < MINUTE);
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { left: most, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * a_second).min(most);
        bucket.at = now;
        let enough = bucket.left >= 1.0;
        if enough {
            bucket.left -= 1.0;
        }
        let until = |wanted: f64| match a_second > 0.0 {
            true => Duration::from_secs_f64(((wanted - bucket.left) / a_second).max(0.0)),
            false => MINUTE,
        };
        Left {
            limit: limit.into(),
            remaining: bucket.left as u64,
            reset: until(most),
            wait: (!enough).then(|| until(1.0)),
        }
    }
}

fn tokens_left(limit: u64, used: u64, midnight: Duration) -> Left {
    Left { limit, remaining: limit.saturating_sub(used), reset: midnight, wait: (used >= limit).then_some(midnight) }
}

/// Until the day ends, UTC.
fn until_midnight() -> Duration {
    let passed = chrono::Utc::now().timestamp().rem_euclid(DAY as i64);
    Duration::from_secs(DAY - passed.unsigned_abs())
}

/// A duration as OpenAI writes it: `1h2m3s`, `20s`, `450ms`.
fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Buckets that are kept at once; keys are made by administrators, so there are few.
const KEPT: usize = 10_000;
const MINUTE: Duration = Duration::from_secs(60);
/// Seconds of a day.
const DAY: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_limit_at_once_and_then_as_much_as_flows_in() {
        let (limits, start) = (Limits::default(), Instant::now());
        for remaining in [2, 1, 0] {
            let left = limits.take("key", 3, start);
            assert_eq!((left.remaining, left.wait), (remaining, None));
        }
        let refused = limits.take("key", 3, start);
        assert_eq!((refused.remaining, refused.wait), (0, Some(Duration::from_secs(20))));
        assert_eq!(refused.reset, Duration::from_secs(60));
        let other = limits.take("other", 3, start);
        assert_eq!(other.wait, None, "a bucket a key");
        let soon = limits.take("key", 3, start + Duration::from_secs(19));
        assert!(soon.wait.is_some_and(|wait| wait <= Duration::from_secs(1)), "{soon:?}");
        assert_eq!(limits.take("key", 3, start + Duration::from_secs(20)).wait, None);
        let full = limits.take("key", 3, start + Duration::from_secs(500));
        assert_eq!(full.remaining, 2, "more than the limit does not gather");
        assert_eq!(limits.take("key", 1, start + Duration::from_secs(500)).remaining, 0, "a lower limit holds at once");
        assert!(limits.take("none", 0, start).wait.is_some(), "a limit of nothing is one");
    }

    #[test]
    fn a_day_of_tokens_ends_at_its_limit() {
        let midnight = Duration::from_secs(7);
        assert_eq!(tokens_left(10, 9, midnight).wait, None);
        assert_eq!(tokens_left(10, 9, midnight).remaining, 1);
        assert_eq!(tokens_left(10, 10, midnight).wait, Some(midnight));
        assert_eq!(tokens_left(10, 99, midnight).remaining, 0);
        assert!(until_midnight() <= Duration::from_secs(DAY) && until_midnight() > Duration::ZERO);
    }

    #[test]
    fn durations_are_written_as_openai_does() {
        let seconds = Duration::from_secs;
        let all = [seconds(20), seconds(62), seconds(3723), Duration::from_millis(450), Duration::ZERO];
        assert_eq!(all.map(written), ["20s", "1m2s", "1h2m3s", "450ms", "0ms"]);
    }
}
