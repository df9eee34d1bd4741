//! A block's header: the fields that an anchor rests on.

use crate::error::{Error, Result};
use crate::hex::Bytes;
use crate::{Word, rlp};

/// What is read of a header. Forks append fields and never move these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Root of the trie of transactions.
    pub transactions_root: Word,
    /// Root of the trie of receipts.
    pub receipts_root: Word,
    /// Height.
    pub number: u64,
    /// When the block was made, in seconds since 1970 by its producer.
    pub timestamp: u64,
}

impl Header {
    /// Reads the RLP of a header.
    pub fn read(header: &Bytes) -> Result<Header> {
        let what = "block header";
        let fields = rlp::list(header.as_slice(), what)?;
        if fields.len() < FIELDS {
            return Err(Error::Malformed { what, problem: "it has fewer than 15 fields" });
        }
        Ok(Header {
            transactions_root: Word::from(fields[4].array(what)?),
            receipts_root: Word::from(fields[5].array(what)?),
            number: fields[8].integer(what)?,
            timestamp: fields[11].integer(what)?,
        })
    }
}

/// Fields of the first headers; later ones have more.
const FIELDS: usize = 15;
