//! Datapoints: as a file offers them ([`Draft`]), as they are stored ([`Datapoint`]), and what lies between.
//!
//! [`Draft::check`] is the one place where a draft is validated and completed with the ingest's defaults.

use cairn_filter::{Fields, Plain};
use cairn_proof::commitment::Salt;
use cairn_proof::datapoint::DatapointFields;
use cairn_proof::{Commitment, Hash};
use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{DatanetName, DatapointId};

/// A datapoint as a file offers it, before defaults and checks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// Line of the file where it begins, from 1, for messages. Not stored.
    pub line: u64,
    /// Its id; none: derived from title and text.
    pub id: Option<String>,
    /// Its text.
    pub text: String,
    /// Who contributed it.
    pub contributor: Option<String>,
    /// When: a date (`1994-11-08`) or RFC 3339.
    pub contributed_at: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// Its licence.
    pub licence: Option<String>,
    /// Free metadata. `title` or `headword`, `aliases` and `headings` are searched as its title.
    pub metadata: Map<String, Value>,
}

/// What to assume of datapoints that do not say it themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestDefaults {
    /// Contributor. Every datapoint needs one, from here or from the file.
    pub contributor: Option<String>,
    /// Date (`1994-11-08`) or RFC 3339; none: the moment of the ingest.
    pub contributed_at: Option<String>,
    /// Source.
    pub source: Option<String>,
    /// Licence; none: empty, which says that none was stated.
    pub licence: Option<String>,
}

/// A datapoint as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Datapoint {
    /// The datanet it belongs to.
    pub datanet: DatanetName,
    /// Its id there.
    pub id: DatapointId,
    /// Its place there, from 0: also its index in the datanet's tree.
    pub seq: u64,
    /// Its text.
    pub text: String,
    /// Who contributed it.
    pub contributor: String,
    /// When: a date or RFC 3339, as it was given.
    pub contributed_at: String,
    /// Where it came from.
    pub source: Option<String>,
    /// Its licence; empty where none was stated.
    pub licence: String,
    /// Free metadata: a JSON object.
    pub metadata: Value,
    /// SHA-256 of the text's UTF-8 bytes.
    pub content_hash: Hash,
    /// Leaf hash of its commitment.
    pub leaf: Hash,
}

impl Fields for Datapoint {
    fn text(&self, field: Plain) -> Option<&str> {
        match field {
            Plain::Id => Some(self.id.as_str()),
            Plain::Contributor => Some(&self.contributor),
            Plain::ContributedAt => Some(&self.contributed_at),
            Plain::Licence => Some(&self.licence),
            Plain::Source => self.source.as_deref(),
        }
    }

    fn metadata(&self) -> &serde_json::Value {
        &self.metadata
    }
}

impl Datapoint {
    /// What it is called, if its metadata say so: for display.
    pub fn title(&self) -> Option<&str> {
        self.metadata.as_object().and_then(title)
    }

    /// Its text, led by the title unless it begins with it anyway: as it is embedded.
    pub(crate) fn titled(&self) -> String {
        titled(self.title().unwrap_or_default(), &self.text)
    }

    /// The fields that its commitment binds.
    pub fn fields(&self) -> DatapointFields {
        DatapointFields {
            datanet: self.datanet.to_string(),
            id: self.id.to_string(),
            seq: self.seq,
            contributor: self.contributor.clone(),
            contributed_at: self.contributed_at.clone(),
            source: self.source.clone(),
            licence: self.licence.clone(),
            metadata: self.metadata.clone(),
            text: self.text.clone(),
        }
    }
}

/// A datapoint with its salt: whoever has both can open its commitment, so this leaves the server only in a bundle.
#[derive(Clone)]
pub struct SaltedDatapoint {
    /// The datapoint.
    pub datapoint: Datapoint,
    /// The salt of its commitment.
    pub salt: Salt,
    /// Its commitment, where the datapoint was erased; then all that the commitment hides is empty, the salt too.
    pub erased: Option<Commitment>,
}

