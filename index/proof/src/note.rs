//! C2SP signed notes: a text and the signature lines under it. Form only; who signed is for the callers to check.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::{Error, Result};
use crate::key::KeyId;

/// The longest note that is read, in bytes, and the most signatures it may have: a stranger's note must not cost more.
pub(crate) const LONGEST: usize = 64 * 1024;
pub(crate) const MOST_SIGNATURES: usize = 100;

/// A note taken apart.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    /// What is signed: everything up to and including the newline before the empty line.
    pub(crate) body: &'a str,
    /// The signature lines, in order.
    pub(crate) signatures: Vec<NoteSignature<'a>>,
    /// The signature lines as they stand.
    pub(crate) lines: Vec<&'a str>,
}

/// A signature line.
#[derive(Debug)]
pub(crate) struct NoteSignature<'a> {
    /// Name of the key.
    pub(crate) name: &'a str,
    /// Key id.
    pub(crate) key_id: KeyId,
    /// What follows the key id; its form is the algorithm's.
    pub(crate) bytes: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Takes a note apart.
    pub(crate) fn parse(text: &'a str) -> Result<Note<'a>> {
        if text.len() > LONGEST {
            return Err(bad("it is longer than 64 KiB"));
        }
        // The last empty line parts the two: the text may have empty lines, the signatures have none.
        let at = text.rfind("\n\n").ok_or(bad("there is no empty line before the signatures"))?;
        let (body, rest) = (&text[..=at], &text[at + 2..]);
        let mut note = Note { body, signatures: Vec::new(), lines: Vec::new() };
        for line in rest.split_inclusive('\n') {
            if note.lines.len() == MOST_SIGNATURES {
                return Err(bad("it has more than 100 signatures"));
            }
            note.signatures.push(NoteSignature::parse(line)?);
            note.lines.push(line);
        }
        if note.signatures.is_empty() {
            return Err(bad("it has no signature"));
        }
        Ok(note)
    }
}

impl<'a> NoteSignature<'a> {
    /// Reads one line, newline included.
    pub(crate) fn parse(line: &'a str) -> Result<NoteSignature<'a>> {
        let line = line.strip_suffix('\n').ok_or(bad("a signature line does not end in a newline"))?;
        let line = line.strip_prefix("\u{2014} ").ok_or(bad("a signature line does not begin with a dash"))?;
        let (name, blob) = line.split_once(' ').ok_or(bad("a signature line has no signature"))?;
        let blob = BASE64.decode(blob).map_err(|_| bad("a signature is not base64"))?;
        let (key_id, bytes) = blob.split_first_chunk::<4>().ok_or(bad("a signature is too short"))?;
        Ok(NoteSignature { name, key_id: *key_id, bytes: bytes.to_vec() })
    }
}

/// Writes a signature line.
pub(crate) fn line(name: &str, key_id: &KeyId, bytes: &[&[u8]]) -> String {
    let blob = [&[key_id.as_slice()], bytes].concat().concat();
    format!("\u{2014} {name} {}\n", BASE64.encode(blob))
}

fn bad(problem: &'static str) -> Error {
    Error::Malformed { what: "signed note", problem }
}
