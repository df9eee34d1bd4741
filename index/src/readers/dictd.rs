//! dictd dictionaries, the format of the Debian packages dict-foldoc, dict-jargon and their like.
//!
//! `NAME.index` has a line for every headword: `headword TAB offset TAB length`, the numbers in base 64 (RFC 4648's
//! digits, most significant first). `NAME.dict`, or gzipped `NAME.dict.dz`, holds the entries at these offsets. Several
//! headwords may point to one entry; that is one datapoint with aliases. Entries named `00-database-…` describe the
//! dictionary and become its [`DictionaryInfo`]; the first line of its short name is every draft's source.
//!
//! How the text of an entry is understood, the module [`entry`] says.

mod entry;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use self::entry::parse_entry;
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
}