/// A draft that passed every check: all that is missing is its vector, its place and its salt.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    /// Where it stands in its input, from 1.
    pub(crate) line: u64,
    pub(crate) id: DatapointId,
    /// Title and aliases, for the full-text search; empty if it has none.
    pub(crate) titles: String,
    pub(crate) text: String,
    pub(crate) contributor: String,
    pub(crate) contributed_at: String,
    pub(crate) source: Option<String>,
    pub(crate) licence: String,
    pub(crate) metadata: Value,
    pub(crate) content_hash: [u8; 32],
}

impl Checked {
    /// What is embedded: the text, led by the title unless it begins with it anyway.
    pub(crate) fn embedded_text(&self) -> String {
        titled(self.metadata.as_object().and_then(title).unwrap_or_default(), &self.text)
    }
}

impl Draft {
    /// Checks and completes the draft; `now` (RFC 3339) dates it if nothing else does. An error says how to mend it.
    pub(crate) fn check(self, defaults: &IngestDefaults, now: &str) -> Result<Checked, String> {
        let given = |own: Option<String>, default: &Option<String>| {
            own.filter(|v| !v.trim().is_empty()).or_else(|| default.clone().filter(|v| !v.trim().is_empty()))
        };
        if self.text.trim().is_empty() {
            return Err("the text is empty: give it at least one word, or remove the datapoint".to_owned());
        }
        let Some(contributor) = given(self.contributor, &defaults.contributor) else {
            return Err("it has no contributor: name one in the file, or a default for the ingest".to_owned());
        };
        if contributor.contains('\0') {
            return Err("contributor has the character NUL (U+0000) in it: take it out".to_owned());
        }
        let contributed_at = given(self.contributed_at, &defaults.contributed_at).unwrap_or_else(|| now.to_owned());
        if !is_date(&contributed_at) {
            return Err(format!("contributed_at is {contributed_at:?}: write 1994-11-08 or 1994-11-08T12:00:00Z"));
        }
        let source = given(self.source, &defaults.source);
        let licence = given(self.licence, &defaults.licence).unwrap_or_default();
        for (name, value) in [("contributor", &contributor), ("licence", &licence)] {
            within(name, value.len(), MAX_FIELD_BYTES)?;
        }
        within("source", source.as_ref().map_or(0, String::len), MAX_FIELD_BYTES)?;
        within("metadata", Value::Object(self.metadata.clone()).to_string().len(), MAX_METADATA_BYTES)?;
        exact_numbers(&self.metadata)?;

        let content_hash: [u8; 32] = Sha256::digest(self.text.as_bytes()).into();
        let id = match self.id.filter(|id| !id.is_empty()) {
            Some(id) => DatapointId::try_from(id).map_err(|error| error.to_string())?,
            None => DatapointId::derived(title(&self.metadata), &content_hash),
        };
        Ok(Checked {
            line: self.line,
            id,
            titles: titles(&self.metadata),
            text: self.text,
            contributor,
            contributed_at,
            source,
            licence,
            metadata: Value::Object(self.metadata),
            content_hash,
        })
    }
}

fn titled(title: &str, text: &str) -> String {
    if title.is_empty() || text.starts_with(title) { text.to_owned() } else { format!("{title}\n\n{text}") }
}

/// `title`, else `headword`, else the innermost of `headings`.
fn title(metadata: &Map<String, Value>) -> Option<&str> {
    let named = ["title", "headword"].iter().find_map(|key| metadata.get(*key).and_then(Value::as_str));
    named.or_else(|| metadata.get("headings")?.as_array()?.last()?.as_str()).filter(|title| !title.is_empty())
}

/// Title and `aliases`, a line each.
fn titles(metadata: &Map<String, Value>) -> String {
    let aliases = metadata.get("aliases").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    title(metadata).into_iter().chain(aliases).collect::<Vec<_>>().join("\n")
}

fn is_date(text: &str) -> bool {
    let date = text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok();
    date || DateTime::parse_from_rfc3339(text).is_ok()
}

