//! The HTTP surface: one endpoint group a file. Handlers extract, call and convert; nothing more.

use actix_web::{
    FromRequest, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use futures::future::LocalBoxFuture;
use tracing_actix_web::RequestId;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::error::{ApiError, Code};

mod access;
mod adapters;
mod anchors;
mod attributions;
pub(crate) mod chat;
mod checkpoints;
pub(crate) mod completions;
mod contributions;
mod datanets;
mod embeddings;
mod evaluations;
mod files;
mod fine_tuning;
mod generations;
mod ingest;
mod jobs;
mod keys;
mod ledger;
mod log;
mod lora;
mod models;
pub(crate) mod ops;
mod paging;
mod quotas;
mod records;
mod run_directory;
mod search;
mod sign_in;
pub(crate) mod spans;
mod sse;
pub(crate) mod studio;
mod tools;
mod usage;

pub(crate) use keys::valid_subject;
pub(crate) use paging::{cut, list_limit};

/// Every endpoint. The OpenAPI description is collected from the same list, so it cannot miss one.
pub(crate) fn endpoints(config: &mut ServiceConfig<'_>) {
    config
        .service(chat::chat_completions)
        .service(completions::completions)
        .service(embeddings::embeddings)
        .service(models::list)
        .service(models::retrieve)
        .service(models::load)
        .service(models::unload)
        .service(search::search)
        .service(records::list)
        .service(records::export)
        .service(records::entry)
        .service(attributions::retrieve)
        .service(attributions::proof)
        .service(attributions::retrieve_influence)
        .service(attributions::measure_influence)
        .service(ledger::ledger)
        .service(ledger::uses)
        .service(datanets::create)
        .service(datanets::list)
        .service(datanets::retrieve)
        .service(datanets::delete)
        .service(datanets::datapoints)
        .service(datanets::datapoint)
        .service(datanets::trainings)
        .service(datanets::erase)
        .service(access::retrieve_terms)
        .service(access::publish_terms)
        .service(access::terms_versions)
        .service(access::simulate_terms)
        .service(access::request_access)
        .service(access::requests_of_datanet)
        .service(access::access_statistics)
        .service(access::my_requests)
        .service(access::inbox)
        .service(access::retrieve_request)
        .service(access::vote)
        .service(access::appeal)
        .service(access::renew)
        .service(access::withdraw)
        .service(access::retrieve_absence)
        .service(access::set_absence)
        .service(access::end_absence)
        .service(access::my_grants)
        .service(access::grants_of_datanet)
        .service(access::grant)
        .service(access::revoke)
        .service(ingest::add)
        .service(ingest::examine)
        .service(ingest::document)
        .service(datanets::registration)
        .service(contributions::contribute)
        .service(contributions::of_datanet)
        .service(contributions::mine)
        .service(contributions::retrieve)
        .service(contributions::review)
        .service(contributions::withdraw)
        .service(contributions::snapshots)
        .service(contributions::snapshot)
        .service(contributions::export)
        .service(adapters::upload)
        .service(adapters::list)
        .service(adapters::retrieve)
        .service(adapters::change)
        .service(adapters::load)
        .service(adapters::unpublish)
        .service(adapters::history)
        .service(adapters::grant)
        .service(adapters::revoke)
        .service(adapters::delete)
        .service(generations::list)
        .service(generations::grants)
        .service(generations::uses)
        .service(quotas::list)
        .service(quotas::set)
        .service(quotas::reset)
        .service(lora::load)
        .service(lora::unload)
        .service(files::create)
        .service(files::list)
        .service(files::retrieve)
        .service(files::content)
        .service(files::delete)
        .service(fine_tuning::create)
        .service(fine_tuning::preview)
        .service(fine_tuning::list)
        .service(fine_tuning::retrieve)
        .service(fine_tuning::delete)
        .service(fine_tuning::cancel)
        .service(fine_tuning::pause)
        .service(fine_tuning::resume)
        .service(fine_tuning::events)
        .service(checkpoints::checkpoints)
        .service(fine_tuning::validation)
        .service(fine_tuning::evaluation)
        .service(fine_tuning::report)
        .service(fine_tuning::row_proof)
        .service(fine_tuning::provenance)
        .service(evaluations::create)
        .service(evaluations::list)
        .service(evaluations::retrieve)
        .service(evaluations::cancel)
        .service(evaluations::delete)
        .service(evaluations::events)
        .service(evaluations::result)
        .service(evaluations::report)
        .service(jobs::list)
        .service(jobs::retrieve)
        .service(jobs::events)
        .service(jobs::rejections)
        .service(jobs::cancel)
        .service(keys::create)
        .service(keys::list)
        .service(keys::change)
        .service(keys::revoke)
        .service(keys::me)
        .service(sign_in::session)
        .service(sign_in::login)
        .service(sign_in::callback)
        .service(sign_in::logout)
        .service(usage::usage)
        .service(log::checkpoint)
        .service(log::tile)
        .service(log::key)
        .service(log::append)
        .service(anchors::status)
        .service(anchors::history)
        .service(anchors::contributor)
        .service(ops::healthz)
        .service(ops::readyz)
        .service(ops::render);
}

/// What the OpenAPI description says beside the endpoints.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cairn",
        description = "Inference with attribution: OpenAI-compatible answers that name the datapoints they drew on, with a proof that anyone can check offline.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(
        cairn_openapi::error::ErrorEnvelope,
        cairn_openapi::chat::ChatChunk,
        cairn_openapi::ledger::LedgerFormat
    )),
    modifiers(&Bearer)
)]
pub(crate) struct ApiDoc;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        openapi.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("bearer", [])]);
    }
}

