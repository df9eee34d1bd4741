//! Canonical JSON (RFC 8785) out, strict JSON in.
//!
//! Everything that is hashed or signed here is first written by [`to_canonical`], and everything that is checked is
//! first read by [`parse_strict`]. Both hold numbers to what every language can represent: within ±(2^53 - 1). Larger
//! numbers and scores belong in strings, see [`fixed`].

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};

/// The largest integer every JSON reader represents exactly: 2^53 - 1.
pub const MAX_SAFE: u64 = (1 << 53) - 1;

/// Writes `value` in the canonical form of RFC 8785.
///
/// Fails on a number beyond ±(2^53 - 1), because the canonical form would round it. A float that is not finite inside a
/// structure becomes `null`, as everywhere in serde_json: keep floats out of what is hashed, see [`fixed`].
pub fn to_canonical<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>> {
    let bytes = serde_json_canonicalizer::to_vec(&value).map_err(Error::Json)?;
    // Reading it back applies the limits: a number too large to be exact was written as a number too large.
    parse_strict(&bytes)?;
    Ok(bytes)
}

/// Reads JSON, refusing duplicate keys at any depth, numbers beyond ±(2^53 - 1) and anything after the value.
pub fn parse_strict(bytes: &[u8]) -> Result<Value> {
    Ok(serde_json::from_slice::<Strict>(bytes).map_err(Error::Json)?.0)
}

/// Reads a `T` from bytes that must be exactly its canonical form.
///
/// Both the text and the typed value must lead back to the same bytes, so no optional field can be spelled two ways.
pub fn from_canonical<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let value = parse_strict(bytes)?;
    same(bytes, &serde_json_canonicalizer::to_vec(&value).map_err(Error::Json)?)?;
    let typed: T = serde_json::from_value(value).map_err(Error::Json)?;
    same(bytes, &serde_json_canonicalizer::to_vec(&typed).map_err(Error::Json)?)?;
    Ok(typed)
}

/// A score as text with six decimals, the form scores take in records. Minus zero is written as zero.
pub fn fixed(score: f64) -> String {
    let text = format!("{score:.6}");
    if text == "-0.000000" { "0.000000".to_owned() } else { text }
}

fn same(given: &[u8], canonical: &[u8]) -> Result<()> {
    if given == canonical {
        return Ok(());
    }
    let common = given.iter().zip(canonical).take_while(|(a, b)| a == b).count();
    Err(Error::NotCanonical { offset: common })
}

/// A [`Value`] read with the limits of [`parse_strict`].
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys or numbers beyond 2^53 - 1")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Value, E> {
        if value > MAX_SAFE {
            return Err(E::custom(format_args!("{value} is beyond 2^53 - 1")));
        }
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<Value, E> {
        if value.unsigned_abs() > MAX_SAFE {
            return Err(E::custom(format_args!("{value} is beyond -(2^53 - 1)")));
        }
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        if value.abs() > MAX_SAFE as f64 {
            return Err(E::custom(format_args!("{value:e} is beyond 2^53 - 1")));
        }
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number that is not finite"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(StrictVisitor)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let mut object = Map::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            object.insert(key, map.next_value_seed(StrictVisitor)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_rfc_8785() {
        // The sorting example of RFC 8785, section 3.2.3: keys in order of UTF-16 code units.
        let value = parse_strict(
            "{\"\u{20ac}\":\"Euro\",\"\\r\":\"CR\",\"\u{fb33}\":\"Dalet\",\"1\":\"One\",\"\u{1f600}\":\"Emoji\",\"\u{80}\":\"C\",\"\u{f6}\":\"o\"}"
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(to_canonical(&value).unwrap()).unwrap(),
            "{\"\\r\":\"CR\",\"1\":\"One\",\"\u{80}\":\"C\",\"\u{f6}\":\"o\",\"\u{20ac}\":\"Euro\",\"\u{1f600}\":\"Emoji\",\"\u{fb33}\":\"Dalet\"}"
        );
        assert_eq!(to_canonical(&json!([1.0, -0.0, 4.5e-7, 1e2, 0.1])).unwrap(), b"[1,0,4.5e-7,100,0.1]");
    }

    #[test]
    fn refuses_what_json_libraries_disagree_on() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"[{"b":{"a":1,"\u0061":2}}]"#,
            "9007199254740992",
            "-9007199254740992",
            "1e400",
            "1e21",
            "NaN",
            "1 2",
            "[1,]",
            "\"\\ud800\"",
            "",
        ] {
            assert!(parse_strict(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse_strict(b"\"\xff\"").is_err());
        assert!(parse_strict(b"[9007199254740991,-9007199254740991,{\"a\":{\"a\":1}}]").is_ok());
        for bad in [u64::MAX, MAX_SAFE + 1, MAX_SAFE + 2] {
            assert!(to_canonical(&bad).is_err(), "{bad}");
        }
        assert!(to_canonical(&f64::NAN).is_err());
        assert!(to_canonical(&1e300).is_err());
    }

    #[test]
    fn canonical_input_is_required() {
        assert!(from_canonical::<Value>(br#"{"a":1,"b":[2.5]}"#).is_ok());
        for bad in [r#"{"b":1,"a":1}"#, r#"{ "a":1}"#, r#"{"a":1.0}"#, r#"{"a":"\u0061"}"#, "{}\n"] {
            let error = from_canonical::<Value>(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::NotCanonical { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn scores_have_six_decimals() {
        assert_eq!(fixed(0.123_456_789), "0.123457");
        assert_eq!(fixed(-0.0), "0.000000");
        assert_eq!(fixed(-1e-9), "0.000000");
        assert_eq!(fixed(12.0), "12.000000");
    }

    proptest! {
        #[test]
        fn a_number_survives_writing_and_reading(number in -9.0e15..9.0e15f64, small in -1.0..1.0f64) {
            let bytes = to_canonical(&json!([number, small, number * small])).unwrap();
            prop_assert_eq!(&to_canonical(&parse_strict(&bytes).unwrap()).unwrap(), &bytes);
        }

        #[test]
        fn a_string_survives_writing_and_reading(text in any::<String>()) {
            let bytes = to_canonical(&json!({ text.clone(): text.clone() })).unwrap();
            prop_assert_eq!(parse_strict(&bytes).unwrap(), json!({ text.clone(): text }));
        }
    }
}