fn within(name: &str, bytes: usize, most: usize) -> Result<(), String> {
    if bytes > most {
        return Err(format!("{name} is {bytes} bytes long: shorten it to {most}"));
    }
    Ok(())
}

/// Canonical JSON (RFC 8785) rounds integers beyond 2^53 silently, so two different datapoints would commit alike.
fn exact_numbers(metadata: &Map<String, Value>) -> Result<(), String> {
    fn exact(value: &Value) -> bool {
        match value {
            Value::Number(n) if n.is_f64() => true,
            Value::Number(n) => n.as_i64().is_some_and(|n| n.unsigned_abs() <= 1 << 53),
            Value::Array(items) => items.iter().all(exact),
            Value::Object(fields) => fields.values().all(exact),
            _ => true,
        }
    }
    match metadata.iter().find(|(_, value)| !exact(value)) {
        Some((key, _)) => Err(format!("metadata.{key} has an integer beyond 2^53: write it as a string")),
        None => Ok(()),
    }
}

/// Most bytes of a contributor, a source or a licence.
const MAX_FIELD_BYTES: usize = 2_000;
/// Most bytes of the metadata as JSON.
const MAX_METADATA_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn draft(text: &str) -> Draft {
        Draft { text: text.to_owned(), ..Draft::default() }
    }

    fn defaults() -> IngestDefaults {
        IngestDefaults { contributor: Some("ada".to_owned()), ..IngestDefaults::default() }
    }

    #[test]
    fn a_missing_contributor_is_named() {
        let error = draft("x").check(&IngestDefaults::default(), "2024-01-01T00:00:00Z").unwrap_err();
        assert!(error.contains("contributor"), "{error}");
    }

    #[test]
    fn defaults_fill_what_the_file_leaves_open() {
        let own = Draft { contributor: Some("grace".to_owned()), ..draft("x") };
        assert_eq!(own.check(&defaults(), "2024-01-01T00:00:00Z").unwrap().contributor, "grace");
        let checked = draft("x").check(&defaults(), "2024-01-01T00:00:00Z").unwrap();
        assert_eq!((checked.contributor.as_str(), checked.contributed_at.as_str()), ("ada", "2024-01-01T00:00:00Z"));
    }

    #[test]
    fn dates_are_checked_and_kept_as_written() {
        for good in ["1994-11-08", "2024-05-01T10:00:00+02:00"] {
            let draft = Draft { contributed_at: Some(good.to_owned()), ..draft("x") };
            assert_eq!(draft.check(&defaults(), "").unwrap().contributed_at, good);
        }
        for bad in ["1994-13-01", "yesterday", "1994", "94-11-08  "] {
            let draft = Draft { contributed_at: Some(bad.to_owned()), ..draft("x") };
            assert!(draft.check(&defaults(), "").is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn integers_that_canonical_json_would_round_are_refused() {
        let mut wide = draft("x");
        wide.metadata.insert("n".to_owned(), json!([{"deep": 9_007_199_254_740_993_u64}]));
        assert!(wide.check(&defaults(), "2024-01-01").unwrap_err().contains("2^53"));
    }

    #[test]
    fn the_title_leads_the_embedded_text_once() {
        let mut entry = draft("B-tree\n\nA multi-way balanced tree.");
        entry.metadata.insert("headword".to_owned(), json!("B-tree"));
        entry.metadata.insert("aliases".to_owned(), json!(["Bayer tree"]));
        let checked = entry.check(&defaults(), "2024-01-01").unwrap();
        assert_eq!(checked.embedded_text(), checked.text);
        assert_eq!(checked.titles, "B-tree\nBayer tree");

        let mut passage = draft("It splits.");
        passage.metadata.insert("headings".to_owned(), json!(["Trees", "Insertion"]));
        assert_eq!(passage.check(&defaults(), "2024-01-01").unwrap().embedded_text(), "Insertion\n\nIt splits.");
    }
}
