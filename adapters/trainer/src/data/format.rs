//! Reads training data: OpenAI chat JSONL, sharegpt, alpaca, prompt and completion, or plain text.
//!
//! Good rows are kept and bad ones listed with their lines, so that one error in a large file is found before training
//! starts and does not hide the next. Files of JSON objects may be JSONL or one array.

use std::{collections::BTreeMap, fmt, io::BufRead};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Content, DataError, Message, Role, Row,
    records::{Layout, Record, Records},
};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{"messages": [{"role", "content", "weight"}]}`, as OpenAI's fine-tuning takes it.
    Chat,
    /// `{"conversations": [{"from", "value"}]}`.
    Sharegpt,
    /// `{"instruction", "input", "output"}`, and `system` and `history` where there are.
    Alpaca,
    /// `{"prompt", "completion"}`.
    PromptCompletion,
    /// `{"text"}`.
    Text,
    /// Not JSON: paragraphs with blank lines between them.
    Plain,
}

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Rows, good and bad; more is an error.
    pub rows: usize,
    /// Bytes of a row; a longer one is bad.
    pub record_bytes: usize,
    /// Bytes of all good rows together; more is an error.
    pub bytes: usize,
    /// Bad rows that are listed; all are counted.
    pub bad_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 1_000_000, record_bytes: 4 << 20, bytes: 1 << 30, bad_rows: 100 }
    }
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// How it was written.
    pub format: Format,
    /// Usable rows, in the order of the file.
    pub rows: Vec<Row>,
    /// Rows that are not, at most [`Limits::bad_rows`] of them.
    pub bad: Vec<BadRow>,
    /// How many are not.
    pub bad_rows: usize,
    /// Fields that have no meaning here, and how many rows have them.
    pub ignored: BTreeMap<String, usize>,
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRow {
    /// Its identity.
    pub row: String,
    /// Where it begins, from 1; 0 where there are no lines.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub reason: String,
}

/// Reads a file; its format is recognised by its first row where none is given.
///
/// # Errors
/// Where the file as a whole cannot be read; bad rows are in the result.
pub fn read(mut reader: impl BufRead, format: Option<Format>, limits: &Limits) -> Result<Dataset, DataError> {
    let first = first_byte(&mut reader)?;
    let layout = match (format, first) {
        (Some(Format::Plain), _) => Layout::Paragraphs,
        (_, Some(b'[')) => Layout::Array,
        (Some(_), _) | (None, Some(b'{')) => Layout::Lines,
        (None, _) => Layout::Paragraphs,
    };
    let mut records = Records::new(reader, layout, limits);
    let mut format = if layout == Layout::Paragraphs { Some(Format::Plain) } else { format };
    let (mut rows, mut bad, mut bad_rows, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
    let mut ignored = BTreeMap::new();
    while let Some(record) = records.next()? {
        if rows.len() + bad_rows == limits.rows {
            return Err(DataError::TooLarge { what: "rows", limit: limits.rows });
        }
        bytes += record.bytes.as_ref().map_or(0, Vec::len);
        if bytes > limits.bytes {
            return Err(DataError::TooLarge { what: "bytes", limit: limits.bytes });
        }
        let line = record.line;
        let row = format!("line {line}");
        match content(record, &mut format, limits, &mut ignored)? {
            Ok(content) => rows.push(Row { id: row, line, content }),
            Err(reason) => {
                bad_rows += 1;
                if bad.len() < limits.bad_rows {
                    bad.push(BadRow { row, line, reason });
                }
            }
        }
    }
    match (format, bad.first()) {
        (Some(format), Some(first)) if rows.is_empty() => {
            Err(DataError::NothingGood { rows: bad_rows, format, first: first.clone() })
        }
        (None, Some(first)) => Err(DataError::UnknownFormat { line: first.line, found: first.reason.clone() }),
        (Some(format), _) if !rows.is_empty() => Ok(Dataset { format, rows, bad, bad_rows, ignored }),
        _ => Err(DataError::Empty),
    }
}

/// The content of a record, or why it is bad. The first JSON object decides on the format where none was given.
fn content(
    record: Record,
    format: &mut Option<Format>,
    limits: &Limits,
    ignored: &mut BTreeMap<String, usize>,
) -> Result<Result<Content, String>, DataError> {
    let Some(bytes) = record.bytes else {
        return Ok(Err(format!("it is longer than {} bytes: shorten it", limits.record_bytes)));
    };
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(Err("it is not UTF-8: save the file in that encoding".to_owned()));
    };
    // Some editors begin files with a mark of their encoding.
    let text = text.trim_start_matches('\u{feff}');
    if *format == Some(Format::Plain) {
        return Ok(Ok(Content::Text(text.trim_end().to_owned())));
    }
    let object: Map<String, Value> = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => return Ok(Err(format!("it is not a JSON object: {}", place(&error, record.line)))),
    };
    let format = match *format {
        Some(format) => format,
        None => {
            let known = detect(&object).ok_or_else(|| DataError::UnknownFormat {
                line: record.line,
                found: format!("an object with the fields {}", names(object.keys())),
            })?;
            *format = Some(known);
            known
        }
    };
    let content = format.content(&object);
    for key in object.keys().filter(|key| content.is_ok() && !format.fields().contains(&key.as_str())) {
        *ignored.entry(key.clone()).or_default() += 1;
    }
    Ok(content)
}

impl Format {
    /// Fields that rows of this format may have.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Chat => &["messages"],
            Self::Sharegpt => &["conversations", "system"],
            Self::Alpaca => &["instruction", "input", "output", "system", "history"],
            Self::PromptCompletion => &["prompt", "completion"],
            Self::Text => &["text"],
            Self::Plain => &[],
        }
    }

    fn content(self, object: &Map<String, Value>) -> Result<Content, String> {
        // Without them the row would teach something else than it says.
        for key in ["tools", "functions", "function_call", "tool_calls"] {
            if object.get(key).is_some_and(|value| !value.is_null()) {
                return Err(format!("{key:?} cannot be trained on: leave it out"));
            }
        }
        match self {
            Self::Chat => {
                let messages = list(object, "messages")?;
                conversation(messages.iter().enumerate().map(|(i, message)| chat_message(message, i)))
            }
            Self::Sharegpt => {
                let system = optional(object, "system")?.map(|text| Ok(Message::new(Role::System, text)));
                let turns = list(object, "conversations")?;
                let turns = turns.iter().enumerate().map(|(i, turn)| sharegpt_message(turn, i));
                conversation(system.into_iter().chain(turns))
            }
            Self::Alpaca => alpaca(object),
            Self::PromptCompletion => {
                let completion = text(object, "completion")?.to_owned();
                filled(&completion, "\"completion\"")?;
                Ok(Content::Completion { prompt: text(object, "prompt")?.to_owned(), completion })
            }
            Self::Text | Self::Plain => {
                filled(text(object, "text")?, "\"text\"")?;
                Ok(Content::Text(text(object, "text")?.to_owned()))
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chat => "chat",
            Self::Sharegpt => "sharegpt",
            Self::Alpaca => "alpaca",
            Self::PromptCompletion => "prompt and completion",
            Self::Text => "text",
            Self::Plain => "plain text",
        })
    }
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.row, self.reason)
    }
}

fn detect(object: &Map<String, Value>) -> Option<Format> {
    let has = |key: &str| object.contains_key(key);
    [
        (has("messages"), Format::Chat),
        (has("conversations"), Format::Sharegpt),
        (has("instruction") && has("output"), Format::Alpaca),
        (has("prompt") && has("completion"), Format::PromptCompletion),
        (has("text"), Format::Text),
    ]
    .into_iter()
    .find_map(|(found, format)| found.then_some(format))
}

/// The first byte that is not white space or a mark of the encoding; nothing is consumed.
fn first_byte(reader: &mut impl BufRead) -> Result<Option<u8>, DataError> {
    let buffer = reader.fill_buf()?;
    if buffer.starts_with(b"\xef\xbb\xbf") {
        reader.consume(3);
    }
    let buffer = reader.fill_buf()?;
    Ok(buffer.iter().copied().find(|byte| !byte.is_ascii_whitespace()))
}

/// Messages that make sense together.
fn conversation(messages: impl Iterator<Item = Result<Message, String>>) -> Result<Content, String> {
    let messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
    let Some(last) = messages.last() else {
        return Err("it has no messages".to_owned());
    };
    if last.role != Role::Assistant {
        return Err(
            "its last message must be the assistant's: what comes after the last answer is not learnt".to_owned()
        );
    }
    if !messages.iter().any(|message| message.learnt) {
        return Err("nothing is learnt from it: the weight of every assistant message is 0".to_owned());
    }
    Ok(Content::Chat(messages))
}

/// OpenAI's: a string or text parts as content; a weight of 0 or 1 on the assistant's.
fn chat_message(value: &Value, at: usize) -> Result<Message, String> {
    let message = value.as_object().ok_or_else(|| format!("messages[{at}] is not an object"))?;
    let within = |reason: String| format!("messages[{at}]: {reason}");
    if let Some(key) = message.keys().find(|key| !["role", "content", "weight", "name"].contains(&key.as_str())) {
        return Err(within(format!("{key:?} cannot be trained on; a message has role, content and weight")));
    }
    let role = match text(message, "role").map_err(within)? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => return Err(within(format!("the role {other:?} is not system, user, assistant or tool"))),
    };
    let content = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let part =
                |part: &Value| (part["type"] == "text").then(|| part["text"].as_str().map(str::to_owned)).flatten();
            let texts: Option<Vec<String>> = parts.iter().map(part).collect();
            texts.ok_or_else(|| within("only text can be trained on, no pictures or sound".to_owned()))?.concat()
        }
        _ => return Err(within("\"content\" must be text".to_owned())),
    };
    let mut message_out = Message::new(role, content);
    match message.get("weight") {
        None | Some(Value::Null) => {}
        Some(_) if role != Role::Assistant => {
            return Err(within("only messages of the assistant have a weight".to_owned()));
        }
        Some(weight) => match weight.as_f64() {
            Some(weight) if weight == 0.0 || weight == 1.0 => message_out.learnt = weight == 1.0,
            _ => return Err(within(format!("the weight {weight} is neither 0 nor 1"))),
        },
    }
    if message_out.learnt {
        filled(&message_out.content, "\"content\"").map_err(within)?;
    }
    Ok(message_out)
}

fn sharegpt_message(value: &Value, at: usize) -> Result<Message, String> {
    let turn = value.as_object().ok_or_else(|| format!("conversations[{at}] is not an object"))?;
    let within = |reason: String| format!("conversations[{at}]: {reason}");
    let role = match text(turn, "from").map_err(within)? {
        "system" => Role::System,
        "human" | "user" => Role::User,
        "gpt" | "assistant" | "chatgpt" | "model" => Role::Assistant,
        "tool" | "observation" => Role::Tool,
        other => return Err(within(format!("\"from\" is {other:?}, not system, human, gpt or tool"))),
    };
    let content = text(turn, "value").map_err(within)?;
    if role == Role::Assistant {
        filled(content, "\"value\"").map_err(within)?;
    }
    Ok(Message::new(role, content))
}

/// The instruction and its input are one message, as the format's own prompt has them one below the other.
fn alpaca(object: &Map<String, Value>) -> Result<Content, String> {
    let instruction = text(object, "instruction")?;
    filled(instruction, "\"instruction\"")?;
    let question = match optional(object, "input")?.filter(|input| !input.is_empty()) {
        Some(input) => format!("{instruction}\n\n{input}"),
        None => instruction.to_owned(),
    };
    let output = text(object, "output")?;
    filled(output, "\"output\"")?;
    let mut messages = Vec::new();
    if let Some(system) = optional(object, "system")?.filter(|system| !system.is_empty()) {
        messages.push(Message::new(Role::System, system));
    }
    for (i, turn) in object.get("history").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let [Value::String(user), Value::String(assistant)] = turn.as_array().map_or(&[][..], Vec::as_slice) else {
            return Err(format!("history[{i}] is not a pair of texts"));
        };
        messages.extend([Message::new(Role::User, user), Message::new(Role::Assistant, assistant)]);
    }
    messages.extend([Message::new(Role::User, question), Message::new(Role::Assistant, output)]);
    Ok(Content::Chat(messages))
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{key:?} must be text, not {}", kind(other))),
        None => Err(format!("{key:?} is missing; it has {}", names(object.keys()))),
    }
}

fn optional<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, String> {
    if object.get(key).is_none_or(Value::is_null) { Ok(None) } else { text(object, key).map(Some) }
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a [Value], String> {
    match object.get(key) {
        Some(Value::Array(list)) => Ok(list),
        Some(other) => Err(format!("{key:?} must be a list, not {}", kind(other))),
        None => Err(format!("{key:?} is missing; it has {}", names(object.keys()))),
    }
}

fn filled(text: &str, what: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err(format!("{what} is empty: there is nothing to learn")) } else { Ok(()) }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn names<'a>(keys: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<String> = keys.take(12).map(|key| format!("{key:?}")).collect();
    if names.is_empty() { "no fields".to_owned() } else { names.join(", ") }
}

/// serde_json's message with the line in the file instead of that in the record.
fn place(error: &serde_json::Error, line: usize) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    format!("{reason} (line {}, column {})", line + error.line().max(1) - 1, error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Dataset, DataError> {
        read(text.as_bytes(), None, &Limits::default())
    }

    fn chat(turns: &[(Role, &str)]) -> Content {
        Content::Chat(turns.iter().map(|(role, text)| Message::new(*role, *text)).collect())
    }

    #[test]
    fn every_format_is_recognised() {
        use Role::{Assistant, System, User};
        let cases = [
            (
                r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "Q"}]}, {"role": "assistant", "content": "A", "weight": 1}]}"#,
                Format::Chat,
                chat(&[(System, "S"), (User, "Q"), (Assistant, "A")]),
            ),
            (
                "[\n {\"conversations\": [{\"from\": \"human\", \"value\": \"Q\"}, {\"from\": \"gpt\", \"value\": \"A\"}]}\n]",
                Format::Sharegpt,
                chat(&[(User, "Q"), (Assistant, "A")]),
            ),
            (
                r#"{"instruction": "I", "input": "N", "output": "A", "system": "", "history": [["q", "a"]]}"#,
                Format::Alpaca,
                chat(&[(User, "q"), (Assistant, "a"), (User, "I\n\nN"), (Assistant, "A")]),
            ),
            (
                r#"{"prompt": "P", "completion": "C"}"#,
                Format::PromptCompletion,
                Content::Completion { prompt: "P".into(), completion: "C".into() },
            ),
            (r#"{"text": "T"}"#, Format::Text, Content::Text("T".into())),
            ("\u{feff}First.\nStill first.\n\nSecond.", Format::Plain, Content::Text("First.\nStill first.".into())),
        ];
        for (text, format, content) in cases {
            let data = read_text(text).unwrap();
            assert_eq!((data.format, &data.rows[0].content, data.bad_rows), (format, &content, 0), "{text}");
        }
    }

    #[test]
    fn bad_rows_have_their_lines_and_good_ones_are_kept() {
        let good =
            r#"{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "id": 3}"#;
        let bad = [
            (r#"{"messages": [}"#, "not a JSON object"),
            (r#"{"text": "T"}"#, r#""messages" is missing; it has "text""#),
            (r#"{"messages": [{"role": "bot", "content": "A"}]}"#, r#"messages[0]: the role "bot""#),
            (r#"{"messages": [{"role": "user", "content": "Q"}]}"#, "last message must be the assistant's"),
            (r#"{"messages": [{"role": "assistant", "content": "A", "weight": 0}]}"#, "weight of every assistant"),
            (r#"{"messages": [{"role": "assistant", "content": "A", "weight": 2}]}"#, "neither 0 nor 1"),
            (r#"{"messages": [{"role": "user", "content": "A", "weight": 1}]}"#, "only messages of the assistant"),
            (r#"{"messages": [{"role": "assistant", "content": null, "tool_calls": []}]}"#, "\"tool_calls\" cannot"),
            (r#"{"messages": [{"role": "assistant", "content": " "}]}"#, "is empty"),
            (r#"{"messages": 3}"#, "must be a list, not a number"),
            (r#"{"messages": [], "tools": [1]}"#, "\"tools\" cannot be trained on"),
            ("[1]", "not a JSON object"),
        ];
        let lines: Vec<&str> = [good].into_iter().chain(bad.iter().map(|(line, _)| *line)).chain(["", good]).collect();
        let data = read_text(&lines.join("\n")).unwrap();
        assert_eq!(data.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, bad.len() + 3]);
        assert_eq!(data.bad_rows, bad.len());
        for (i, ((_, reason), found)) in bad.iter().zip(&data.bad).enumerate() {
            assert_eq!(found.line, i + 2);
            assert!(found.reason.contains(reason), "{found}");
        }
        assert_eq!(data.ignored, BTreeMap::from([("id".to_owned(), 2)]));
    }

    #[test]
    fn files_that_are_no_data_are_refused() {
        let error = |text: &str| read_text(text).unwrap_err().to_string();
        assert!(error("").contains("no rows") && error("\n \n").contains("no rows"));
        assert!(
            error("\n{\"question\": 1}").starts_with("line 2: this is none of the known formats: an object with the")
        );
        assert!(error("{oops\n").contains("line 1"));
        assert!(error("{\"prompt\": \"a\", \"completion\": \"\"}").contains("none of 1 rows is usable"));
        assert!(error("[{\"text\": \"a\"}").contains("no end"));
    }

    #[test]
    fn limits_hold() {
        let text = "{\"text\": \"abc\"}\n".repeat(5);
        let read_with = |limits| read(text.as_bytes(), None, &limits);
        let limits = Limits::default();
        assert!(read_with(Limits { rows: 5, ..limits }).is_ok());
        assert!(matches!(read_with(Limits { rows: 4, ..limits }), Err(DataError::TooLarge { what: "rows", .. })));
        assert!(matches!(read_with(Limits { bytes: 40, ..limits }), Err(DataError::TooLarge { what: "bytes", .. })));
        let bad = format!("{text}{}", "{}\n".repeat(9));
        let data = read(bad.as_bytes(), None, &Limits { bad_rows: 2, ..limits }).unwrap();
        assert_eq!((data.bad.len(), data.bad_rows), (2, 9));
        let data = read(
            format!("{text}{{\"text\": \"{}\"}}", "x".repeat(99)).as_bytes(),
            None,
            &Limits { record_bytes: 50, ..limits },
        );
        assert!(data.unwrap().bad[0].reason.contains("longer than 50 bytes"));
    }
}
