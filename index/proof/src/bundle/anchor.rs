//! The anchor of a bundle: a block of a blockchain that holds a root of the log, and the record's place under that root.
//!
//! ```text
//! root of the checkpoint ← path ─ record, entry i ─ anchor.path → root of the anchored tree ← receipt ← header ← block hash
//! ```
//!
//! Both paths begin at one leaf and one index, so whoever knows the block's hash needs neither the operator's key nor its
//! clock to see that the record was there. The anchored tree may be older or younger than the checkpoint's.

use cairn_anchor_proof::{Anchor, Claim, Proved};
use serde::{Deserialize, Serialize};

use super::{LogProof, VerifyError};
use crate::checkpoint::SignedCheckpoint;
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::merkle::{Tree, verify_inclusion};
use crate::report::utc;
use crate::trust::Trust;

/// A root of the log on a chain, and the place of the bundle's entry under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorProof {
    /// Size and root of the anchored tree, and the event of the chain that says so.
    pub anchor: Anchor,
    /// Audit path of entry `log.index` to the anchored root.
    pub path: Vec<Hash>,
}

impl LogProof {
    /// Adds an anchor whose size is above the entry's index. `tree` is the log's, at least as large as the anchor.
    pub fn anchored(mut self, tree: &Tree, anchor: Anchor) -> Result<LogProof> {
        let (expected, found) = (tree.root_at(anchor.size)?, Hash::from(anchor.root.0));
        if expected != found {
            return Err(Error::RootMismatch { expected, found });
        }
        let path = tree.inclusion(self.index, anchor.size)?;
        self.anchor = Some(AnchorProof { anchor, path });
        Ok(self)
    }
}

/// Checks the anchor of the entry with this leaf hash, if there is one; there must be if the verifier requires one.
pub(crate) fn anchor(
    leaf: &Hash,
    log: &LogProof,
    checkpoint: &SignedCheckpoint,
    trust: &Trust,
) -> Result<Option<Proved>, VerifyError> {
    let Some(AnchorProof { anchor, path }) = &log.anchor else {
        return if trust.anchor().is_some() { Err(VerifyError::NoAnchor) } else { Ok(None) };
    };
    let (origin, size, root) = (&checkpoint.checkpoint().origin, anchor.size, Hash::from(anchor.root.0));
    let claim = Claim { origin: origin.as_str(), size, root: anchor.root.0 };
    let pins = trust.anchor().copied().unwrap_or_default();
    let proved = anchor.verify(&claim, &pins).map_err(VerifyError::Anchor)?;
    if size == checkpoint.size() && root != checkpoint.root() {
        return Err(VerifyError::AnchorContradicts { size, signed: checkpoint.root(), anchored: root });
    }
    let index = log.index;
    verify_inclusion(leaf, index, size, path, &root).map_err(|source| VerifyError::NotAnchored {
        index,
        size,
        source,
    })?;
    Ok(Some(proved))
}

/// What the anchor proves and what it leaves to the reader, sentences each; `what` is the entry's name.
pub(crate) fn words(what: &str, log: &LogProof, anchor: Option<&Proved>) -> (Vec<String>, Vec<String>) {
    let (Some(proof), Some(proved)) = (&log.anchor, anchor) else { return (Vec::new(), Vec::new()) };
    let (size, index, time) = (proof.anchor.size, log.index, utc(proved.time));
    let (chain, number) = (proved.chain_id, proved.block_number);
    let mut lines = vec![match proved.on_chain {
        true => format!(
            "The first {size} entries of the log, with this {what} as entry {index}, were made public in block {number} of \
             blockchain {chain}, whose time is {time}: the {what} existed by then, whatever the operator's clock said."
        ),
        false => format!(
            "The file holds a block that calls itself number {number} of blockchain {chain}, made at {time}; it publishes \
             the first {size} entries of the log, with this {what} as entry {index}. That is proved of this block alone."
        ),
    }];
    lines.extend(proved.proved.iter().cloned());
    (lines, proved.open.clone())
}
