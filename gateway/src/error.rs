//! The one place where an error becomes a stable code and an HTTP status.
//!
//! Handlers return [`ApiError`]; [`Code`] maps each to a status and to OpenAI's `type`. Internal errors are logged with
//! their causes and answered without them.

use std::time::Duration;

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue, RETRY_AFTER},
    },
};
use cairn_adapters::GenerateError;
use cairn_openapi::error::{ErrorBody, ErrorEnvelope};

/// What went wrong with a request.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) retry_after: Option<Duration>,
}

/// Stable codes, as programs see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidRequest,
    UnsupportedParameter,
    ContextLengthExceeded,
    InvalidApiKey,
    InsufficientScope,
    NotFound,
    ModelNotFound,
    DatanetNotFound,
    AdapterNotFound,
    AdapterIncompatible,
    QuotaExceeded,
    MethodNotAllowed,
    AlreadyExists,
    RequestTooLarge,
    Overloaded,
    RateLimitExceeded,
    ModelLoading,
    ModelLoadFailed,
    MemoryBudget,
    StorageFull,
    PrimaryAway,
    Timeout,
    Internal,
}

impl Code {
    fn facts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        const INVALID: &str = "invalid_request_error";
        match self {
            Self::InvalidRequest => (S::BAD_REQUEST, INVALID, "invalid_request"),
            Self::UnsupportedParameter => (S::BAD_REQUEST, INVALID, "unsupported_parameter"),
            Self::ContextLengthExceeded => (S::BAD_REQUEST, INVALID, "context_length_exceeded"),
            Self::InvalidApiKey => (S::UNAUTHORIZED, "authentication_error", "invalid_api_key"),
            Self::InsufficientScope => (S::FORBIDDEN, "permission_error", "insufficient_scope"),
            Self::NotFound => (S::NOT_FOUND, INVALID, "not_found"),
            Self::ModelNotFound => (S::NOT_FOUND, INVALID, "model_not_found"),
            Self::DatanetNotFound => (S::NOT_FOUND, INVALID, "datanet_not_found"),
            Self::AdapterNotFound => (S::NOT_FOUND, INVALID, "adapter_not_found"),
            Self::AdapterIncompatible => (S::UNPROCESSABLE_ENTITY, INVALID, "adapter_incompatible"),
            Self::QuotaExceeded => (S::FORBIDDEN, "permission_error", "quota_exceeded"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed"),
            Self::AlreadyExists => (S::CONFLICT, INVALID, "already_exists"),
            Self::RequestTooLarge => (S::PAYLOAD_TOO_LARGE, INVALID, "request_too_large"),
            Self::Overloaded => (S::TOO_MANY_REQUESTS, "rate_limit_error", "overloaded"),
            Self::RateLimitExceeded => (S::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit_exceeded"),
            Self::ModelLoading => (S::SERVICE_UNAVAILABLE, "server_error", "model_loading"),
            Self::ModelLoadFailed => (S::SERVICE_UNAVAILABLE, "server_error", "model_load_failed"),
            Self::MemoryBudget => (S::SERVICE_UNAVAILABLE, "server_error", "memory_budget_exceeded"),
            Self::StorageFull => (S::INSUFFICIENT_STORAGE, "server_error", "storage_full"),
            Self::PrimaryAway => (S::SERVICE_UNAVAILABLE, "server_error", "primary_away"),
            Self::Timeout => (S::SERVICE_UNAVAILABLE, "server_error", "timeout"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "server_error", "internal_error"),
        }
    }
}

impl ApiError {
    /// An error with its code and what to tell people.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, retry_after: None }
    }

