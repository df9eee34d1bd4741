//! Bytes as Ethereum writes them in JSON: `0x` and lower-case hexadecimal, two digits a byte. One spelling only, so that a
//! file that holds them can be compared byte by byte.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// Any number of bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Bytes(Vec<u8>);

/// Exactly `N` bytes: 20 an [`crate::Address`], 32 a [`crate::Word`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fixed<const N: usize>(pub [u8; N]);

impl Bytes {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(bytes)
    }
}

impl FromStr for Bytes {
    type Err = Error;

    fn from_str(text: &str) -> Result<Bytes, Error> {
        let digits = text.strip_prefix("0x").filter(|digits| !digits.contains(|c: char| c.is_ascii_uppercase()));
        let bytes = digits.and_then(|digits| hex::decode(digits).ok());
        bytes.map(Bytes).ok_or_else(|| Error::BadHex { text: shortened(text), length: None })
    }
}

impl<const N: usize> Fixed<N> {
    /// Reads what a person copied: explorers write addresses with capitals that are a checksum, which is not checked.
    pub fn from_copied(text: &str) -> Result<Fixed<N>, Error> {
        text.trim().to_ascii_lowercase().parse()
    }
}

impl<const N: usize> FromStr for Fixed<N> {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fixed<N>, Error> {
        let bytes = text.parse::<Bytes>().ok().and_then(|bytes| bytes.0.try_into().ok());
        bytes.map(Fixed).ok_or_else(|| Error::BadHex { text: shortened(text), length: Some(N) })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(&self.0))
    }
}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fixed<N>, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What fits into an error message.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
