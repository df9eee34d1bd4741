//! The data of a job: read, rendered with the base's own template, split, checked.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    ops::Range,
    path::Path,
};

use cairn_adapters::{ChatMessage, Role as ChatRole};
use cairn_lane::Dialogue;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{JobError, Source, Spec, files::failed};
use crate::data::{
    self, Chat, Content, DatanetRow, Dataset, Limits, Message, Prepared, Role, Row, RowTemplate, Split, SplitOptions,
    ValidationOptions,
};

/// A datapoint as it is given to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Its datanet and id, as `datanet/id`.
    pub id: String,
    /// Hash of its leaf in the datanet's tree, hex.
    pub leaf: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// Who gave it.
    pub contributor: String,
    /// Fields of its metadata, as text.
    pub metadata: BTreeMap<String, String>,
}

/// A row that a job learns from or is evaluated on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedRow {
    /// Its identity: `datanet/id`, `line <n>` of a file, or `validation line <n>` of the one to evaluate on.
    pub row: String,
    /// Of a datapoint the hash of its leaf, of a line the SHA-256 of what it says; hex.
    pub leaf: String,
    /// Whether it was held out for evaluation.
    pub held_out: bool,
}

/// What is ready to be trained on.
pub struct Ready {
    /// Examples and what was found.
    pub prepared: Prepared,
    /// Which rows they are.
    pub rows: Vec<UsedRow>,
}

/// Reads, splits and checks the data of a job.
///
/// # Errors
/// The data cannot be used; which lines, and why.
pub fn prepare(spec: &Spec) -> Result<Ready, JobError> {
    let chat = Chatting(Dialogue::load(&spec.serving)?);
    let (dataset, mut leaves) = load(&spec.source)?;
    let (train, held_out) = match &spec.validation {
        Some(path) => {
            let read = read_file(path).map_err(|error| match error {
                JobError::Data(error) => JobError::Validation(error),
                error => error,
            });
            let mut other = read?.rows;
            // Both files have a line 1.
            for row in &mut other {
                row.id = format!("validation {}", row.id);
            }
            leaves.extend(hashed(&other));
            (dataset.rows.clone(), other)
        }
        None => split(&dataset.rows, spec)?,
    };
    let options = ValidationOptions {
        max_length: spec.options.max_length,
        too_long: spec.options.too_long,
        train_on_prompt: spec.options.train_on_prompt,
        samples: SAMPLES,
        listed: LISTED,
    };
    let mut prepared = data::prepare(&chat, &train, &held_out, &options)?;
    prepared.report = prepared.report.after_reading(&dataset);
    let used = |row: &str, held_out| UsedRow {
        row: row.to_owned(),
        leaf: leaves.get(row).cloned().unwrap_or_default(),
        held_out,
    };
    let learnt = prepared.train.iter().map(|example| used(&example.row, false));
    let kept = prepared.held_out.iter().map(|held| used(&held.example.row, true));
    let rows = learnt.chain(kept).collect();
    Ok(Ready { prepared, rows })
}

fn split(rows: &[Row], spec: &Spec) -> Result<(Vec<Row>, Vec<Row>), JobError> {
    if spec.held_out == 0.0 {
        return Ok((rows.to_vec(), Vec::new()));
    }
    if spec.held_out == 1.0 {
        return Ok((Vec::new(), rows.to_vec()));
    }
    let options = SplitOptions { validation: spec.held_out, seed: spec.options.seed };
    let split = Split::new(rows.iter().map(|row| row.id.as_str()), options)?;
    let take = |which: &[usize]| which.iter().map(|at| rows[*at].clone()).collect();
    Ok((take(&split.train), take(&split.validation)))
}

fn load(source: &Source) -> Result<(Dataset, BTreeMap<String, String>), JobError> {
    match source {
        Source::File { path } => {
            let dataset = read_file(path)?;
            let leaves = hashed(&dataset.rows);
            Ok((dataset, leaves))
        }
        Source::Rows { path, template } => exported(path, template),
    }
}

