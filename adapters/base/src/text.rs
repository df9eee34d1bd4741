//! From tokens to text: characters stay whole, and generation ends before the first stop string.

use cairn_adapters::{Logprob, TokenLogprobs};
use mistralrs::llguidance::toktrie::TokTrie;

use crate::choose::Chosen;

/// Text that is ready to be sent, with the log-probabilities of its tokens.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ready {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenLogprobs>,
    /// A stop string was reached; nothing follows.
    pub(crate) stopped: bool,
}

/// Holds text back while it could be the beginning of a stop string.
pub(crate) struct StopBuffer {
    stop: Vec<String>,
    held: String,
    logprobs: Vec<TokenLogprobs>,
}

impl StopBuffer {
    pub(crate) fn new(stop: Vec<String>) -> Self {
        Self { stop, held: String::new(), logprobs: Vec::new() }
    }

    /// Takes more text and gives back what can be sent.
    pub(crate) fn push(&mut self, text: &str, logprobs: Option<TokenLogprobs>) -> Ready {
        self.held.push_str(text);
        self.logprobs.extend(logprobs);
        let first = self.stop.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return Ready { stopped: true, ..self.flush() };
        }
        let keep = self.stop.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        let text = std::mem::replace(&mut self.held, rest);
        // Log-probabilities wait for their text.
        let logprobs = if text.is_empty() { Vec::new() } else { std::mem::take(&mut self.logprobs) };
        Ready { text, logprobs, stopped: false }
    }

    /// What is left when generation has ended.
    pub(crate) fn flush(&mut self) -> Ready {
        Ready { text: std::mem::take(&mut self.held), logprobs: std::mem::take(&mut self.logprobs), stopped: false }
    }
}

/// Bytes of the longest end of `text` that is a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    (1..=stop.len().min(text.len()))
        .rev()
        .find(|length| stop.is_char_boundary(*length) && text.ends_with(&stop[..*length]))
        .unwrap_or(0)
}

/// A chosen token as the wire has it; none where log-probabilities were not asked for.
pub(crate) fn token_logprobs(vocabulary: &TokTrie, chosen: &Chosen) -> Option<TokenLogprobs> {
    let one = |token: u32, logprob: f32| {
        let bytes = token_bytes(vocabulary, token);
        Logprob { token: String::from_utf8_lossy(bytes).into_owned(), logprob, bytes: Some(bytes.to_vec()) }
    };
    Some(TokenLogprobs {
        chosen: one(chosen.token, chosen.logprob?),
        top: chosen.top.iter().map(|(token, logprob)| one(*token, *logprob)).collect(),
    })
}

/// A token's own bytes, which may be part of a character.
fn token_bytes(vocabulary: &TokTrie, token: u32) -> &[u8] {
    match vocabulary.token(token) {
        // Special tokens are marked by a byte that no text has.
        [TokTrie::SPECIAL_TOKEN_MARKER, name @ ..] if !name.is_empty() => name,
        bytes => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_before_the_first_stop_string_wherever_it_is_cut() {
        let whole = "one two STOP three";
        for cut in 1..whole.len() {
            let mut buffer = StopBuffer::new(vec!["STOP".into(), "three".into()]);
            let mut sent = String::new();
            for part in [&whole[..cut], &whole[cut..]] {
                let ready = buffer.push(part, None);
                sent.push_str(&ready.text);
                if ready.stopped {
                    break;
                }
            }
            assert_eq!(sent, "one two ", "cut at {cut}");
        }
    }

    #[test]
    fn a_beginning_that_comes_to_nothing_is_sent() {
        let mut buffer = StopBuffer::new(vec!["STOP".into()]);
        assert_eq!(buffer.push("a ST", None).text, "a ");
        assert_eq!(buffer.push("AR", None).text, "STAR");
        assert_eq!(buffer.push("S", None).text, "");
        assert_eq!(buffer.flush().text, "S");
    }
}
