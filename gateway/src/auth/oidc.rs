//! Sign-in by OpenID Connect: the authorization code flow with PKCE, the gateway as the client (OpenID Connect Core 1.0,
//! RFC 7636, RFC 9207).
//!
//! [`Oidc::begin`] says where to send the browser, [`Oidc::finish`] turns what it comes back with into a [`Person`]. The browser
//! never holds a token; what it holds afterwards is a session of ours ([`super::session`]). Tokens are looked at once and
//! dropped. The provider is first asked when somebody signs in, so that its outage cannot keep the gateway from starting.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use cairn_openapi::{keys::Role, sign_in::CallbackQuery};
use moka::{future::Cache, policy::EvictionPolicy};
use rand::RngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use super::Cookies;
use crate::config;

mod claims;
mod id_token;
mod provider;

use provider::Provider;

/// The gateway as a client of one provider.
pub(crate) struct Oidc {
    config: config::Oidc,
    secret: Option<String>,
    /// The gateway's own address, as the browser sees it.
    public_url: String,
    http: reqwest::Client,
    provider: Cache<(), Arc<Provider>>,
    /// Sign-ins under way, by their `state`. Each is taken out when the browser comes back, so it serves once.
    pending: Cache<String, Arc<Pending>>,
}

struct Pending {
    /// SHA-256 of the cookie that ties the sign-in to the browser that began it.
    browser: [u8; 32],
    nonce: String,
    /// PKCE's code verifier.
    verifier: String,
    return_to: String,
}

/// What the browser is given when a sign-in begins.
pub(crate) struct Begun {
    /// Where it goes.
    pub(crate) url: String,
    /// The cookie's value.
    pub(crate) browser: String,
}

/// Who has signed in, and where they wanted to go.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) roles: Vec<Role>,
    pub(crate) return_to: String,
}

/// Why nobody signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// The provider does not answer, or not as OpenID Connect has it.
    #[error("the provider cannot be asked")]
    Unavailable(#[source] anyhow::Error),
    /// No sign-in is under way that fits: too late, used already, begun in another browser, or made up.
    #[error("no sign-in is under way under this state in this browser")]
    Stale,
    /// The provider says no.
    #[error("the provider answers {0:?}")]
    Declined(String),
    /// What the provider sent does not hold.
    #[error("what the provider sent is refused")]
    Refused(#[source] anyhow::Error),
    /// The person cannot be named here.
    #[error("{0}")]
    Unnameable(String),
    /// The person has no role.
    #[error("{0} has none of the roles that oidc.roles_claim and oidc.role_map know, and there are no default roles")]
    NoRoles(String),
}

impl Oidc {
    /// Reads the client's secret; asks nobody.
    pub(crate) fn new(config: config::Oidc, public_url: &str) -> anyhow::Result<Self> {
        let secret = match config.client_secret_file.as_os_str().is_empty() {
            true => None,
            false => {
                let path = config.client_secret_file.display();
                let text = std::fs::read_to_string(&config.client_secret_file)
                    .with_context(|| format!("oidc.client_secret_file {path} cannot be read"))?;
                let secret = text.trim().to_owned();
                anyhow::ensure!(!secret.is_empty(), "oidc.client_secret_file {path} is empty");
                Some(secret)
            }
        };
        // A provider has no reason to redirect these requests, and what they carry must not go elsewhere.
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self {
            config,
            secret,
            public_url: public_url.to_owned(),
            http,
            provider: Cache::builder().time_to_live(DISCOVERY_KEPT).build(),
            pending: Cache::builder()
                .max_capacity(MOST_PENDING)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_live(PENDING_KEPT)
                .build(),
        })
    }

    /// What people call the provider.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// The provider, by its own name; sessions are for it alone.
    pub(crate) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// How long a session lasts.
    pub(crate) fn session_hours(&self) -> u32 {
        self.config.session_hours
    }

    /// The cookies that its browsers keep.
    pub(crate) fn cookies(&self) -> Cookies {
        Cookies { secure: self.public_url.starts_with("https:") }
    }

    /// Begins a sign-in that is to end at `return_to`.
    pub(crate) async fn begin(&self, return_to: String) -> Result<Begun, SignInError> {
        let provider = self.provider().await?;
        let [state, nonce, verifier, browser] = std::array::from_fn(|_| random());
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let mut url = provider.authorization_endpoint().clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let bound = Sha256::digest(browser.as_bytes()).into();
        self.pending.insert(state, Arc::new(Pending { browser: bound, nonce, verifier, return_to })).await;
        Ok(Begun { url: url.into(), browser })
    }

    /// Ends a sign-in: `answer` is what the browser brought, `browser` its cookie.
    pub(crate) async fn finish(&self, answer: CallbackQuery, browser: Option<&str>) -> Result<Person, SignInError> {
        let pending = match &answer.state {
            Some(state) => self.pending.remove(state).await.ok_or(SignInError::Stale)?,
            None => return Err(SignInError::Stale),
        };
        let bound: [u8; 32] = Sha256::digest(browser.unwrap_or_default().as_bytes()).into();
        if !bool::from(bound.ct_eq(&pending.browser)) {
            return Err(SignInError::Stale);
        }
        let provider = self.provider().await?;
        provider.check_issuer(answer.iss.as_deref()).map_err(SignInError::Refused)?;
        if let Some(error) = answer.error {
            let description = answer.error_description.map(|text| format!(": {text}")).unwrap_or_default();
            return Err(SignInError::Declined(format!("{error}{description}")));
        }
        let code = answer.code.context("neither a code nor an error came back").map_err(SignInError::Refused)?;
        let tokens = provider.redeem(&self.client(), &code, &pending.verifier).await?;
        let expected = id_token::Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: &pending.nonce,
            access_token: &tokens.access_token,
        };
        let mut claims = id_token::verify(&tokens.id_token, provider.keys(), &expected).await?;
        if claims::incomplete(&claims, &self.config) {
            provider.complete(&mut claims, &tokens.access_token).await?;
        }
        let subject = claims::subject(&claims, &self.config)?;
        let roles = claims::roles(&claims, &self.config);
        if roles.is_empty() {
            return Err(SignInError::NoRoles(subject));
        }
        Ok(Person { subject, roles, return_to: pending.return_to.clone() })
    }

    /// Where a browser ends its session with the provider, if the provider can be asked and has such a place (OpenID Connect
    /// RP-Initiated Logout 1.0). No ID token goes with it, since none is kept: the provider asks whether to sign out.
    pub(crate) async fn end_session(&self) -> Option<String> {
        let provider = self.provider().await.inspect_err(|error| error.log()).ok()?;
        let mut url = provider.end_session_endpoint()?.clone();
        url.query_pairs_mut()
            .append_pair("client_id", &self.config.client_id)
            .append_pair("post_logout_redirect_uri", &format!("{}{}", self.public_url, crate::http::studio::PREFIX));
        Some(url.into())
    }

    async fn provider(&self) -> Result<Arc<Provider>, SignInError> {
        let discovered = Provider::discover(self.http.clone(), &self.config.issuer);
        let known = self.provider.try_get_with((), async { discovered.await.map(Arc::new) }).await;
        known.map_err(|error: Arc<anyhow::Error>| SignInError::Unavailable(anyhow::anyhow!("{error:#}")))
    }

    fn redirect_uri(&self) -> String {
        format!("{}/auth/callback", self.public_url)
    }

    fn client(&self) -> provider::Client<'_> {
        let redirect_uri = self.redirect_uri();
        provider::Client { id: &self.config.client_id, secret: self.secret.as_deref(), redirect_uri }
    }
}

