//! [`prepare`]: rows to examples, and [`Validation`]: what a person should know of the data before a run starts.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BadRow, Chat, DataError, Dataset, Question, Rendered, Renderer, Row, Segment};
use crate::Example;

/// What becomes of rows longer than [`ValidationOptions::max_length`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// Their first tokens are kept.
    #[default]
    TruncateRight,
    /// They are left out.
    Drop,
    /// Nothing starts.
    Error,
}

/// How rows are prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationOptions {
    /// Tokens of an example.
    pub max_length: usize,
    /// What becomes of longer rows.
    pub too_long: TooLong,
    /// Whether what is asked is learnt as well.
    pub train_on_prompt: bool,
    /// Rendered rows that are shown.
    pub samples: usize,
    /// Bad rows and duplicates that are listed; all are counted.
    pub listed: usize,
}

impl Default for ValidationOptions {
    fn default() -> Self {
        Self { max_length: 1024, too_long: TooLong::default(), train_on_prompt: false, samples: 3, listed: 100 }
    }
}

/// Examples, and what there is to say of them.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// To train on.
    pub train: Vec<Example>,
    /// To evaluate on.
    pub held_out: Vec<HeldOut>,
    /// What there is to say.
    pub report: Validation,
}

/// A row that is kept for evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOut {
    /// Tokens and mask.
    pub example: Example,
    /// Bytes of the text that the supervised tokens stand for.
    pub supervised_bytes: usize,
    /// The row as a question, where it asks one.
    pub question: Option<Question>,
}

/// What a person should know of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Rows there are.
    pub rows: usize,
    /// Rows that are used for training.
    pub train_rows: usize,
    /// Rows that are used for evaluation.
    pub held_out_rows: usize,
    /// Rows that cannot be used.
    pub bad_rows: usize,
    /// The first of them.
    pub bad: Vec<BadRow>,
    /// Fields of the file that have no meaning here, each with the number of rows that have it.
    pub ignored_fields: Vec<(String, usize)>,
    /// Tokens of usable rows before anything is cut.
    pub tokens: TokenCounts,
    /// Tokens that one epoch trains on, learnt or not, after cutting.
    pub train_tokens: usize,
    /// Tokens that one epoch learns.
    pub supervised_tokens: usize,
    /// Tokens that the evaluation scores.
    pub held_out_supervised_tokens: usize,
    /// Longest example.
    pub max_length: usize,
    /// What became of longer rows.
    pub too_long: TooLong,
    /// How many those were.
    pub too_long_rows: usize,
    /// Tokens that were cut off them, or dropped with them.
    pub lost_tokens: usize,
    /// Training rows that say the same as an earlier one.
    pub duplicate_rows: usize,
    /// The first of them.
    pub duplicates: Vec<Duplicate>,
    /// Held-out rows that say the same as a training row: the evaluation is too good by these.
    pub overlap_rows: usize,
    /// The first of them.
    pub overlap: Vec<Duplicate>,
    /// Rendered rows.
    pub samples: Vec<Sample>,
}

/// Tokens of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Of the shortest.
    pub min: usize,
    /// Of the middle one.
    pub median: usize,
    /// 95 of 100 have no more.
    pub p95: usize,
    /// Of the longest.
    pub max: usize,
    /// Of all.
    pub total: usize,
}

/// Two rows that say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The later one.
    pub row: String,
    /// The earlier one.
    pub of: String,
}

/// A row as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Which.
    pub row: String,
    /// Its tokens.
    pub tokens: usize,
    /// Those that are learnt.
    pub supervised_tokens: usize,
    /// Its text.
    pub segments: Vec<Segment>,
}

/// Renders, cuts and counts rows.
///
/// # Errors
/// Where nothing would be learnt, or a row is too long and that is an error. Rows that cannot be used are in the report.
pub fn prepare<C: Chat + ?Sized>(
    chat: &C,
    train: &[Row],
    held_out: &[Row],
    options: &ValidationOptions,
) -> Result<Prepared, DataError> {
    if options.max_length < 2 {
        let reason = "an example needs two tokens, one to predict the other from";
        return Err(DataError::Option { option: "max_length", value: options.max_length.to_string(), reason });
    }
    let renderer = Renderer::new(chat).learning_prompts(options.train_on_prompt);
    let mut work = Work::new(options);
    let mut seen: HashMap<[u8; 32], String> = HashMap::new();
    let mut examples = Vec::new();
    for row in train {
        let Some(rendered) = work.usable(&renderer, row)? else { continue };
        if let Some(of) = seen.get(&digest(&rendered.text)) {
            work.report.duplicate_rows += 1;
            list(&mut work.report.duplicates, options.listed, || Duplicate { row: row.id.clone(), of: of.clone() });
        } else {
            seen.insert(digest(&rendered.text), row.id.clone());
        }
        work.report.train_tokens += rendered.example.tokens.len();
        work.report.supervised_tokens += rendered.supervised_tokens();
        list(&mut work.report.samples, options.samples, || Sample {
            row: row.id.clone(),
            tokens: rendered.example.tokens.len(),
            supervised_tokens: rendered.supervised_tokens(),
            segments: rendered.segments(),
        });
        examples.push(rendered.example);
    }
    let mut kept = Vec::new();
    for row in held_out {
        let Some(rendered) = work.usable(&renderer, row)? else { continue };
        if let Some(of) = seen.get(&digest(&rendered.text)) {
            work.report.overlap_rows += 1;
            list(&mut work.report.overlap, options.listed, || Duplicate { row: row.id.clone(), of: of.clone() });
        }
        let question = match renderer.question(row) {
            Ok(question) => question,
            Err(reason) => {
                work.refuse(row, reason);
                continue;
            }
        };
        work.report.held_out_supervised_tokens += rendered.supervised_tokens();
        kept.push(HeldOut { supervised_bytes: rendered.supervised_bytes(), question, example: rendered.example });
    }
    let mut report = work.finish()?;
    report.rows = train.len() + held_out.len();
    (report.train_rows, report.held_out_rows) = (examples.len(), kept.len());
    // Rows to evaluate on may come alone.
    let learnt = if train.is_empty() { report.held_out_supervised_tokens } else { report.supervised_tokens };
    if learnt == 0 {
        return Err(match report.bad.first() {
            Some(first) if examples.is_empty() => DataError::NothingUsable { rows: report.rows, first: first.clone() },
            _ => DataError::NothingSupervised { rows: report.train_rows },
        });
    }
    Ok(Prepared { train: examples, held_out: kept, report })
}

