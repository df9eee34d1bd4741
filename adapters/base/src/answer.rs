//! One answer under way: its turn in the engine, tokens in, events out.

use std::sync::Arc;

use cairn_adapters::{Event, FinishReason, GenerateError, Sampling, StopBuffer, sample::Chosen};
use mistralrs::{NormalRequest, Request, RequestMessage, Response, SamplingParams};
use tokio::sync::{mpsc, oneshot};

use crate::{
    choose::Chooser,
    engine::{Engine, engine_error},
    text::token_logprobs,
};

/// What an answer tells the request that it belongs to.
pub(crate) enum Part {
    Event(Event),
    /// How many tokens it took; after its last event.
    Tokens(usize),
}

/// One of the `n` answers to a prompt.
pub(crate) struct Answer {
    pub(crate) engine: Arc<Engine>,
    pub(crate) index: usize,
    pub(crate) prompt: Arc<[u32]>,
    /// The prompt is a conversation: the text of the answer begins anew, where that of a continuation goes on.
    pub(crate) chat: bool,
    pub(crate) sampling: Sampling,
    /// Most tokens that it may have.
    pub(crate) limit: usize,
}

impl Answer {
    /// Waits for its turn, then sends events until the answer ends or nobody listens.
    pub(crate) async fn follow(self, sender: mpsc::Sender<Result<Part, GenerateError>>) {
        let turn = tokio::select! {
            () = sender.closed() => return,
            turn = self.engine.turn() => turn,
        };
        let ended = match self.start().await {
            Ok(mut sequence) => {
                let ended = self.send_events(&mut sequence, &sender).await;
                sequence.end().await;
                ended
            }
            Err(error) => Err(error),
        };
        drop(turn);
        if let Err(error) = ended {
            let _ = sender.send(Err(error)).await;
        }
    }

    async fn start(&self) -> Result<Sequence, GenerateError> {
        let (chosen_sender, chosen) = mpsc::unbounded_channel();
        let (alive, gone) = oneshot::channel();
        let chooser = Chooser::new(self.sampling.clone(), self.index, chosen_sender, alive);
        // The engine waits while a receiver is full: leave it room for a whole answer.
        let (response, responses) = mpsc::channel(self.limit + 8);
        let request = Request::Normal(Box::new(NormalRequest {
            messages: RequestMessage::CompletionTokens(self.prompt.to_vec()),
            sampling_params: SamplingParams { max_len: Some(self.limit), ..SamplingParams::deterministic() },
            response,
            return_logprobs: false,
            is_streaming: true,
            id: self.engine.next_id(),
            constraint: mistralrs::Constraint::None,
            suffix: None,
            tools: None,
            tool_choice: None,
            logits_processors: Some(vec![Arc::new(chooser)]),
            return_raw_logits: false,
            web_search_options: None,
            model_id: None,
            truncate_sequence: false,
        }));
        self.engine.send(request).await?;
        Ok(Sequence { chosen, responses, gone })
    }

    async fn send_events(
        &self,
        sequence: &mut Sequence,
        sender: &mpsc::Sender<Result<Part, GenerateError>>,
    ) -> Result<(), GenerateError> {
        let (engine, index) = (&self.engine, self.index);
        let mut decoder = engine.tokenizer().decode_stream(true);
        let before = if self.chat { 0 } else { CONTEXT_OF_TEXT.min(self.prompt.len()) };
        for token in &self.prompt[self.prompt.len() - before..] {
            decoder.step(*token).map_err(engine_error)?;
        }
        let mut buffer = StopBuffer::new(self.sampling.stop.clone());
        let mut count = 0;
        let reason = loop {
            let token = tokio::select! {
                () = sender.closed() => return Ok(()),
                token = sequence.next() => token?,
            };
            count += 1;
            if engine.ends(token.token) {
                break FinishReason::Stop;
            }
            let text = decoder.step(token.token).map_err(engine_error)?.unwrap_or_default();
            let ready = buffer.push(&text, token_logprobs(engine.vocabulary(), &token));
            let delta = Event::Delta { index, text: ready.text, logprobs: ready.logprobs };
            if is_something(&delta) && sender.send(Ok(Part::Event(delta))).await.is_err() {
                return Ok(());
            }
            if ready.stopped {
                break FinishReason::Stop;
            }
            if count >= self.limit {
                break FinishReason::Length;
            }
        };
        let rest = buffer.flush();
        let delta = Event::Delta { index, text: rest.text, logprobs: rest.logprobs };
        let finished = Event::Finished { index, reason };
        let delta = is_something(&delta).then_some(Part::Event(delta));
        for part in delta.into_iter().chain([Part::Event(finished), Part::Tokens(count)]) {
            let _ = sender.send(Ok(part)).await;
        }
        Ok(())
    }
}

/// Tokens of the prompt that the first text of a continuation depends on: enough for any character.
const CONTEXT_OF_TEXT: usize = 6;

/// What connects an answer to its sequence in the engine.
struct Sequence {
    chosen: mpsc::UnboundedReceiver<Chosen>,
    /// Read for errors only; the tokens come from the chooser.
    responses: mpsc::Receiver<Response>,
    /// Closed when the engine has let go of the sequence.
    gone: oneshot::Receiver<()>,
}

impl Sequence {
    async fn next(&mut self) -> Result<Chosen, GenerateError> {
        loop {
            tokio::select! {
                biased;
                Some(token) = self.chosen.recv() => return Ok(token),
                response = self.responses.recv() => match response {
                    Some(response) => failure(response)?,
                    // A token may have come between the two looks.
                    None => return self.chosen.try_recv().map_err(|_| engine_error("it ended without an answer")),
                },
            }
        }
    }

    /// Cancels what is left of it, and waits until the engine has noticed.
    async fn end(self) {
        drop((self.chosen, self.responses));
        let _ = self.gone.await;
    }
}

fn is_something(delta: &Event) -> bool {
    matches!(delta, Event::Delta { text, logprobs, .. } if !text.is_empty() || !logprobs.is_empty())
}

fn failure(response: Response) -> Result<(), GenerateError> {
    match response {
        Response::CompletionChunk(_) | Response::CompletionDone(_) => Ok(()),
        Response::ValidationError(error) => Err(GenerateError::Unsupported(error.to_string())),
        Response::InternalError(error) => Err(engine_error(error)),
        Response::CompletionModelError(message, _) | Response::ModelError(message, _) => Err(engine_error(message)),
        _ => Err(engine_error("it sent an answer of another kind")),
    }
}
