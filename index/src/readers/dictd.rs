//! dictd dictionaries, the format of the Debian packages dict-foldoc, dict-jargon and their like.
//!
//! `NAME.index` has a line for every headword: `headword TAB offset TAB length`, the numbers in base 64 (RFC 4648's
//! digits, most significant first). `NAME.dict`, or gzipped `NAME.dict.dz`, holds the entries at these offsets. Several
//! headwords may point to one entry; that is one datapoint with aliases. Entries named `00-database-…` describe the
//! dictionary and become its [`DictionaryInfo`]; the first line of its short name is every draft's source.
//!
//! The Free On-line Dictionary of Computing has two conventions that are understood too: an entry's first paragraph opens
//! with `<category>`, and its last line is its date, `(1994-11-08)`. Lines that were wrapped at 70 columns are joined and
//! cross-references lose their braces: a passage is read by people and models, not by a dictd client.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};

use super::{ReadError, ReadLimits, open, read_whole};
use crate::Draft;

/// Reads a dictionary: its `.index` and its `.dict` or `.dict.dz` file.
pub fn dictd(index: &Path, dict: &Path, limits: &ReadLimits) -> Result<Dictd, ReadError> {
    let packed = dict.extension().is_some_and(|extension| extension == "dz" || extension == "gz");
    let file = BufReader::new(open(dict)?);
    let text = match packed {
        true => read_whole(MultiGzDecoder::new(file), dict, limits.file_bytes)?,
        false => read_whole(file, dict, limits.file_bytes)?,
    };
    let mut reader = Dictd {
        index: index.to_owned(),
        most: limits.datapoint_bytes,
        text,
        info: DictionaryInfo::default(),
        entries: Vec::new().into_iter(),
    };
    let (about, entries): (Vec<_>, Vec<_>) = read_index(open(index)?, index)?
        .into_iter()
        .partition(|(_, entry)| entry.headwords.iter().any(|word| word.starts_with("00-database")));
    for (place, entry) in about {
        let text = reader.entry_text(place, entry.line)?;
        let value = text.split_once('\n').map_or("", |(_, rest)| rest.trim()).to_owned();
        for headword in &entry.headwords {
            match headword.as_str() {
                "00-database-short" => reader.info.short = value.lines().next().unwrap_or_default().trim().to_owned(),
                "00-database-url" => reader.info.url = value.clone(),
                "00-database-info" => reader.info.info = value.clone(),
                _ => {}
            }
        }
    }
    reader.entries = entries.into_iter();
    Ok(reader)
}

/// What a dictionary says of itself; empty where it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DictionaryInfo {
    /// Its name and edition, a line.
    pub short: String,
    /// Where it comes from.
    pub url: String,
    /// Copyright, terms, history.
    pub info: String,
}

/// The drafts of a dictionary, in the order of its text.
#[derive(Debug)]
pub struct Dictd {
    index: PathBuf,
    most: usize,
    text: Vec<u8>,
    info: DictionaryInfo,
    entries: std::vec::IntoIter<(Place, Headwords)>,
}

impl Dictd {
    /// What the dictionary says of itself.
    pub fn info(&self) -> &DictionaryInfo {
        &self.info
    }

    fn entry_text(&self, (offset, length): Place, line: u64) -> Result<&str, ReadError> {
        let path = self.index.clone();
        let bytes = offset.checked_add(length).and_then(|end| self.text.get(offset as usize..end as usize));
        let Some(bytes) = bytes else {
            let size = self.text.len();
            let reason = format!(
                "the entry at {offset} of {length} bytes lies outside the dictionary of {size} bytes: the .index and the .dict file do not belong together"
            );
            return Err(ReadError::Malformed { path, line, reason });
        };
        if bytes.len() > self.most {
            return Err(ReadError::TooLarge { path, line, most: self.most });
        }
        std::str::from_utf8(bytes).map_err(|e| ReadError::NotUtf8 { path, line, byte: e.valid_up_to() })
    }
}

