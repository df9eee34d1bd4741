//! Names, parsed once at the edge: of a datanet and of a datapoint within it.
//!
//! Both are newtypes over a checked string, so that nothing deeper in the crate has to check or quote them again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::IndexError;

/// Name of a datanet: 1 to 64 of `a-z`, `0-9`, `_`, `-`, beginning with a letter or digit. Also its table's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatanetName(String);

impl DatanetName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DatanetName {
    type Error = IndexError;

    fn try_from(name: String) -> Result<Self, IndexError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if starts_well && name.len() <= 64 && name.bytes().all(allowed) {
            return Ok(Self(name));
        }
        Err(IndexError::InvalidDatanetName { name: shortened(&name) })
    }
}

/// Id of a datapoint, unique within its datanet: 1 to 200 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DatapointId(String);

impl DatapointId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of a datapoint that came without one: the title, as far as it fits into an address, and 8 hex digits
    /// of the text's hash. The same content has the same id on every ingest; a changed text is a new datapoint.
    pub(crate) fn derived(title: Option<&str>, content_hash: &[u8; 32]) -> Self {
        let mut slug = String::new();
        for c in title.unwrap_or_default().chars().flat_map(char::to_lowercase) {
            if slug.len() >= 60 {
                break;
            }
            if c.is_alphanumeric() {
                slug.push(c);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        let slug = slug.trim_end_matches('-');
        let hash = hex::encode(content_hash);
        Self(if slug.is_empty() { hash[..16].to_owned() } else { format!("{slug}-{}", &hash[..8]) })
    }
}

impl TryFrom<String> for DatapointId {
    type Error = IndexError;

    fn try_from(id: String) -> Result<Self, IndexError> {
        if !id.is_empty() && id.len() <= 200 && !id.chars().any(char::is_control) {
            return Ok(Self(id));
        }
        Err(IndexError::InvalidDatapointId { id: shortened(&id) })
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = IndexError;

            fn from_str(text: &str) -> Result<Self, IndexError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_newtype!(DatanetName);
text_newtype!(DatapointId);

/// An error message repeats what was sent, but not megabytes of it.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datanet_names_are_checked() {
        for good in ["foldoc", "a", "0-9_x", &"a".repeat(64)] {
            assert_eq!(good.parse::<DatanetName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "Foldoc", "a b", "a/b", "ä", "..", &"a".repeat(65)] {
            assert!(bad.parse::<DatanetName>().is_err(), "{bad:?} was accepted");
        }
        assert!(serde_json::from_str::<DatanetName>("\"../x\"").is_err());
    }

    #[test]
    fn derived_ids_are_stable_and_readable() {
        let hash = [0xab; 32];
        assert_eq!(DatapointId::derived(Some("B-tree"), &hash).as_str(), "b-tree-abababab");
        assert_eq!(DatapointId::derived(Some("  /dev/null! "), &hash).as_str(), "dev-null-abababab");
        assert_eq!(DatapointId::derived(None, &hash).as_str(), "abababababababab");
        assert_eq!(DatapointId::derived(Some("***"), &hash).as_str(), "abababababababab");
    }

    #[test]
    fn datapoint_ids_have_no_control_characters() {
        assert!("a\nb".parse::<DatapointId>().is_err());
        assert!("".parse::<DatapointId>().is_err());
        assert!("https://example.org/x?y".parse::<DatapointId>().is_ok());
    }
}