impl Validation {
    /// Adds what was found wrong when the file was read.
    #[must_use]
    pub fn after_reading(mut self, data: &Dataset) -> Self {
        self.rows += data.bad_rows;
        self.bad_rows += data.bad_rows;
        let room = data.bad.len().max(self.bad.len());
        self.bad.extend(data.bad.iter().cloned());
        self.bad.sort_by_key(|bad| bad.line);
        self.bad.truncate(room);
        self.ignored_fields.extend(data.ignored.iter().map(|(field, rows)| (field.clone(), *rows)));
        self
    }
}

/// What is gathered while rows go by.
struct Work<'a> {
    options: &'a ValidationOptions,
    lengths: Vec<usize>,
    /// The first row that is too long.
    long: Option<String>,
    report: Validation,
}

impl<'a> Work<'a> {
    fn new(options: &'a ValidationOptions) -> Self {
        let report = Validation {
            rows: 0,
            train_rows: 0,
            held_out_rows: 0,
            bad_rows: 0,
            bad: Vec::new(),
            ignored_fields: Vec::new(),
            tokens: TokenCounts::default(),
            train_tokens: 0,
            supervised_tokens: 0,
            held_out_supervised_tokens: 0,
            max_length: options.max_length,
            too_long: options.too_long,
            too_long_rows: 0,
            lost_tokens: 0,
            duplicate_rows: 0,
            duplicates: Vec::new(),
            overlap_rows: 0,
            overlap: Vec::new(),
            samples: Vec::new(),
        };
        Self { options, lengths: Vec::new(), long: None, report }
    }

    /// The row at its final length; none where it is bad or dropped.
    fn usable<C: Chat + ?Sized>(
        &mut self,
        renderer: &Renderer<'_, C>,
        row: &Row,
    ) -> Result<Option<Rendered>, DataError> {
        let mut rendered = match renderer.render(row) {
            Ok(rendered) => rendered,
            Err(reason) => {
                self.refuse(row, reason);
                return Ok(None);
            }
        };
        if rendered.supervised_tokens() == 0 {
            self.refuse(row, "none of its tokens is learnt".to_owned());
            return Ok(None);
        }
        let (length, most) = (rendered.example.tokens.len(), self.options.max_length);
        self.lengths.push(length);
        if length > most {
            self.report.too_long_rows += 1;
            self.long.get_or_insert_with(|| row.id.clone());
            if self.options.too_long != TooLong::TruncateRight {
                self.report.lost_tokens += length;
                return Ok(None);
            }
            self.report.lost_tokens += length - most;
            rendered.truncate(most);
            if rendered.supervised_tokens() == 0 {
                let reason = format!("all that would be learnt lies beyond its first {most} tokens: raise max_length");
                self.refuse(row, reason);
                return Ok(None);
            }
        }
        Ok(Some(rendered))
    }

    fn refuse(&mut self, row: &Row, reason: String) {
        self.report.bad_rows += 1;
        list(&mut self.report.bad, self.options.listed, || BadRow { row: row.id.clone(), line: row.line, reason });
    }

    fn finish(mut self) -> Result<Validation, DataError> {
        if let (TooLong::Error, Some(first)) = (self.options.too_long, self.long) {
            let (count, max_length) = (self.report.too_long_rows, self.options.max_length);
            return Err(DataError::TooLong { count, max_length, first });
        }
        self.report.tokens = TokenCounts::new(self.lengths);
        Ok(self.report)
    }
}

impl TokenCounts {
    fn new(mut lengths: Vec<usize>) -> Self {
        lengths.sort_unstable();
        let [Some(min), Some(max)] = [lengths.first(), lengths.last()] else { return Self::default() };
        // The nearest rank: the smallest length that this share of the rows does not exceed.
        let rank = |share: usize| lengths[(lengths.len() * share).div_ceil(100).max(1) - 1];
        Self { min: *min, median: rank(50), p95: rank(95), max: *max, total: lengths.iter().sum() }
    }
}

fn list<T>(all: &mut Vec<T>, most: usize, one: impl FnOnce() -> T) {
    if all.len() < most {
        all.push(one());
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