    /// A field of the request is wrong.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(Code::InvalidRequest, message) }
    }

    /// A field of the request is one that is not supported and changes the meaning.
    pub(crate) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(Code::UnsupportedParameter, message) }
    }

    /// A datanet that does not exist for this caller: the same answer whether or not it exists for others.
    pub(crate) fn no_datanet(name: &str) -> Self {
        Self {
            param: Some("datanets".into()),
            ..Self::new(
                Code::DatanetNotFound,
                format!("datanet {name:?} is not known here; GET /v1/datanets lists those that you may use"),
            )
        }
    }

    /// Something of ours failed: the cause goes to the log, not to the caller.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(cause = %format!("{cause:#}"), "internal error");
        Self::new(Code::Internal, "the server failed; its log says why, under this request's x-request-id")
    }

    /// A file could not be read or written; that the disk is full is for the caller to know.
    pub(crate) fn file(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            tracing::error!(%error, "the data directory's disk is full");
            return Self::new(
                Code::StorageFull,
                "the server's disk is full: make room in its data directory, and try again",
            );
        }
        Self::internal(error)
    }

    /// The envelope that goes over the wire.
    pub(crate) fn envelope(&self) -> ErrorEnvelope {
        let (_, kind, code) = self.code.facts();
        ErrorEnvelope {
            error: ErrorBody {
                message: self.message.clone(),
                kind: kind.to_owned(),
                param: self.param.clone(),
                code: Some(code.to_owned()),
            },
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.facts().0
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code()).json(self.envelope());
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status_code() == StatusCode::CONFLICT {
            // SDKs retry a 409 unless told not to.
            response.headers_mut().insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
        }
        response
    }
}

impl From<GenerateError> for ApiError {
    fn from(error: GenerateError) -> Self {
        let message = error.to_string();
        match error {
            GenerateError::UnknownModel(_) => {
                Self { param: Some("model".into()), ..Self::new(Code::ModelNotFound, message) }
            }
            GenerateError::Loading { retry_after, .. } => {
                Self { retry_after: Some(retry_after), ..Self::new(Code::ModelLoading, message) }
            }
            GenerateError::Load { .. } => Self::new(Code::ModelLoadFailed, message),
            GenerateError::OverBudget { .. } => Self::new(Code::MemoryBudget, message),
            GenerateError::DeadlineExceeded => Self::new(Code::Timeout, message),
            GenerateError::Overloaded { retry_after } => {
                Self { retry_after: Some(retry_after), ..Self::new(Code::Overloaded, message) }
            }
            GenerateError::PromptTooLong { .. } => {
                Self { param: Some("messages".into()), ..Self::new(Code::ContextLengthExceeded, message) }
            }
            GenerateError::AdapterIncompatible(_) => Self::new(Code::AdapterIncompatible, message),
            GenerateError::Unsupported(_) => Self::new(Code::UnsupportedParameter, message),
            GenerateError::Engine { .. } => Self::internal(message),
        }
    }
}

impl From<crate::store::StoreError> for ApiError {
    fn from(error: crate::store::StoreError) -> Self {
        if let crate::store::StoreError::Database(nul @ cairn_database::Error::Nul) = &error {
            return Self::new(Code::InvalidRequest, nul.to_string());
        }
        Self::internal(anyhow::Error::from(error))
    }
}

/// JSON bodies that do not parse, in the same envelope.
pub(crate) fn json_error(error: actix_web::error::JsonPayloadError, _: &actix_web::HttpRequest) -> actix_web::Error {
    use actix_web::error::JsonPayloadError as E;
    match error {
        E::OverflowKnownLength { limit, .. } | E::Overflow { limit } => {
            ApiError::new(Code::RequestTooLarge, format!("the body is larger than {limit} bytes")).into()
        }
        E::ContentType => {
            ApiError::new(Code::InvalidRequest, "the body must be JSON, sent with content-type: application/json")
                .into()
        }
        other => ApiError::new(Code::InvalidRequest, format!("the body is not a valid request: {other}")).into(),
    }
}

/// Query strings that do not parse, in the same envelope.
pub(crate) fn query_error(error: actix_web::error::QueryPayloadError, _: &actix_web::HttpRequest) -> actix_web::Error {
    ApiError::new(Code::InvalidRequest, format!("the query string is not valid: {error}")).into()
}
