//! The bytes of each token: for text, for log-probabilities, and for grammars.

use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::TextError;

/// A model's tokens.
pub(crate) struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    /// Special tokens, and those that only look like it, begin with a byte that no text has.
    trie: TokTrie,
    /// Tokens that are not part of the text.
    special: Vec<bool>,
    kind: Kind,
    /// The text of an answer begins without the space that the tokenizer puts before every text.
    strips_space: bool,
}

/// How token names stand for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// GPT-2's: a printable character for each byte.
    ByteLevel,
    /// SentencePiece's: text with `▁` for spaces, and `<0xNN>` for other bytes.
    ByteFallback,
}

impl Vocabulary {
    /// `size` is that of the model's logits; tokens beyond the tokenizer's have no text. `ends` are the tokens that end an
    /// answer.
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, size: usize, ends: &[u32]) -> Result<Arc<Self>, TextError> {
        let decoder = serde_json::to_value(tokenizer.get_decoder()).unwrap_or(Value::Null);
        let kind = kind_of(&decoder).ok_or_else(|| TextError::Decoder(decoder.to_string()))?;
        let added = tokenizer.get_added_tokens_decoder();
        let size = size.max(tokenizer.get_vocab_size(true));
        let mut special = vec![false; size];
        let mut words = Vec::with_capacity(size);
        for token in 0..size as u32 {
            let Some(name) = tokenizer.id_to_token(token) else {
                special[token as usize] = true;
                words.push(marked(&format!("<[{token}]>")));
                continue;
            };
            let added = added.get(&token);
            special[token as usize] = added.is_some_and(|added| added.special);
            let looks_special = added.is_some() && name.starts_with('<') && name.ends_with('>');
            words.push(if special[token as usize] || looks_special { marked(&name) } else { bytes_of(&name, kind) });
        }
        let first = ends.first().copied().unwrap_or(INVALID_TOKEN);
        let trie = TokTrie::from(&TokRxInfo::new(size as u32, first), &words);
        let trie = if ends.len() > 1 { trie.with_eos_tokens(ends) } else { trie };
        Ok(Arc::new(Self { tokenizer, trie, special, kind, strips_space: strips_space(&decoder) }))
    }

    /// A token's own bytes, which may be part of a character; a special token's name.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        match self.trie.token(token) {
            [TokTrie::SPECIAL_TOKEN_MARKER, name @ ..] if !name.is_empty() => name,
            bytes => bytes,
        }
    }

    /// Whether the token is no part of the text.
    pub(crate) fn is_special(&self, token: u32) -> bool {
        self.special.get(token as usize).copied().unwrap_or(true)
    }

    pub(crate) fn strips_space(&self) -> bool {
        self.strips_space
    }

    /// As grammars want it.
    pub(crate) fn env(self: &Arc<Self>) -> TokEnv {
        self.clone()
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        if !self.tokenize_is_canonical() {
            return self.trie.greedy_tokenize(bytes);
        }
        self.trie.tokenize_with_greedy_fallback(bytes, |text| match self.tokenizer.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            Err(_) => self.trie.greedy_tokenize(text.as_bytes()),
        })
    }

    /// A tokenizer that puts a space before every text does not split the middle of one as the model knows it.
    fn tokenize_is_canonical(&self) -> bool {
        self.kind == Kind::ByteLevel
    }
}

fn marked(name: &str) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
}

fn bytes_of(name: &str, kind: Kind) -> Vec<u8> {
    match kind {
        // Names with other characters are texts that were added as they are.
        Kind::ByteLevel => {
            name.chars().map(byte_of).collect::<Option<Vec<u8>>>().unwrap_or_else(|| name.as_bytes().to_vec())
        }
        Kind::ByteFallback => {
            let byte = name.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            match byte.filter(|hex| hex.len() == 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => vec![byte],
                None => name.replace('▁', " ").into_bytes(),
            }
        }
    }
}

/// GPT-2's characters: printable Latin-1 stands for itself, the other 68 bytes are U+0100 and up, in order.
fn byte_of(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// By the decoder in `tokenizer.json`, or the parts that it is made of.
fn kind_of(decoder: &Value) -> Option<Kind> {
    match decoder["type"].as_str()? {
        "ByteLevel" => Some(Kind::ByteLevel),
        "ByteFallback" | "Metaspace" => Some(Kind::ByteFallback),
        "Sequence" => decoder["decoders"].as_array()?.iter().find_map(kind_of),
        _ => None,
    }
}

fn strips_space(decoder: &Value) -> bool {
    match decoder["type"].as_str() {
        Some("Strip") => decoder["content"] == " " && decoder["start"].as_u64() > Some(0),
        Some("Metaspace") => decoder["prepend_scheme"] != "never",
        Some("Sequence") => decoder["decoders"].as_array().is_some_and(|parts| parts.iter().any(strips_space)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }

    #[test]
    fn decoders_are_told_apart() {
        let llama = serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        assert_eq!(kind_of(&llama), Some(Kind::ByteFallback));
        assert!(strips_space(&llama));
        let gpt = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false});
        assert_eq!(kind_of(&gpt), Some(Kind::ByteLevel));
        assert!(!strips_space(&gpt));
        assert_eq!(kind_of(&serde_json::json!({"type": "WordPiece"})), None);
        assert_eq!(bytes_of("<0x0A>", Kind::ByteFallback), b"\n");
        assert_eq!(bytes_of("▁is", Kind::ByteFallback), b" is");
    }
}
