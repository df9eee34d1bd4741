//! From a request to what the engine's thread works on: everything that can be refused is refused here.

use std::{fmt::Write, ops::Range};

use cairn_adapters::{Event, GenerateError, Input, ResponseFormat, Sampling, Tool, ToolChoice};
use llguidance::Matcher;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{
    constrain::call_schema,
    engine::{Inner, LaneAdapter, LaneRequest, Prompt},
    prefix::PAGE,
    schedule::{Calls, Job, Scoring},
    text::CallSyntax,
};

/// A job and where its events will come.
pub(crate) type Prepared = (Job, UnboundedReceiver<Result<Event, GenerateError>>);

pub(crate) fn prepare(lane: &Inner, request: LaneRequest) -> Result<Prepared, GenerateError> {
    let tools = if request.tool_choice == ToolChoice::None { &[] } else { request.tools.as_slice() };
    let chat = matches!(request.prompt, Prompt::Input(Input::Chat(_)));
    let prompt = tokens(lane, &request.prompt, tools)?;
    let config = lane.decoder.config();
    // The last token that is chosen needs no room.
    let context = config.context_length.min(lane.pages * PAGE);
    if prompt.is_empty() {
        return Err(GenerateError::Unsupported("the prompt is empty".into()));
    }
    if prompt.len() >= context {
        return Err(GenerateError::PromptTooLong { tokens: prompt.len(), context });
    }
    if let Some(token) = prompt.iter().find(|token| **token as usize >= config.vocab_size) {
        return Err(GenerateError::Unsupported(format!("the prompt has token {token}, which the model does not know")));
    }
    let room = context - prompt.len();
    let limit = request.sampling.max_tokens.map_or(room, |most| most.clamp(1, room));
    let (constraint, calls) = answer_form(lane, &request, tools)?;
    let (events, receiver) = unbounded_channel();
    let job = Job {
        prompt,
        chat,
        seed: request.sampling.seed.unwrap_or_else(rand::random),
        sampling: request.sampling,
        limit,
        key: key(&request.adapters).into(),
        generation: request.adapters.first().map(|adapter| adapter.generation.clone()),
        adapters: request.adapters.into_iter().map(|adapter| (adapter.attached, adapter.weight)).collect(),
        tenant: request.tenant,
        deadline: request.deadline,
        constraint,
        calls,
        events,
        scoring: None,
    };
    Ok((job, receiver))
}

/// A job that scores an answer, where its scores will come, and the characters of the answer that each token stands for.
pub(crate) struct PreparedScore {
    pub(crate) job: Job,
    pub(crate) events: UnboundedReceiver<Result<Event, GenerateError>>,
    pub(crate) scores: UnboundedReceiver<Vec<f32>>,
    pub(crate) chars: Vec<Range<usize>>,
}

pub(crate) fn prepare_score(
    lane: &Inner,
    mut request: LaneRequest,
    answer: &str,
) -> Result<PreparedScore, GenerateError> {
    let encoded = lane.text.tokenizer.encode_char_offsets(answer, false);
    let encoded = encoded.map_err(|error| GenerateError::Engine { message: format!("the tokenizer: {error}") })?;
    let chars = encoded.get_offsets().iter().map(|(start, end)| *start..*end).collect();
    let tools = if request.tool_choice == ToolChoice::None { &[] } else { request.tools.as_slice() };
    let mut prompt = tokens(lane, &request.prompt, tools)?;
    if prompt.is_empty() || encoded.is_empty() {
        return Err(GenerateError::Unsupported("there is nothing to score: the prompt or the answer is empty".into()));
    }
    let from = prompt.len();
    prompt.extend(encoded.get_ids());
    // What the answer had to be, and what it called, has no part in what is likely.
    (request.format, request.tool_choice) = (ResponseFormat::Text, ToolChoice::None);
    request.sampling = Sampling::default();
    request.prompt = Prompt::Tokens(prompt);
    let (mut job, events) = prepare(lane, request)?;
    let (sender, scores) = unbounded_channel();
    job.scoring = Some(Scoring { from, scores: sender });
    Ok(PreparedScore { job, events, scores, chars })
}

/// Token ids of a prompt, as the model's own template and tokenizer have them.
fn tokens(lane: &Inner, prompt: &Prompt, tools: &[Tool]) -> Result<Vec<u32>, GenerateError> {
    let failed = |error: tokenizers::Error| GenerateError::Engine { message: format!("the tokenizer: {error}") };
    let encode = |text: &str, special: bool| {
        lane.text.tokenizer.encode_fast(text, special).map(|encoding| encoding.get_ids().to_vec()).map_err(failed)
    };
    match prompt {
        Prompt::Tokens(tokens) => Ok(tokens.clone()),
        Prompt::Input(Input::Text(text)) => encode(text, true),
        Prompt::Input(Input::Chat(messages)) => {
            let Some(template) = &lane.text.template else {
                return Err(GenerateError::Unsupported(
                    "the model has no chat template, so it cannot answer a conversation; send a text to continue \
                     instead"
                        .into(),
                ));
            };
            let text = template.render(messages, tools).map_err(|error| {
                GenerateError::Unsupported(format!("the model's chat template refuses the conversation: {error:#}"))
            })?;
            // No special tokens: the template writes them itself.
            encode(&text, false)
        }
    }
}

/// The grammar that the answer follows, and how calls are found in it.
fn answer_form(
    lane: &Inner,
    request: &LaneRequest,
    tools: &[Tool],
) -> Result<(Option<Matcher>, Option<Calls>), GenerateError> {
    let called: Option<Vec<&Tool>> = match &request.tool_choice {
        ToolChoice::None | ToolChoice::Auto => None,
        ToolChoice::Required => Some(tools.iter().collect()),
        ToolChoice::Named(name) => Some(tools.iter().filter(|tool| tool.name == *name).collect()),
    };
    if let Some(called) = called {
        if called.is_empty() {
            return Err(GenerateError::Unsupported(
                "tool_choice asks for a call of a function that is not in tools".into(),
            ));
        }
        let constraint = lane.grammars.json(call_schema(&called))?;
        return Ok((Some(constraint), Some((CallSyntax::Whole, called.into_iter().cloned().collect()))));
    }
    let constraint = match &request.format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(lane.grammars.json(json!({"type": "object"}))?),
        ResponseFormat::JsonSchema(schema) => Some(lane.grammars.json(schema.clone())?),
    };
    let template = lane.text.template.as_ref().map_or("", |template| template.source());
    let calls = (!tools.is_empty() && constraint.is_none()).then(|| (CallSyntax::of(template), tools.to_vec()));
    Ok((constraint, calls))
}

/// Equal for requests whose keys and values are equal: the base alone, or the same weights of the same generations.
fn key(adapters: &[LaneAdapter]) -> String {
    adapters.iter().fold(String::new(), |mut key, adapter| {
        // The exact bits, because any difference is one in the keys and values.
        let _ = write!(key, "{}*{:08x};", adapter.generation.0, adapter.weight.to_bits());
        key
    })
}