impl Iterator for Dictd {
    type Item = Result<Draft, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (place, found) = self.entries.next()?;
        let text = match self.entry_text(place, found.line) {
            Ok(text) => text,
            Err(error) => return Some(Err(error)),
        };
        let mut draft = parse_entry(text, found.headwords);
        draft.line = found.line;
        draft.source = Some(self.info.short.clone()).filter(|short| !short.is_empty());
        Some(Ok(draft))
    }
}

/// Offset and length in the dictionary's text.
type Place = (u64, u64);

/// What the index says of one place.
#[derive(Debug)]
struct Headwords {
    /// Line of the index where the place is named first.
    line: u64,
    headwords: Vec<String>,
}

/// The index, by place.
fn read_index(file: File, path: &Path) -> Result<BTreeMap<Place, Headwords>, ReadError> {
    let mut places: BTreeMap<Place, Headwords> = BTreeMap::new();
    for (line, bytes) in (1..).zip(BufReader::new(file).split(b'\n')) {
        let bytes = bytes.map_err(|source| ReadError::Read { path: path.to_owned(), line, source })?;
        let text = std::str::from_utf8(&bytes).map_err(|e| ReadError::NotUtf8 {
            path: path.to_owned(),
            line,
            byte: e.valid_up_to(),
        })?;
        if text.is_empty() {
            continue;
        }
        let mut columns = text.split('\t');
        let (word, offset, length) = (columns.next(), columns.next(), columns.next());
        let (Some(word), Some(offset), Some(length)) =
            (word, offset.and_then(base64_number), length.and_then(base64_number))
        else {
            let reason = "expected headword, offset and length between tabs, the numbers in base 64".to_owned();
            return Err(ReadError::Malformed { path: path.to_owned(), line, reason });
        };
        let entry = places.entry((offset, length)).or_insert_with(|| Headwords { line, headwords: Vec::new() });
        entry.headwords.push(word.to_owned());
    }
    Ok(places)
}

fn base64_number(digits: &str) -> Option<u64> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    digits.bytes().try_fold(0u64, |number, digit| Some(number << 6 | u64::from(value(digit)?)))
}

/// An entry: headwords from column 0, perhaps a pronunciation right below them, then indented paragraphs.
fn parse_entry(text: &str, index_words: Vec<String>) -> Draft {
    let lines: Vec<&str> = text.lines().map(str::trim_end).skip_while(|line| line.is_empty()).collect();
    let is_headword = |line: &&&str| !line.is_empty() && !line.starts_with([' ', '\t']);
    let mut headwords: Vec<String> = lines.iter().take_while(is_headword).map(|line| line.to_string()).collect();
    let mut body = &lines[headwords.len()..];
    if headwords.is_empty() {
        headwords = index_words.first().cloned().into_iter().collect();
    }
    for word in index_words {
        if !headwords.iter().any(|known| known.to_lowercase() == word.to_lowercase()) {
            headwords.push(word);
        }
    }
    let pronounced = body.iter().take_while(|line| !line.is_empty()).count();
    let pronunciation = body[..pronounced].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    body = &body[pronounced..];

    let mut paragraphs: Vec<String> =
        body.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()).map(reflow).collect();
    let mut contributed_at = None;
    if let Some(last) = paragraphs.last_mut() {
        if let Some((before, date)) = trailing_date(last) {
            contributed_at = Some(date);
            *last = before;
        }
        if last.is_empty() {
            paragraphs.pop();
        }
    }
    let category = paragraphs.first_mut().and_then(leading_category);

    let mut metadata = Map::new();
    let mut words = headwords.into_iter();
    let headword = words.next().unwrap_or_default();
    metadata.insert("headword".to_owned(), Value::String(headword.clone()));
    let aliases: Vec<String> = words.collect();
    if !aliases.is_empty() {
        metadata.insert("aliases".to_owned(), json!(aliases));
    }
    if let Some(category) = category {
        metadata.insert("category".to_owned(), Value::String(category));
    }
    if !pronunciation.is_empty() {
        metadata.insert("pronunciation".to_owned(), Value::String(pronunciation));
    }
    let text = std::iter::once(headword).chain(paragraphs).collect::<Vec<_>>().join("\n\n");
    Draft { text, contributed_at, metadata, ..Draft::default() }
}

