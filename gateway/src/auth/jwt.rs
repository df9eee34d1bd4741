//! Tokens of an identity provider: signature, expiry, audience, issuer, roles.

use std::time::Duration;

use anyhow::{Context, bail};
use cairn_openapi::keys::Role;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

use super::{
    Caller,
    jwks::{KeyError, KeySet},
    refused,
};
use crate::{
    config::{Jwt, SUBJECT_PREFIX},
    error::{ApiError, Code},
};

/// Verifies JWTs with a key from a file, or with a provider's published key set.
pub(crate) struct JwtVerifier {
    config: Jwt,
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

enum Keys {
    /// One key and the algorithm family it fits.
    File(Vec<(Algorithm, DecodingKey)>),
    /// Fetched and kept for `jwks_cache_s`.
    Url(KeySet),
}

impl JwtVerifier {
    /// Checks the configuration and reads the key file, where that is the choice.
    pub(crate) fn new(config: Jwt) -> anyhow::Result<Self> {
        let algorithms = config.algorithms.iter().map(|name| algorithm(name)).collect::<Result<Vec<_>, _>>()?;
        if algorithms.is_empty() {
            bail!("jwt.algorithms is empty; name at least one of EdDSA, ES256, RS256");
        }
        let keys = if config.jwks_url.is_empty() {
            let pem = std::fs::read(&config.key_file)
                .with_context(|| format!("jwt.key_file {} cannot be read", config.key_file.display()))?;
            let fitting: Vec<_> =
                algorithms.iter().filter_map(|algorithm| Some((*algorithm, decoding_key(*algorithm, &pem)?))).collect();
            if fitting.is_empty() {
                bail!("jwt.key_file {} holds no public key that fits jwt.algorithms", config.key_file.display());
            }
            Keys::File(fitting)
        } else {
            let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
            Keys::Url(KeySet::new(http, config.jwks_url.clone(), Duration::from_secs(config.jwks_cache_s.max(1))))
        };
        Ok(Self { config, algorithms, keys })
    }

    /// The caller that a token stands for.
    pub(crate) async fn caller(&self, token: &str) -> Result<Caller, ApiError> {
        let header = decode_header(token).map_err(|error| refused(&format!("the JWT cannot be read: {error}")))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(refused(&format!(
                "the JWT is signed with {:?}, which jwt.algorithms does not list",
                header.alg
            )));
        }
        let key = self.key(header.alg, header.kid.as_deref()).await?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.config.audience]);
        validation.validate_nbf = true;
        let mut required = vec!["exp", "aud", "sub"];
        if !self.config.issuer.is_empty() {
            validation.set_issuer(&[&self.config.issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let claims: serde_json::Value = decode(token, &key, &validation)
            .map_err(|error| refused(&format!("the JWT is not valid: {error}")))?
            .claims;
        let Some(subject) = claims["sub"].as_str().filter(|subject| !subject.is_empty()) else {
            return Err(refused("the JWT names no subject"));
        };
        // A role of another system is no error: providers put many into one token.
        let roles: Vec<Role> = claims[&self.config.roles_claim]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|role| serde_json::from_value(role.clone()).ok())
            .collect();
        Ok(Caller { subject: self.subject(subject)?, roles, credential: "jwt", key: None })
    }

    /// The subject that a token's `sub` is here.
    fn subject(&self, sub: &str) -> Result<String, ApiError> {
        let prefix = &self.config.subject_prefix;
        if prefix.is_empty() && sub.starts_with(SUBJECT_PREFIX) {
            return Err(refused(&format!(
                "the JWT's subject begins with {SUBJECT_PREFIX:?}, as those of people who sign in to the studio do; set \
                 jwt.subject_prefix to tell the two apart"
            )));
        }
        Ok(format!("{prefix}{sub}"))
    }

    async fn key(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<DecodingKey, ApiError> {
        let set = match &self.keys {
            Keys::File(keys) => {
                return keys
                    .iter()
                    .find(|(fits, _)| *fits == algorithm)
                    .map(|(_, key)| key.clone())
                    .ok_or_else(|| refused("the JWT's algorithm does not fit jwt.key_file"));
            }
            Keys::Url(set) => set,
        };
        set.key(algorithm, kid).await.map_err(|error| match error {
            KeyError::Unknown => refused("the JWT names a key that the identity provider does not publish"),
            error => {
                tracing::error!(error = format!("{:#}", anyhow::Error::from(error)), "no key set");
                ApiError::new(Code::Internal, "the identity provider's keys could not be fetched; try again later")
            }
        })
    }
}

fn algorithm(name: &str) -> anyhow::Result<Algorithm> {
    // Symmetric algorithms are left out on purpose: whoever verifies could also sign.
    match name {
        "EdDSA" => Ok(Algorithm::EdDSA),
        "ES256" => Ok(Algorithm::ES256),
        "RS256" => Ok(Algorithm::RS256),
        other => bail!("jwt.algorithms lists {other:?}; supported are EdDSA, ES256 and RS256"),
    }
}

fn decoding_key(algorithm: Algorithm, pem: &[u8]) -> Option<DecodingKey> {
    match algorithm {
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem).ok(),
        Algorithm::ES256 => DecodingKey::from_ec_pem(pem).ok(),
        Algorithm::RS256 => DecodingKey::from_rsa_pem(pem).ok(),
        _ => None,
    }
}