/// The OpenAPI description, as `/openapi.json` serves it.
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    use utoipa_actix_web::AppExt;
    let (_, collected) =
        actix_web::App::new().into_utoipa_app().openapi(ApiDoc::openapi()).configure(endpoints).split_for_parts();
    collected
}

/// Adds what OpenAI's clients look for: `x-request-id` and `openai-processing-ms`.
pub(crate) async fn response_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    use actix_web::HttpMessage;
    let started = std::time::Instant::now();
    let id = request.extensions().get::<RequestId>().map(ToString::to_string).unwrap_or_default();
    let route = request.match_pattern().unwrap_or_else(|| "unmatched".into());
    let mut response = next.call(request).await?;
    let elapsed = started.elapsed();
    if !matches!(route.as_str(), "/healthz" | "/readyz" | "/metrics") {
        tracing::info!(route, status = response.status().as_u16(), ms = elapsed.as_millis() as u64, "answered");
    }
    let status = response.status().as_str().to_owned();
    metrics::counter!("cairn_http_requests_total", "route" => route.clone(), "status" => status).increment(1);
    metrics::histogram!("cairn_http_request_seconds", "route" => route).record(elapsed.as_secs_f64());
    let request = response.request().clone();
    let headers = response.headers_mut();
    crate::limits::headers(&request, headers);
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), value);
    }
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    headers.insert(HeaderName::from_static("openai-processing-ms"), HeaderValue::from(millis));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// No such route, or not with this method.
pub(crate) async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    if request.resource_map().has_resource(request.path()) {
        let message = format!("{} does not take {}; see /docs", request.path(), request.method());
        return Err(ApiError::new(Code::MethodNotAllowed, message));
    }
    Err(ApiError::new(Code::NotFound, format!("{} {} is not an endpoint; see /docs", request.method(), request.path())))
}

/// A body whose exact text is kept, because that is what a record commits to.
struct Body(String);

impl FromRequest for Body {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = web::Bytes::from_request(request, payload);
        Box::pin(async move {
            let bytes = bytes.await.map_err(|error| match error.as_response_error().status_code() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    ApiError::new(Code::RequestTooLarge, "the body is larger than server.body_limit_kib allows")
                }
                _ => ApiError::new(Code::InvalidRequest, format!("the body cannot be read: {error}")),
            })?;
            let text = String::from_utf8(bytes.to_vec());
            let text =
                text.map_err(|error| ApiError::new(Code::InvalidRequest, format!("the body is not UTF-8: {error}")))?;
            Ok(Self(text))
        })
    }
}

impl Body {
    fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_str(&self.0)
            .map_err(|error| ApiError::new(Code::InvalidRequest, format!("the body is not a valid request: {error}")))
    }
}