/// Joins the lines of a paragraph, unless they are indented unevenly: then it is a table, a list or a program.
fn reflow(lines: &[&str]) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let base = lines.iter().map(|line| indent(line)).min().unwrap_or(0);
    if lines.iter().all(|line| indent(line) == base) {
        let joined = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        return without_braces(&joined);
    }
    lines.iter().map(|line| &line[base..]).collect::<Vec<_>>().join("\n")
}

/// `{binary tree}` becomes `binary tree`, `{(https://example.org)}` becomes `https://example.org`.
fn without_braces(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        plain.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        let Some(close) = after.find(['{', '}']).filter(|at| after[*at..].starts_with('}') && *at > 0) else {
            plain.push('{');
            rest = after;
            continue;
        };
        let inner = after[..close].trim();
        let bare = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        plain.push_str(bare.unwrap_or(inner));
        rest = &after[close + 1..];
    }
    plain.push_str(rest);
    plain
}

/// Splits `… (1994-11-08)` into what precedes and the date.
fn trailing_date(paragraph: &str) -> Option<(String, String)> {
    let (before, date) = paragraph.strip_suffix(')')?.rsplit_once('(')?;
    let valid = date.len() == 10 && NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok();
    valid.then(|| (before.trim_end().to_owned(), date.to_owned()))
}

/// Takes `<algorithm> ` off the front of a paragraph.
fn leading_category(paragraph: &mut String) -> Option<String> {
    let (category, rest) = paragraph.strip_prefix('<')?.split_once("> ")?;
    if category.is_empty() || category.len() > 80 || category.contains(['<', '>', '\n']) {
        return None;
    }
    let (category, rest) = (category.to_owned(), rest.trim_start().to_owned());
    *paragraph = rest;
    Some(category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64_numbers_are_big_endian() {
        assert_eq!(base64_number("A"), Some(0));
        assert_eq!(base64_number("BA"), Some(64));
        assert_eq!(base64_number("Uz"), Some(20 * 64 + 51));
        assert_eq!(base64_number("/"), Some(63));
        assert_eq!(base64_number(""), None);
        assert_eq!(base64_number("B!"), None);
    }

    #[test]
    fn an_entry_of_foldoc() {
        let text = "B-tree\n\n   <algorithm> A multi-way {balanced tree}.\n\n   A {B+-tree} is one whose\n   leaves are linked {(http://x.org/)}.\n\n   (2000-01-10)\n\n";
        let draft = parse_entry(text, vec!["b-tree".to_owned()]);
        assert_eq!(
            draft.text,
            "B-tree\n\nA multi-way balanced tree.\n\nA B+-tree is one whose leaves are linked http://x.org/."
        );
        assert_eq!(draft.contributed_at.as_deref(), Some("2000-01-10"));
        assert_eq!(Value::Object(draft.metadata), json!({"headword": "B-tree", "category": "algorithm"}));
    }

    #[test]
    fn an_entry_of_the_jargon_file() {
        let text = "foo\nbar\n /foo/, n.\n\n    [from X] Said {twice\n    }.\n\n        int main() { }\n      x\n";
        let draft = parse_entry(text, vec!["foo".to_owned(), "bar".to_owned(), "baz".to_owned()]);
        assert_eq!(draft.text, "foo\n\n[from X] Said twice.\n\n  int main() { }\nx");
        assert_eq!(
            Value::Object(draft.metadata),
            json!({"headword": "foo", "aliases": ["bar", "baz"], "pronunciation": "/foo/, n."})
        );
        assert_eq!(draft.contributed_at, None);
    }

    #[test]
    fn braces_that_are_no_reference_stay() {
        assert_eq!(without_braces("a { b {c} } {} {"), "a { b c } {} {");
    }
}
