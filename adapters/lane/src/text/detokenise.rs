//! From tokens to text as they come: characters stay whole, and nothing is decoded twice.

use std::sync::Arc;

use super::Vocabulary;

/// The text of one answer. A character that the answer ends within is never sent.
pub(crate) struct Detokeniser {
    vocabulary: Arc<Vocabulary>,
    /// Special tokens that are text here all the same.
    kept: Vec<u32>,
    /// Bytes that may be the beginning of a character.
    bytes: Vec<u8>,
    /// The next text loses its leading space.
    strips_space: bool,
}

impl Detokeniser {
    /// `begins`: the text is a text of its own, not the continuation of one.
    pub(crate) fn new(vocabulary: Arc<Vocabulary>, kept: Vec<u32>, begins: bool) -> Self {
        let strips_space = begins && vocabulary.strips_space();
        Self { vocabulary, kept, bytes: Vec::new(), strips_space }
    }

    /// The characters that the token completes.
    pub(crate) fn push(&mut self, token: u32) -> String {
        if self.vocabulary.is_special(token) && !self.kept.contains(&token) {
            return String::new();
        }
        let mut bytes = self.vocabulary.bytes(token);
        if self.strips_space && !bytes.is_empty() {
            self.strips_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            // What ends too early at the very end may be completed by the next token.
            if !invalid.is_empty() && (done + invalid.len() < self.bytes.len() || !may_continue(invalid)) {
                text.push(char::REPLACEMENT_CHARACTER);
                done += invalid.len();
            }
        }
        self.bytes.drain(..done);
        text
    }
}

/// Whether more bytes can make a character of these.
fn may_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
