//! Signing in to the studio with the organisation's provider, and out again.
//!
//! `/auth/login` and `/auth/callback` are addresses that browsers go to, so they answer with redirects, and what went wrong is told
//! by the studio's sign-in page. That keeps the studio's policy as it is: none of its requests goes to another origin.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder, get,
    http::header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE},
    post,
    web::{Data, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    sign_in::{CallbackQuery, LoginQuery, SignInProvider, SignInState, SignedOut},
};

use super::studio;
use crate::{
    auth::{
        Oidc,
        oidc::{self, SignInError},
    },
    error::{ApiError, Code},
    state::AppState,
    store::sessions::Session,
};

/// How one may sign in here, and whether this browser is signed in.
#[utoipa::path(operation_id = "sign_in_state", tag = "sign-in", security(()), responses((status = 200, body = SignInState)))]
#[get("/auth/session")]
pub(crate) async fn session(request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let provider = state.auth.oidc().map(|oidc| SignInProvider { name: oidc.name().to_owned() });
    let signed_in = match state.auth.session(request.headers()).await {
        Ok(caller) => caller.is_some(),
        Err(error) if error.code == Code::InvalidApiKey => false,
        Err(error) => return Err(error),
    };
    Ok(unkept(HttpResponse::Ok()).json(SignInState { oidc: provider, signed_in }))
}

/// Sends a browser to the provider. Navigate there; do not fetch it.
#[utoipa::path(
    operation_id = "sign_in",
    tag = "sign-in",
    security(()),
    params(LoginQuery),
    responses(
        (status = 303, description = "to the provider, or back to the studio where it cannot be asked"),
        (status = 400, body = ErrorEnvelope),
        (status = 404, description = "no provider is configured", body = ErrorEnvelope)
    )
)]
#[get("/auth/login")]
pub(crate) async fn login(state: Data<AppState>, asked: Query<LoginQuery>) -> Result<HttpResponse, ApiError> {
    let oidc = provider(&state)?;
    let Some(return_to) = oidc::destination(asked.return_to.as_deref().unwrap_or(studio::PREFIX)) else {
        return Err(ApiError::invalid("return_to", "return_to must be a page of the studio: /studio/…"));
    };
    Ok(match oidc.begin(return_to).await {
        Ok(begun) => unkept(HttpResponse::SeeOther())
            .insert_header((LOCATION, begun.url))
            .insert_header((SET_COOKIE, oidc.cookies().set_login(&begun.browser)))
            .finish(),
        Err(error) => back(oidc, &error),
    })
}

/// Where the provider sends the browser back to.
#[utoipa::path(
    operation_id = "signed_in",
    tag = "sign-in",
    security(()),
    params(CallbackQuery),
    responses(
        (status = 303, description = "to the studio, with a session or with the reason why there is none"),
        (status = 404, description = "no provider is configured", body = ErrorEnvelope)
    )
)]
#[get("/auth/callback")]
pub(crate) async fn callback(
    request: HttpRequest,
    state: Data<AppState>,
    answer: Query<CallbackQuery>,
) -> Result<HttpResponse, ApiError> {
    let oidc = provider(&state)?;
    let cookies = oidc.cookies();
    let person = match oidc.finish(answer.into_inner(), cookies.read_login(request.headers()).as_deref()).await {
        Ok(person) => person,
        Err(error) => return Ok(back(oidc, &error)),
    };
    let cookie = oidc::random();
    let made = Session { issuer: oidc.issuer().to_owned(), subject: person.subject, roles: person.roles };
    state.store.begin_session(&cookie, &made, oidc.session_hours()).await?;
    tracing::info!(subject = made.subject, roles = ?made.roles, "signed in");
    // The page that this leads to is reached from another site, so the browser sends no Strict cookie for it; it holds no data
    // and needs none. What it then asks for is asked from here, with the cookie.
    Ok(unkept(HttpResponse::SeeOther())
        .insert_header((LOCATION, person.return_to))
        .append_header((SET_COOKIE, cookies.set_session(&cookie, oidc.session_hours())))
        .append_header((SET_COOKIE, cookies.clear_login()))
        .finish())
}

/// Ends this browser's session.
#[utoipa::path(
    operation_id = "sign_out",
    tag = "sign-in",
    security(()),
    responses(
        (status = 200, body = SignedOut),
        (status = 401, description = "there is a session, and the request is not the studio's own", body = ErrorEnvelope)
    )
)]
#[post("/auth/logout")]
pub(crate) async fn logout(request: HttpRequest, state: Data<AppState>) -> Result<HttpResponse, ApiError> {
    let nothing = || unkept(HttpResponse::Ok()).json(SignedOut { end_session_url: None });
    let Some(oidc) = state.auth.oidc() else { return Ok(nothing()) };
    let Some(cookie) = oidc.cookies().read_session(request.headers())? else { return Ok(nothing()) };
    let ended = state.store.end_session(&cookie).await?;
    state.auth.forget();
    let end_session_url = if ended { oidc.end_session().await } else { None };
    Ok(unkept(HttpResponse::Ok())
        .insert_header((SET_COOKIE, oidc.cookies().clear_session()))
        .json(SignedOut { end_session_url }))
}

fn provider(state: &AppState) -> Result<&Oidc, ApiError> {
    state.auth.oidc().ok_or_else(|| {
        ApiError::new(Code::NotFound, "no OpenID Connect provider is configured here ([oidc]); sign in with an API key")
    })
}

/// To the sign-in page, which says why in its own words; the program's log has the cause.
fn back(oidc: &Oidc, error: &SignInError) -> HttpResponse {
    error.log();
    let mut response = unkept(HttpResponse::SeeOther());
    response.insert_header((LOCATION, format!("{}?sign_in={}", studio::PREFIX, error.code())));
    // Any site can send a browser here with an invented state; the sign-in that is really under way goes on.
    if !matches!(error, SignInError::Stale) {
        response.insert_header((SET_COOKIE, oidc.cookies().clear_login()));
    }
    response.finish()
}

/// An answer that nobody keeps and whose address goes nowhere else.
fn unkept(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response.insert_header((CACHE_CONTROL, "no-store")).insert_header((REFERRER_POLICY, "no-referrer"));
    response
}
