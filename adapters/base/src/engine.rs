//! One loaded model and the requests on it.
//!
//! An [`Engine`] lives as long as somebody holds it: the registry, or a request under way. Dropping the last handle ends
//! mistral.rs' thread. mistral.rs gets token ids and gives logits back; the choice of tokens and the text are ours.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cairn_adapters::{
    AdapterGeneration, ChatMessage, Completion, Event, EventStream, GenerateError, Input, Role, Sampling, Usage,
    WeightsHash,
};
use futures::StreamExt;
use mistralrs::{IsqType, Request, TextMessageRole, TextMessages, llguidance::toktrie::TokTrie};
use tokenizers::Tokenizer;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    answer::{Answer, Part},
    budget::Reservation,
    load::{LoadError, Loaded, load, sequences_at_once},
    manifest::Manifest,
};

/// What an engine continues: a conversation, a text, or tokens as they are.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// As callers give it.
    Input(Input),
    /// Token ids, for tests against reference outputs.
    Tokens(Vec<u32>),
}

/// A loaded model.
pub(crate) struct Engine {
    loaded: Loaded,
    weights: WeightsHash,
    /// What is merged into the weights.
    adapter: Option<AdapterGeneration>,
    runtime: Handle,
    requests: AtomicUsize,
    turns: Arc<Semaphore>,
    /// Taken when dropped, and given back when the memory is free.
    reservation: Option<Reservation>,
}

impl Engine {
    /// Loads a model and has it generate one token, for as long as that takes; on a fresh thread, see [`load`]. The files
    /// are those of the manifest, with `adapter` merged where there is one.
    pub(crate) fn load(
        serving: &Path,
        manifest: &Manifest,
        adapter: Option<AdapterGeneration>,
        quantize: Option<IsqType>,
        runtime: &Handle,
        reservation: Reservation,
    ) -> Result<Arc<Self>, LoadError> {
        let engine = Arc::new(Self {
            loaded: load(serving, manifest, quantize, runtime)?,
            weights: manifest.serving_hash.clone(),
            adapter,
            runtime: runtime.clone(),
            requests: AtomicUsize::new(1),
            turns: Arc::new(Semaphore::new(sequences_at_once())),
            reservation: Some(reservation),
        });
        // mistral.rs only warns when its own trial run fails, and would fail with every request.
        let sampling = Sampling { temperature: 0.0, max_tokens: Some(1), ..Sampling::default() };
        let trial =
            async { Completion::collect(engine.clone().generate(Prompt::Tokens(vec![0]), sampling, ()).await?).await };
        runtime.block_on(trial).map_err(LoadError::Probe)?;
        Ok(engine)
    }

