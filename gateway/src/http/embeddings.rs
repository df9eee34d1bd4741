//! `POST /v1/embeddings`.

use actix_web::{
    post,
    web::{Data, Json},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use cairn_openapi::{
    chat::Usage,
    embeddings::{Embedding, EmbeddingRequest, EmbeddingResponse, Vector},
    error::ErrorEnvelope,
};

use crate::{
    auth::{Allowed, Applications},
    convert,
    error::{ApiError, Code},
    limits::Admitted,
    state::AppState,
    store::usage::Spent,
};

/// Embeds texts with the gateway's embedding model; vectors have length 1.
#[utoipa::path(operation_id = "embeddings", tag = "inference", responses((status = 200, body = EmbeddingResponse), (status = 400, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
#[post("/v1/embeddings")]
pub(crate) async fn embeddings(
    caller: Allowed<Applications>,
    _admitted: Admitted,
    state: Data<AppState>,
    request: Json<EmbeddingRequest>,
) -> Result<Json<EmbeddingResponse>, ApiError> {
    let request = request.into_inner();
    if request.model != state.config.embedding_model {
        let message = format!(
            "{:?} is not an embedding model of this gateway; use {:?}",
            request.model, state.config.embedding_model
        );
        return Err(ApiError { param: Some("model".into()), ..ApiError::new(Code::ModelNotFound, message) });
    }
    let embedder = state.index.embedder().clone();
    if let Some(dimensions) = request.dimensions.filter(|wanted| *wanted != embedder.dimensions()) {
        let message = format!("dimensions is {dimensions}; this model has {} and cannot be cut", embedder.dimensions());
        return Err(ApiError::unsupported("dimensions", message));
    }
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(ApiError::invalid(
                "encoding_format",
                format!("{other:?} is not supported; use float or base64"),
            ));
        }
    };
    let texts: Vec<String> = request.input.into();
    if texts.is_empty() || texts.len() > MAX_TEXTS || texts.iter().any(String::is_empty) {
        return Err(ApiError::invalid("input", format!("input takes 1 to {MAX_TEXTS} texts, none of them empty")));
    }
    let made = state.runtime.spawn(async move { embedder.embed(texts).await }).await.map_err(ApiError::internal)?;
    let made = made.map_err(convert::index_error)?;
    let tokens = usize::try_from(made.tokens).unwrap_or(usize::MAX);
    let key = caller.key.as_ref().map(|key| key.id.as_str());
    let model = request.model.as_str();
    let spent = Spent { subject: &caller.subject, key, model, prompt_tokens: made.tokens, completion_tokens: 0 };
    state.store.count_usage(spent).await?;
    let data = made.vectors.into_iter().enumerate().map(|(index, vector)| Embedding {
        object: "embedding".into(),
        index,
        embedding: if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Vector::Base64(BASE64_STANDARD.encode(bytes))
        } else {
            Vector::Float(vector)
        },
    });
    Ok(Json(EmbeddingResponse {
        object: "list".into(),
        data: data.collect(),
        model: request.model,
        usage: Usage { prompt_tokens: tokens, completion_tokens: 0, total_tokens: tokens },
    }))
}

const MAX_TEXTS: usize = 256;
