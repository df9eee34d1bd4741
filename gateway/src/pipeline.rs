//! One answer, from question to receipt. Read [`answer`] first: it is the product in one page.

use std::sync::Arc;

use cairn_adapters::{
    Choice, Completion, Event, FinishReason, GenerateError, Generation, Generator as _, Input, ResponseFormat,
    Sampling, TokenLogprobs, Tool, ToolCall, ToolChoice, WeightsHash,
};
use cairn_index::{Candidate, Query, Retrieval};
use cairn_openapi::{
    attribution::{Attribution, AttributionOptions},
    chat::Usage,
    retrieval::{RetrievalMode, RetrievalOptions},
};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::{
    access::{self, Access},
    attribute,
    auth::Caller,
    config::{MAX_CANDIDATES, MAX_TOP_K},
    convert,
    error::{ApiError, Code},
    lanes,
    prompt::{self, Shown},
    record::{Answered, Asked},
    replica,
    state::AppState,
    store::{now, records::Served, usage::Spent},
};

/// What is asked, checked and free of wire types.
pub(crate) struct Question {
    pub(crate) endpoint: Endpoint,
    pub(crate) model: String,
    /// Adapters named beside the model, with their weights.
    pub(crate) adapters: Vec<(String, f32)>,
    pub(crate) input: Input,
    pub(crate) sampling: Sampling,
    pub(crate) format: ResponseFormat,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) datanets: Vec<String>,
    pub(crate) retrieval: Option<RetrievalOptions>,
    /// What is measured beside the citations.
    pub(crate) attribution: AttributionOptions,
    /// How long the caller waits for the whole answer, where it says.
    pub(crate) timeout: Option<std::time::Duration>,
    /// What to search for when `retrieval.query` does not say.
    pub(crate) query: Option<String>,
    /// The request's body as it was received: what the record commits to.
    pub(crate) raw: String,
}

/// Which endpoint was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
}

/// An answer under way: its first token is still to come, but it was admitted.
pub(crate) struct Answering {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) model: String,
    pub(crate) base_url: String,
    pub(crate) logprobs: bool,
    pub(crate) parts: mpsc::Receiver<Result<Part, ApiError>>,
}

/// A part of an answer under way, in order; [`Part::Done`] or an error is the last.
pub(crate) enum Part {
    Started { weights: WeightsHash },
    Delta { index: usize, text: String, logprobs: Vec<TokenLogprobs> },
    ToolCall { index: usize, call: ToolCall },
    Done(Box<Answer>),
}

/// A whole answer, recorded in the log.
pub(crate) struct Answer {
    pub(crate) completion: Completion,
    pub(crate) attribution: Attribution,
}

