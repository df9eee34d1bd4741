//! Signing in to the studio.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How one may sign in, and whether this browser is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInState {
    /// The OpenID Connect provider; none = API keys and tokens only.
    pub oidc: Option<SignInProvider>,
    /// Whether this browser has a session. A bearer credential is none.
    pub signed_in: bool,
}

/// An OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInProvider {
    /// What people call it.
    pub name: String,
}

/// What is left to do after signing out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedOut {
    /// Where the browser ends its session with the provider too; none = there was no session, or the provider has no such place.
    pub end_session_url: Option<String>,
}

/// Where to go once signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LoginQuery {
    /// A page of the studio, `/studio/…`; none = its first.
    pub return_to: Option<String>,
}

/// What the provider sends the browser back with (RFC 6749, 4.1.2; RFC 9207). Providers may add more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CallbackQuery {
    /// Which sign-in it is.
    pub state: Option<String>,
    /// What the gateway redeems for tokens.
    pub code: Option<String>,
    /// Who answers.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// The same in words.
    pub error_description: Option<String>,
}