    pub(crate) fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.loaded.tokenizer
    }

    /// The bytes of each token, which may be part of a character.
    pub(crate) fn vocabulary(&self) -> &TokTrie {
        self.loaded.vocabulary.tok_trie()
    }

    /// Whether an answer ends with this token.
    pub(crate) fn ends(&self, token: u32) -> bool {
        self.loaded.ends.contains(&token)
    }

    /// A number that no request to this engine had.
    pub(crate) fn next_id(&self) -> usize {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until another sequence may be in the engine; first come, first served.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.clone().acquire_owned().await.ok()
    }

    pub(crate) async fn send(&self, request: Request) -> Result<(), GenerateError> {
        let engine = self.loaded.model.inner().get_sender(None).map_err(engine_error)?;
        engine.send(request).await.map_err(|_| engine_error("its thread has ended"))
    }

    /// Starts generating. The stream holds the engine and `held` until it ends or is dropped.
    ///
    /// Not to be cancelled: mistral.rs' thread panics when nobody waits for the tokens that it was asked for. So run it
    /// as a task of its own.
    pub(crate) async fn generate(
        self: Arc<Self>,
        prompt: Prompt,
        sampling: Sampling,
        held: impl Send + 'static,
    ) -> Result<EventStream, GenerateError> {
        let chat = matches!(prompt, Prompt::Input(Input::Chat(_)));
        let tokens = self.tokenize(prompt).await?;
        let context = self.loaded.context_length;
        if tokens.is_empty() {
            return Err(GenerateError::Unsupported("the prompt is empty".into()));
        }
        if tokens.len() >= context {
            return Err(GenerateError::PromptTooLong { tokens: tokens.len(), context });
        }
        let room = context - tokens.len();
        let limit = sampling.max_tokens.map_or(room, |most| most.min(room));
        let prompt: Arc<[u32]> = tokens.into();
        let prompt_tokens = prompt.len();
        let answers = (0..sampling.n).map(|index| {
            let (sender, parts) = mpsc::channel(64);
            let (engine, prompt, sampling) = (self.clone(), prompt.clone(), sampling.clone());
            self.runtime.spawn(Answer { engine, index, prompt, chat, sampling, limit }.follow(sender));
            ReceiverStream::new(parts)
        });
        let answers = answers.collect();
        let (sender, events) = mpsc::channel(64);
        let started = Event::Started { weights: self.weights.clone(), adapter: self.adapter.clone() };
        self.runtime.spawn(async move {
            let merged = merge(started, prompt_tokens, answers, &sender).await;
            // Whoever has read the last event may begin another request.
            drop(held);
            if let Some(usage) = merged {
                let _ = sender.send(Ok(Event::Done(usage))).await;
            }
        });
        Ok(ReceiverStream::new(events).boxed())
    }

    /// Token ids of a prompt, as the model's own template and tokenizer have them.
    async fn tokenize(&self, prompt: Prompt) -> Result<Vec<u32>, GenerateError> {
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens),
            Prompt::Input(Input::Text(text)) => {
                let encoding = self.loaded.tokenizer.encode(text, true).map_err(engine_error)?;
                Ok(encoding.get_ids().to_vec())
            }
            Prompt::Input(Input::Chat(_)) if !self.loaded.has_template => Err(GenerateError::Unsupported(
                "the model has no chat template, so it cannot answer a conversation; send a text to continue instead"
                    .into(),
            )),
            Prompt::Input(Input::Chat(messages)) => {
                let messages =
                    messages.into_iter().fold(TextMessages::new(), |all, ChatMessage { role, content, .. }| {
                        let role = match role {
                            Role::System => TextMessageRole::System,
                            Role::User => TextMessageRole::User,
                            Role::Assistant => TextMessageRole::Assistant,
                            Role::Tool => TextMessageRole::Tool,
                        };
                        all.add_message(role, content)
                    });
                // No special tokens: the template writes them itself.
                let tokens = self.loaded.model.tokenize(either::Left(messages), None, false, true, None).await;
                tokens.map_err(|error| match error {
                    mistralrs::error::Error::Inference(reason) => GenerateError::Unsupported(format!(
                        "the model's chat template refuses the conversation: {reason}"
                    )),
                    other => engine_error(other),
                })
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        free(&self.runtime, self.loaded.in_memory.clone(), self.reservation.take());
    }
}

/// Whether weights are still in memory.
pub(crate) type InMemory = Arc<dyn Fn() -> bool + Send + Sync>;

/// Gives a reservation back once the weights that it stands for are gone.
pub(crate) fn free(runtime: &Handle, in_memory: InMemory, reservation: Option<Reservation>) {
    runtime.spawn(async move {
        while in_memory() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        return_to_system();
        drop(reservation);
    });
}

/// glibc keeps what was freed for itself: of a model loaded and unloaded eight times, two thirds stayed without this.
fn return_to_system() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "a function of the C library")]
    // SAFETY: it takes no pointer and may be called from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Sends the events of all answers as they come, all but the last, which it returns. Returning drops the answers, which
/// cancels them.
async fn merge(
    started: Event,
    prompt_tokens: usize,
    answers: Vec<ReceiverStream<Result<Part, GenerateError>>>,
    sender: &mpsc::Sender<Result<Event, GenerateError>>,
) -> Option<Usage> {
    sender.send(Ok(started)).await.ok()?;
    let mut completion_tokens = 0;
    let mut parts = futures::stream::select_all(answers);
    loop {
        let part = tokio::select! {
            () = sender.closed() => return None,
            part = parts.next() => part,
        };
        match part {
            None => return Some(Usage { prompt_tokens, completion_tokens }),
            Some(Ok(Part::Tokens(tokens))) => completion_tokens += tokens,
            Some(Ok(Part::Event(event))) => sender.send(Ok(event)).await.ok()?,
            Some(Err(error)) => {
                let _ = sender.send(Err(error)).await;
                return None;
            }
        }
    }
}

pub(crate) fn engine_error(error: impl std::fmt::Display) -> GenerateError {
    GenerateError::Engine { message: format!("{error:#}") }
}
