//! One answer under way: tokens in, events out.

use std::sync::Arc;

use cairn_adapters::{Event, FinishReason, GenerateError};
use mistralrs::Response;
use tokio::sync::mpsc;

use crate::{
    choose::Chosen,
    engine::{Engine, engine_error},
    text::{StopBuffer, token_logprobs},
};

/// What an answer tells the request that it belongs to.
pub(crate) enum Part {
    Event(Event),
    /// How many tokens it took; after its last event.
    Tokens(usize),
}

/// A sequence in the engine. Dropping it cancels the sequence.
pub(crate) struct Answer {
    pub(crate) engine: Arc<Engine>,
    pub(crate) index: usize,
    pub(crate) stop: Vec<String>,
    /// Most tokens that it may have.
    pub(crate) limit: usize,
    /// Tokens that the text goes on from.
    pub(crate) before: Vec<u32>,
    pub(crate) chosen: mpsc::UnboundedReceiver<Chosen>,
    /// Read for errors only; the tokens come from the chooser.
    pub(crate) responses: mpsc::Receiver<Response>,
}

impl Answer {
    /// Sends the events of the answer until it ends or nobody listens.
    pub(crate) async fn follow(mut self, sender: mpsc::Sender<Result<Part, GenerateError>>) {
        let ended = self.send_events(&sender).await;
        if let Err(error) = ended {
            let _ = sender.send(Err(error)).await;
        }
    }

    async fn send_events(&mut self, sender: &mpsc::Sender<Result<Part, GenerateError>>) -> Result<(), GenerateError> {
        let engine = self.engine.clone();
        let mut decoder = engine.tokenizer().decode_stream(true);
        for token in &self.before {
            decoder.step(*token).map_err(engine_error)?;
        }
        let index = self.index;
        let mut buffer = StopBuffer::new(std::mem::take(&mut self.stop));
        let mut count = 0;
        let reason = loop {
            let token = tokio::select! {
                () = sender.closed() => return Ok(()),
                token = self.next() => token?,
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
