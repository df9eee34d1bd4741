//! [`Renderer`]: rows to tokens, with a mask of what is learnt taken from the chat template's own structure.
//!
//! A conversation is rendered turn by turn: what the template writes for an assistant's message after its generation prompt
//! is learnt, up to and with the token that ends the turn; all else is not. No template is taken apart by its text, so the
//! mask is right for any template whose rendering of a conversation begins with the rendering of its beginning. Templates
//! that rewrite earlier turns (some drop the reasoning of earlier answers) are refused for the rows where they do.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Content, Message, Role, Row};
use crate::Example;

/// A model's text side. It never adds tokens by itself: what it encodes is what was rendered.
pub trait Chat {
    /// Whether the model has a chat template.
    fn has_template(&self) -> bool;

    /// The conversation as the template writes it, with the beginning of an answer if `add_generation_prompt`.
    ///
    /// # Errors
    /// The template's own reason where it refuses the conversation.
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, String>;

    /// Tokens and the bytes of `text` that each stands for; special tokens in the text are recognised.
    ///
    /// # Errors
    /// The tokenizer's reason.
    fn encode(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, String>;

    /// Special tokens around text without a template: of its beginning and its end, empty where there are none.
    fn text_ends(&self) -> [&str; 2];
}

/// Renders rows for one model.
pub struct Renderer<'a, C: ?Sized> {
    chat: &'a C,
    prompts: bool,
}

/// A row as text and tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What the model sees.
    pub text: String,
    /// Tokens and mask.
    pub example: Example,
    /// Bytes of the text that each token stands for.
    pub offsets: Vec<Range<usize>>,
}

/// A part of a rendered row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The text.
    pub text: String,
    /// Whether it is learnt.
    pub supervised: bool,
}

/// What is asked in an evaluation, and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The row.
    pub row: String,
    /// Everything up to where the model goes on.
    pub prompt: String,
    /// What it should say.
    pub reference: String,
}

impl<'a, C: Chat + ?Sized> Renderer<'a, C> {
    /// For a model.
    pub fn new(chat: &'a C) -> Self {
        Self { chat, prompts: false }
    }

    /// Learns what is asked as well, template and all.
    #[must_use]
    pub fn learning_prompts(self, prompts: bool) -> Self {
        Self { prompts, ..self }
    }

    /// Text, tokens and mask of a row.
    ///
    /// # Errors
    /// Why this row cannot be used, and how to mend it.
    pub fn render(&self, row: &Row) -> Result<Rendered, String> {
        let (text, spans) = self.spans(&row.content)?;
        let encoded = self.chat.encode(&text)?;
        let (mut tokens, mut supervised, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        let mut covered = 0;
        for (token, range) in encoded {
            // Tokenizers may leave a token's leading white space out of its range; what is between two tokens is the second's.
            let start = range.start.min(covered);
            covered = covered.max(range.end);
            tokens.push(token);
            // A token that lies across the beginning of an answer belongs to what comes before it.
            supervised.push(spans.iter().any(|span| span.contains(&start)));
            offsets.push(start..range.end.max(start));
        }
        Ok(Rendered { text, example: Example { tokens, supervised, row: row.id.clone() }, offsets })
    }

    /// The last answer of a row as a question. None for text, which asks nothing.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn question(&self, row: &Row) -> Result<Option<Question>, String> {
        let question = |prompt, reference: &str| {
            Some(Question { row: row.id.clone(), prompt, reference: reference.trim().to_owned() })
        };
        match self.templated(&row.content)? {
            Content::Text(_) => Ok(None),
            Content::Completion { prompt, completion } => {
                Ok(question(format!("{}{prompt}", self.chat.text_ends()[0]), &completion))
            }
            Content::Chat(messages) => {
                let last = messages.iter().rposition(|message| message.role == Role::Assistant);
                let Some(last) = last else { return Ok(None) };
                let prompt = self.chat.render(&messages[..last], true)?;
                Ok(question(prompt, &messages[last].content))
            }
        }
    }

    /// Rendered text and the bytes of it that are learnt.
    fn spans(&self, content: &Content) -> Result<(String, Vec<Range<usize>>), String> {
        let [beginning, end] = self.chat.text_ends();
        match self.templated(content)? {
            Content::Text(text) => {
                let text = format!("{beginning}{text}{end}");
                let all = beginning.len()..text.len();
                Ok((text, vec![all]))
            }
            Content::Completion { prompt, completion } => {
                let text = format!("{beginning}{prompt}{completion}{end}");
                let from = beginning.len() + if self.prompts { 0 } else { prompt.len() };
                let learnt = from..text.len();
                Ok((text, vec![learnt]))
            }
            Content::Chat(messages) if self.prompts => {
                let text = self.chat.render(&messages, false)?;
                // White space after the last turn belongs to the template.
                let all = 0..text.trim_end().len();
                Ok((text, vec![all]))
            }
            Content::Chat(messages) => self.turns(&messages),
        }
    }