/// Retrieves, prompts, generates, attributes and records. Returns once the engine has admitted the request; the parts
/// follow. A caller that goes away cancels the engine, and what it had been sent is still recorded.
pub(crate) async fn answer(state: Arc<AppState>, caller: Caller, question: Question) -> Result<Answering, ApiError> {
    let at = now();
    let deadline =
        std::time::Instant::now() + question.timeout.map_or(state.config.timeout, |it| it.min(state.config.timeout));
    let addressed = lanes::address(&state, &caller, &question.model, &question.adapters).await?;
    let id = format!("{}-{}", prefix(question.endpoint), uuid::Uuid::now_v7().simple());
    let leases = lanes::lease(&state, &caller, &addressed, &id).await?;
    let served = Served {
        base: addressed.model.to_string(),
        adapters: leases.iter().map(|(lease, _)| (lease.alias.to_string(), lease.generation.0.clone())).collect(),
    };
    let adapters = lanes::shares(&leases);
    if !adapters.is_empty() {
        // What is not in memory is read while passages are searched for.
        state.models.prefetch(&addressed.model, &adapters);
    }
    let (accesses, retrieval) = retrieve(&state, &caller, &question).await?;
    let top_k = top_k(&state, &question);
    let in_prompt = retrieval.iter().flat_map(|retrieval| retrieval.passages());
    let shown =
        prompt::number(in_prompt.map(|it| it.datapoint.text.as_str()), state.config.retrieval.max_passage_chars);
    let input = match question.input.clone() {
        Input::Chat(messages) => Input::Chat(prompt::chat(messages, &shown)),
        Input::Text(text) => Input::Text(prompt::completion(&text, &shown)),
    };
    let generation = Generation {
        adapters: adapters.clone(),
        tenant: caller.subject.clone(),
        deadline: Some(deadline),
        format: question.format.clone(),
        tools: question.tools.clone(),
        tool_choice: question.tool_choice.clone(),
        ..Generation::new(addressed.model, input, question.sampling.clone())
    };
    let models = state.models.clone();
    // Dropped with the task: an engine that has not taken the request by then will not.
    let generating = async move { tokio::time::timeout_at(deadline.into(), models.generate(generation)).await };
    let events = state.runtime.spawn(generating).await.map_err(ApiError::internal)?;
    let events = match events {
        Err(_) | Ok(Err(GenerateError::DeadlineExceeded)) => return Err(too_late(&question)),
        Ok(events) => events?,
    };
    let events = lanes::holding(events, leases);

    let (sender, parts) = mpsc::channel(64);
    let answering = Answering {
        id,
        created: chrono::Utc::now().timestamp(),
        model: question.model.clone(),
        base_url: state.config.public_url.clone(),
        logprobs: question.sampling.logprobs.is_some(),
        parts,
    };
    let candidates = candidates(&state, &question);
    let id = answering.id.clone();
    let asked = Asked { id, caller, at, question, served, adapters, top_k, candidates, accesses, retrieval, shown };
    let work = state.in_flight.track_future(finish(state.clone(), asked, events, sender, deadline));
    state.runtime.spawn(work);
    Ok(answering)
}

fn too_late(question: &Question) -> ApiError {
    ApiError::new(
        Code::Timeout,
        match question.timeout {
            Some(timeout) => format!("the answer took longer than timeout_s, which is {}", timeout.as_secs_f64()),
            None => "the engine took longer than server.timeout_s".to_owned(),
        },
    )
}

impl Answering {
    /// Waits for the whole answer.
    pub(crate) async fn collect(mut self) -> Result<Answer, ApiError> {
        while let Some(part) = self.parts.recv().await {
            if let Part::Done(answer) = part? {
                return Ok(*answer);
            }
        }
        Err(ApiError::internal("an answer ended without its last part"))
    }
}

/// Forwards the engine's events, then attributes and records what was said.
async fn finish(
    state: Arc<AppState>,
    asked: Asked,
    mut events: cairn_adapters::EventStream,
    sender: mpsc::Sender<Result<Part, ApiError>>,
    deadline: std::time::Instant,
) {
    let started = std::time::Instant::now();
    let mut answered = Answered::new(asked.question.sampling.n);
    let mut first = true;
    let outcome = loop {
        // A caller's own time is for the whole answer; the server's is for each part.
        let until = match asked.question.timeout {
            Some(_) => deadline,
            None => std::time::Instant::now() + state.config.timeout,
        };
        let next = tokio::time::timeout_at(until.into(), events.next()).await;
        let part = match next {
            Err(_) | Ok(Some(Err(GenerateError::DeadlineExceeded))) => break Err(too_late(&asked.question)),
            Ok(None) => break Err(ApiError::internal("the engine ended without completing the answer")),
            Ok(Some(Err(error))) => break Err(error.into()),
            Ok(Some(Ok(Event::Started { weights, adapter }))) => {
                answered.weights = Some(weights.clone());
                answered.adapter = adapter;
                Part::Started { weights }
            }
            Ok(Some(Ok(Event::Delta { index, text, logprobs }))) => {
                if std::mem::take(&mut first) {
                    metrics::histogram!("gen_ai.server.time_to_first_token").record(started.elapsed().as_secs_f64());
                }
                answered.deltas += 1;
                let choice = answered.choice(index);
                choice.text.push_str(&text);
                choice.logprobs.extend(logprobs.iter().cloned());
                Part::Delta { index, text, logprobs }
            }
            Ok(Some(Ok(Event::ToolCall { index, call }))) => {
                answered.choice(index).tool_calls.push(call.clone());
                Part::ToolCall { index, call }
            }
            Ok(Some(Ok(Event::Finished { index, reason }))) => {
                answered.finished(index, reason);
                continue;
            }
            Ok(Some(Ok(Event::Done(usage)))) => {
                answered.usage = usage;
                break Ok(());
            }
        };
        if sender.send(Ok(part)).await.is_err() {
            // The caller went away. Dropping the events cancels the engine; what was said so far is recorded.
            break Ok(());
        }
    };
    drop(events);
    if let Err(error) = outcome {
        // What had already been streamed must not stay without a record.
        if !answered.is_empty()
            && let Err(error) = record(&state, &asked, &answered).await
        {
            tracing::error!(%error, "a partial answer could not be recorded");
        }
        let _ = sender.send(Err(error)).await;
        return;
    }
    metrics::counter!("gen_ai.client.token.usage", "gen_ai.token.type" => "input")
        .increment(answered.usage.prompt_tokens as u64);
    metrics::counter!("gen_ai.client.token.usage", "gen_ai.token.type" => "output")
        .increment(answered.usage.completion_tokens as u64);
    metrics::histogram!("gen_ai.server.request.duration").record(started.elapsed().as_secs_f64());
    let last = record(&state, &asked, &answered)
        .await
        .map(|attribution| Part::Done(Box::new(Answer { completion: answered.into_completion(), attribution })));
    let _ = sender.send(last).await;
}

