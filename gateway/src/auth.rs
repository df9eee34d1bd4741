//! Who is calling, and what they may do.
//!
//! [`authenticate`] is a middleware before everything but [`PUBLIC`]: a request without a valid credential never reaches
//! a handler or has its body read. A handler names what it needs in its signature: `caller: Allowed<Stewards>`.

use std::{future::Ready, marker::PhantomData, ops::Deref, sync::Arc, time::Duration};

use actix_web::{
    FromRequest, HttpMessage, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header::{AUTHORIZATION, HeaderMap},
    middleware::Next,
    web::Data,
};
use cairn_openapi::keys::{KeyLimits, Role};
use moka::future::Cache;
use sha2::{Digest, Sha256};

use crate::{
    error::{ApiError, Code},
    http::studio,
    state::AppState,
    store::Store,
};

mod jwks;
mod jwt;
pub(crate) mod oidc;
mod session;

pub(crate) use jwt::JwtVerifier;
pub(crate) use oidc::Oidc;
pub(crate) use session::Cookies;

/// Paths that need no credential: health, the documentation, and the way in for people.
pub(crate) const PUBLIC: [&str; 10] = [
    "/",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/studio",
    "/auth/session",
    "/auth/login",
    "/auth/callback",
    "/auth/logout",
];

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) subject: String,
    pub(crate) roles: Vec<Role>,
    /// `api_key`, `jwt` or `oidc`.
    pub(crate) credential: &'static str,
    /// The API key, where it is one.
    pub(crate) key: Option<KeyInUse>,
}

/// An API key as a request comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyInUse {
    pub(crate) id: String,
    pub(crate) limits: KeyLimits,
}

impl Caller {
    /// Whether the caller has one of these roles.
    pub(crate) fn has(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }

    /// The subject that bounds what this caller sees of datanets and jobs; none = no bounds.
    pub(crate) fn bounds(&self) -> Option<&str> {
        (!self.has(&[Role::Admin])).then_some(self.subject.as_str())
    }
}

/// Verifies credentials. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Authenticator {
    store: Store,
    jwt: Option<Arc<JwtVerifier>>,
    oidc: Option<Arc<Oidc>>,
    /// SHA-256 of a key's secret, or of a session's cookie, to its caller, so that the database is asked once in [`KEY_CACHE`].
    known: Cache<[u8; 32], Arc<Caller>>,
}

impl Authenticator {
    pub(crate) fn new(store: Store, jwt: Option<JwtVerifier>, oidc: Option<Oidc>) -> Self {
        let known = Cache::builder().max_capacity(10_000).time_to_live(KEY_CACHE).build();
        Self { store, jwt: jwt.map(Arc::new), oidc: oidc.map(Arc::new), known }
    }

    /// The provider that people sign in with, where there is one.
    pub(crate) fn oidc(&self) -> Option<&Oidc> {
        self.oidc.as_deref()
    }

    /// The caller that a bearer credential stands for.
    pub(crate) async fn caller(&self, credential: &str) -> Result<Arc<Caller>, ApiError> {
        if !credential.starts_with("cairn_") {
            let Some(jwt) = &self.jwt else {
                return Err(refused("this is not an API key of this gateway, and JWTs are not configured"));
            };
            return jwt.caller(credential).await.map(Arc::new);
        }
        let digest: [u8; 32] = Sha256::digest(credential.as_bytes()).into();
        if let Some(caller) = self.known.get(&digest).await {
            return Ok(caller);
        }
        let Some(key) = self.store.key_of_secret(credential).await? else {
            return Err(refused("the API key is unknown, expired or revoked"));
        };
        let caller = Arc::new(Caller {
            subject: key.subject,
            roles: key.roles,
            credential: "api_key",
            key: Some(KeyInUse { id: key.id, limits: key.limits }),
        });
        self.known.insert(digest, caller.clone()).await;
        Ok(caller)
    }

