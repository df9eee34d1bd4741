//! What a request may ask of the form of its answer: JSON, or calls of functions. OpenAI's names and meaning.

use serde_json::Value;

/// What the text of an answer has to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ResponseFormat {
    /// Anything.
    #[default]
    Text,
    /// A JSON object (`json_object` on the wire).
    JsonObject,
    /// JSON that this schema accepts (`json_schema`).
    JsonSchema(Value),
}

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON schema of its arguments; an object.
    pub parameters: Value,
}

/// Whether a model may, must, or must not call functions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// It answers in text.
    None,
    /// It calls one of the functions.
    Required,
    /// It calls this function.
    Named(String),
}

/// A function that a model called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Names the call, so that its result can refer to it.
    pub id: String,
    /// The function.
    pub name: String,
    /// The arguments as JSON text; the model wrote them, so they are valid for the schema only where it was constrained.
    pub arguments: String,
}
