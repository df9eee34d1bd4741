//! Who asks ([`Caller`]) and for what ([`AliasName`], [`Reference`]).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::InvalidName;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The authenticated subject.
    pub subject: String,
    /// May see and change everything.
    pub admin: bool,
}

impl Caller {
    /// A subject without special rights.
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), admin: false }
    }

    pub(crate) fn owns(&self, owner: &str) -> bool {
        self.admin || self.subject == owner
    }
}

/// The name of an alias as callers write it, unique among the adapters of a base: 1 to 96 letters, digits, `.`, `_` or
/// `-`, not starting with `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasName(String);

impl AliasName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AliasName {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if value.is_empty() || value.len() > 96 || value.starts_with('.') || !value.chars().all(allowed) {
            return Err(InvalidName {
                kind: "adapter name",
                value: value.to_owned(),
                rule: "use 1 to 96 letters, digits, '.', '_' or '-', not starting with '.'",
            });
        }
        Ok(Self(value.to_owned()))
    }
}

impl TryFrom<String> for AliasName {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        value.parse()
    }
}

impl From<AliasName> for String {
    fn from(value: AliasName) -> Self {
        value.0
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a request names: `alias`, or `alias@` and at least 12 hexadecimal digits of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The alias.
    pub alias: AliasName,
    /// The beginning of a generation, lower case; none = whatever the alias means now.
    pub generation: Option<String>,
}

impl FromStr for Reference {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let Some((alias, prefix)) = value.split_once('@') else {
            return Ok(Self { alias: value.parse()?, generation: None });
        };
        Ok(Self { alias: alias.parse()?, generation: Some(prefix_of(prefix)?) })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.generation {
            Some(prefix) => write!(f, "{}@{prefix}", self.alias),
            None => write!(f, "{}", self.alias),
        }
    }
}

/// Checks the beginning of a generation.
pub(crate) fn prefix_of(text: &str) -> Result<String, InvalidName> {
    let hexadecimal = text.chars().all(|c| c.is_ascii_hexdigit());
    if !hexadecimal || !(12..=64).contains(&text.len()) {
        return Err(InvalidName {
            kind: "adapter generation",
            value: text.to_owned(),
            rule: "give 12 to 64 hexadecimal digits",
        });
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_parse_and_print() {
        for good in ["style", "style@0123456789ab", &format!("a.b_c-d@{}", "f".repeat(64))] {
            assert_eq!(good.parse::<Reference>().unwrap().to_string(), *good);
        }
        for bad in ["", "@0123456789ab", "style@", "style@0123456789a", "style@0123456789ag", "a/b", "a@b@c", ".a"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad} was accepted");
        }
    }
}
