//! `POST /v1/completions`.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse, post,
    web::{Bytes, Data},
};
use cairn_adapters::{Input, ResponseFormat, TokenLogprobs, ToolChoice};
use cairn_openapi::{
    chat::OneOrMany,
    completions::{CompletionChoice, CompletionLogprobs, CompletionRequest, CompletionResponse},
    error::ErrorEnvelope,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, sse};
use crate::{
    auth::{Allowed, Applications},
    error::ApiError,
    limits::Admitted,
    pipeline::{self, Endpoint, Part, Question},
    sampling::{self, Common},
    state::AppState,
};

/// Continues a text as it is, without a chat template.
#[utoipa::path(operation_id = "completions", 
    tag = "inference",
    request_body = CompletionRequest,
    responses(
        (status = 200, body = CompletionResponse), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope),
        (status = 503, body = ErrorEnvelope),
    )
)]
#[post("/v1/completions")]
pub(crate) async fn completions(
    caller: Allowed<Applications>,
    _admitted: Admitted,
    state: Data<AppState>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let request = body.parse::<CompletionRequest>()?;
    let stream = request.stream;
    let include_usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let echo = request.echo;
    let question = question(request, body.0)?;
    let echo = match &question.input {
        Input::Text(prompt) if echo => prompt.clone(),
        _ => String::new(),
    };
    let answering = pipeline::answer(state.into_inner(), (*caller).clone(), question).await?;
    let blank = CompletionResponse {
        id: answering.id.clone(),
        object: "text_completion".into(),
        created: answering.created,
        model: answering.model.clone(),
        system_fingerprint: None,
        choices: Vec::new(),
        usage: None,
        attribution: None,
    };
    if stream {
        return Ok(sse::response(stream_chunks(blank, answering, include_usage, echo)));
    }
    let wants_logprobs = answering.logprobs;
    let answer = answering.collect().await?;
    let choices = answer.completion.choices.into_iter().enumerate().map(|(index, choice)| CompletionChoice {
        index,
        logprobs: wants_logprobs.then(|| logprobs(&choice.logprobs, echo.chars().count())),
        text: format!("{echo}{}", choice.text),
        finish_reason: Some(pipeline::finish_name(choice.finish_reason).into()),
    });
    Ok(HttpResponse::Ok().json(CompletionResponse {
        system_fingerprint: Some(pipeline::fingerprint(&answer.completion.weights)),
        choices: choices.collect(),
        usage: Some(pipeline::usage(answer.completion.usage)),
        attribution: Some(answer.attribution),
        ..blank
    }))
}

/// What a request asks, free of wire types.
pub(crate) fn question(request: CompletionRequest, raw: String) -> Result<Question, ApiError> {
    sampling::refuse_unsupported(&request.other)?;
    let prompt = match request.prompt {
        OneOrMany::One(prompt) => prompt,
        OneOrMany::Many(mut prompts) if prompts.len() == 1 => prompts.remove(0),
        OneOrMany::Many(_) => return Err(ApiError::unsupported("prompt", "send one prompt a request")),
    };
    if prompt.is_empty() {
        return Err(ApiError::invalid("prompt", "prompt is empty; give some text to continue"));
    }
    if request.logprobs.is_some_and(|top| top > 5) {
        return Err(ApiError::invalid("logprobs", "logprobs takes 0 to 5 here"));
    }
    let sampling = sampling::sampling(Common {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        min_p: request.min_p,
        n: request.n,
        stop: request.stop,
        max_tokens: Some(request.max_tokens.unwrap_or(16)),
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        logit_bias: request.logit_bias,
        seed: request.seed,
        logprobs: request.logprobs,
    })?;
    Ok(Question {
        endpoint: Endpoint::Completions,
        model: request.model,
        adapters: sampling::adapters(request.adapter, request.adapters)?,
        query: Some(prompt.clone()),
        input: Input::Text(prompt),
        sampling,
        format: ResponseFormat::Text,
        tools: Vec::new(),
        tool_choice: ToolChoice::None,
        datanets: request.datanets,
        retrieval: request.retrieval,
        attribution: request.attribution.unwrap_or_default(),
        timeout: sampling::timeout(request.timeout_s)?,
        raw,
    })
}

fn stream_chunks(
    mut blank: CompletionResponse,
    answering: pipeline::Answering,
    include_usage: bool,
    echo: String,
) -> ReceiverStream<Bytes> {
    let (sender, receiver) = mpsc::channel(32);
    actix_web::rt::spawn(async move {
        let wants_logprobs = answering.logprobs;
        let mut parts = answering.parts;
        let mut offsets: BTreeMap<usize, usize> = BTreeMap::new();
        while let Some(part) = parts.recv().await {
            let mut events = Vec::new();
            match part {
                Ok(Part::Started { weights }) => blank.system_fingerprint = Some(pipeline::fingerprint(&weights)),
                Ok(Part::Delta { index, text, logprobs: of_text }) => {
                    let text = if offsets.contains_key(&index) { text } else { format!("{echo}{text}") };
                    let offset = offsets.entry(index).or_insert(echo.chars().count());
                    let logprobs = wants_logprobs.then(|| logprobs(&of_text, *offset));
                    *offset += of_text.iter().map(|token| token.chosen.token.chars().count()).sum::<usize>();
                    let choice = CompletionChoice { index, text, logprobs, finish_reason: None };
                    events.push(sse::event(&CompletionResponse { choices: vec![choice], ..blank.clone() }));
                }
                // A text is continued without tools.
                Ok(Part::ToolCall { .. }) => {}
                Ok(Part::Done(answer)) => {
                    let choices =
                        answer.completion.choices.iter().enumerate().map(|(index, choice)| CompletionChoice {
                            index,
                            text: String::new(),
                            logprobs: None,
                            finish_reason: Some(pipeline::finish_name(choice.finish_reason).into()),
                        });
                    let choices = choices.collect();
                    events.push(sse::event(&CompletionResponse {
                        choices,
                        attribution: Some(answer.attribution),
                        ..blank.clone()
                    }));
                    if include_usage {
                        let usage = Some(pipeline::usage(answer.completion.usage));
                        events.push(sse::event(&CompletionResponse { usage, ..blank.clone() }));
                    }
                    events.push(sse::done());
                }
                Err(error) => events.push(sse::event(&error.envelope())),
            }
            for event in events {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

fn logprobs(tokens: &[TokenLogprobs], mut offset: usize) -> CompletionLogprobs {
    let mut out = CompletionLogprobs::default();
    for token in tokens {
        out.text_offset.push(offset);
        offset += token.chosen.token.chars().count();
        out.tokens.push(token.chosen.token.clone());
        out.token_logprobs.push(token.chosen.logprob);
        out.top_logprobs.push(token.top.iter().map(|top| (top.token.clone(), top.logprob)).collect());
    }
    out
}
