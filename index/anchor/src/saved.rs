//! What an anchorer left on disk, read beside it and without its lock: for the command line.

use std::path::Path;

use cairn_anchor_proof::{Address, Word};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::flight::Flight;
use crate::state::State;
use crate::status::Anchored;
use crate::store::{ANCHORS, STATE, names};

/// The state of anchoring as it was last written.
#[derive(Clone, Debug, Serialize)]
pub struct Saved {
    /// The chain.
    pub chain_id: u64,
    /// The contract.
    pub contract: Address,
    /// The account that pays.
    pub sender: Address,
    /// The log.
    pub log: String,
    /// The last checkpoint that is on the chain for good.
    pub anchored: Option<Anchored>,
    /// Transactions on their way, as they were sent last.
    pub in_flight: Vec<Word>,
    /// Proofs kept.
    pub proofs: usize,
}

impl Saved {
    /// Reads an anchorer's directory; `None` if nothing was ever sent from it. Every file is replaced at once, so an
    /// anchorer at work does no harm.
    pub fn load(dir: &Path) -> Result<Option<Saved>> {
        let path = dir.join(STATE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| Error::Io { path: path.clone(), source })?,
        };
        let State { identity, flights, anchored, .. } =
            serde_json::from_slice(&bytes).map_err(|source| Error::Damaged { path, source })?;
        Ok(Some(Saved {
            chain_id: identity.chain_id,
            contract: identity.contract,
            sender: identity.sender,
            log: identity.log,
            anchored,
            in_flight: flights.iter().filter_map(Flight::last).map(|attempt| attempt.hash).collect(),
            proofs: names(&dir.join(ANCHORS))?.len(),
        }))
    }
}
