//! What makes an ID token one that was made for this sign-in (OpenID Connect Core 1.0, 3.1.3.7 and 3.1.3.8).

use anyhow::{Context, anyhow, bail, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::SignInError;
use crate::auth::jwks::{KeyError, KeySet};

/// What must be in it.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// The token that came with it.
    pub(super) access_token: &'a str,
}

/// The claims of a token that holds.
pub(super) async fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
) -> Result<Map<String, Value>, SignInError> {
    let header = decode_header(token).context("the ID token cannot be read").map_err(SignInError::Refused)?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(SignInError::Refused(anyhow!("the ID token is signed with {:?}", header.alg)));
    }
    let key = keys.key(header.alg, header.kid.as_deref()).await.map_err(|error| match error {
        KeyError::Unknown => SignInError::Refused(error.into()),
        KeyError::Unreachable { .. } => SignInError::Unavailable(error.into()),
    })?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[expected.client_id]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.validate_nbf = true;
    let claims = decode::<Map<String, Value>>(token, &key, &validation)
        .context("the ID token is not valid")
        .map_err(SignInError::Refused)?
        .claims;
    check(&claims, header.alg, expected).map_err(SignInError::Refused)?;
    Ok(claims)
}

/// Whoever verifies a symmetric signature could also have made it, so there are only these.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What the library does not check.
fn check(claims: &Map<String, Value>, algorithm: Algorithm, expected: &Expected<'_>) -> anyhow::Result<()> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
    ensure!(text("sub").is_some_and(|sub| !sub.is_empty()), "the ID token names nobody");
    ensure!(text("nonce") == Some(expected.nonce), "the ID token was made for another sign-in");
    let audiences = claims.get("aud").and_then(Value::as_array).map_or(1, Vec::len);
    match claims.get("azp") {
        Some(party) => ensure!(party.as_str() == Some(expected.client_id), "the ID token was given to another client"),
        None if audiences > 1 => bail!("the ID token is for several clients and does not say to which it was given"),
        None => {}
    }
    if let Some(hash) = claims.get("at_hash") {
        ensure!(
            hash.as_str() == Some(at_hash(algorithm, expected.access_token).as_str()),
            "the access token is not the one that belongs to the ID token"
        );
    }
    Ok(())
}

/// The left half of the hash that the signature's algorithm has; Ed25519's is SHA-512.
fn at_hash(algorithm: Algorithm, access_token: &str) -> String {
    let bytes = access_token.as_bytes();
    let hash = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => Sha256::digest(bytes).to_vec(),
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => Sha384::digest(bytes).to_vec(),
        _ => Sha512::digest(bytes).to_vec(),
    };
    BASE64_URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Core 1.0, appendix A.3.
    const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
    const AT_HASH: &str = "77QmUPtjPfzWtF2AnpK9RQ";

    fn holds(change: Value) -> bool {
        let mut claims = serde_json::json!({"sub": "ada", "aud": "cairn", "nonce": "n"});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let expected = Expected { issuer: "i", client_id: "cairn", nonce: "n", access_token: ACCESS_TOKEN };
        check(claims.as_object().unwrap(), Algorithm::RS256, &expected).is_ok()
    }

    #[test]
    fn the_specification_s_own_example_has_its_hash() {
        assert_eq!(at_hash(Algorithm::RS256, ACCESS_TOKEN), AT_HASH);
    }

    #[test]
    fn what_was_made_for_another_sign_in_does_not_hold() {
        use serde_json::json;
        assert!(holds(json!({})));
        assert!(holds(json!({"at_hash": AT_HASH, "azp": "cairn", "aud": ["cairn", "other"]})));
        for wrong in [
            json!({"nonce": "m"}),
            json!({"nonce": null}),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"azp": "other"}),
            json!({"aud": ["cairn", "other"]}),
            json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RR"}),
            json!({"at_hash": 7}),
        ] {
            assert!(!holds(wrong.clone()), "{wrong}");
        }
    }
}
