//! Reading RLP (Ethereum yellow paper, appendix B), canonical encodings only: one value has one spelling.
//!
//! Only what headers, receipts and trie nodes need; a writer does not belong here.

use crate::error::{Error, Result};

/// One item, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A string of bytes.
    Bytes(&'a [u8]),
    /// The payload of a list: its items, one after the other.
    List(&'a [u8]),
}

/// Reads bytes that are exactly one list, and returns its items.
pub(crate) fn list<'a>(bytes: &'a [u8], what: &'static str) -> Result<Vec<Item<'a>>> {
    match split(bytes, what)? {
        (item, []) => item.list(what),
        _ => Err(Error::Malformed { what, problem: "bytes follow it" }),
    }
}

impl<'a> Item<'a> {
    /// The items of a list.
    pub(crate) fn list(self, what: &'static str) -> Result<Vec<Item<'a>>> {
        let Item::List(mut rest) = self else {
            return Err(Error::Malformed { what, problem: "a string of bytes stands where a list must" });
        };
        let mut items = Vec::new();
        while !rest.is_empty() {
            let (item, after) = split(rest, what)?;
            items.push(item);
            rest = after;
        }
        Ok(items)
    }

    /// The bytes of a string.
    pub(crate) fn bytes(self, what: &'static str) -> Result<&'a [u8]> {
        match self {
            Item::Bytes(bytes) => Ok(bytes),
            Item::List(_) => Err(Error::Malformed { what, problem: "a list stands where a string of bytes must" }),
        }
    }

    /// A string of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(self, what: &'static str) -> Result<[u8; N]> {
        let bytes = self.bytes(what)?;
        bytes.try_into().map_err(|_| Error::Malformed { what, problem: "a string of bytes has another length" })
    }

    /// An integer: big-endian, without leading zeros, below 2^64.
    pub(crate) fn integer(self, what: &'static str) -> Result<u64> {
        let bytes = self.bytes(what)?;
        if bytes.len() > 8 || bytes.first() == Some(&0) {
            return Err(Error::Malformed { what, problem: "an integer is too large or begins with zeros" });
        }
        Ok(big_endian(bytes))
    }
}

/// The RLP of an integer: the key of a block's tries.
pub(crate) fn encode_integer(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let significant = &bytes[value.leading_zeros() as usize / 8..];
    match significant {
        [one] if *one < 0x80 => vec![*one],
        _ => [&[0x80 + significant.len() as u8], significant].concat(),
    }
}

/// The first item and what follows it.
fn split<'a>(bytes: &'a [u8], what: &'static str) -> Result<(Item<'a>, &'a [u8])> {
    let malformed = |problem| Error::Malformed { what, problem };
    let (&tag, rest) = bytes.split_first().ok_or(malformed("it is cut short"))?;
    let take = |rest: &'a [u8], length: usize| rest.split_at_checked(length).ok_or(malformed("it is cut short"));
    let (payload, after) = match tag {
        0x00..0x80 => bytes.split_at(1),
        0x80..0xb8 => take(rest, usize::from(tag - 0x80))?,
        0xc0..0xf8 => take(rest, usize::from(tag - 0xc0))?,
        _ => {
            let (length, rest) = take(rest, usize::from(if tag < 0xc0 { tag - 0xb7 } else { tag - 0xf7 }))?;
            let padded = length.first() == Some(&0);
            let length = if length.len() > 8 { u64::MAX } else { big_endian(length) };
            if padded || length < 56 {
                return Err(malformed("a length is not in its shortest form"));
            }
            take(rest, usize::try_from(length).map_err(|_| malformed("it is cut short"))?)?
        }
    };
    if tag == 0x81 && payload[0] < 0x80 {
        return Err(malformed("a byte is not in its shortest form"));
    }
    Ok((if tag < 0xc0 { Item::Bytes(payload) } else { Item::List(payload) }, after))
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_as_keys() {
        for (value, bytes) in
            [(0, &[0x80][..]), (1, &[1]), (0x7f, &[0x7f]), (0x80, &[0x81, 0x80]), (0x400, &[0x82, 4, 0])]
        {
            assert_eq!(encode_integer(value), bytes);
            assert_eq!(split(bytes, "t").unwrap().0.integer("t").unwrap(), value);
        }
        assert_eq!(encode_integer(u64::MAX).len(), 9);
    }

    #[test]
    fn the_examples_of_the_specification_are_read() {
        let dog = Item::Bytes(b"dog");
        assert_eq!(list(b"\xc8\x83cat\x83dog", "t").unwrap(), [Item::Bytes(b"cat"), dog]);
        let three = list(b"\xc7\xc0\xc1\xc0\xc3\xc0\xc1\xc0", "t").unwrap();
        assert_eq!(three, [Item::List(b""), Item::List(b"\xc0"), Item::List(b"\xc0\xc1\xc0")]);
        let lorem = [&[0xf8, 58, 0xb8, 56][..], &[b'l'; 56]].concat();
        assert_eq!(list(&lorem, "t").unwrap(), [Item::Bytes(&[b'l'; 56])]);
    }

    #[test]
    fn other_spellings_are_refused() {
        let long = |head: &[u8], length: usize| [head, &vec![7; length]].concat();
        for bad in [
            b"\xc2\x81\x05".to_vec(), // a byte below 0x80 with a length
            long(&[0xf8, 55], 55),    // a long form where the short one fits
            long(&[0xf9, 0, 60], 60), // a length with a leading zero
            b"\xc3\x83ab".to_vec(),   // cut short inside
            b"\xc5\x83ab".to_vec(),   // cut short at the end
            b"\xc0\x00".to_vec(),     // something follows
            long(&[0xff; 9], 20),     // a length no memory holds
            vec![],
            b"\x83dog".to_vec(), // no list
        ] {
            assert!(list(&bad, "t").is_err(), "{bad:02x?}");
        }
        assert!(Item::Bytes(&[0, 1]).integer("t").is_err());
        assert!(Item::Bytes(&[1; 9]).integer("t").is_err());
    }
}
