//! [`Lane`]: one base model, any number of adapters, requests of all of them in one batch.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use cairn_adapters::{ChatMessage, Completion, Input, Role, Sampling};
//! use cairn_lane::{Lane, LaneOptions, LaneRequest, Prompt};
//!
//! let lane = Lane::open("models/smollm2/serving".as_ref(), LaneOptions::default())?;
//! let question = Input::Chat(vec![ChatMessage::new(Role::User, "What is a B-tree?")]);
//! let request = LaneRequest { sampling: Sampling::default(), ..LaneRequest::new(Prompt::Input(question)) };
//! let answer = Completion::collect(lane.generate(request).await?).await?;
//! # Ok(())
//! # }
//! ```
//! The engine is a thread of its own. It ends, and frees the weights, when the last [`Lane`] and the last stream are gone.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_adapters::{
    AdapterGeneration, Event, EventStream, GenerateError, Generation, Input, ResponseFormat, Sampling, ScoredToken,
    Tool, ToolChoice, WeightsHash, peft,
};
use futures::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{
    AttachError, Attached, Decoder, LoadError, Options, Profile,
    constrain::Grammars,
    prefix::PAGE,
    prepare::{PreparedScore, prepare, prepare_score},
    schedule::{Queue, QueueLimits, Scheduler, StepLimits},
    text::{Text, TextError},
};

/// How a [`Lane`] is set up.
#[derive(Debug, Clone)]
pub struct LaneOptions {
    /// How the weights are kept and computed with.
    pub decoder: Options,
    /// Names the weights in answers.
    pub weights: WeightsHash,
    /// Bytes for keys and values, those of the prefix cache included.
    pub kv_bytes: u64,
    /// Answers that are written at once; more wait.
    pub rows: usize,
    /// Prompt tokens that one step reads while answers are being written: more reads prompts faster, less lets answers
    /// flow more evenly. Rounded up to pages of 32.
    pub chunk: usize,
    /// Prompt tokens that one step reads while none is.
    pub chunk_alone: usize,
    /// Requests that may wait before more are refused.
    pub queue: usize,
    /// Of one tenant.
    pub queue_per_tenant: usize,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            decoder: Options::default(),
            weights: WeightsHash(String::new()),
            kv_bytes: 2 << 30,
            rows: 32,
            chunk: 64,
            chunk_alone: 512,
            queue: 256,
            queue_per_tenant: 128,
        }
    }
}

/// What a [`Lane`] continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// As callers give it.
    Input(Input),
    /// Token ids as they are.
    Tokens(Vec<u32>),
}

/// An adapter of a request, attached to this lane's decoder.
#[derive(Clone)]
pub struct LaneAdapter {
    /// Names the weights: requests with equal generations and weights share cached prefixes.
    pub generation: AdapterGeneration,
    /// The weights.
    pub attached: Arc<Attached>,
    /// Factor on what the adapter adds to the base.
    pub weight: f32,
}

/// A request to a [`Lane`].
#[derive(Clone)]
pub struct LaneRequest {
    /// What to continue or answer.
    pub prompt: Prompt,
    /// How tokens are chosen and when to stop.
    pub sampling: Sampling,
    /// Adapters, held until the last token; none = the base itself.
    pub adapters: Vec<LaneAdapter>,
    /// Whom the work is counted for when requests wait for their turn.
    pub tenant: String,
    /// When the answer is of no more use.
    pub deadline: Option<Instant>,
    /// What the text has to be.
    pub format: ResponseFormat,
    /// Functions that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must, or must not call them.
    pub tool_choice: ToolChoice,
}

impl LaneRequest {
    /// With defaults for everything but the prompt.
    #[must_use]
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            sampling: Sampling::default(),
            adapters: Vec::new(),
            tenant: String::new(),
            deadline: None,
            format: ResponseFormat::Text,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
        }
    }

    /// A request of the contract, with `generation.adapters` attached, in their order.
    #[must_use]
    pub fn of(generation: Generation, adapters: Vec<LaneAdapter>) -> Self {
        Self {
            prompt: Prompt::Input(generation.input),
            sampling: generation.sampling,
            adapters,
            tenant: generation.tenant,
            deadline: generation.deadline,
            format: generation.format,
            tools: generation.tools,
            tool_choice: generation.tool_choice,
        }
    }
}

/// What a [`Lane`] does and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Answers being written or read for.
    pub running: usize,
    /// Answers that were let in and wait for memory or a row.
    pub parked: usize,
    /// Requests that wait to be let in.
    pub waiting: usize,
    /// Bytes of keys and values, those of the prefix cache included.
    pub kv_bytes: u64,
    /// Of them, what answers under way use.
    pub kv_bytes_in_use: u64,
    /// What there is.
    pub kv_budget: u64,
    /// Tokens of prompts that were let in.
    pub prompt_tokens: u64,
    /// Of prompts, tokens that were read.
    pub prefilled_tokens: u64,
    /// Tokens that were taken from the prefix cache.
    pub prefix_hit_tokens: u64,
    /// Tokens that were chosen.
    pub generated_tokens: u64,
    /// Runs of the decoder.
    pub steps: u64,
    /// Time in the decoder.
    pub decoding: Duration,
    /// Where that went.
    pub profile: Profile,
    /// Time between: planning, choosing tokens, text.
    pub choosing: Duration,
    /// Requests that were answered.
    pub finished: u64,
    /// Requests that were cancelled after they were let in.
    pub cancelled: u64,
    /// Requests that were refused because too many waited.
    pub refused: u64,
    /// Times that an answer gave up its memory to an older one.
    pub preempted: u64,
}

