//! Names and hashes, parsed once at the edge so that the rest of the program can trust them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} is not valid: {rule}")]
pub struct InvalidName {
    /// What the name stands for, such as "model name".
    pub kind: &'static str,
    /// The name as it was given.
    pub value: String,
    /// The rule it broke.
    pub rule: &'static str,
}

/// The name of a base model as callers write it in `model`, such as `smollm2-135m-instruct`.
///
/// 1 to 96 characters: lower- or upper-case letters, digits, `.`, `_`, `-`; never starting with `.`, so that it is safe
/// as one component of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

impl ModelName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if value.is_empty() || value.len() > 96 || value.starts_with('.') || !value.chars().all(allowed) {
            return Err(InvalidName {
                kind: "model name",
                value: value.to_owned(),
                rule: "use 1 to 96 letters, digits, '.', '_' or '-', not starting with '.'",
            });
        }
        Ok(Self(value.to_owned()))
    }
}

impl TryFrom<String> for ModelName {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        value.parse()
    }
}

impl From<ModelName> for String {
    fn from(value: ModelName) -> Self {
        value.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 (lower-case hex) over the weights that answer, so that a record names them exactly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WeightsHash(pub String);

/// SHA-256 (lower-case hex) of an adapter's canonical configuration and weights.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct AdapterGeneration(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "é", &"x".repeat(97)] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad:?} was accepted");
        }
        assert_eq!("Qwen2.5-0.5B_it".parse::<ModelName>().unwrap().as_str(), "Qwen2.5-0.5B_it");
    }
}