    /// Where there is a template, a prompt is a user's message: the model is asked in that form later.
    fn templated(&self, content: &Content) -> Result<Content, String> {
        match content {
            Content::Completion { prompt, completion } if self.chat.has_template() => {
                Ok(Content::Chat(vec![Message::new(Role::User, prompt), Message::new(Role::Assistant, completion)]))
            }
            Content::Chat(_) if !self.chat.has_template() => Err("the base has no chat template, and the row is a \
                 conversation: choose an instruction-tuned base, or give rows as prompt and completion or as text"
                .to_owned()),
            content => Ok(content.clone()),
        }
    }

    fn turns(&self, messages: &[Message]) -> Result<(String, Vec<Range<usize>>), String> {
        let text = self.chat.render(messages, false)?;
        let mut spans = Vec::new();
        for (i, message) in messages.iter().enumerate().filter(|(_, message)| message.learnt) {
            let told = if i + 1 == messages.len() { text.clone() } else { self.chat.render(&messages[..=i], false)? };
            if !text.starts_with(&told) {
                return Err(format!(
                    "the chat template writes message {i} otherwise once further messages follow, so that a mask would be \
                     wrong: end the conversation there, or give each answer a row of its own"
                ));
            }
            let start = self.start(messages, i, &told)?;
            // White space after the token that ends the turn belongs to the template, not to the answer.
            spans.push(start..start + told[start..].trim_end().len());
            if !told[start..].contains(message.content.trim()) {
                return Err(format!(
                    "the chat template does not write message {i} as it stands: it changes or drops part of the answer"
                ));
            }
        }
        Ok((text, spans))
    }

    /// Where the answer of message `i` begins in `told`, the rendering that ends with it.
    fn start(&self, messages: &[Message], i: usize, told: &str) -> Result<usize, String> {
        if i > 0 {
            let prompt = self.chat.render(&messages[..i], true)?;
            if told.starts_with(&prompt) {
                return Ok(prompt.len());
            }
        }
        // The generation prompt holds more than a turn does (some begin the reasoning in it), or there is no message before
        // the answer. The answer is then where its own text is, after all earlier messages.
        let before = if i > 0 { self.chat.render(&messages[..i], false)? } else { String::new() };
        let turn = told.strip_prefix(before.as_str()).ok_or_else(|| {
            format!("the chat template writes what is before message {i} otherwise once that message follows")
        })?;
        let place = turn.rfind(messages[i].content.trim()).ok_or_else(|| {
            format!("the chat template does not write message {i} as it stands: it changes or drops part of the answer")
        })?;
        Ok(before.len() + place)
    }
}

impl Rendered {
    /// The text in parts that are learnt and parts that are not, for people to look at.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        let (mut from, mut on) = (0, false);
        let mut push = |text: &str, supervised| {
            if !text.is_empty() {
                segments.push(Segment { text: text.to_owned(), supervised });
            }
        };
        for (range, supervised) in self.offsets.iter().zip(&self.example.supervised) {
            // Several tokens may stand for one character; a part never ends within one.
            if *supervised != on && range.start >= from && self.text.is_char_boundary(range.start) {
                push(&self.text[from..range.start], on);
                (from, on) = (range.start, *supervised);
            }
        }
        push(&self.text[from..], on);
        segments
    }

    /// Keeps the first `length` tokens.
    pub fn truncate(&mut self, length: usize) {
        if self.example.tokens.len() > length {
            let end = self.offsets[length].start;
            let end = (0..=end).rev().find(|end| self.text.is_char_boundary(*end)).unwrap_or_default();
            self.text.truncate(end);
            self.example.tokens.truncate(length);
            self.example.supervised.truncate(length);
            self.offsets.truncate(length);
        }
    }

    /// Tokens that are learnt: the first one is never predicted.
    #[must_use]
    pub fn supervised_tokens(&self) -> usize {
        self.example.supervised.iter().skip(1).filter(|on| **on).count()
    }

    /// Bytes of the text that those tokens stand for.
    #[must_use]
    pub fn supervised_bytes(&self) -> usize {
        self.segments().iter().filter(|segment| segment.supervised).map(|segment| segment.text.len()).sum()
    }
}
