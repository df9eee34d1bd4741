//! CSV: a header row, then a datapoint a row.
//!
//! [`Columns`] says which column is which field; the text's is required, and `metadata` holds a JSON object. Every other column
//! becomes metadata, as a string. Empty cells count as absent.

use std::fs::File;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, StringRecordsIntoIter, Trim};
use serde_json::{Map, Value};

use super::columns::{Columns, Field};
use super::jsonl::metadata_object;
use super::{ReadError, ReadLimits, open};
use crate::Draft;

/// Reads a CSV file; fails at once if its header row cannot be used.
pub fn csv(path: &Path, mapping: &Columns, limits: &ReadLimits) -> Result<Csv, ReadError> {
    let malformed = |reason| ReadError::Malformed { path: path.to_owned(), line: 1, reason };
    let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(open(path)?);
    let headers = reader.headers().map_err(|source| csv_error(path, 1, source))?;
    let columns: Vec<String> = headers.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    for (at, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(malformed(format!("column {} has no name: name it in the header row", at + 1)));
        }
        if columns[..at].contains(name) {
            return Err(malformed(format!("column `{name}` stands twice: rename one")));
        }
    }
    mapping.check(&columns).map_err(malformed)?;
    let columns = columns.into_iter().map(|name| (mapping.field(&name), name)).collect();
    let most = limits.datapoint_bytes;
    Ok(Csv { path: path.to_owned(), columns, records: reader.into_records(), most, ended: false })
}

/// The drafts of a CSV file.
pub struct Csv {
    path: PathBuf,
    /// Each column's field and name.
    columns: Vec<(Option<Field>, String)>,
    records: StringRecordsIntoIter<File>,
    most: usize,
    ended: bool,
}

impl Csv {
    fn draft(&self, record: &StringRecord, line: u64) -> Result<Draft, ReadError> {
        let mut draft = Draft { line, ..Draft::default() };
        let mut metadata = Map::new();
        for ((field, column), cell) in self.columns.iter().zip(record) {
            if cell.is_empty() {
                continue;
            }
            let value = cell.to_owned();
            match field {
                Some(Field::Metadata) => {
                    let object = metadata_object(&value);
                    metadata.extend(object.map_err(|source| ReadError::Json {
                        path: self.path.clone(),
                        line,
                        source,
                    })?);
                }
                Some(field) => field.fill(&mut draft, value),
                None => {
                    metadata.insert(column.clone(), Value::String(value));
                }
            }
        }
        if draft.text.len() > self.most {
            return Err(ReadError::TooLarge { path: self.path.clone(), line, most: self.most });
        }
        draft.metadata = metadata;
        Ok(draft)
    }
}

impl Iterator for Csv {
    type Item = Result<Draft, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.records.reader().position().line();
        match self.records.next()? {
            Ok(record) => {
                let line = record.position().map_or(line, csv::Position::line);
                Some(self.draft(&record, line))
            }
            Err(source) => {
                self.ended = source.is_io_error();
                Some(Err(csv_error(&self.path, line, source)))
            }
        }
    }
}

fn csv_error(path: &Path, line: u64, source: csv::Error) -> ReadError {
    let path = path.to_owned();
    let line = source.position().map_or(line, csv::Position::line);
    match source.kind() {
        csv::ErrorKind::Utf8 { err, .. } => ReadError::NotUtf8 { path, line, byte: err.valid_up_to() },
        _ => ReadError::Csv { path, line, source },
    }
}
