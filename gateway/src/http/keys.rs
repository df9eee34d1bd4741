//! API keys, and who the caller is.

use actix_web::{
    HttpResponse, delete, get, patch, post,
    web::{Data, Json, Path},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    keys::{CreatedKey, Key, KeyChange, KeyList, Me, NewKey, Role},
};

use crate::{
    auth::{Administrators, Allowed, Anyone},
    error::{ApiError, Code},
    state::AppState,
    store::keys::KeyChanged,
};

/// Makes an API key. Its secret is in the answer and nowhere else.
#[utoipa::path(operation_id = "create_key", tag = "keys", responses((status = 201, body = CreatedKey), (status = 400, body = ErrorEnvelope)))]
#[post("/v1/keys")]
pub(crate) async fn create(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
    new: Json<NewKey>,
) -> Result<HttpResponse, ApiError> {
    valid_subject(&new.subject)?;
    valid_roles(&new.roles)?;
    Ok(HttpResponse::Created().json(state.store.create_key(&new).await?))
}

/// Lists API keys, without their secrets.
#[utoipa::path(operation_id = "list_keys", tag = "keys", responses((status = 200, body = KeyList)))]
#[get("/v1/keys")]
pub(crate) async fn list(_caller: Allowed<Administrators>, state: Data<AppState>) -> Result<Json<KeyList>, ApiError> {
    Ok(Json(KeyList { object: "list".into(), data: state.store.keys().await? }))
}

/// Changes what an API key may do, and how much, at once. The last key of an administrator stays one.
#[utoipa::path(operation_id = "change_key", tag = "keys", responses((status = 200, body = Key), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
#[patch("/v1/keys/{id}")]
pub(crate) async fn change(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
    id: Path<String>,
    change: Json<KeyChange>,
) -> Result<Json<Key>, ApiError> {
    if let Some(roles) = &change.roles {
        valid_roles(roles)?;
    }
    let changed = state.store.change_key(&id, &change).await?;
    state.auth.forget();
    match changed {
        KeyChanged::Done(key) => Ok(Json(key)),
        KeyChanged::Missing => {
            Err(ApiError::new(Code::NotFound, format!("there is no key {id:?} that is not revoked")))
        }
        KeyChanged::LastAdministrator => {
            let message = "it is the last valid key of an administrator; make another first";
            Err(ApiError::new(Code::AlreadyExists, message))
        }
    }
}

/// Revokes an API key at once.
#[utoipa::path(operation_id = "revoke_key", tag = "keys", responses((status = 204), (status = 404, body = ErrorEnvelope)))]
#[delete("/v1/keys/{id}")]
pub(crate) async fn revoke(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<HttpResponse, ApiError> {
    if !state.store.revoke_key(&id).await? {
        return Err(ApiError::new(Code::NotFound, format!("there is no key {id:?}")));
    }
    state.auth.forget();
    Ok(HttpResponse::NoContent().finish())
}

/// Who the caller is and what it may use.
#[utoipa::path(operation_id = "me", tag = "keys", responses((status = 200, body = Me)))]
#[get("/v1/me")]
pub(crate) async fn me(caller: Allowed<Anyone>, state: Data<AppState>) -> Result<Json<Me>, ApiError> {
    let datanets = state.store.datanets(caller.bounds()).await?;
    Ok(Json(Me {
        subject: caller.subject.clone(),
        roles: caller.roles.clone(),
        credential: caller.credential.to_owned(),
        datanets: datanets.into_iter().map(|datanet| datanet.name).collect(),
    }))
}

fn valid_roles(roles: &[Role]) -> Result<(), ApiError> {
    if roles.is_empty() {
        return Err(ApiError::invalid("roles", "a key without roles may do nothing; name at least one"));
    }
    Ok(())
}

/// The rule for subjects, here and in grants: OpenID Connect's subjects have up to 255 characters and `oidc:` before them, and
/// some providers put `|`, `+`, `=` or `~` into them. No slash, and not dots alone: subjects are parts of addresses, and proxies resolve
/// what looks like a path.
pub(crate) fn valid_subject(subject: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._@:+=~|-".contains(c);
    let dots = subject == "." || subject == "..";
    if subject.is_empty() || subject.len() > 260 || dots || !subject.chars().all(allowed) {
        return Err(ApiError::invalid("subject", "a subject is 1 to 260 letters, digits and ._@:+=~|-"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_what_providers_send_and_safe_in_addresses() {
        let longest = format!("oidc:{}", "x".repeat(255));
        for subject in ["admin", "my-app", "oidc:auth0|5f7c", "oidc:samlp|corp|a.b@example.org", "a+b=~", &longest] {
            valid_subject(subject).unwrap();
        }
        let too_long = format!("{longest}x");
        for subject in
            ["", ".", "..", "../keys", "a/b", "a\\b", "a b", "a\nb", "a?b", "a#b", "a%2fb", "<b>", "ä", &too_long]
        {
            assert!(valid_subject(subject).is_err(), "{subject:?}");
        }
    }
}
