//! One of a request's answers: from logits to events.

use std::sync::Arc;

use cairn_adapters::{
    Event, FinishReason, GenerateError, StopBuffer, TokenLogprobs, Tool,
    sample::{Sampler, Scratch},
};
use llguidance::Matcher;

use super::Job;
use crate::text::{CallParser, CallSyntax, Detokeniser, Piece, Text};

/// An answer under way.
pub(super) struct Answer {
    index: usize,
    limit: usize,
    sampler: Sampler,
    constraint: Option<Matcher>,
    detokeniser: Detokeniser,
    stop: StopBuffer,
    calls: Option<CallParser>,
    /// Log-probabilities whose text the call parser holds.
    held: Vec<TokenLogprobs>,
    called: bool,
    /// Tokens chosen.
    count: usize,
}

/// What became of an answer with one more token.
pub(super) enum Progress {
    /// It goes on after this token.
    More(u32),
    /// It is complete.
    Ended,
}

impl Answer {
    pub(super) fn new(job: &Job, index: usize, text: &Text) -> Self {
        let marker = job.calls.as_ref().and_then(|(syntax, _)| syntax.marker());
        let kept = marker.and_then(|marker| text.tokenizer.token_to_id(marker)).into_iter().collect();
        let mut detokeniser = Detokeniser::new(text.vocabulary.clone(), kept, job.chat);
        if !job.chat {
            // The prompt's last tokens may hold the beginning of a character.
            let before = job.prompt.len().saturating_sub(CONTEXT_OF_TEXT);
            job.prompt[before..].iter().for_each(|token| drop(detokeniser.push(*token)));
        }
        Self {
            index,
            limit: job.limit,
            sampler: Sampler::new(job.sampling.clone(), job.seed, index),
            constraint: job.constraint.as_ref().map(Matcher::deep_clone),
            detokeniser,
            stop: StopBuffer::new(job.sampling.stop.clone()),
            calls: job.calls.as_ref().map(|(syntax, tools)| CallParser::new(*syntax, tools)),
            held: Vec::new(),
            called: false,
            count: 0,
        }
    }

    /// Chooses the next token from `logits: [vocabulary]` and sends what it makes certain.
    pub(super) fn advance(
        &mut self,
        logits: &[f32],
        job: &Job,
        text: &Arc<Text>,
        scratch: &mut Scratch,
    ) -> Result<Progress, GenerateError> {
        let mask = match &mut self.constraint {
            Some(constraint) => Some(constraint.compute_mask_or_eos().map_err(engine_error)?),
            None => None,
        };
        let allowed = mask.as_ref().map(|mask| mask.as_slice());
        let chosen = self.sampler.choose(logits, allowed, scratch).map_err(engine_error)?;
        self.count += 1;
        if text.ends(chosen.token) {
            self.finish(job, FinishReason::Stop);
            return Ok(Progress::Ended);
        }
        let part = self.detokeniser.push(chosen.token);
        let ready = self.stop.push(&part, text.logprobs(&chosen));
        self.send(job, &ready.text, ready.logprobs);
        let over = match &mut self.constraint {
            Some(constraint) => {
                constraint.consume_token(chosen.token).map_err(engine_error)?;
                // Nothing but white space can follow a closed object or array.
                let closed = matches!(text.vocabulary.bytes(chosen.token).last(), Some(b'}' | b']'));
                constraint.is_stopped() || (closed && constraint.is_accepting().map_err(engine_error)?)
            }
            None => false,
        };
        if ready.stopped || over {
            self.finish(job, FinishReason::Stop);
            return Ok(Progress::Ended);
        }
        if self.count >= self.limit {
            self.finish(job, FinishReason::Length);
            return Ok(Progress::Ended);
        }
        Ok(Progress::More(chosen.token))
    }

    fn finish(&mut self, job: &Job, reason: FinishReason) {
        let rest = self.stop.flush();
        self.send(job, &rest.text, rest.logprobs);
        if let Some(pieces) = self.calls.as_mut().map(CallParser::finish) {
            self.send_pieces(job, pieces);
        }
        let held = std::mem::take(&mut self.held);
        self.emit_text(job, String::new(), held);
        let called = self.called && reason == FinishReason::Stop;
        let reason = if called { FinishReason::ToolCalls } else { reason };
        emit(job, Event::Finished { index: self.index, reason });
    }

    fn send(&mut self, job: &Job, text: &str, logprobs: Vec<TokenLogprobs>) {
        match &mut self.calls {
            None => self.emit_text(job, text.to_owned(), logprobs),
            Some(calls) => {
                let pieces = calls.push(text);
                self.held.extend(logprobs);
                self.send_pieces(job, pieces);
            }
        }
    }

    fn send_pieces(&mut self, job: &Job, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    let held = std::mem::take(&mut self.held);
                    self.emit_text(job, text, held);
                }
                Piece::Call(call) => {
                    self.called = true;
                    emit(job, Event::ToolCall { index: self.index, call });
                }
            }
        }
    }

    fn emit_text(&self, job: &Job, text: String, logprobs: Vec<TokenLogprobs>) {
        if !text.is_empty() || !logprobs.is_empty() {
            emit(job, Event::Delta { index: self.index, text, logprobs });
        }
    }
}

/// Tokens of the prompt that the first text of a continuation depends on: enough for any character.
const CONTEXT_OF_TEXT: usize = 6;

/// A receiver that is gone means that the request was cancelled; the scheduler looks for that before each step.
fn emit(job: &Job, event: Event) {
    let _ = job.events.send(Ok(event));
}

pub(super) fn engine_error(error: impl std::fmt::Display) -> GenerateError {
    GenerateError::Engine { message: format!("{error:#}") }
}

/// A constrained call is its whole answer.
pub(crate) type Calls = (CallSyntax, Vec<Tool>);
