//! Stop strings: generation ends before the first of them, wherever tokens happen to cut it.

use crate::TokenLogprobs;

/// Text that is ready to be sent, with the log-probabilities of its tokens.
#[derive(Debug, Default, PartialEq)]
pub struct Ready {
    /// The text.
    pub text: String,
    /// Those of its tokens, where there are any.
    pub logprobs: Vec<TokenLogprobs>,
    /// A stop string was reached; nothing follows.
    pub stopped: bool,
}

/// Holds text back while it could be the beginning of a stop string.
#[derive(Debug)]
pub struct StopBuffer {
    stop: Vec<String>,
    held: String,
    logprobs: Vec<TokenLogprobs>,
}

impl StopBuffer {
    /// Stops before the first of `stop`; empty strings stop nothing.
    #[must_use]
    pub fn new(mut stop: Vec<String>) -> Self {
        stop.retain(|stop| !stop.is_empty());
        Self { stop, held: String::new(), logprobs: Vec::new() }
    }

    /// Takes more text and gives back what can be sent.
    pub fn push(&mut self, text: &str, logprobs: Option<TokenLogprobs>) -> Ready {
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
    pub fn flush(&mut self) -> Ready {
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
