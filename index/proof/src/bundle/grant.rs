//! The grants of a bundle: for each datanet that was searched under one, the entry that gave the right, and its place in
//! the log before the record.
//!
//! ```text
//! record.retrieval.datanets[k].access.grant = leaf of grants[i].entry ; grants[i].entry.terms = leaf of grants[i].terms.entry
//! ```
//!
//! A revocation is an entry after the grant, which no bundle can show to be absent; [`crate::access::AccessAudit`] looks
//! for it in the whole log.

use serde::{Deserialize, Serialize};

use super::{Bundle, VerifyError, opens};
use crate::access::{GrantEntry, Purpose, TermsEntry};
use crate::checkpoint::SignedCheckpoint;
use crate::commitment::Opening;
use crate::error::Result;
use crate::hash::Hash;
use crate::log::{Log, Storage};
use crate::merkle::verify_inclusion;
use crate::record::{Access, Record, Snapshot};

/// A grant under which a datanet was searched, and its place in the log under the bundle's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantProof {
    /// The datanet.
    pub datanet: String,
    /// The entry.
    pub entry: GrantEntry,
    /// Its index.
    pub index: u64,
    /// Audit path to the checkpoint's root.
    pub path: Vec<Hash>,
    /// The terms that it was decided by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<TermsProof>,
    /// Whom it was given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Opening>,
}

/// A version of a datanet's terms, and its place in the log under the bundle's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TermsProof {
    /// The entry.
    pub entry: TermsEntry,
    /// Its index.
    pub index: u64,
    /// Audit path to the checkpoint's root.
    pub path: Vec<Hash>,
}

/// A grant for a bundle.
#[derive(Clone, Debug)]
pub struct GrantEvidence {
    /// The entry.
    pub entry: GrantEntry,
    /// Its index in the log.
    pub index: u64,
    /// The terms that it was decided by and their index, to be shown.
    pub terms: Option<(TermsEntry, u64)>,
    /// Whom it was given to, to be shown.
    pub subject: Option<Opening>,
}

impl GrantEvidence {
    /// The places of the entries under the checkpoint of this size.
    pub fn under<S: Storage>(self, log: &Log<S>, size: u64) -> Result<GrantProof> {
        let GrantEvidence { entry, index, terms, subject } = self;
        let place = |index: u64| log.tree().inclusion(index, size);
        let terms = terms.map(|(entry, index)| Ok(TermsProof { entry, index, path: place(index)? })).transpose()?;
        Ok(GrantProof { datanet: entry.datanet.clone(), path: place(index)?, entry, index, terms, subject })
    }

    /// The last entry of the log that it needs: the checkpoint must cover it.
    pub fn last_index(&self) -> u64 {
        self.terms.as_ref().map_or(self.index, |(_, terms)| self.index.max(*terms))
    }
}

/// The datanets that were searched under a grant, and the grants' leaf hashes, in the record's order.
fn cited(record: &Record) -> impl Iterator<Item = (&Snapshot, Hash)> {
    let searched = record.retrieval.iter().flat_map(|retrieval| &retrieval.datanets);
    searched.filter_map(|snapshot| match snapshot.access {
        Some(Access::Grant { grant }) => Some((snapshot, grant)),
        _ => None,
    })
}

/// Puts grants into the record's order. One that the record does not cite comes last, where the verifier finds it.
pub(super) fn in_order(record: &Record, mut grants: Vec<GrantProof>) -> Vec<GrantProof> {
    let place = |grant: &GrantProof| cited(record).position(|(snapshot, _)| snapshot.name == grant.datanet);
    grants.sort_by_key(|grant| place(grant).unwrap_or(usize::MAX));
    grants
}

/// The grants are those that the record cites, in its order, were logged before it, and allowed the search.
pub(super) fn grants(bundle: &Bundle, checkpoint: &SignedCheckpoint) -> std::result::Result<(), VerifyError> {
    let expected: Vec<String> = cited(&bundle.record).map(|(snapshot, _)| snapshot.name.clone()).collect();
    let found: Vec<String> = bundle.grants.iter().map(|proof| proof.datanet.clone()).collect();
    if expected != found {
        return Err(VerifyError::GrantsDiffer { expected, found });
    }
    for (i, (proof, (_, leaf))) in bundle.grants.iter().zip(cited(&bundle.record)).enumerate() {
        proof.verify(bundle, leaf, checkpoint, &format!("grants[{i}]"))?;
    }
    Ok(())
}

