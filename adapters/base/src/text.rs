//! Tokens as the wire has them.

use cairn_adapters::{Logprob, TokenLogprobs, sample::Chosen};
use mistralrs::llguidance::toktrie::TokTrie;

/// A chosen token with its log-probability; none where it was not asked for.
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
