//! The provider over HTTP: what it says of itself, the token endpoint, the UserInfo endpoint.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use url::Url;

use super::SignInError;
use crate::{auth::jwks::KeySet, config::confidential};

/// A provider that has said where its endpoints are.
pub(super) struct Provider {
    http: reqwest::Client,
    metadata: Metadata,
    keys: KeySet,
}

/// What is used of OpenID Connect Discovery 1.0, section 3.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Endpoint,
    token_endpoint: Endpoint,
    jwks_uri: Endpoint,
    userinfo_endpoint: Option<Endpoint>,
    end_session_endpoint: Option<Endpoint>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// A URL. The crate reads them itself only with a feature that would have LanceDB and mistral.rs built anew.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Endpoint(Url);

impl TryFrom<String> for Endpoint {
    type Error = url::ParseError;

    fn try_from(text: String) -> Result<Self, url::ParseError> {
        Url::parse(&text).map(Self)
    }
}

/// Who redeems a code.
pub(super) struct Client<'a> {
    pub(super) id: &'a str,
    pub(super) secret: Option<&'a str>,
    pub(super) redirect_uri: String,
}

/// What a code is redeemed for.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: String,
}

/// RFC 6749, 5.2.
#[derive(Deserialize)]
struct TokenError {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Provider {
    /// Asks the provider for its description.
    pub(super) async fn discover(http: reqwest::Client, issuer: &str) -> anyhow::Result<Self> {
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let asked = async { body::<Metadata>(http.get(&url).send().await?.error_for_status()?).await };
        let metadata = asked.await.with_context(|| format!("{url} does not say what the provider is"))?;
        metadata.check(issuer)?;
        let keys = KeySet::new(http.clone(), metadata.jwks_uri.0.to_string(), KEYS_KEPT);
        Ok(Self { http, metadata, keys })
    }

    pub(super) fn authorization_endpoint(&self) -> &Url {
        &self.metadata.authorization_endpoint.0
    }

    pub(super) fn end_session_endpoint(&self) -> Option<&Url> {
        self.metadata.end_session_endpoint.as_ref().map(|endpoint| &endpoint.0)
    }

    pub(super) fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// Checks the `iss` that came back with the browser (RFC 9207): another provider's answer must not be redeemed here.
    pub(super) fn check_issuer(&self, iss: Option<&str>) -> anyhow::Result<()> {
        match iss {
            Some(iss) => ensure!(iss == self.metadata.issuer, "the answer is by {iss:?}, not by oidc.issuer"),
            None => ensure!(
                !self.metadata.authorization_response_iss_parameter_supported,
                "the answer does not say whose it is, which this provider's do"
            ),
        }
        Ok(())
    }

    /// Redeems a code.
    pub(super) async fn redeem(&self, client: &Client<'_>, code: &str, verifier: &str) -> Result<Tokens, SignInError> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", client.redirect_uri.as_str()),
            ("code_verifier", verifier),
        ];
        let mut request = self.http.post(self.metadata.token_endpoint.0.clone());
        match client.secret {
            Some(secret) if self.metadata.takes_basic() => {
                request = request.basic_auth(form_encoded(client.id), Some(form_encoded(secret)));
            }
            Some(secret) => form.extend([("client_id", client.id), ("client_secret", secret)]),
            None => form.push(("client_id", client.id)),
        }
        let response = request.form(&form).send().await.map_err(|error| SignInError::Unavailable(error.into()))?;
        let status = response.status();
        if status.is_server_error() {
            return Err(SignInError::Unavailable(anyhow::anyhow!("the token endpoint answers {status}")));
        }
        if !status.is_success() {
            let told = body::<TokenError>(response).await.map_err(SignInError::Refused)?;
            let told = anyhow::anyhow!("the token endpoint answers {}: {}", told.error, told.error_description);
            return Err(SignInError::Refused(told));
        }
        body(response).await.context("the token endpoint's answer cannot be read").map_err(SignInError::Refused)
    }

    /// Adds what the UserInfo endpoint knows beyond the ID token; what the ID token says stays.
    pub(super) async fn complete(&self, claims: &mut Map<String, Value>, token: &str) -> Result<(), SignInError> {
        let Some(Endpoint(url)) = &self.metadata.userinfo_endpoint else { return Ok(()) };
        let asked =
            async { body(self.http.get(url.clone()).bearer_auth(token).send().await?.error_for_status()?).await };
        let more: Map<String, Value> =
            asked.await.context("the UserInfo endpoint's answer cannot be read").map_err(SignInError::Unavailable)?;
        // Core 5.3.2: tokens can be swapped.
        if more.get("sub") != claims.get("sub") {
            return Err(SignInError::Refused(anyhow::anyhow!("the UserInfo endpoint speaks of somebody else")));
        }
        for (claim, value) in more {
            claims.entry(claim).or_insert(value);
        }
        Ok(())
    }
}

impl Metadata {
    fn check(&self, issuer: &str) -> anyhow::Result<()> {
        // Discovery 4.3: to the letter.
        ensure!(
            self.issuer == issuer,
            "oidc.issuer is {issuer:?}, but the provider there calls itself {:?}; write it in exactly that way",
            self.issuer
        );
        let required = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        for Endpoint(url) in required.into_iter().chain(&self.userinfo_endpoint).chain(&self.end_session_endpoint) {
            if !confidential(url) {
                bail!("the provider has an endpoint at {url}, where what is sent could be read on the way");
            }
        }
        Ok(())
    }

    /// Discovery 3: without a list, it is this one.
    fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"))
    }
}

/// RFC 6749, 2.3.1: ids and secrets are form-encoded before they become user and password.
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A JSON answer of a sensible size.
async fn body<T: DeserializeOwned>(mut response: reqwest::Response) -> anyhow::Result<T> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        ensure!(bytes.len() + chunk.len() <= LARGEST_ANSWER, "the answer is larger than {LARGEST_ANSWER} bytes");
        bytes.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&bytes)?)
}

const LARGEST_ANSWER: usize = 1 << 20;
const KEYS_KEPT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(change: Value) -> Metadata {
        let mut metadata = serde_json::json!({
            "issuer": "https://id.example/",
            "authorization_endpoint": "https://id.example/authorize",
            "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://keys.example/jwks.json",
        });
        metadata.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(metadata).unwrap()
    }

    #[test]
    fn a_provider_must_call_itself_what_the_configuration_calls_it() {
        metadata(serde_json::json!({})).check("https://id.example/").unwrap();
        let error = metadata(serde_json::json!({})).check("https://id.example").unwrap_err();
        assert!(error.to_string().contains("exactly"), "{error}");
    }

    #[test]
    fn no_endpoint_may_be_readable_on_the_way() {
        for endpoint in
            ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"]
        {
            let plain = metadata(serde_json::json!({endpoint: "http://id.example/x"}));
            assert!(plain.check("https://id.example/").is_err(), "{endpoint}");
        }
    }

    #[test]
    fn the_way_a_secret_is_sent_is_the_provider_s() {
        assert!(metadata(serde_json::json!({})).takes_basic());
        let methods = |list: &[&str]| serde_json::json!({"token_endpoint_auth_methods_supported": list});
        assert!(metadata(methods(&["client_secret_post", "client_secret_basic"])).takes_basic());
        assert!(!metadata(methods(&["client_secret_post"])).takes_basic());
        assert_eq!(form_encoded("a:b c+d"), "a%3Ab+c%2Bd");
    }
}