/// Attributes what was said and appends its record to the log; returns once that is durable, and where the request waits
/// for it also the influence of the passages.
async fn record(state: &Arc<AppState>, asked: &Asked, answered: &Answered) -> Result<Attribution, ApiError> {
    let texts = answered.choices.iter().enumerate();
    let citations =
        texts.flat_map(|(index, (choice, _))| attribute::citations(index, &choice.text, &asked.shown)).collect();
    let mut attribution = crate::record::append(state, asked, answered, citations).await?;
    if let Err(error) = state.store.count_usage(spent(asked, answered, &asked.served.model())).await {
        // The answer stands, and is on record.
        tracing::error!(%error, "the usage of an answer could not be counted");
    }
    attribution.influence = crate::influence::of_answer(state, asked, answered).await?;
    Ok(attribution)
}

/// What an answer used. An engine that was cancelled does not say it: then as many tokens as parts were sent, and of the
/// request a quarter of its bytes, lest whoever hangs up before the end be counted nothing.
fn spent<'a>(asked: &'a Asked, answered: &Answered, model: &'a str) -> Spent<'a> {
    let cairn_adapters::Usage { prompt_tokens, completion_tokens } = answered.usage;
    let (prompt_tokens, completion_tokens) = match (prompt_tokens, completion_tokens as u64) {
        (0, 0) => (asked.question.raw.len() / 4, answered.deltas),
        known => known,
    };
    Spent {
        subject: &asked.caller.subject,
        key: asked.caller.key.as_ref().map(|key| key.id.as_str()),
        model,
        prompt_tokens: prompt_tokens as u64,
        completion_tokens,
    }
}

/// Only what the caller may read; none when the request names no datanets.
async fn retrieve(
    state: &Arc<AppState>,
    caller: &Caller,
    question: &Question,
) -> Result<(Vec<Access>, Option<Retrieval>), ApiError> {
    if question.datanets.is_empty() {
        return match &question.retrieval {
            Some(_) => {
                Err(ApiError::invalid("retrieval", "retrieval is given but datanets is empty; name at least one"))
            }
            None => Ok((Vec::new(), None)),
        };
    }
    let options = question.retrieval.clone().unwrap_or_default();
    let Some(text) = options.query.clone().or_else(|| question.query.clone()).filter(|text| !text.trim().is_empty())
    else {
        return Err(ApiError::invalid(
            "messages",
            "there is no user message to retrieve for; give one or retrieval.query",
        ));
    };
    let in_range = |param: &str, value: Option<usize>, most: usize| match value {
        Some(value) if !(1..=most).contains(&value) => {
            Err(ApiError::invalid(param, format!("{param} is {value}; give 1 to {most}")))
        }
        _ => Ok(()),
    };
    in_range("retrieval.top_k", options.top_k, MAX_TOP_K)?;
    in_range("retrieval.candidates", options.candidates, MAX_CANDIDATES)?;
    let accesses = access::readable(state, caller, &question.datanets).await?;
    let query = Query {
        top_k: top_k(state, question),
        candidates: candidates(state, question),
        mode: mode(options.mode),
        ..convert::refined(text, &accesses, &convert::Refine::of_options(&options))?
    };
    access::count(state, &accesses).await?;
    Ok((accesses, Some(search(state, query).await?)))
}