fn read_file(path: &Path) -> Result<Dataset, JobError> {
    let file = File::open(path).map_err(|error| failed(path, error))?;
    Ok(data::read(BufReader::new(file), None, &Limits::default())?)
}

fn exported(path: &Path, template: &RowTemplate) -> Result<(Dataset, BTreeMap<String, String>), JobError> {
    let file = BufReader::new(File::open(path).map_err(|error| failed(path, error))?);
    let (mut rows, mut leaves, mut bad, mut bad_rows) = (Vec::new(), BTreeMap::new(), Vec::new(), 0);
    for line in file.lines() {
        let line = line.map_err(|error| failed(path, error))?;
        let Exported { id, leaf, title, text, contributor, metadata } =
            serde_json::from_str(&line).map_err(|error| failed(path, error))?;
        leaves.insert(id.clone(), leaf);
        match template.apply(&DatanetRow { id: id.clone(), title, text, contributor, metadata }) {
            Ok(row) => rows.push(row),
            Err(reason) => {
                bad_rows += 1;
                if bad.len() < LISTED {
                    bad.push(data::BadRow { row: id, line: 0, reason });
                }
            }
        }
    }
    if let (true, Some(first)) = (rows.is_empty(), bad.first()) {
        return Err(data::DataError::NothingUsable { rows: bad_rows, first: first.clone() }.into());
    }
    let dataset = Dataset { format: data::Format::Chat, rows, bad, bad_rows, ignored: BTreeMap::new() };
    Ok((dataset, leaves))
}

/// SHA-256 of the canonical JSON of what each row says, as docs/log-format.md has it.
fn hashed(rows: &[Row]) -> BTreeMap<String, String> {
    let hash = |row: &Row| {
        let said = match &row.content {
            // Names in order and no numbers: so this is canonical JSON (RFC 8785).
            Content::Chat(messages) => messages
                .iter()
                .map(|message| json!({"content": message.content, "role": message.role}))
                .collect::<Value>(),
            Content::Completion { prompt, completion } => json!({"completion": completion, "prompt": prompt}),
            Content::Text(text) => json!({"text": text}),
        };
        let digest = Sha256::digest(said.to_string());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    rows.iter().map(|row| (row.id.clone(), hash(row))).collect()
}

/// Rendered rows that are shown before training.
const SAMPLES: usize = 3;
/// Bad rows and duplicates that are listed.
const LISTED: usize = 50;

/// The lane's template and tokenizer: what is trained is what will be served.
pub struct Chatting(pub Dialogue);

impl Chat for Chatting {
    fn has_template(&self) -> bool {
        self.0.has_template()
    }

    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, String> {
        let messages: Vec<ChatMessage> = messages
            .iter()
            .map(|message| {
                let role = match message.role {
                    Role::System => ChatRole::System,
                    Role::User => ChatRole::User,
                    Role::Assistant => ChatRole::Assistant,
                    Role::Tool => ChatRole::Tool,
                };
                ChatMessage::new(role, message.content.clone())
            })
            .collect();
        self.0.render(&messages, add_generation_prompt)
    }

    fn encode(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, String> {
        self.0.encode(text)
    }

    fn text_ends(&self) -> [&str; 2] {
        ["", self.0.special("eos_token").unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_hashed_as_the_format_says() {
        // Each is what sha256sum prints of the canonical JSON that docs/log-format.md describes.
        let chat = vec![Message::new(Role::User, "What?"), Message::new(Role::Assistant, "A \"café\".")];
        let cases = [
            (Content::Chat(chat), "e88ee306c786e48fdd2ed52d146269b28a420a6c1e6dcfd4f515ed2f8da8f269"),
            (
                Content::Completion { prompt: "a".into(), completion: "b".into() },
                "1ea9cdbbe8027a633a05cc56b3cceb9d3e8115d7a55b3ed5c90fa61988190ba0",
            ),
            (Content::Text("t".into()), "0930d8acd47c6f051d2618887ab3be22919129acbc3b6b0525d9cb3e6014a5de"),
        ];
        for (content, expected) in cases {
            let row = Row { id: "line 1".into(), line: 1, content };
            assert_eq!(hashed(&[row])["line 1"], expected);
        }
    }
}
