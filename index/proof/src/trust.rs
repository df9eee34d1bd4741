//! What a verifier trusts: one key of the log, the witnesses it knows and how many of them must have cosigned, and what it
//! knows of the chain on which the log is anchored.

use std::fs;
use std::path::Path;

use cairn_anchor_proof::Pins;

use crate::canonical::from_canonical;
use crate::cosignature::WitnessKey;
use crate::error::{Error, Result};
use crate::key::VerifyingKey;
use crate::rotation::{KeyHistory, Rotation};

/// The terms on which a bundle is believed.
#[derive(Clone, Debug)]
pub struct Trust {
    key: VerifyingKey,
    rotations: Vec<Rotation>,
    witnesses: Vec<WitnessKey>,
    required: usize,
    anchor: Option<Pins>,
}

impl Trust {
    /// Trusts the log's key, and requires no witness and no anchor.
    pub fn new(key: VerifyingKey) -> Trust {
        Trust { key, rotations: Vec::new(), witnesses: Vec::new(), required: 0, anchor: None }
    }

    /// Reads a key file: the log's key line and after it, if its key was ever changed, the rotation entries, one a line,
    /// as they stand in the log. They are believed only as far as they lead from or to the key.
    pub fn load(path: &Path) -> Result<Trust> {
        let text = fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let key = lines.next().unwrap_or_default().trim_end().parse()?;
        let rotations = lines.map(|line| from_canonical(line.as_bytes())).collect::<Result<Vec<Rotation>>>()?;
        Trust::new(key).with_rotations(rotations)
    }

    /// Adds rotations known from elsewhere than the bundle; they must connect with the key.
    pub fn with_rotations(mut self, rotations: Vec<Rotation>) -> Result<Trust> {
        KeyHistory::new(&self.key, &rotations)?;
        self.rotations = rotations;
        Ok(self)
    }

    /// Knows these witnesses, and requires the cosignatures of `required` of them. Keys that are there twice count once.
    pub fn with_witnesses(mut self, witnesses: Vec<WitnessKey>, required: usize) -> Result<Trust> {
        self.witnesses.clear();
        for witness in witnesses {
            // One key under two names is one witness: the signed message does not hold the name.
            if !self.witnesses.iter().any(|known| known.same_key(&witness)) {
                self.witnesses.push(witness);
            }
        }
        if required > self.witnesses.len() {
            return Err(Error::TooFewWitnesses { required, known: self.witnesses.len() });
        }
        self.required = required;
        Ok(self)
    }

    /// Requires an anchor, and that it is what these pins say. Without this an anchor that is there must hold all the same.
    pub fn with_anchor(mut self, pins: Pins) -> Trust {
        self.anchor = Some(pins);
        self
    }

    /// The log's key that is trusted.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The witnesses known.
    pub fn witnesses(&self) -> &[WitnessKey] {
        &self.witnesses
    }

    /// How many of them must have cosigned.
    pub fn required(&self) -> usize {
        self.required
    }

    /// What the required anchor must be, if one is required.
    pub fn anchor(&self) -> Option<&Pins> {
        self.anchor.as_ref()
    }

    /// The keys that follow from the trusted one, the rotations known and those given.
    pub(crate) fn history(&self, more: &[Rotation]) -> Result<KeyHistory> {
        KeyHistory::new(&self.key, &[&self.rotations, more].concat())
    }
}

impl From<&VerifyingKey> for Trust {
    fn from(key: &VerifyingKey) -> Trust {
        Trust::new(key.clone())
    }
}
