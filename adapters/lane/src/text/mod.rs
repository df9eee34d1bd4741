//! A model's text side: tokenizer, chat template, the tokens that end an answer.

mod calls;
mod detokenise;
mod json;
mod template;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_adapters::{Logprob, TokenLogprobs, sample::Chosen};
use serde_json::Value;
use tokenizers::Tokenizer;

pub(crate) use self::{
    calls::{CallParser, CallSyntax, Piece},
    detokenise::Detokeniser,
    template::Template,
    vocabulary::Vocabulary,
};

/// Why a model's text side cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("{path} is not valid JSON")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// `tokenizer.json` is missing or broken.
    #[error("{path} is not a tokenizer")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: tokenizers::Error,
    },
    /// Its tokens do not stand for bytes in a way that is known here.
    #[error("the tokenizer's decoder is neither byte-level nor SentencePiece's: {0}")]
    Decoder(String),
    /// The chat template does not parse.
    #[error("the chat template cannot be used")]
    Template {
        /// Why.
        #[source]
        source: minijinja::Error,
    },
}

/// A model's tokenizer, template and ends.
pub(crate) struct Text {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) template: Option<Template>,
    /// Tokens that end an answer.
    ends: Vec<u32>,
}

impl Text {
    /// From `tokenizer.json` and the files beside it; `size` is that of the model's logits.
    pub(crate) fn load(directory: &Path, size: usize) -> Result<Self, TextError> {
        let path = directory.join("tokenizer.json");
        let tokenizer = Arc::new(Tokenizer::from_file(&path).map_err(|source| TextError::Tokenizer { path, source })?);
        let template = Template::load(directory)?;
        let mut ends = ends(directory, &tokenizer, template.as_ref())?;
        ends.retain(|end| (*end as usize) < size);
        let vocabulary = Vocabulary::new(tokenizer.clone(), size, &ends)?;
        Ok(Self { tokenizer, vocabulary, template, ends })
    }

    pub(crate) fn ends(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// A chosen token as the contract has it; none where log-probabilities were not asked for.
    pub(crate) fn logprobs(&self, chosen: &Chosen) -> Option<TokenLogprobs> {
        let one = |token: u32, logprob: f32| {
            let bytes = self.vocabulary.bytes(token);
            Logprob { token: String::from_utf8_lossy(bytes).into_owned(), logprob, bytes: Some(bytes.to_vec()) }
        };
        Some(TokenLogprobs {
            chosen: one(chosen.token, chosen.logprob?),
            top: chosen.top.iter().map(|(token, logprob)| one(*token, *logprob)).collect(),
        })
    }
}

/// Tokens by which chat templates end a turn, where the configuration may name only the end of a text.
const ENDS_OF_TURN: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|end_of_text|>", "<|eom_id|>"];

/// Everything that the files call an end, and the ends of turn that the template writes.
fn ends(directory: &Path, tokenizer: &Tokenizer, template: Option<&Template>) -> Result<Vec<u32>, TextError> {
    let mut ends: Vec<u32> = Vec::new();
    for name in ["generation_config.json", "config.json"] {
        let config = read_json(&directory.join(name))?.unwrap_or_default();
        let ids = &config["eos_token_id"];
        let several = ids.as_array().into_iter().flatten();
        ends.extend(several.chain([ids]).filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
    }
    let config = read_json(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
    let eos = &config["eos_token"];
    let named = eos.as_str().or_else(|| eos["content"].as_str());
    let written = |end: &&str| template.is_some_and(|template| template.source().contains(*end));
    let named = named.into_iter().chain(ENDS_OF_TURN.into_iter().filter(written));
    ends.extend(named.filter_map(|name| tokenizer.token_to_id(name)));
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

/// None where the file is not there.
fn read_json(path: &Path) -> Result<Option<Value>, TextError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TextError::Io { path: path.to_owned(), source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| TextError::Json { path: path.to_owned(), source })
}
