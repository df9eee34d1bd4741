//! `POST /v1/chat/completions`.

use actix_web::{
    HttpResponse, post,
    web::{Bytes, Data},
};
use cairn_adapters::{ChatMessage, Input, Role, TokenLogprobs};
use cairn_openapi::{
    attribution::{Attribution, Citation},
    chat::{
        Annotation, AssistantMessage, ChatChoice, ChatChunk, ChatRequest, ChatResponse, ChoiceLogprobs, ChunkChoice,
        Content, Delta, Message, TokenLogprob, TopLogprob, UrlCitation,
    },
    error::ErrorEnvelope,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, sse, tools};
use crate::{
    auth::{Allowed, Applications},
    error::ApiError,
    limits::Admitted,
    pipeline::{self, Endpoint, Part, Question},
    sampling::{self, Common},
    state::AppState,
};

/// Answers a conversation, with passages from datanets where asked for, and with a record of what it drew on.
///
/// OpenAI's endpoint, with two fields added to the request (`datanets`, `retrieval`) and one to the answer
/// (`attribution`; when streaming, in the last chunk before `[DONE]` or the usage chunk).
#[utoipa::path(operation_id = "chat_completions", 
    tag = "inference",
    request_body = ChatRequest,
    responses(
        (status = 200, body = ChatResponse, description = "the answer, or with `stream` a stream of `ChatChunk`"),
        (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 413, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope), (status = 503, body = ErrorEnvelope),
    )
)]
#[post("/v1/chat/completions")]
pub(crate) async fn chat_completions(
    caller: Allowed<Applications>,
    _admitted: Admitted,
    state: Data<AppState>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let request = body.parse::<ChatRequest>()?;
    let raw = body.0;
    let stream = request.stream;
    let include_usage = request.stream_options.is_some_and(|options| options.include_usage);
    let question = question(request, raw)?;
    let answering = pipeline::answer(state.into_inner(), (*caller).clone(), question).await?;
    let head = Head::new(&answering);
    if stream {
        let parts = answering.parts;
        return Ok(sse::response(stream_chunks(head, parts, include_usage)));
    }
    let answer = answering.collect().await?;
    let choices = answer
        .completion
        .choices
        .into_iter()
        .enumerate()
        .map(|(index, choice)| ChatChoice {
            index,
            message: AssistantMessage {
                role: "assistant".into(),
                content: (!choice.text.is_empty() || choice.tool_calls.is_empty()).then_some(choice.text),
                tool_calls: choice.tool_calls.into_iter().map(|call| tools::call(call, None)).collect(),
                refusal: None,
                annotations: annotations(index, &answer.attribution, &head.base_url),
            },
            logprobs: head.logprobs.then(|| ChoiceLogprobs { content: logprobs(choice.logprobs) }),
            finish_reason: pipeline::finish_name(choice.finish_reason).into(),
        })
        .collect();
    Ok(HttpResponse::Ok().json(ChatResponse {
        id: head.id,
        object: "chat.completion".into(),
        created: head.created,
        model: head.model,
        system_fingerprint: pipeline::fingerprint(&answer.completion.weights),
        choices,
        usage: pipeline::usage(answer.completion.usage),
        attribution: answer.attribution,
    }))
}

/// What every chunk repeats.
struct Head {
    id: String,
    created: i64,
    model: String,
    base_url: String,
    logprobs: bool,
}

impl Head {
    fn new(answering: &pipeline::Answering) -> Self {
        Self {
            id: answering.id.clone(),
            created: answering.created,
            model: answering.model.clone(),
            base_url: answering.base_url.clone(),
            logprobs: answering.logprobs,
        }
    }

    fn chunk(&self, fingerprint: Option<&str>, choices: Vec<ChunkChoice>) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: fingerprint.map(str::to_owned),
            choices,
            usage: None,
            attribution: None,
        }
    }
}

