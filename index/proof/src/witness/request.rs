//! The body of an `add-checkpoint` request.
//!
//! ```text
//! old <size>\n
//! <base64 hash>\n      a consistency proof from the old size, up to 63 lines
//! \n
//! <checkpoint>
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::note;

/// The longest body that is read, in bytes.
pub const LONGEST_REQUEST: usize = note::LONGEST + 4096;

/// A request to cosign a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the last checkpoint that the client believes the witness to have cosigned.
    pub old: u64,
    /// Consistency proof from there.
    pub proof: Vec<Hash>,
    /// Text of the signed checkpoint.
    pub checkpoint: String,
}

/// The first three lines of a checkpoint.
pub(crate) struct Head<'a> {
    pub(crate) origin: &'a str,
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

impl AddCheckpoint {
    /// Reads a request, of one spelling only. The checkpoint's own form is not looked at.
    pub fn parse(body: &[u8]) -> Result<AddCheckpoint> {
        if body.len() > LONGEST_REQUEST {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(body).map_err(|_| bad("it is not UTF-8"))?;
        let (line, mut rest) = text.split_once('\n').ok_or(bad("it has no old size line"))?;
        let old = decimal(line.strip_prefix("old ").ok_or(bad("it does not begin with `old `"))?)?;
        let mut proof = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(bad("it has no empty line before the checkpoint"))?;
            rest = after;
            if line.is_empty() {
                break;
            }
            if proof.len() == MOST_HASHES {
                return Err(bad("its proof has more than 63 hashes"));
            }
            proof.push(hash(line)?);
        }
        Ok(AddCheckpoint { old, proof, checkpoint: rest.to_owned() })
    }

    /// The body to send.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text.into_bytes()
    }
}

/// Reads origin, size and root of a checkpoint's body; extension lines may follow.
pub(crate) fn head(body: &str) -> Result<Head<'_>> {
    let bad = |problem| Error::Malformed { what: "checkpoint", problem };
    let mut lines = body.split_terminator('\n');
    let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(bad("it has fewer than three lines"));
    let head = Head { origin: line()?, size: decimal(line()?)?, root: hash(line()?)? };
    if lines.any(str::is_empty) {
        return Err(bad("it has an empty line"));
    }
    Ok(head)
}

/// A decimal number without sign or leading zeros.
pub(crate) fn decimal(text: &str) -> Result<u64> {
    let number: u64 = text.parse().map_err(|_| bad("a size is not a decimal number"))?;
    if number.to_string() == text { Ok(number) } else { Err(bad("a size has a sign or leading zeros")) }
}

fn hash(line: &str) -> Result<Hash> {
    let bytes = BASE64.decode(line).map_err(|_| bad("a hash is not base64"))?;
    Ok(Hash::new(bytes.try_into().map_err(|_| bad("a hash is not 32 bytes"))?))
}

fn bad(problem: &'static str) -> Error {
    Error::Malformed { what: "add-checkpoint request", problem }
}

/// The specification's limit: no tree of 2^63 leaves needs more.
const MOST_HASHES: usize = 63;
