//! [`Generator`]: what turns a prompt into tokens. One method, streaming; a whole answer is a stream collected.

use std::{
    collections::BTreeMap,
    pin::Pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};

use crate::{AdapterGeneration, ModelName, ResponseFormat, Tool, ToolCall, ToolChoice, WeightsHash};

/// Produces text from a prompt.
///
/// Contract: `generate` returns once the request is admitted (the model is resident and the engine took it) or fails
/// with the reason. The stream then yields [`Event`]s and ends after [`Event::Done`] or the first error. Dropping the
/// stream cancels the work. The model that admitted a request finishes it, even when it is unloaded meanwhile.
#[async_trait::async_trait]
pub trait Generator: Send + Sync {
    /// Starts generating.
    async fn generate(&self, request: Generation) -> Result<EventStream, GenerateError>;
}

/// Events of one generation, in order.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, GenerateError>> + Send>>;

/// One request to a [`Generator`].
#[derive(Debug, Clone)]
pub struct Generation {
    /// The base model.
    pub model: ModelName,
    /// What to continue or answer.
    pub input: Input,
    /// How tokens are chosen and when to stop.
    pub sampling: Sampling,
    /// Adapters on the base, pinned by the caller until the stream ends; none = the base itself.
    pub adapters: Vec<AdapterShare>,
    /// Whom the work is counted for when requests wait for their turn.
    pub tenant: String,
    /// When the answer is of no more use; none = it may take as long as it takes.
    pub deadline: Option<Instant>,
    /// What the text has to be.
    pub format: ResponseFormat,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must, or must not call them.
    pub tool_choice: ToolChoice,
}

impl Generation {
    /// A request for text by the base itself, without limits.
    #[must_use]
    pub fn new(model: ModelName, input: Input, sampling: Sampling) -> Self {
        Self {
            model,
            input,
            sampling,
            adapters: Vec::new(),
            tenant: String::new(),
            deadline: None,
            format: ResponseFormat::Text,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
        }
    }
}

/// One of the adapters of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterShare {
    /// Which weights, exactly.
    pub generation: AdapterGeneration,
    /// Factor on what the adapter adds to the base; 1 is the adapter as it was trained.
    pub weight: f32,
}

/// What a [`Generation`] continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A conversation, rendered with the model's own chat template.
    Chat(Vec<ChatMessage>),
    /// Text continued as it is, with no template.
    Text(String),
}

/// Who speaks in a [`ChatMessage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the application (`system` and `developer` on the wire).
    System,
    /// The person asking.
    User,
    /// The model.
    Assistant,
    /// What a called function returned.
    Tool,
}

/// One message of a conversation, text only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Functions that the model called in this message.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this message answers, for [`Role::Tool`].
    pub tool_call_id: Option<String>,
}

impl ChatMessage {
    /// A message that says something and calls nothing.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }
}

/// Sampling parameters with OpenAI's names and meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy; OpenAI's default is 1.
    pub temperature: f64,
    /// Nucleus: the smallest set of tokens whose probabilities sum to this.
    pub top_p: f64,
    /// Only the `k` most probable tokens; none = all.
    pub top_k: Option<usize>,
    /// Tokens less probable than `min_p` times the most probable one are dropped.
    pub min_p: Option<f64>,
    /// -2 to 2, once per token already present in the output.
    pub presence_penalty: f32,
    /// -2 to 2, per occurrence in the output.
    pub frequency_penalty: f32,
    /// Added to the logits of these token ids.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Same seed, same request, same model: same text.
    pub seed: Option<u64>,
    /// Generation ends before the first of these strings.
    pub stop: Vec<String>,
    /// Upper bound on generated tokens; none = up to the context length.
    pub max_tokens: Option<usize>,
    /// How many independent answers.
    pub n: usize,
    /// Report the log-probability of each token and of this many alternatives (0 to 20).
    pub logprobs: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            min_p: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: None,
            stop: Vec::new(),
            max_tokens: None,
            n: 1,
            logprobs: None,
        }
    }
}

/// One step of a generation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Always first: exactly which weights answer.
    Started {
        /// Hash of the base weights in memory.
        weights: WeightsHash,
        /// The adapter's generation, or none; of several, the first of the request.
        adapter: Option<AdapterGeneration>,
    },
    /// More text for one of the `n` answers.
    Delta {
        /// Which answer, from 0.
        index: usize,
        /// The text, never splitting a character.
        text: String,
        /// One entry per token in `text`, where asked for.
        logprobs: Vec<TokenLogprobs>,
    },
    /// One of the `n` answers calls a function.
    ToolCall {
        /// Which answer, from 0.
        index: usize,
        /// The whole call.
        call: ToolCall,
    },
    /// One answer is complete.
    Finished {
        /// Which answer, from 0.
        index: usize,
        /// Why it ended.
        reason: FinishReason,
    },
    /// Always last.
    Done(Usage),
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// End of sequence or a stop string.
    Stop,
    /// The token limit or the context length.
    Length,
    /// The model called functions and waits for what they return.
    ToolCalls,
}

