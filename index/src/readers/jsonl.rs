//! JSON Lines: one object a line; blank lines are skipped.
//!
//! | key | type | |
//! | --- | --- | --- |
//! | `text` | string | required |
//! | `id` | string | unique in the datanet; derived from title and text if absent |
//! | `contributor` | string | required here or as a default of the ingest |
//! | `contributed_at` | string | a date or RFC 3339 |
//! | `source`, `licence` | string | |
//! | `metadata` | object | free |
//!
//! [`rows`] reads the rows of any table instead: [`Columns`] says which key is which field, and every other key becomes metadata.
//! Otherwise an unknown key is an error, for a misspelt `contributer` would otherwise lose an attribution silently; so is a key
//! that stands twice, which most JSON parsers resolve silently and differently.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::columns::{Columns, Field};
use super::{ReadError, ReadLimits, open};
use crate::Draft;

/// Reads a JSON Lines file.
pub fn jsonl(path: &Path, limits: &ReadLimits) -> Result<Jsonl, ReadError> {
    let reader = BufReader::with_capacity(1 << 16, open(path)?);
    Ok(Jsonl { path: path.to_owned(), reader, columns: None, line: 0, most: limits.datapoint_bytes, ended: false })
}

/// Reads a JSON Lines file whose keys are the columns of a table.
pub fn rows(path: &Path, columns: &Columns, limits: &ReadLimits) -> Result<Jsonl, ReadError> {
    Ok(Jsonl { columns: Some(columns.clone()), ..jsonl(path, limits)? })
}

/// The drafts of a JSON Lines file.
#[derive(Debug)]
pub struct Jsonl {
    path: PathBuf,
    reader: BufReader<File>,
    /// Which key is which field; none: each has its own name, and there are no others.
    columns: Option<Columns>,
    line: u64,
    most: usize,
    ended: bool,
}

impl Jsonl {
    /// The next line without its end; none at the end of the file.
    fn read_line(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let failed = |source| ReadError::Read { path: self.path.clone(), line: self.line + 1, source };
        // JSON escapes a control character as six bytes, so a text within the limit may take six times as many.
        let longest = self.most * 6 + 64 * 1024;
        let mut bytes = Vec::new();
        (&mut self.reader).take(longest as u64 + 1).read_until(b'\n', &mut bytes).map_err(failed)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        if bytes.len() > longest {
            self.reader.skip_until(b'\n').map_err(|source| self.read_error(source))?;
            return Err(ReadError::TooLarge { path: self.path.clone(), line: self.line, most: self.most });
        }
        Ok(Some(bytes))
    }

    fn read_error(&self, source: std::io::Error) -> ReadError {
        ReadError::Read { path: self.path.clone(), line: self.line, source }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Draft, ReadError> {
        let (path, line) = (&self.path, self.line);
        let text = std::str::from_utf8(bytes).map_err(|e| ReadError::NotUtf8 {
            path: path.clone(),
            line,
            byte: e.valid_up_to(),
        })?;
        let json = |source| ReadError::Json { path: path.clone(), line, source };
        let draft = match &self.columns {
            None => serde_json::from_str::<Line>(text).map_err(json)?.draft(line),
            Some(columns) => {
                let row = metadata_object(text).map_err(json)?;
                let malformed = |reason| ReadError::Malformed { path: path.clone(), line, reason };
                row_draft(row, columns, line).map_err(malformed)?
            }
        };
        if draft.text.len() > self.most {
            return Err(ReadError::TooLarge { path: path.clone(), line, most: self.most });
        }
        Ok(draft)
    }
}

impl Iterator for Jsonl {
    type Item = Result<Draft, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read_line() {
                Ok(None) => self.ended = true,
                Ok(Some(bytes)) if bytes.iter().all(u8::is_ascii_whitespace) => {}
                Ok(Some(bytes)) => {
                    // A byte order mark is no part of the first object.
                    let object = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.line == 1).unwrap_or(&bytes);
                    return Some(self.parse(object));
                }
                Err(error) => {
                    self.ended = matches!(error, ReadError::Read { .. });
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    text: String,
    contributor: Option<String>,
    contributed_at: Option<String>,
    source: Option<String>,
    licence: Option<String>,
    #[serde(default, deserialize_with = "metadata")]
    metadata: Option<Map<String, Value>>,
}

impl Line {
    fn draft(self, line: u64) -> Draft {
        Draft {
            line,
            id: self.id,
            text: self.text,
            contributor: self.contributor,
            contributed_at: self.contributed_at,
            source: self.source,
            licence: self.licence,
            metadata: self.metadata.unwrap_or_default(),
        }
    }
}

/// A row of a table. Numbers may stand where a string is expected, as an id does; what is null is absent.
fn row_draft(row: Map<String, Value>, columns: &Columns, line: u64) -> Result<Draft, String> {
    columns.check(row.keys())?;
    let mut draft = Draft { line, ..Draft::default() };
    for (name, value) in row {
        match (columns.field(&name), value) {
            (_, Value::Null) => {}
            (None, value) => {
                draft.metadata.insert(name, value);
            }
            (Some(Field::Metadata), Value::Object(object)) => draft.metadata.extend(object),
            (Some(Field::Metadata), _) => return Err(format!("`{name}` must be an object")),
            (Some(field), Value::String(value)) => field.fill(&mut draft, value),
            (Some(field), Value::Number(value)) => field.fill(&mut draft, value.to_string()),
            (Some(_), _) => return Err(format!("`{name}` must be a string")),
        }
    }
    Ok(draft)
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Map<String, Value>>, D::Error> {
    match UniqueKeys.deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Object(map) => Ok(Some(map)),
        _ => Err(D::Error::custom("metadata must be an object")),
    }
}

/// Reads metadata that stand in a string, as in a CSV cell, under the same rules.
pub(super) fn metadata_object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = metadata(&mut deserializer)?.unwrap_or_default();
    deserializer.end()?;
    Ok(read)
}

/// Deserialises any JSON value, refusing objects in which a key stands twice.
#[derive(Clone, Copy)]
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            read.push(item);
        }
        Ok(Value::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(self)?;
            if read.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
        }
        Ok(Value::Object(read))
    }
}
