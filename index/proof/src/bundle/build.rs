//! Making a bundle. What follows from the record is filled in here, so a caller cannot contradict it.

use super::{
    Bundle, BundleKind, DatapointProof, Erasure, GrantProof, Inclusion, LogProof, Openings, VerifyError, grant, status,
    verify,
};
use crate::datapoint::{Commitment, Disclosed};
use crate::hash::Hash;
use crate::influence::InfluenceProof;
use crate::key::VerifyingKey;
use crate::record::Record;

/// What a bundle is made from.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The log's public key.
    pub key: &'a VerifyingKey,
    /// The record of the answer.
    pub record: Record,
    /// Its place in the log.
    pub log: LogProof,
    /// The datapoints, in any order: at least those that were in the prompt.
    pub datapoints: Vec<Evidence>,
    /// What of the record to disclose.
    pub openings: Openings,
    /// How much each passage mattered, under the same checkpoint.
    pub influence: Option<InfluenceProof>,
    /// The grants that the record cites, in any order, under the same checkpoint ([`super::GrantEvidence::under`]).
    pub grants: Vec<GrantProof>,
}

/// A datapoint for a bundle.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The entry of the datanet's tree.
    pub commitment: Commitment,
    /// Its audit path in the tree of the size in the record's snapshot.
    pub path: Vec<Hash>,
    /// What of it to disclose.
    pub disclosed: Disclosed,
    /// The log entry that says it was erased.
    pub erased: Option<Erasure>,
}

impl Bundle {
    /// Puts a bundle together and verifies it, so that none leaves the gateway that would fail.
    pub fn build(parts: Parts<'_>) -> Result<Bundle, VerifyError> {
        let Parts { key, record, log, datapoints, openings, influence, grants } = parts;
        let candidates = record.retrieval.as_ref().map_or(&[][..], |retrieval| &retrieval.candidates);
        let place = |commitment: &Commitment| {
            candidates.iter().position(|c| c.datanet == commitment.datanet && c.seq == commitment.seq)
        };
        let mut placed = Vec::new();
        for evidence in datapoints {
            let commitment = &evidence.commitment;
            let position = place(commitment).ok_or_else(|| VerifyError::DatapointNotInRecord {
                datanet: commitment.datanet.clone(),
                seq: commitment.seq,
            })?;
            placed.push((position, evidence));
        }
        placed.sort_by_key(|(position, _)| *position);
        let prove = |(position, evidence): (usize, Evidence)| {
            let Evidence { commitment, path, disclosed, erased } = evidence;
            let snapshot = record.retrieval.as_ref().and_then(|retrieval| retrieval.snapshot(&commitment.datanet));
            let inclusion = Inclusion { index: commitment.seq, size: snapshot.map_or(0, |s| s.size), path };
            let status = status(&disclosed, erased.as_ref());
            DatapointProof { n: candidates[position].in_prompt, commitment, inclusion, disclosed, status, erased }
        };
        let datapoints = placed.into_iter().map(prove).collect();
        let grants = grant::in_order(&record, grants);
        let (kind, key_line) = (BundleKind::V1, key.to_string());
        let bundle = Bundle { kind, key: key_line, record, log, datapoints, openings, influence, grants };
        verify(&bundle.to_bytes().map_err(VerifyError::Form)?, key)?;
        Ok(bundle)
    }
}