/// Why a [`Lane`] cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The weights.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Tokenizer or template.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Not even one page of keys and values.
    #[error("kv_bytes is {given}, and {needed} bytes are the least that this model needs; raise it")]
    Budget {
        /// Configured.
        given: u64,
        /// For one page.
        needed: u64,
    },
    /// No thread.
    #[error("the engine's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// A base model that serves adapters. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Lane {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) text: Arc<Text>,
    pub(crate) grammars: Grammars,
    /// Pages of keys and values.
    pub(crate) pages: usize,
    queue: Arc<Queue>,
}

impl Lane {
    /// Loads a model's files, as `cairn pull` leaves them in `serving/`, and starts the engine. Takes as long as reading
    /// the weights takes: not for an async thread.
    ///
    /// # Errors
    /// The files are missing or not understood, or the memory budget is too small.
    pub fn open(directory: &Path, options: LaneOptions) -> Result<Self, OpenError> {
        let decoder = Arc::new(Decoder::open(directory, &options.decoder)?);
        let text = Arc::new(Text::load(directory, decoder.config().vocab_size)?);
        let page = (PAGE * decoder.kv_bytes_per_token()) as u64;
        let pages = (options.kv_bytes / page.max(1)) as usize;
        if pages == 0 {
            return Err(OpenError::Budget { given: options.kv_bytes, needed: page });
        }
        let limits = QueueLimits { all: options.queue, per_tenant: options.queue_per_tenant };
        let queue = Arc::new(Queue::new(limits));
        let whole = |tokens: usize| tokens.max(1).next_multiple_of(PAGE);
        let (chunk, chunk_alone) = (whole(options.chunk), whole(options.chunk_alone));
        let limits = StepLimits { rows: options.rows.max(1), chunk, chunk_alone, pages };
        let parts = (decoder.clone(), text.clone(), options.weights, queue.clone());
        let ends = CloseOnDrop(queue.clone());
        std::thread::Builder::new()
            .name("cairn-lane".into())
            .spawn(move || {
                let _ends = ends;
                let (decoder, text, weights, queue) = parts;
                Scheduler::new(decoder, text, weights, queue, limits).run();
            })
            .map_err(OpenError::Thread)?;
        let grammars = Grammars::new(text.vocabulary.clone());
        Ok(Self { inner: Arc::new(Inner::new(decoder, text, grammars, pages, queue)) })
    }

    /// Attaches an adapter to the base. Takes milliseconds to seconds, by size: not for an async thread.
    ///
    /// # Errors
    /// The adapter does not fit the base.
    pub fn attach(&self, adapter: &peft::Adapter) -> Result<Attached, AttachError> {
        self.inner.decoder.attach(adapter)
    }

    /// Starts generating: returns once the request is let in, after waiting for its turn. Dropping the future or the
    /// stream cancels the request; the stream keeps the engine alive.
    ///
    /// # Errors
    /// The request cannot be served, too many wait, or its deadline passed before its turn came.
    pub async fn generate(&self, request: LaneRequest) -> Result<EventStream, GenerateError> {
        let inner = self.inner.clone();
        // Rendering, tokenising and compiling a schema take milliseconds.
        let prepared = tokio::task::spawn_blocking(move || prepare(&inner, request)).await;
        let (job, receiver) = prepared.map_err(|error| GenerateError::Engine { message: error.to_string() })??;
        self.inner.queue.push(Box::new(job))?;
        let lane = self.clone();
        let mut events = UnboundedReceiverStream::new(receiver).map(move |event| {
            let _alive = &lane;
            event
        });
        match events.next().await {
            Some(Ok(started)) => Ok(futures::stream::once(async { Ok(started) }).chain(events).boxed()),
            Some(Err(error)) => Err(error),
            None => Err(GenerateError::Engine { message: "it ended before it took the request".into() }),
        }
    }

    /// How likely `answer` is after the prompt, token by token (teacher forcing), with the request's adapters. It goes
    /// through the same steps as requests that generate, and shares cached prefixes with them; sampling, format and
    /// `tool_choice` have no part in it. The answer is tokenised anew, from its text. Dropping the future cancels it.
    ///
    /// # Errors
    /// As [`Lane::generate`].
    pub async fn score(&self, request: LaneRequest, answer: String) -> Result<Vec<ScoredToken>, GenerateError> {
        let inner = self.inner.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare_score(&inner, request, &answer)).await;
        let prepared = prepared.map_err(|error| GenerateError::Engine { message: error.to_string() })??;
        let PreparedScore { job, mut events, mut scores, chars } = prepared;
        self.inner.queue.push(Box::new(job))?;
        loop {
            match events.recv().await {
                Some(Ok(Event::Done(_))) => break,
                Some(event) => drop(event?),
                None => return Err(GenerateError::Engine { message: "it ended before it had scored".into() }),
            }
        }
        let scores = scores.recv().await.unwrap_or_default();
        Ok(chars.into_iter().zip(scores).map(|(chars, logprob)| ScoredToken { chars, logprob }).collect())
    }

    /// What it does and did, as of the last step.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        self.inner.queue.stats()
    }

    /// The decoder, for those who compute without the engine.
    #[must_use]
    pub fn decoder(&self) -> &Arc<Decoder> {
        &self.inner.decoder
    }
}

impl Inner {
    pub(crate) fn new(
        decoder: Arc<Decoder>,
        text: Arc<Text>,
        grammars: Grammars,
        pages: usize,
        queue: Arc<Queue>,
    ) -> Self {
        Self { decoder, text, grammars, pages, queue }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Nobody waits for a thread that is gone, however it went.
struct CloseOnDrop(Arc<Queue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