    /// The caller whose session a request of the studio's has; none where it has no session cookie.
    pub(crate) async fn session(&self, headers: &HeaderMap) -> Result<Option<Arc<Caller>>, ApiError> {
        let Some(oidc) = self.oidc() else { return Ok(None) };
        let Some(cookie) = oidc.cookies().read_session(headers)? else { return Ok(None) };
        let digest: [u8; 32] = Sha256::digest(cookie.as_bytes()).into();
        if let Some(caller) = self.known.get(&digest).await {
            return Ok(Some(caller));
        }
        let session = self.store.session(&cookie).await?.filter(|session| session.issuer == oidc.issuer());
        let Some(session) = session else {
            return Err(refused("the session has ended; sign in again"));
        };
        let caller = Arc::new(Caller { subject: session.subject, roles: session.roles, credential: "oidc", key: None });
        self.known.insert(digest, caller.clone()).await;
        Ok(Some(caller))
    }

    /// Forgets cached keys and sessions, so that a revocation takes effect at once.
    pub(crate) fn forget(&self) {
        self.known.invalidate_all();
    }
}

/// How long a revocation by another process can go unnoticed.
const KEY_CACHE: Duration = Duration::from_secs(5);

fn refused(message: &str) -> ApiError {
    ApiError::new(Code::InvalidApiKey, message)
}

/// Lets a request through with its [`Caller`] attached, or answers 401.
pub(crate) async fn authenticate(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let path = request.path();
    if !(PUBLIC.contains(&path) || path.starts_with("/docs/") || path.starts_with(studio::PREFIX)) {
        match identified(&request).await {
            Ok(caller) => {
                tracing::debug!(subject = caller.subject, "authenticated");
                request.extensions_mut().insert(caller);
            }
            Err(error) => return Ok(request.error_response(error)),
        }
    }
    Ok(next.call(request).await?.map_into_boxed_body())
}

async fn identified(request: &ServiceRequest) -> Result<Arc<Caller>, ApiError> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = header
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, credential)| credential.trim().to_owned());
    let state = request.app_data::<Data<AppState>>().ok_or_else(|| ApiError::internal("no application state"))?;
    let auth = state.auth.clone();
    if let Some(credential) = credential {
        return auth.caller(&credential).await;
    }
    auth.session(request.headers())
        .await?
        .ok_or_else(|| refused("no credential was sent; add the header Authorization: Bearer <API key or JWT>"))
}

/// What a handler needs of its caller.
pub(crate) trait Scope {
    /// Any one of these roles suffices.
    const ROLES: &'static [Role];
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $($role:ident)|+;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;
        impl Scope for $name {
            const ROLES: &'static [Role] = &[$(Role::$role),+];
        }
    )+};
}

scopes! {
    /// Anyone with a credential.
    Anyone = Admin | Steward | Contributor | Trainer | App | Auditor;
    /// Read which log this is.
    Verifiers = Admin | Steward | Contributor | Trainer | App | Auditor | Replica;
    /// Chat, embed, search.
    Applications = Admin | Steward | Contributor | Trainer | App;
    /// Create datanets and govern those they own.
    Stewards = Admin | Steward;
    /// Add datapoints.
    Contributors = Admin | Steward | Contributor;
    /// Upload adapters and govern those they own.
    Trainers = Admin | Trainer;
    /// Read the log and the metrics.
    Auditors = Admin | Auditor;
    /// Read what is on record of training runs.
    TrainersAndAuditors = Admin | Trainer | Auditor;
    /// Read which adapters were trained on a datanet.
    StewardsAndAuditors = Admin | Steward | Auditor;
    /// Put records into the log.
    Replicas = Replica;
    /// Models and keys.
    Administrators = Admin;
}

/// The caller, known to have the scope `S`.
#[derive(Debug)]
pub(crate) struct Allowed<S>(Arc<Caller>, PhantomData<S>);

impl<S> Deref for Allowed<S> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<S: Scope> FromRequest for Allowed<S> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Arc<Caller>>().cloned();
        std::future::ready(match caller {
            Some(caller) if caller.has(S::ROLES) => Ok(Self(caller, PhantomData)),
            Some(caller) => {
                let roles: Vec<String> = S::ROLES.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
                let message =
                    format!("{} may not do this; it needs one of the roles {}", caller.subject, roles.join(", "));
                Err(ApiError::new(Code::InsufficientScope, message))
            }
            None => Err(refused("no credential was sent")),
        })
    }
}
