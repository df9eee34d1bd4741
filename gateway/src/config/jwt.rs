//! `[jwt]`: tokens that programs send as bearer credentials.

use std::path::{Path, PathBuf};

use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tokens of an identity provider. Give either `key_file` or `jwks_url` to switch them on.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Jwt {
    /// A PEM file with the provider's public key.
    pub(crate) key_file: PathBuf,
    /// Where the provider publishes its keys (a JWK set).
    pub(crate) jwks_url: String,
    /// How long a fetched key set is used, in seconds.
    pub(crate) jwks_cache_s: u64,
    /// Signature algorithms accepted: EdDSA, ES256, RS256.
    pub(crate) algorithms: Vec<String>,
    /// The `iss` a token must have; empty: any.
    pub(crate) issuer: String,
    /// The `aud` a token must have. Required when JWTs are on.
    pub(crate) audience: String,
    /// The claim that lists the caller's roles.
    pub(crate) roles_claim: String,
    /// Put before each token's `sub`, such as "jwt:", so that whoever the provider calls "admin" is not the subject "admin" of an
    /// API key. Empty: subjects of tokens and of keys are the same names. "oidc:" where the provider is that of [oidc]: then a
    /// person is one subject by token and in the studio.
    pub(crate) subject_prefix: String,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            key_file: PathBuf::new(),
            jwks_url: String::new(),
            jwks_cache_s: 300,
            algorithms: vec!["EdDSA".into(), "ES256".into(), "RS256".into()],
            issuer: String::new(),
            audience: String::new(),
            roles_claim: "roles".into(),
            subject_prefix: String::new(),
        }
    }
}

impl Jwt {
    /// With its path absolute; `None` if JWTs are off.
    pub(super) fn check(self, base: &Path) -> anyhow::Result<Option<Self>> {
        match (self.key_file.as_os_str().is_empty(), self.jwks_url.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => bail!("jwt.key_file and jwt.jwks_url are both given; choose one"),
            _ if self.audience.is_empty() => bail!(
                "jwt.audience is empty; name this gateway as your provider does, so that tokens for others are refused"
            ),
            (no_file, _) => {
                let key_file = if no_file { PathBuf::new() } else { base.join(&self.key_file) };
                Ok(Some(Self { key_file, ..self }))
            }
        }
    }
}