fn stream_chunks(
    head: Head,
    mut parts: mpsc::Receiver<Result<Part, ApiError>>,
    include_usage: bool,
) -> ReceiverStream<Bytes> {
    let (sender, receiver) = mpsc::channel(32);
    actix_web::rt::spawn(async move {
        let mut fingerprint = None;
        let mut spoken = std::collections::HashSet::new();
        let mut calls = std::collections::HashMap::<usize, usize>::new();
        while let Some(part) = parts.recv().await {
            let mut events = Vec::new();
            match part {
                Ok(Part::Started { weights }) => fingerprint = Some(pipeline::fingerprint(&weights)),
                Ok(Part::Delta { index, text, logprobs: of_text }) => {
                    let role = spoken.insert(index).then(|| "assistant".to_owned());
                    let delta = Delta { role, content: Some(text), ..Delta::default() };
                    let logprobs = head.logprobs.then(|| ChoiceLogprobs { content: logprobs(of_text) });
                    let choice = ChunkChoice { index, delta, logprobs, finish_reason: None };
                    events.push(sse::event(&head.chunk(fingerprint.as_deref(), vec![choice])));
                }
                Ok(Part::ToolCall { index, call }) => {
                    let role = spoken.insert(index).then(|| "assistant".to_owned());
                    let nth = calls.entry(index).or_default();
                    let delta = Delta { role, tool_calls: vec![tools::call(call, Some(*nth))], ..Delta::default() };
                    *nth += 1;
                    let choice = ChunkChoice { index, delta, logprobs: None, finish_reason: None };
                    events.push(sse::event(&head.chunk(fingerprint.as_deref(), vec![choice])));
                }
                Ok(Part::Done(answer)) => {
                    let choices = answer.completion.choices.iter().enumerate();
                    let choices = choices
                        .map(|(index, choice)| ChunkChoice {
                            index,
                            delta: Delta {
                                annotations: Some(annotations(index, &answer.attribution, &head.base_url)),
                                ..Delta::default()
                            },
                            logprobs: None,
                            finish_reason: Some(pipeline::finish_name(choice.finish_reason).into()),
                        })
                        .collect();
                    let mut last = head.chunk(fingerprint.as_deref(), choices);
                    last.attribution = Some(answer.attribution);
                    events.push(sse::event(&last));
                    if include_usage {
                        let mut usage = head.chunk(fingerprint.as_deref(), Vec::new());
                        usage.usage = Some(pipeline::usage(answer.completion.usage));
                        events.push(sse::event(&usage));
                    }
                    events.push(sse::done());
                }
                // The status has been sent: the envelope travels as an event, and there is no [DONE].
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

/// What a request asks, free of wire types.
pub(crate) fn question(request: ChatRequest, raw: String) -> Result<Question, ApiError> {
    sampling::refuse_unsupported(&request.other)?;
    if request.messages.is_empty() {
        return Err(ApiError::invalid("messages", "messages is empty; give at least one"));
    }
    let messages = request.messages.into_iter().enumerate().map(message).collect::<Result<Vec<_>, _>>()?;
    let query = messages.iter().rev().find(|message| message.role == Role::User).map(|message| message.content.clone());
    let logprobs = match (request.logprobs.unwrap_or(false), request.top_logprobs) {
        (false, Some(_)) => return Err(ApiError::invalid("top_logprobs", "top_logprobs needs logprobs: true")),
        (false, None) => None,
        (true, top) => Some(top.unwrap_or(0)),
    };
    let tools = tools::tools(request.tools)?;
    let tool_choice = tools::choice(request.tool_choice, &tools)?;
    let sampling = sampling::sampling(Common {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        min_p: request.min_p,
        n: request.n,
        stop: request.stop,
        max_tokens: request.max_completion_tokens.or(request.max_tokens),
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        logit_bias: request.logit_bias,
        seed: request.seed,
        logprobs,
    })?;
    Ok(Question {
        endpoint: Endpoint::Chat,
        model: request.model,
        adapters: sampling::adapters(request.adapter, request.adapters)?,
        input: Input::Chat(messages),
        sampling,
        format: tools::format(request.response_format),
        tools,
        tool_choice,
        datanets: request.datanets,
        retrieval: request.retrieval,
        attribution: request.attribution.unwrap_or_default(),
        timeout: sampling::timeout(request.timeout_s)?,
        query,
        raw,
    })
}

fn message((index, message): (usize, Message)) -> Result<ChatMessage, ApiError> {
    let param = format!("messages.{index}");
    let role = match message.role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            return Err(ApiError::invalid(
                &param,
                format!("{other:?} is not a role; use system, developer, user, assistant or tool"),
            ));
        }
    };
    let content = match message.content {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let texts = parts.into_iter().map(|part| match (part.kind.as_str(), part.text) {
                ("text", Some(text)) => Ok(text),
                (kind, _) => Err(ApiError::unsupported(
                    &param,
                    format!("content parts of type {kind:?} are not supported; send text"),
                )),
            });
            texts.collect::<Result<Vec<_>, _>>()?.join("\n")
        }
    };
    if role == Role::Tool && message.tool_call_id.is_none() {
        return Err(ApiError::invalid(&param, "a message of role tool needs tool_call_id: which call it answers"));
    }
    Ok(ChatMessage {
        role,
        content,
        tool_calls: message.tool_calls.into_iter().map(tools::called).collect(),
        tool_call_id: message.tool_call_id,
    })
}

fn annotations(choice: usize, attribution: &Attribution, base_url: &str) -> Vec<Annotation> {
    let of_choice = attribution.citations.iter().filter(|citation| citation.choice == choice);
    of_choice.filter_map(|citation| annotation(citation, attribution, base_url)).collect()
}

fn annotation(citation: &Citation, attribution: &Attribution, base_url: &str) -> Option<Annotation> {
    let passage = attribution.datapoints.iter().find(|passage| passage.n == citation.n)?;
    let datapoint = &passage.datapoint;
    Some(Annotation {
        kind: "url_citation".into(),
        url_citation: UrlCitation {
            start_index: citation.start,
            end_index: citation.end,
            url: format!("{base_url}/v1/datanets/{}/datapoints/{}", datapoint.datanet, datapoint.id),
            title: format!("{}: {}", datapoint.datanet, datapoint.id),
        },
    })
}

fn logprobs(tokens: Vec<TokenLogprobs>) -> Vec<TokenLogprob> {
    tokens
        .into_iter()
        .map(|token| TokenLogprob {
            token: token.chosen.token,
            logprob: token.chosen.logprob,
            bytes: token.chosen.bytes,
            top_logprobs: token
                .top
                .into_iter()
                .map(|top| TopLogprob { token: top.token, logprob: top.logprob, bytes: top.bytes })
                .collect(),
        })
        .collect()
}
