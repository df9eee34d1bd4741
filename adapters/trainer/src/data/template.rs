//! [`RowTemplate`]: a datanet's rows as questions and answers, by a template of the user's.
//!
//! `{"user": "Define: {title}", "assistant": "{text}"}`; `{metadata.source}` is a field of the metadata, and `{{` and `}}` are
//! braces. A field that rows do not have is an error before anything is trained.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Content, DataError, Message, Role, Row};

/// One row of a datanet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatanetRow {
    /// Identity of the datapoint.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// Who gave it.
    pub contributor: String,
    /// Anything else.
    pub metadata: BTreeMap<String, String>,
}

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "RawTemplate", into = "RawTemplate")]
pub struct RowTemplate {
    raw: RawTemplate,
    system: Option<Vec<Part>>,
    user: Vec<Part>,
    assistant: Vec<Part>,
}

/// As it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawTemplate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    user: String,
    assistant: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(String),
}

impl RowTemplate {
    /// From the texts of the user's and the assistant's message, and of a system message where there is one.
    ///
    /// # Errors
    /// [`DataError::Template`] for braces without a partner, [`DataError::UnknownField`] for fields no datanet has.
    pub fn new(system: Option<&str>, user: &str, assistant: &str) -> Result<Self, DataError> {
        let raw = RawTemplate { system: system.map(Into::into), user: user.into(), assistant: assistant.into() };
        raw.try_into()
    }

    /// Fails where the template names a field of the metadata that no row has.
    ///
    /// # Errors
    /// [`DataError::UnknownField`], with the fields there are.
    pub fn check(&self, metadata: &BTreeSet<String>) -> Result<(), DataError> {
        let known = || {
            FIELDS.iter().map(|field| (*field).to_owned()).chain(metadata.iter().map(|key| format!("{METADATA}{key}")))
        };
        match self.fields().find(|field| !known().any(|one| one == **field)) {
            Some(field) => Err(DataError::UnknownField { field: field.to_owned(), known: known().collect() }),
            None => Ok(()),
        }
    }

    /// A row of the data from one of the datanet.
    ///
    /// # Errors
    /// Why this row cannot be used: the metadata lacks a field, or a message is empty.
    pub fn apply(&self, row: &DatanetRow) -> Result<Row, String> {
        let fill = |parts: &[Part]| -> Result<String, String> {
            parts
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => Ok(text.as_str()),
                    Part::Field(field) => row.field(field).ok_or_else(|| format!("it has no field {{{field}}}")),
                })
                .collect()
        };
        let mut messages = Vec::new();
        if let Some(system) = &self.system {
            messages.push(Message::new(Role::System, fill(system)?));
        }
        let (user, assistant) = (fill(&self.user)?, fill(&self.assistant)?);
        for (text, role) in [(&user, "user"), (&assistant, "assistant")] {
            if text.trim().is_empty() {
                return Err(format!("the {role}'s message is empty"));
            }
        }
        messages.extend([Message::new(Role::User, user), Message::new(Role::Assistant, assistant)]);
        Ok(Row { id: row.id.clone(), line: 0, content: Content::Chat(messages) })
    }

    fn fields(&self) -> impl Iterator<Item = &str> {
        let parts = self.system.iter().flatten().chain(&self.user).chain(&self.assistant);
        parts.filter_map(|part| match part {
            Part::Field(field) => Some(field.as_str()),
            Part::Literal(_) => None,
        })
    }
}

impl DatanetRow {
    fn field(&self, name: &str) -> Option<&str> {
        match name {
            "id" => Some(&self.id),
            "title" => Some(&self.title),
            "text" => Some(&self.text),
            "contributor" => Some(&self.contributor),
            other => self.metadata.get(other.strip_prefix(METADATA)?).map(String::as_str),
        }
    }
}

impl TryFrom<RawTemplate> for RowTemplate {
    type Error = DataError;

    fn try_from(raw: RawTemplate) -> Result<Self, DataError> {
        let system = raw.system.as_deref().map(parse).transpose()?;
        let (user, assistant) = (parse(&raw.user)?, parse(&raw.assistant)?);
        let template = Self { system, user, assistant, raw };
        let unknown = template.fields().find(|field| !FIELDS.contains(field) && !field.starts_with(METADATA));
        match unknown.map(str::to_owned) {
            Some(field) => {
                let known = FIELDS.iter().map(|field| (*field).to_owned()).chain([format!("{METADATA}<key>")]);
                Err(DataError::UnknownField { field, known: known.collect() })
            }
            None if !template.assistant.iter().any(|part| matches!(part, Part::Field(_))) => {
                let reason =
                    "the assistant's message names no field, so that every row would teach the same".to_owned();
                Err(DataError::Template { template: template.raw.assistant, reason })
            }
            None => Ok(template),
        }
    }
}

impl From<RowTemplate> for RawTemplate {
    fn from(template: RowTemplate) -> Self {
        template.raw
    }
}

const FIELDS: [&str; 4] = ["id", "title", "text", "contributor"];
const METADATA: &str = "metadata.";

fn parse(template: &str) -> Result<Vec<Part>, DataError> {
    let refuse = |reason: &str| DataError::Template { template: template.to_owned(), reason: reason.to_owned() };
    let (mut parts, mut literal) = (Vec::new(), String::new());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let field = (brace == "{").then(|| rest.split_once('}')).flatten();
        let Some((field, after)) = field else {
            return Err(refuse("a brace has no partner; write {{ or }} for a brace itself"));
        };
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(Part::Field(field.trim().to_owned()));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> DatanetRow {
        let metadata = BTreeMap::from([("source".to_owned(), "FOLDOC".to_owned())]);
        DatanetRow {
            id: "7".into(),
            title: "LoRA".into(),
            text: "A {method}.".into(),
            contributor: "ada".into(),
            metadata,
        }
    }

    #[test]
    fn fields_are_filled_in_once_and_braces_can_be_written() {
        let template = r#"{"system": "By {contributor}", "user": "{{Define}}: {title} ({metadata.source})", "assistant": "{text}"}"#;
        let template: RowTemplate = serde_json::from_str(template).unwrap();
        let row = template.apply(&row()).unwrap();
        let Content::Chat(messages) = row.content else { panic!("a conversation") };
        let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(texts, ["By ada", "{Define}: LoRA (FOLDOC)", "A {method}."]);
        assert_eq!(row.id, "7");
        assert!(messages[2].learnt && !messages[1].learnt);
    }

    #[test]
    fn mistakes_are_told_with_what_is_known() {
        let error = |user, assistant| RowTemplate::new(None, user, assistant).unwrap_err().to_string();
        assert!(error("{titel}", "{text}").ends_with("they have id, title, text, contributor, metadata.<key>"));
        assert!(error("{title", "{text}").contains("no partner") && error("title}", "{text}").contains("no partner"));
        assert!(error("{title}", "yes").contains("every row would teach the same"));
        assert!(serde_json::from_str::<RowTemplate>(r#"{"user": "a", "assistant": "{text}", "tool": ""}"#).is_err());
        let template = RowTemplate::new(None, "{metadata.topic}", "{text}").unwrap();
        let known = BTreeSet::from(["source".to_owned()]);
        assert!(template.check(&known).unwrap_err().to_string().contains("contributor, metadata.source"));
        assert!(template.apply(&row()).unwrap_err().contains("{metadata.topic}"));
        let empty = DatanetRow { text: " ".into(), ..row() };
        assert!(RowTemplate::new(None, "{title}", "{text}").unwrap().apply(&empty).unwrap_err().contains("empty"));
    }
}
