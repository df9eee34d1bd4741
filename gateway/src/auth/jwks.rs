//! An identity provider's published key set: fetched when it is needed, kept for a while, and fetched again when a token
//! names a key that it does not have, because providers change their keys.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse},
};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Mutex;

/// A key set by its address.
pub(super) struct KeySet {
    http: reqwest::Client,
    url: String,
    keep: Duration,
    /// Least time between any fetch and one for a key that is not known: anyone can send a token that names such a key.
    pause: Duration,
    /// What was fetched last. Written by whoever holds `fetching`.
    known: RwLock<Option<Known>>,
    /// When the set was last asked for, with or without success; held while it is.
    fetching: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<Vec<Jwk>>,
    at: Instant,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The set could not be fetched.
    #[error("the identity provider's keys could not be fetched from {url}")]
    Unreachable {
        url: String,
        #[source]
        cause: reqwest::Error,
    },
    /// The set has no such key.
    #[error("the identity provider publishes no such key")]
    Unknown,
}

impl KeySet {
    /// A set that is kept for `keep`. Nothing is fetched yet.
    pub(super) fn new(http: reqwest::Client, url: String, keep: Duration) -> Self {
        Self { http, url, keep, pause: PAUSE, known: RwLock::new(None), fetching: Mutex::new(None) }
    }

    /// The key named `kid` for this algorithm; without a name the first that fits.
    pub(super) async fn key(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<DecodingKey, KeyError> {
        let known = self.current().await?;
        if let Some(key) = find(&known.keys, algorithm, kid) {
            return Ok(key);
        }
        let newer = self.newer_than(known.at).await?.ok_or(KeyError::Unknown)?;
        find(&newer.keys, algorithm, kid).ok_or(KeyError::Unknown)
    }

    /// The set, fetched if it is not known or too old; once for all who wait.
    async fn current(&self) -> Result<Known, KeyError> {
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let mut asked = self.fetching.lock().await;
        match self.fresh() {
            Some(known) => Ok(known),
            None => self.fetch(&mut asked).await,
        }
    }

    /// The set as it is now; `None` where it was asked for a moment ago.
    async fn newer_than(&self, seen: Instant) -> Result<Option<Known>, KeyError> {
        let mut asked = self.fetching.lock().await;
        let newer = self.fresh().filter(|known| known.at > seen);
        if newer.is_some() || asked.is_some_and(|at| at.elapsed() < self.pause) {
            return Ok(newer);
        }
        self.fetch(&mut asked).await.map(Some)
    }

    fn fresh(&self) -> Option<Known> {
        self.known.read().clone().filter(|known| known.at.elapsed() < self.keep)
    }

    async fn fetch(&self, asked: &mut Option<Instant>) -> Result<Known, KeyError> {
        *asked = Some(Instant::now());
        let set = async { self.http.get(&self.url).send().await?.error_for_status()?.json::<Set>().await };
        let set = set.await.map_err(|cause| KeyError::Unreachable { url: self.url.clone(), cause })?;
        // A key of a kind that is not known here must not make the others unreadable.
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        let known = Known { keys: Arc::new(keys), at: Instant::now() };
        *self.known.write() = Some(known.clone());
        Ok(known)
    }
}

const PAUSE: Duration = Duration::from_secs(10);

/// RFC 7517, section 5.
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

fn find(keys: &[Jwk], algorithm: Algorithm, kid: Option<&str>) -> Option<DecodingKey> {
    keys.iter()
        .filter(|jwk| kid.is_none() || jwk.common.key_id.as_deref() == kid)
        .filter(|jwk| matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)))
        .find(|jwk| fits(&jwk.algorithm, algorithm))
        .and_then(|jwk| DecodingKey::from_jwk(jwk).ok())
}

