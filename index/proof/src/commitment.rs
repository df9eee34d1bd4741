//! Salted commitments: how a personal field enters the log without being readable in it.
//!
//! ```text
//! field_salt = HMAC-SHA256(key = salt, message = field name)
//! commitment = HMAC-SHA256(key = field_salt, message = canonical JSON of the value)
//! ```
//!
//! One random salt per datapoint (or record) is stored; each field gets a salt of its own from it. Opening one field
//! shows its field salt and value, and tells nothing about the others. Without the salt a commitment cannot be guessed,
//! however few values the field can take, so destroying the salt erases the field while old proofs still verify.

use std::fmt;

use hmac::{Hmac, Mac};
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Sha256;

use crate::canonical::to_canonical;
use crate::error::{Error, Result};
use crate::hash::Hash;

/// The secret 32 bytes behind all commitments of one datapoint or one record. Store it beside the plaintext.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Salt(Hash);

/// One disclosed field: enough to check one commitment, and no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// The field's own salt.
    pub salt: Hash,
    /// The value committed to.
    pub value: Value,
}

/// `HMAC-SHA256(salt, field)`: the salt of one field.
pub fn field_salt(salt: &Salt, field: &str) -> Hash {
    hmac(salt.0.as_bytes(), field.as_bytes())
}

/// `HMAC-SHA256(field_salt, value)`: the commitment to bytes, which are the canonical JSON of a value.
pub fn commit(field_salt: &Hash, value: &[u8]) -> Hash {
    hmac(field_salt.as_bytes(), value)
}

impl Salt {
    /// A fresh salt from the operating system's random generator.
    pub fn random() -> Result<Salt> {
        let mut bytes = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(Error::NoRandomness)?;
        Ok(Salt::new(bytes))
    }

    /// A salt read back from storage.
    pub const fn new(bytes: [u8; 32]) -> Salt {
        Salt(Hash::new(bytes))
    }

    /// The 32 bytes, for storage.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The commitment to `value` as `field`.
    pub fn commit<T: Serialize + ?Sized>(&self, field: &str, value: &T) -> Result<Hash> {
        Ok(commit(&field_salt(self, field), &to_canonical(value)?))
    }

    /// The opening of that commitment.
    pub fn open(&self, field: &str, value: Value) -> Opening {
        Opening { salt: field_salt(self, field), value }
    }
}

impl Opening {
    /// The commitment this opening opens.
    pub fn commitment(&self) -> Result<Hash> {
        Ok(commit(&self.salt, &to_canonical(&self.value)?))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(secret)")
    }
}

fn hmac(key: &[u8; 32], message: &[u8]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    Hash::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_opening_opens_its_field_only() {
        let salt = Salt::new([3; 32]);
        let (text, source) = (salt.commit("text", "same").unwrap(), salt.commit("source", "same").unwrap());
        assert_ne!(text, source);
        assert_eq!(salt.open("text", json!("same")).commitment().unwrap(), text);
        assert_ne!(salt.open("source", json!("same")).commitment().unwrap(), text);
        assert_ne!(salt.open("text", json!("other")).commitment().unwrap(), text);
    }

    #[test]
    fn a_known_value() {
        // printf '"v"' | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf text | openssl dgst -sha256 -mac HMAC -macopt hexkey:0303…03)
        let commitment = Salt::new([3; 32]).commit("text", "v").unwrap();
        assert_eq!(commitment.to_string(), "68c1769061cea4a46a84368e8ba95b905fa69ed26a6e128f00394ccd0b8d5fe8");
    }

    #[test]
    fn salts_are_fresh_and_not_printed() {
        let (a, b) = (Salt::random().unwrap(), Salt::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(format!("{a:?}"), "Salt(secret)");
    }
}
