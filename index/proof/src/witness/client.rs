//! The log's side: asking a witness to cosign a checkpoint, over whatever HTTP client the caller has.
//!
//! ```text
//! let mut submission = Submission::new(witness, log.checkpoint().clone(), last_seen_size);
//! loop {
//!     let body = submission.request(log.tree())?;             // POST <prefix>/add-checkpoint
//!     match submission.answer(status, &answer, log.size())? {
//!         Step::Cosigned(cosignature) => break,               // CosignedCheckpoint::add, Log::keep_cosigned
//!         Step::Again => continue,                            // it has seen another size: now with that one
//!         Step::Outrun => break,                              // it has a later checkpoint already: submit the next
//!     }
//! }
//! ```
//!
//! [`Error::BehindWitness`] and [`Error::ForkedFromWitness`] are for [`crate::Log::stop`]: the witness knows a longer or
//! another history of this log than is here. Running a submission before the first append is how a restored backup is
//! noticed where there is no guard.

use super::request::{AddCheckpoint, decimal};
use crate::checkpoint::SignedCheckpoint;
use crate::cosignature::{Cosignature, WitnessKey};
use crate::error::{Error, Result};
use crate::merkle::Tree;
use crate::note::NoteSignature;

/// One checkpoint on its way to one witness. Have one at a time for each witness.
#[derive(Clone, Debug)]
pub struct Submission {
    witness: WitnessKey,
    checkpoint: SignedCheckpoint,
    /// Size the witness is believed to have.
    old: u64,
    tries: u8,
}

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Done: the checked cosignature.
    Cosigned(Cosignature),
    /// Send [`Submission::request`] again; it is another now.
    Again,
    /// The witness has a later checkpoint of this log, which is here too: submit the latest instead.
    Outrun,
}

impl Submission {
    /// Submits `checkpoint` to `witness`, which is believed to have cosigned size `seen` last; 0 if that is not known.
    pub fn new(witness: WitnessKey, checkpoint: SignedCheckpoint, seen: u64) -> Submission {
        let old = seen.min(checkpoint.size());
        Submission { witness, checkpoint, old, tries: 0 }
    }

    /// The body of the request. `tree` is the log's tree, of the checkpoint's size or larger.
    pub fn request(&self, tree: &Tree) -> Result<Vec<u8>> {
        let proof = tree.consistency(self.old, self.checkpoint.size())?;
        Ok(AddCheckpoint { old: self.old, proof, checkpoint: self.checkpoint.to_string() }.to_bytes())
    }

    /// Reads the answer. `log_size` is the size that the log has now.
    pub fn answer(&mut self, status: u16, body: &[u8], log_size: u64) -> Result<Step> {
        match status {
            200 => self.cosignature(body).map(Step::Cosigned),
            409 => self.conflict(body, log_size),
            // The proof is right for our tree, so the witness's tree is another.
            422 => Err(Error::ForkedFromWitness { size: self.old, witness: self.name() }),
            403 => {
                Err(self.refused(status, "it does not trust this log's key: give it the log's verifier key".to_owned()))
            }
            404 => Err(self.refused(status, "it does not know this log: give it the log's verifier key".to_owned())),
            _ => Err(self.refused(status, excerpt(body))),
        }
    }

    /// The checkpoint that is submitted.
    pub fn checkpoint(&self) -> &SignedCheckpoint {
        &self.checkpoint
    }

    /// The signature lines, of which one must be this witness's; unknown ones are ignored.
    fn cosignature(&self, body: &[u8]) -> Result<Cosignature> {
        let malformed = |problem| Error::Malformed { what: "answer of a witness", problem };
        if body.len() > LONGEST_ANSWER {
            return Err(malformed("it is too long"));
        }
        let text = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
        let lines = text.split_inclusive('\n').map(NoteSignature::parse).collect::<Result<Vec<_>>>()?;
        let of_witness = |cosignature: &Cosignature| self.witness.verify(&self.checkpoint, cosignature).is_ok();
        let found = lines.iter().filter_map(Cosignature::from_note).find(of_witness);
        found.ok_or_else(|| {
            let checkpoint = self.checkpoint.checkpoint();
            let (origin, size) = (checkpoint.origin.to_string(), checkpoint.size);
            Error::WrongCosignature { witness: self.name(), origin, size }
        })
    }

    fn conflict(&mut self, body: &[u8], log_size: u64) -> Result<Step> {
        let size = std::str::from_utf8(body).ok().and_then(|text| decimal(text.strip_suffix('\n')?).ok());
        let seen = size.ok_or_else(|| self.refused(409, format!("no size, but {}", excerpt(body))))?;
        self.tries += 1;
        if seen > log_size {
            return Err(Error::BehindWitness { size: log_size, witness: self.name(), seen });
        }
        if seen > self.checkpoint.size() {
            return Ok(Step::Outrun);
        }
        if seen == self.old {
            return match seen == self.checkpoint.size() {
                true => Err(Error::ForkedFromWitness { size: seen, witness: self.name() }),
                false => Err(self.refused(409, format!("it has size {seen}, which is what it was sent"))),
            };
        }
        if self.tries > MOST_TRIES {
            return Err(self.refused(409, "its size changes with every request".to_owned()));
        }
        self.old = seen;
        Ok(Step::Again)
    }

    fn name(&self) -> String {
        self.witness.name().to_string()
    }

    fn refused(&self, status: u16, problem: String) -> Error {
        Error::WitnessRefused { witness: self.name(), status, problem }
    }
}

/// The beginning of an answer, fit to be printed.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The longest answer that is read, in bytes.
pub const LONGEST_ANSWER: usize = 64 * 1024;

/// Requests after which a witness that always has another size is given up.
const MOST_TRIES: u8 = 3;