fn fits(key: &AlgorithmParameters, algorithm: Algorithm) -> bool {
    use Algorithm as A;
    match key {
        AlgorithmParameters::RSA(_) => {
            matches!(algorithm, A::RS256 | A::RS384 | A::RS512 | A::PS256 | A::PS384 | A::PS512)
        }
        AlgorithmParameters::EllipticCurve(_) => matches!(algorithm, A::ES256 | A::ES384),
        AlgorithmParameters::OctetKeyPair(_) => matches!(algorithm, A::EdDSA),
        AlgorithmParameters::OctetKey(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};

    use super::*;

    /// Publishes the first of `sets` once, then the second once, the last for ever.
    struct Provider {
        url: String,
        asked: Arc<AtomicUsize>,
        server: ServerHandle,
    }

    impl Provider {
        fn start(sets: Vec<String>) -> Self {
            let asked = Arc::new(AtomicUsize::new(0));
            let (counter, sets) = (web::Data::from(asked.clone()), web::Data::new(sets));
            let server = HttpServer::new(move || {
                let answer = |asked: web::Data<AtomicUsize>, sets: web::Data<Vec<String>>| async move {
                    let n = asked.fetch_add(1, Ordering::SeqCst);
                    match sets[n.min(sets.len() - 1)].as_str() {
                        "" => HttpResponse::InternalServerError().finish(),
                        set => HttpResponse::Ok().content_type("application/json").body(set.to_owned()),
                    }
                };
                App::new().app_data(counter.clone()).app_data(sets.clone()).route("/", web::get().to(answer))
            })
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
            let url = format!("http://{}/", server.addrs()[0]);
            let server = server.run();
            let handle = server.handle();
            tokio::spawn(server);
            Self { url, asked, server: handle }
        }

        fn keys(&self, keep: Duration, pause: Duration) -> KeySet {
            KeySet { pause, ..KeySet::new(reqwest::Client::new(), self.url.clone(), keep) }
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    fn set(kid: &str) -> String {
        let key = serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", // RFC 8037, appendix A.2
        });
        let strange = serde_json::json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "strange", "pub": "AA"});
        serde_json::json!({"keys": [strange, key]}).to_string()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[actix_web::test]
    async fn a_key_that_the_provider_has_changed_to_is_found() {
        let provider = Provider::start(vec![set("old"), set("new")]);
        let keys = provider.keys(HOUR, Duration::ZERO);
        keys.key(Algorithm::EdDSA, Some("old")).await.unwrap();
        keys.key(Algorithm::EdDSA, Some("old")).await.unwrap();
        assert_eq!(provider.asked(), 1);
        keys.key(Algorithm::EdDSA, Some("new")).await.unwrap();
        assert_eq!(provider.asked(), 2);
        assert!(matches!(keys.key(Algorithm::EdDSA, Some("old")).await, Err(KeyError::Unknown)));
        provider.server.stop(false).await;
    }

    #[actix_web::test]
    async fn tokens_with_invented_keys_do_not_make_the_gateway_ask() {
        let provider = Provider::start(vec![set("only")]);
        let keys = provider.keys(HOUR, HOUR);
        for n in 0..20 {
            let found = keys.key(Algorithm::EdDSA, Some(&format!("invented {n}"))).await;
            assert!(matches!(found, Err(KeyError::Unknown)));
        }
        assert!(matches!(keys.key(Algorithm::RS256, Some("only")).await, Err(KeyError::Unknown)));
        assert_eq!(provider.asked(), 1);
        provider.server.stop(false).await;
    }

    #[actix_web::test]
    async fn an_old_set_is_fetched_anew_and_a_failure_is_told() {
        let provider = Provider::start(vec![set("only"), String::new()]);
        let keys = provider.keys(Duration::ZERO, HOUR);
        keys.key(Algorithm::EdDSA, None).await.unwrap();
        assert!(matches!(keys.key(Algorithm::EdDSA, None).await, Err(KeyError::Unreachable { .. })));
        assert_eq!(provider.asked(), 2);
        provider.server.stop(false).await;
    }
}
