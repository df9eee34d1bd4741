//! Records found by what they are about; many of them at once, with their proofs; and what of one is public.

use actix_web::{
    HttpResponse, get,
    http::header::{HeaderName, HeaderValue},
    web::{Bytes, Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    keys::Role,
    records::{AttributionList, AttributionQuery, AttributionSummary, PublicRecord},
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use super::ledger::period;
use crate::{
    auth::{Allowed, Anyone, Caller},
    error::{ApiError, Code},
    record,
    state::AppState,
    store::attributions::StoredAttribution,
};

/// Finds records, newest first: by model, adapter, subject, contributor, datanet and time. Auditors and administrators find
/// all; others those of their own answers.
#[utoipa::path(operation_id = "list_attributions", tag = "attribution", params(AttributionQuery), responses((status = 200, body = AttributionList), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/attributions")]
pub(crate) async fn list(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    query: Query<AttributionQuery>,
) -> Result<Json<AttributionList>, ApiError> {
    let limit = within(query.limit, 50, 200)?;
    let query = checked(&state, query.into_inner()).await?;
    let mut found = state.store.attributions(&query, bound(&caller), limit + 1).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|last| last.id.clone());
    let data = found.iter().map(summary).collect::<Result<_, _>>()?;
    Ok(Json(AttributionList { object: "list".into(), data, next }))
}

/// The records that a query finds, newest first, as JSON lines: each line is a proof bundle, which `cairn verify` takes as a
/// file of its own. A record whose proof cannot be made any more is a line with its `id` and an `error`. The header
/// `x-cairn-next` is there when there are more; give it as `after`.
#[utoipa::path(operation_id = "export_attributions", tag = "attribution", params(AttributionQuery), responses((status = 200, content_type = "application/jsonl", body = String), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/attributions/export")]
pub(crate) async fn export(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    query: Query<AttributionQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = within(query.limit, 1_000, 10_000)?;
    let query = checked(&state, query.into_inner()).await?;
    let mut ids = state.store.attribution_ids(&query, bound(&caller), limit + 1).await?;
    let more = ids.len() > limit as usize;
    ids.truncate(limit as usize);
    let next = ids.last().filter(|_| more).and_then(|last| HeaderValue::from_str(last).ok());
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/jsonl")
        .insert_header(("content-disposition", "attachment; filename=\"records.jsonl\""));
    if let Some(next) = next {
        response.insert_header((HeaderName::from_static("x-cairn-next"), next));
    }
    // One bundle is made ahead of what is read: a slow reader costs no memory.
    let (sender, lines) = tokio::sync::mpsc::channel::<Result<Bytes, ApiError>>(1);
    let runtime = state.runtime.clone();
    runtime.spawn(async move {
        for id in ids {
            let line = line(&state, &id).await;
            let failed = line.is_err();
            // Whoever reads no more, or reads a broken end, has what was sent.
            if sender.send(line).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(response.streaming(ReceiverStream::new(lines).map(|line| line.map_err(actix_web::Error::from))))
}

/// What the log says of an answer, with the proof that it says so: public numbers and commitments, neither question nor
/// answer. For whoever may see the record, and for those whose datapoints, or whose datanets', were in the prompt.
#[utoipa::path(operation_id = "attribution_entry", tag = "attribution", responses((status = 200, body = PublicRecord), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/attributions/{id}/entry")]
pub(crate) async fn entry(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    id: Path<String>,
) -> Result<Json<PublicRecord>, ApiError> {
    let missing = || ApiError::new(Code::NotFound, format!("there is no attribution {:?}", id.as_str()));
    let stored = state.store.attribution(&id, None).await?.ok_or_else(missing)?;
    let own_passages = state.store.own_passages(&id, &caller.subject).await?;
    if own_passages.is_empty() && bound(&caller).is_some_and(|subject| subject != stored.subject) {
        return Err(missing());
    }
    let place = record::place(&state, stored.log_index.unwrap_or_default()).await?;
    Ok(Json(PublicRecord {
        key: state.ledger.key().to_string(),
        log: serde_json::to_value(place).map_err(ApiError::internal)?,
        entry: serde_json::from_str(&stored.record).map_err(ApiError::internal)?,
        id: stored.id,
        created_at: stored.created_at,
        own_passages,
    }))
}

/// A record as a line of an export.
async fn line(state: &AppState, id: &str) -> Result<Bytes, ApiError> {
    let stored = state.store.attribution(id, None).await?;
    let stored = stored.ok_or_else(|| ApiError::internal("a record is gone"))?;
    match record::bundle(state, stored).await {
        // Canonical JSON has no line breaks, and ends with one.
        Ok(bundle) => Ok(bundle.into()),
        Err(error) if error.code == Code::NotFound => {
            Ok(format!("{}\n", json!({"id": id, "error": error.message})).into())
        }
        Err(error) => Err(error),
    }
}

/// Whose records a caller finds: its own, as an auditor or administrator everyone's (`None`).
fn bound(caller: &Caller) -> Option<&str> {
    (!caller.has(&[Role::Admin, Role::Auditor])).then_some(caller.subject.as_str())
}

fn within(limit: Option<u32>, default: u32, most: u32) -> Result<u32, ApiError> {
    match limit.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to {most}"))),
    }
}

/// The query with a contributor's name where their pseudonym was given.
async fn checked(state: &AppState, mut query: AttributionQuery) -> Result<AttributionQuery, ApiError> {
    period(&query.from, &query.to)?;
    if let Some(pseudonym) = query.contributor.as_ref().and_then(|text| text.parse().ok())
        && let Some(known) = state.store.contributor_of(&pseudonym).await?
    {
        query.contributor = Some(known.name);
    }
    Ok(query)
}

fn summary(stored: &StoredAttribution) -> Result<AttributionSummary, ApiError> {
    let record: Value = serde_json::from_str(&stored.record).map_err(ApiError::internal)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let length = |value: &Value| value.as_array().map_or(0, Vec::len) as u64;
    let datanets = record["retrieval"]["datanets"].as_array().into_iter().flatten();
    let candidates = record["retrieval"]["candidates"].as_array().into_iter().flatten();
    let model = text(&record["model"]);
    Ok(AttributionSummary {
        id: stored.id.clone(),
        created_at: stored.created_at.clone(),
        subject: stored.subject.clone(),
        base: stored.base.clone().unwrap_or_else(|| model.clone()),
        model,
        adapter_generation: record["adapter_generation"].as_str().map(str::to_owned),
        question: question(&stored.private.request),
        datanets: datanets.map(|datanet| text(&datanet["name"])).collect(),
        passages: candidates.filter(|candidate| !candidate["in_prompt"].is_null()).count() as u64,
        citations: length(&record["citations"]),
        index: stored.log_index.unwrap_or_default(),
    })
}

/// The beginning of what was asked: the last message of a user, or the prompt.
fn question(request: &Value) -> String {
    let body: Value = request.as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
    let mut messages = body["messages"].as_array().into_iter().flatten();
    let last = messages.rfind(|message| message["role"] == "user").map(|message| &message["content"]);
    let said = match last.unwrap_or(&body["prompt"]) {
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str().or(part.as_str()));
            texts.collect::<Vec<_>>().join("\n")
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    match said.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said,
    }
}

/// Characters of a question in a list.
const SHOWN: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_what_was_asked_last_cut_at_a_character() {
        let of = |body: Value| question(&Value::String(body.to_string()));
        let user = |content: Value| json!({"role": "user", "content": content});
        assert_eq!(of(json!({"messages": [user(json!("first")), user(json!("last"))]})), "last");
        assert_eq!(of(json!({"messages": [user(json!([{"type": "text", "text": "part"}]))]})), "part");
        assert_eq!(of(json!({"prompt": "continue"})), "continue");
        assert_eq!(of(json!({"prompt": ["one"]})), "one");
        assert_eq!(question(&Value::Null), "");
        let long = of(json!({"prompt": "ü".repeat(500)}));
        assert_eq!(long.chars().count(), SHOWN + 1);
    }
}
