//! [`Dialogue`]: a model's template and tokenizer for those who prepare training data; no weights are loaded.

use std::{ops::Range, path::Path};

use cairn_adapters::ChatMessage;
use tokenizers::Tokenizer;

use crate::text::{Template, TextError};

/// How a model writes conversations, and its tokens: what the lane answers with, so what is trained is what is served.
pub struct Dialogue {
    tokenizer: Tokenizer,
    template: Option<Template>,
}

impl Dialogue {
    /// Reads `tokenizer.json` and the template in a model's `serving/` directory.
    ///
    /// # Errors
    /// They are missing or not understood.
    pub fn load(serving: &Path) -> Result<Self, TextError> {
        let path = serving.join("tokenizer.json");
        let tokenizer = Tokenizer::from_file(&path).map_err(|source| TextError::Tokenizer { path, source })?;
        Ok(Self { tokenizer, template: Template::load(serving)? })
    }

    /// Whether the model has a chat template.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The conversation as the template writes it, with the beginning of an answer if `answering`.
    ///
    /// # Errors
    /// The template's own reason where it refuses the conversation.
    pub fn render(&self, messages: &[ChatMessage], answering: bool) -> Result<String, String> {
        let template = self.template.as_ref().ok_or("the model has no chat template")?;
        template.write(messages, &[], answering).map_err(|error| format!("{error:#}"))
    }

    /// Tokens and the bytes of `text` that each stands for; special tokens in the text are recognised, none are added.
    ///
    /// # Errors
    /// The tokenizer's reason.
    pub fn encode(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, String> {
        let encoding = self.tokenizer.encode(text, false).map_err(|error| error.to_string())?;
        let offsets = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(offsets).collect())
    }

    /// A special token by its name in the model's configuration, such as `eos_token`.
    #[must_use]
    pub fn special(&self, name: &str) -> Option<&str> {
        self.template.as_ref()?.special(name)
    }
}
