//! Grammars that answers have to follow, through llguidance: which tokens may come next.

use std::sync::{Arc, OnceLock};

use cairn_adapters::{GenerateError, Tool};
use llguidance::{Matcher, ParserFactory, api::TopLevelGrammar};
use serde_json::{Value, json};

use crate::text::Vocabulary;

/// Compiles grammars for one vocabulary.
pub(crate) struct Grammars {
    vocabulary: Arc<Vocabulary>,
    /// What all grammars share; made for the first one, because most models never see any.
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl Grammars {
    pub(crate) fn new(vocabulary: Arc<Vocabulary>) -> Self {
        Self { vocabulary, factory: OnceLock::new() }
    }

    /// Follows JSON that the schema accepts.
    pub(crate) fn json(&self, mut schema: Value) -> Result<Matcher, GenerateError> {
        let refused =
            |reason: String| GenerateError::Unsupported(format!("the JSON schema cannot be followed: {reason}"));
        match &mut schema {
            // Without a bound, a model that likes white space writes nothing else.
            Value::Object(fields) => {
                fields.insert("x-guidance".into(), json!({"whitespace_pattern": r"[\x20\x0A]{1,24}"}));
            }
            Value::Bool(true) => schema = json!({"x-guidance": {"whitespace_pattern": r"[\x20\x0A]{1,24}"}}),
            _ => return Err(refused("it is not an object".into())),
        }
        let factory = self.factory.get_or_init(|| {
            let mut factory =
                ParserFactory::new_simple(&self.vocabulary.env()).map_err(|error| format!("{error:#}"))?;
            factory.quiet();
            Ok(factory)
        });
        let factory = factory.as_ref().map_err(|reason| GenerateError::Engine { message: reason.clone() })?;
        let parser = factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let matcher = Matcher::new(parser.map_err(|error| refused(format!("{error:#}"))).map(Ok)?);
        match matcher.get_error() {
            Some(reason) => Err(refused(reason)),
            None => Ok(matcher),
        }
    }
}

/// The schema of one call of one of the functions: `{"name", "arguments"}`.
pub(crate) fn call_schema(tools: &[&Tool]) -> Value {
    let calls: Vec<Value> = tools
        .iter()
        .map(|tool| {
            let mut arguments = tool.parameters.clone();
            if arguments.as_object().is_none_or(serde_json::Map::is_empty) {
                arguments = json!({"type": "object"});
            }
            json!({
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        })
        .collect();
    json!({ "anyOf": calls })
}
