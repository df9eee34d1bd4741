//! Tokenizer and chat template of a GGUF file, as files of their own.
//!
//! candle builds the vocabulary. Which way of splitting text belongs to it is said by `tokenizer.ggml.pre`, and the names
//! there are llama.cpp's (`llama-vocab.cpp`); candle knows few of them and puts a space before every text for the rest.

use std::{fs, path::Path};

use mistralrs_candle::quantized::{
    gguf_file::{Content, Value},
    tokenizer::TokenizerFromGguf,
};
use serde_json::{Map, json};
use tokenizers::{
    Tokenizer,
    pre_tokenizers::{byte_level::ByteLevel, digits::Digits, sequence::Sequence},
};

use super::{NormaliseError, link, write_json};

/// GPT-2's splitting.
const PLAIN: [&str; 6] = ["default", "gpt-2", "gpt2", "phi-2", "mpt", "olmo"];
/// GPT-2's splitting, and each digit alone.
const DIGITS_ALONE: [&str; 6] = ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"];
/// Splittings that candle knows.
const KNOWN_TO_CANDLE: [&str; 4] = ["qwen2", "llama3", "smaug-bpe", "lfm2"];

/// Writes `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`, or links those that lie beside the file.
pub(super) fn write(
    content: &Content,
    original: &Path,
    serving: &Path,
    changes: &mut Vec<String>,
) -> Result<(), NormaliseError> {
    let beside = |name: &str| original.join(name).exists();
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"] {
        if beside(name) {
            link(&original.join(name), &serving.join(name))?;
        }
    }
    if !beside("tokenizer.json") {
        tokenizer(content)?
            .save(serving.join("tokenizer.json"), false)
            .map_err(|error| NormaliseError::Tokenizer(error.to_string()))?;
        changes.push("tokenizer.json written from the GGUF file's metadata".into());
    }
    if !beside("tokenizer_config.json") {
        let mut tokens = Map::new();
        for (field, key) in
            [("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("unk_token", "unknown_token_id")]
        {
            if let Some(token) = token(content, &format!("tokenizer.ggml.{key}")) {
                tokens.insert(field.into(), json!(token));
            }
        }
        write_json(&serving.join("tokenizer_config.json"), &tokens.into())?;
        if let Some(template) = text(content, "tokenizer.chat_template").filter(|_| !beside("chat_template.jinja")) {
            let path = serving.join("chat_template.jinja");
            fs::write(&path, template).map_err(|error| NormaliseError::io(&path, error))?;
        }
    }
    Ok(())
}

fn tokenizer(content: &Content) -> Result<Tokenizer, NormaliseError> {
    let refused = |reason: String| {
        NormaliseError::Tokenizer(format!(
            "{reason}; put the model's tokenizer.json beside the .gguf file and pull that directory"
        ))
    };
    let mut tokenizer = Tokenizer::from_gguf(content).map_err(|error| refused(error.to_string()))?;
    let split = text(content, "tokenizer.ggml.pre").unwrap_or("default");
    let bytes = ByteLevel::new(false, true, true);
    if PLAIN.contains(&split) {
        tokenizer.with_pre_tokenizer(Some(bytes));
    } else if DIGITS_ALONE.contains(&split) {
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![Digits::new(true).into(), bytes.into()])));
    } else if !KNOWN_TO_CANDLE.contains(&split) {
        return Err(refused(format!("its way of splitting text, {split:?}, is not known here")));
    }
    Ok(tokenizer)
}

fn text<'a>(content: &'a Content, key: &str) -> Option<&'a str> {
    content.metadata.get(key)?.to_string().ok().map(String::as_str)
}

/// The text of the token whose id is under `key`.
fn token<'a>(content: &'a Content, key: &str) -> Option<&'a str> {
    let id = content.metadata.get(key)?.to_u32().ok()?;
    let Value::Array(tokens) = content.metadata.get("tokenizer.ggml.tokens")? else { return None };
    tokens.get(id as usize)?.to_string().ok().map(String::as_str)
}