impl SignInError {
    /// What the sign-in page is told; it has the words.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Stale => "stale",
            Self::Declined(_) => "declined",
            Self::Refused(_) | Self::Unnameable(_) => "refused",
            Self::NoRoles(_) => "no_roles",
        }
    }

    /// Says the whole cause in the program's own log, which people who sign in do not see.
    pub(crate) fn log(&self) {
        let causes: Vec<String> = std::iter::successors(std::error::Error::source(self), |cause| cause.source())
            .map(ToString::to_string)
            .collect();
        tracing::warn!(reason = %self, cause = causes.join(": "), "nobody was signed in");
    }
}

/// Where in the studio a sign-in may end: an address below it, as browsers read it, and nowhere else.
pub(crate) fn destination(return_to: &str) -> Option<String> {
    let own = Url::parse("http://studio.invalid/").ok()?;
    let there = own.join(return_to).ok()?;
    let inside = there.origin() == own.origin() && there.path().starts_with(crate::http::studio::PREFIX);
    let plain = return_to.len() <= 2048 && return_to.starts_with('/');
    (inside && plain).then(|| there[url::Position::BeforePath..].to_owned())
}

/// 256 random bits.
pub(crate) fn random() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// How long what a provider says of itself is believed.
const DISCOVERY_KEPT: Duration = Duration::from_secs(3600);
/// How long somebody may take to sign in.
const PENDING_KEPT: Duration = Duration::from_secs(600);
/// Sign-ins that may be under way at once, about 8 MiB; beyond, those that began first are forgotten.
const MOST_PENDING: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_ends_in_the_studio_and_nowhere_else() {
        for (given, read) in [
            ("/studio/", "/studio/"),
            ("/studio/datanets/x?tab=browse#top", "/studio/datanets/x?tab=browse#top"),
            ("/studio/a/../b", "/studio/b"),
        ] {
            assert_eq!(destination(given).as_deref(), Some(read));
        }
        for elsewhere in [
            "",
            "/",
            "studio/",
            "/studio",
            "/v1/keys",
            "//evil.example/studio/",
            "/\\evil.example/studio/",
            "\\\\evil.example/studio/",
            "https://evil.example/studio/",
            "http:/studio/",
            "/studio/../v1/keys",
            "/studio/%2e%2e/v1/keys",
            "/studio/../..//evil.example/",
            "\t//evil.example/studio/",
            "javascript:alert(1)",
        ] {
            assert_eq!(destination(elsewhere), None, "{elsewhere:?}");
        }
        assert_eq!(destination(&format!("/studio/{}", "x".repeat(3000))), None);
    }

    #[test]
    fn line_breaks_do_not_reach_the_header() {
        assert_eq!(destination("/studio/x\r\nset-cookie: a=b").as_deref(), Some("/studio/xset-cookie:%20a=b"));
    }
}
