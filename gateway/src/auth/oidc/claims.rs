//! From a provider's claims to a subject and roles of ours.

use cairn_openapi::keys::Role;
use serde_json::{Map, Value};

use super::SignInError;
use crate::{
    config::{Oidc, SUBJECT_PREFIX},
    http::valid_subject,
};

/// Whether the ID token leaves out what the UserInfo endpoint may know.
pub(super) fn incomplete(claims: &Map<String, Value>, config: &Oidc) -> bool {
    let lacks = |path: &str| !path.is_empty() && at(claims, path).is_none();
    lacks(&config.roles_claim) || lacks(&config.subject_claim) || (by_email(config) && lacks(VERIFIED))
}

/// The subject that the person is here.
pub(super) fn subject(claims: &Map<String, Value>, config: &Oidc) -> Result<String, SignInError> {
    let claim = &config.subject_claim;
    let Some(name) = at(claims, claim).and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return Err(SignInError::Unnameable(format!(
            "the provider sends no {claim:?}, which oidc.subject_claim names"
        )));
    };
    // Whoever may write any address into their profile could otherwise be anyone.
    if by_email(config) && at(claims, VERIFIED) != Some(&Value::Bool(true)) {
        return Err(SignInError::Unnameable(format!("the provider has not verified the address {name:?}")));
    }
    let subject = format!("{SUBJECT_PREFIX}{name}");
    valid_subject(&subject).map_err(|error| {
        let message = error.message;
        SignInError::Unnameable(format!(
            "{subject:?} cannot be a subject: {message}; choose another oidc.subject_claim"
        ))
    })?;
    Ok(subject)
}

/// The person's roles: those of the claim that are known here, and those of everyone.
pub(super) fn roles(claims: &Map<String, Value>, config: &Oidc) -> Vec<Role> {
    let listed = match at(claims, &config.roles_claim) {
        Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(role)) => vec![role.as_str()],
        _ => Vec::new(),
    };
    let known = listed.into_iter().filter_map(|name| match config.role_map.is_empty() {
        true => serde_json::from_value(name.into()).ok(),
        false => config.role_map.get(name).copied(),
    });
    let mut roles: Vec<Role> = known.chain(config.default_roles.iter().copied()).collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn by_email(config: &Oidc) -> bool {
    config.subject_claim == "email"
}

const VERIFIED: &str = "email_verified";

/// The claim of this name, or at the end of this path; some names are URLs, which have dots too.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, key| value.get(key))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn roles_are_found_where_providers_keep_them() {
        let given = claims(json!({
            "roles": ["trainer", "superuser", 7, "app"],
            "role": "auditor",
            "realm_access": {"roles": ["steward"]},
            "https://cairn.example/roles": ["contributor"],
        }));
        for (claim, expected) in [
            ("roles", vec![Role::Trainer, Role::App]),
            ("role", vec![Role::Auditor]),
            ("realm_access.roles", vec![Role::Steward]),
            ("https://cairn.example/roles", vec![Role::Contributor]),
            ("realm_access", vec![]),
            ("roles.0", vec![]),
            ("none.at.all", vec![]),
            ("", vec![]),
        ] {
            let config = Oidc { roles_claim: claim.into(), ..Oidc::default() };
            assert_eq!(roles(&given, &config), expected, "{claim}");
            assert_eq!(incomplete(&claims(json!({"sub": "x"})), &config), !claim.is_empty(), "{claim}");
        }
    }

    #[test]
    fn with_a_map_only_what_it_lists_counts() {
        let config = Oidc {
            roles_claim: "groups".into(),
            role_map: [("Cairn Admins".to_owned(), Role::Admin), ("research".to_owned(), Role::Trainer)].into(),
            default_roles: vec![Role::App],
            ..Oidc::default()
        };
        let of = |groups: Value| roles(&claims(json!({"groups": groups})), &config);
        assert_eq!(of(json!(["research", "admin", "cairn admins"])), [Role::Trainer, Role::App]);
        assert_eq!(of(json!(["Cairn Admins", "research", "research"])), [Role::Admin, Role::Trainer, Role::App]);
        assert_eq!(of(json!([])), [Role::App]);
    }

    #[test]
    fn subjects_have_their_prefix_and_can_be_granted_things() {
        let config = Oidc::default();
        for sub in ["auth0|5f7c8ec7c33c6c004bbafe82", "248289761001", "samlp|corp|ada@example.org", "a+b=c"] {
            assert_eq!(subject(&claims(json!({"sub": sub})), &config).unwrap(), format!("oidc:{sub}"));
        }
        for sub in [json!("../../keys"), json!("a b"), json!("a\nb"), json!("ä"), json!(""), json!(7), Value::Null] {
            assert!(subject(&claims(json!({"sub": sub})), &config).is_err(), "{sub}");
        }
    }

    #[test]
    fn an_address_counts_once_it_is_verified() {
        let config = Oidc { subject_claim: "email".into(), roles_claim: String::new(), ..Oidc::default() };
        let of = |verified: Value| claims(json!({"sub": "1", "email": "ada@example.org", "email_verified": verified}));
        assert_eq!(subject(&of(json!(true)), &config).unwrap(), "oidc:ada@example.org");
        for verified in [json!(false), json!("true"), Value::Null] {
            assert!(subject(&of(verified.clone()), &config).is_err(), "{verified}");
        }
        assert!(incomplete(&claims(json!({"sub": "1", "email": "ada@example.org"})), &config));
    }
}