/// Tokens of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, over all answers.
    pub completion_tokens: usize,
}

/// A token and its natural-log probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprob {
    /// The token's text.
    pub token: String,
    /// ln P(token), 0 or below.
    pub logprob: f32,
    /// The token's bytes, where known.
    pub bytes: Option<Vec<u8>>,
}

/// The chosen token and its most probable alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub chosen: Logprob,
    /// The most probable tokens at that position, most probable first.
    pub top: Vec<Logprob>,
}

/// A token of a given answer and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    /// The characters of the answer that it stands for, half-open, in Unicode scalar values. Tokens that share a
    /// character have the same.
    pub chars: std::ops::Range<usize>,
    /// ln P(token), given all before it.
    pub logprob: f32,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Hash of the weights that answered.
    pub weights: WeightsHash,
    /// The adapter's generation, or none.
    pub adapter: Option<AdapterGeneration>,
    /// The `n` answers, in order.
    pub choices: Vec<Choice>,
    /// Tokens used.
    pub usage: Usage,
}

/// One of the `n` answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The text.
    pub text: String,
    /// Functions that the model called, in order.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// One entry a token, where asked for.
    pub logprobs: Vec<TokenLogprobs>,
}

impl Completion {
    /// Collects a stream of events into the whole answer.
    ///
    /// # Errors
    /// The first error of the stream, or [`GenerateError::Engine`] when the stream ends early.
    pub async fn collect(mut events: EventStream) -> Result<Self, GenerateError> {
        let mut started = None;
        let mut choices: BTreeMap<usize, Choice> = BTreeMap::new();
        let blank = || Choice {
            text: String::new(),
            tool_calls: Vec::new(),
            finish_reason: FinishReason::Stop,
            logprobs: Vec::new(),
        };
        while let Some(event) = events.next().await {
            match event? {
                Event::Started { weights, adapter } => started = Some((weights, adapter)),
                Event::Delta { index, text, logprobs } => {
                    let choice = choices.entry(index).or_insert_with(blank);
                    choice.text.push_str(&text);
                    choice.logprobs.extend(logprobs);
                }
                Event::ToolCall { index, call } => choices.entry(index).or_insert_with(blank).tool_calls.push(call),
                Event::Finished { index, reason } => {
                    choices.entry(index).or_insert_with(blank).finish_reason = reason;
                }
                Event::Done(usage) => {
                    let Some((weights, adapter)) = started else { break };
                    return Ok(Self { weights, adapter, choices: choices.into_values().collect(), usage });
                }
            }
        }
        Err(GenerateError::Engine { message: "the engine ended without completing the answer".into() })
    }
}

/// Why no answer, or no further answer, can be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GenerateError {
    /// No such model was pulled.
    #[error("model {0:?} is not known here; GET /v1/models lists those that are")]
    UnknownModel(String),
    /// The model is being loaded and the configuration says not to wait.
    #[error("model {model:?} is loading; try again in {} s", retry_after.as_secs())]
    Loading {
        /// The model.
        model: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The model could not be loaded; the others go on serving.
    #[error("model {model:?} could not be loaded: {reason}")]
    Load {
        /// The model.
        model: String,
        /// What the engine said.
        reason: String,
    },
    /// The memory budget cannot hold the model.
    #[error(
        "model {model:?} needs about {needed} bytes and the budget is {budget}; raise models.memory_budget or pull a quantized form"
    )]
    OverBudget {
        /// The model.
        model: String,
        /// Estimated bytes.
        needed: u64,
        /// Configured bytes.
        budget: u64,
    },
    /// The queue is full.
    #[error("too many requests are waiting; try again in {} s", retry_after.as_secs())]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// The answer was not complete in time.
    #[error("the request's deadline passed before the answer was complete; allow more time or ask for fewer tokens")]
    DeadlineExceeded,
    /// The prompt does not fit.
    #[error("the prompt has {tokens} tokens and the model's context is {context}; shorten it or lower retrieval.top_k")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// The model's context length.
        context: usize,
    },
    /// The adapter does not fit what the base has become.
    #[error("the adapter does not fit the model: {0}")]
    AdapterIncompatible(String),
    /// The request asks for what this engine cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// The engine failed.
    #[error("the engine failed: {message}")]
    Engine {
        /// What it said.
        message: String,
    },
}
