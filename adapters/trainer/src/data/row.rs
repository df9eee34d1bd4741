//! [`Row`]: what a file or a datanet says, before a model's tokens come in.

use serde::{Deserialize, Serialize};

/// One row of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Identity: of a datapoint, or `line <n>` of a file.
    pub id: String,
    /// The line it begins at, from 1; 0 where there are no lines.
    pub line: usize,
    /// What it says.
    pub content: Content,
}

/// What there is to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A conversation; the assistant's messages are learnt.
    Chat(Vec<Message>),
    /// A prompt and how it goes on; the completion is learnt. With a chat template, a user's message and its answer.
    Completion {
        /// What is given.
        prompt: String,
        /// What is learnt.
        completion: String,
    },
    /// Text that is learnt as a whole.
    Text(String),
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Whether it is learnt; only the assistant's messages ever are.
    #[serde(skip)]
    pub learnt: bool,
}

impl Message {
    /// A message that is learnt if it is the assistant's.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), learnt: role == Role::Assistant }
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
    /// The result of a function.
    Tool,
}