/// Searches datanets on the gateway's own runtime: HTTP workers are single-threaded.
pub(crate) async fn search(state: &Arc<AppState>, query: Query) -> Result<Retrieval, ApiError> {
    if state.primary.is_some() {
        replica::follow(state, query.datanets.iter().map(|source| &source.datanet)).await?;
    }
    let index = state.index.clone();
    let started = std::time::Instant::now();
    let found = state.runtime.spawn(async move { index.retrieve(query).await }).await.map_err(ApiError::internal)?;
    metrics::histogram!("cairn_retrieval_seconds").record(started.elapsed().as_secs_f64());
    found.map_err(convert::index_error)
}

fn top_k(state: &AppState, question: &Question) -> usize {
    question.retrieval.as_ref().and_then(|options| options.top_k).unwrap_or(state.config.retrieval.top_k)
}

fn candidates(state: &AppState, question: &Question) -> usize {
    question.retrieval.as_ref().and_then(|options| options.candidates).unwrap_or(state.config.retrieval.candidates)
}

/// The wire's mode as the index takes it.
pub(crate) fn mode(mode: RetrievalMode) -> cairn_index::RetrievalMode {
    match mode {
        RetrievalMode::Hybrid => cairn_index::RetrievalMode::Hybrid,
        RetrievalMode::Vector => cairn_index::RetrievalMode::Vector,
        RetrievalMode::FullText => cairn_index::RetrievalMode::FullText,
    }
}

fn prefix(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat => "chatcmpl",
        Endpoint::Completions => "cmpl",
    }
}

/// OpenAI's name of a reason.
pub(crate) fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// Changes when the weights do.
pub(crate) fn fingerprint(weights: &WeightsHash) -> String {
    format!("fp_{}", weights.0.get(..12).unwrap_or(&weights.0))
}

/// Tokens used, in OpenAI's shape.
pub(crate) fn usage(usage: cairn_adapters::Usage) -> Usage {
    Usage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.prompt_tokens + usage.completion_tokens,
    }
}

impl Answered {
    fn new(n: usize) -> Self {
        let blank = || {
            let choice = Choice {
                text: String::new(),
                tool_calls: Vec::new(),
                finish_reason: FinishReason::Stop,
                logprobs: Vec::new(),
            };
            (choice, false)
        };
        let choices = (0..n).map(|_| blank()).collect();
        Self { weights: None, adapter: None, choices, deltas: 0, usage: Default::default() }
    }

    fn choice(&mut self, index: usize) -> &mut Choice {
        &mut self.choices[index].0
    }

    fn finished(&mut self, index: usize, reason: FinishReason) {
        let (choice, complete) = &mut self.choices[index];
        choice.finish_reason = reason;
        *complete = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.choices.iter().all(|(choice, _)| choice.text.is_empty() && choice.tool_calls.is_empty())
    }

    fn into_completion(self) -> Completion {
        Completion {
            weights: self.weights.unwrap_or(WeightsHash(String::new())),
            adapter: self.adapter,
            choices: self.choices.into_iter().map(|(choice, _)| choice).collect(),
            usage: self.usage,
        }
    }
}

/// For the record: which passages the model was shown.
pub(crate) fn was_shown<'a>(shown: &'a [Shown], candidate: &Candidate) -> Option<&'a Shown> {
    let shown = shown.get(candidate.rank.checked_sub(1)?);
    shown.filter(|_| candidate.left_out.is_none())
}