impl GrantProof {
    fn verify(
        &self,
        bundle: &Bundle,
        expected: Hash,
        checkpoint: &SignedCheckpoint,
        part: &str,
    ) -> std::result::Result<(), VerifyError> {
        let wrong = |source| VerifyError::Grant { part: part.to_owned(), source };
        let found = self.entry.leaf().map_err(wrong)?;
        same(part, Some(expected), found)?;
        logged(part, (found, self.index, &self.path), checkpoint)?;
        if let Some(TermsProof { entry, index, path }) = &self.terms {
            let part = &format!("{part}.terms");
            let found = entry.leaf().map_err(|source| VerifyError::Grant { part: part.clone(), source })?;
            same(part, self.entry.terms, found)?;
            logged(part, (found, *index, path), checkpoint)?;
        }
        if let Some(problem) = self.objection(bundle) {
            return Err(VerifyError::GrantNotInForce { part: part.to_owned(), problem });
        }
        let Some(subject) = &self.subject else { return Ok(()) };
        opens(subject, self.entry.subject, || format!("{part}.subject"))?;
        match &bundle.openings.caller {
            Some(caller) if caller.value != subject.value => {
                Err(VerifyError::GrantOfAnother { part: part.to_owned(), id: self.entry.id.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Why the grant does not cover the record's search.
    fn objection(&self, bundle: &Bundle) -> Option<String> {
        if self.index >= bundle.log.index {
            return Some(format!(
                "it is entry {} of the log, not before the record's {}",
                self.index, bundle.log.index
            ));
        }
        let terms = self.terms.as_ref().map(|terms| &terms.entry.datanet).filter(|of| **of != self.datanet);
        let foreign = terms.map(|of| format!("its terms are those of {of}, not of {}", self.datanet));
        foreign.or_else(|| self.entry.objection(&self.datanet, Purpose::Retrieval, &bundle.record.time))
    }

    /// What it allowed, as a part of a sentence.
    fn scope(&self) -> String {
        let GrantEntry { purposes, rows, retrievals_per_day, by, expires, .. } = &self.entry;
        let purposes: Vec<&str> = purposes.iter().map(|purpose| purpose.name()).collect();
        let mut parts = vec![purposes.join(" and ")];
        parts.extend(rows.as_ref().map(|rows| format!("rows where {rows}")));
        parts.extend(retrievals_per_day.map(|most| format!("at most {most} retrievals a day")));
        let terms = self.terms.as_ref().map(|terms| format!(", terms version {}", terms.entry.version));
        parts.push(format!("from {}{}", by.name(), terms.unwrap_or_default()));
        parts.push(match expires {
            Some(expires) => format!("valid until {expires}"),
            None => "valid without end".to_owned(),
        });
        parts.join("; ")
    }
}

/// By what right each datanet was searched, a sentence each.
pub(crate) fn access_words(bundle: &Bundle) -> Vec<String> {
    let mut grants = bundle.grants.iter();
    let searched = bundle.record.retrieval.iter().flat_map(|retrieval| &retrieval.datanets);
    let words = searched.filter_map(|Snapshot { name, access, .. }| {
        Some(match access.as_ref()? {
            Access::Owner => format!("{name} was searched as its owner."),
            Access::Public => format!("{name} was searched as anyone may search it."),
            Access::Administrator => format!("{name} was searched as an administrator of the gateway."),
            Access::Grant { .. } => {
                let proof = grants.next()?;
                let whose = match (&proof.subject, &bundle.openings.caller) {
                    (Some(_), Some(_)) => ", which the caller was given",
                    _ => "",
                };
                let (id, index, scope) = (&proof.entry.id, proof.index, proof.scope());
                format!("{name} was searched under grant {id}, entry {index} of the log{whose} ({scope}).")
            }
        })
    });
    words.collect()
}

/// What the grants leave open, a sentence each.
pub(crate) fn access_open(bundle: &Bundle) -> Vec<String> {
    let mut lines = Vec::new();
    let unnamed = bundle.grants.iter().filter(|proof| proof.subject.is_none() || bundle.openings.caller.is_none());
    let unnamed: Vec<&str> = unnamed.map(|proof| proof.entry.id.as_str()).collect();
    if !unnamed.is_empty() {
        lines.push(format!("It does not show that the caller is who was given {}.", unnamed.join(" and ")));
    }
    if !bundle.grants.is_empty() {
        lines.push(
            "That no grant was revoked before the answer shows in the whole log: `cairn audit` looks.".to_owned(),
        );
    }
    lines
}

fn same(part: &str, expected: Option<Hash>, found: Hash) -> std::result::Result<(), VerifyError> {
    if expected == Some(found) {
        return Ok(());
    }
    let expected = expected.map_or_else(|| "none".to_owned(), |leaf| leaf.to_string());
    Err(VerifyError::GrantMismatch { part: part.to_owned(), expected, found })
}

fn logged(
    part: &str,
    (leaf, index, path): (Hash, u64, &[Hash]),
    checkpoint: &SignedCheckpoint,
) -> std::result::Result<(), VerifyError> {
    let size = checkpoint.size();
    verify_inclusion(&leaf, index, size, path, &checkpoint.root()).map_err(|source| VerifyError::GrantNotInLog {
        part: part.to_owned(),
        index,
        size,
        source,
    })
}
