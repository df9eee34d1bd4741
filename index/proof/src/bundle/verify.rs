//! Verifying a bundle, from the file's bytes and the one trusted key.
//!
//! The order is that of trust: form, key, checkpoint, record, datapoints, openings, citations, grants. Each step compares with
//! something an earlier step has established.

use serde_json::Value;

use super::{Bundle, DatapointProof, LogProof, VerifyError, anchor, grant};
use crate::canonical::from_canonical;
use crate::checkpoint::SignedCheckpoint;
use crate::commitment::Opening;
use crate::cosignature::{CosignedCheckpoint, WitnessKey};
use crate::hash::Hash;
use crate::key::VerifyingKey;
use crate::merkle::verify_inclusion;
use crate::record::{Candidate, Citation, Entry};
use crate::report::{Cosigner, Findings, Quote, Report};
use crate::rotation::Rotation;
use crate::trust::Trust;

/// Verifies the bytes of a bundle file against the log's public key, requiring no witness.
///
/// The key in the bundle is never trusted: it must equal `key`, or follow from it by rotations that both keys signed. On
/// success the report says what was proved.
pub fn verify(bytes: &[u8], key: &VerifyingKey) -> Result<Report, VerifyError> {
    verify_with(bytes, &Trust::new(key.clone()))
}

/// Like [`verify`], with all that a verifier may trust and require: a key, its rotations, witnesses.
pub fn verify_with(bytes: &[u8], trust: &Trust) -> Result<Report, VerifyError> {
    let body = bytes.strip_suffix(b"\n").ok_or(VerifyError::NoNewline)?;
    let bundle: Bundle = from_canonical(body).map_err(VerifyError::Form)?;
    let checkpoint = checkpoint(&bundle.key, &bundle.log, trust)?;
    let cosigners = cosigners(&bundle.log, &checkpoint, trust)?;
    let checkpoint = checkpoint.signed();
    let leaf = bundle.record.leaf().map_err(VerifyError::Record)?;
    let (index, size) = (bundle.log.index, checkpoint.size());
    verify_inclusion(&leaf, index, size, &bundle.log.path, &checkpoint.root())
        .map_err(|source| VerifyError::RecordNotInLog { index, size, source })?;
    let anchor = anchor(&leaf, &bundle.log, checkpoint, trust)?;
    datapoints(&bundle, checkpoint)?;
    openings(&bundle)?;
    let citations = citations(&bundle)?;
    if let Some(influence) = &bundle.influence {
        influence.verify(&bundle.record, size, &checkpoint.root())?;
    }
    grant::grants(&bundle, checkpoint)?;
    Ok(Report::new(&bundle, checkpoint, trust, Findings { cosigned_by: cosigners, anchor, citations }))
}

/// The checkpoint, signed by the key that was in force at its size; the rotations that lead there are in the log.
pub(crate) fn checkpoint(key: &str, log: &LogProof, trust: &Trust) -> Result<CosignedCheckpoint, VerifyError> {
    let rotations: Vec<Rotation> = log.rotations.iter().map(|proof| proof.rotation.clone()).collect();
    let wrong = || VerifyError::WrongKey { expected: trust.key().to_string(), found: key.to_owned() };
    if rotations.is_empty() && key != trust.key().to_string() {
        // Then only rotations known from elsewhere can lead there, which no rotation in the bundle contradicts.
        let known = trust.history(&[]).map_err(VerifyError::Rotation)?;
        known.keys().find(|known| known.to_string() == key).ok_or_else(wrong)?;
    }
    let keys = trust.history(&rotations).map_err(VerifyError::Rotation)?;
    let checkpoint = keys.open(&log.checkpoint).map_err(VerifyError::Checkpoint)?;
    let (size, root) = (checkpoint.signed().size(), checkpoint.signed().root());
    if keys.at(size).to_string() != key {
        return Err(VerifyError::WrongKey { expected: keys.at(size).to_string(), found: key.to_owned() });
    }
    for proof in &log.rotations {
        let index = proof.rotation.size;
        let leaf = proof.rotation.leaf().map_err(VerifyError::Form)?;
        verify_inclusion(&leaf, index, size, &proof.path, &root)
            .map_err(|source| VerifyError::RotationNotInLog { index, source })?;
    }
    Ok(checkpoint)
}

/// Every cosignature is by the key beside it; of those the verifier trusts there are enough.
pub(crate) fn cosigners(
    log: &LogProof,
    checkpoint: &CosignedCheckpoint,
    trust: &Trust,
) -> Result<Vec<Cosigner>, VerifyError> {
    let (lines, cosignatures) = (&log.witnesses, checkpoint.cosignatures());
    if lines.len() != cosignatures.len() {
        return Err(VerifyError::WitnessCount { keys: lines.len(), cosignatures: cosignatures.len() });
    }
    let mut cosigners = Vec::new();
    for (line, cosignature) in lines.iter().zip(cosignatures) {
        let key: WitnessKey = line.parse().map_err(VerifyError::Cosignature)?;
        key.verify(checkpoint.signed(), cosignature).map_err(VerifyError::Cosignature)?;
        let trusted = trust.witnesses().contains(&key);
        cosigners.push(Cosigner { witness: cosignature.witness.clone(), time: cosignature.time, trusted });
    }
    let found: Vec<&str> = cosigners.iter().filter(|c| c.trusted).map(|c| c.witness.as_str()).collect();
    let required = trust.required();
    if found.len() < required {
        let (found, names) = (found.len(), found.join(", "));
        return Err(VerifyError::TooFewWitnesses { required, known: trust.witnesses().len(), found, names });
    }
    Ok(cosigners)
}

/// Every datapoint is a candidate of the record, in its order; every passage of the prompt has its datapoint.
fn datapoints(bundle: &Bundle, checkpoint: &SignedCheckpoint) -> Result<(), VerifyError> {
    let candidates = bundle.record.retrieval.as_ref().map_or(&[][..], |retrieval| &retrieval.candidates);
    let mut proved = vec![false; candidates.len()];
    let mut next = 0;
    for (position, proof) in bundle.datapoints.iter().enumerate() {
        let (datanet, seq) = (&proof.commitment.datanet, proof.commitment.seq);
        let Some(at) = candidates.iter().position(|c| c.datanet == *datanet && c.seq == seq) else {
            return Err(VerifyError::DatapointNotInRecord { datanet: datanet.clone(), seq });
        };
        if at < next {
            return Err(VerifyError::DatapointOrder { datanet: datanet.clone(), seq });
        }
        datapoint(bundle, checkpoint, proof, &candidates[at], format!("datapoints[{position}]"))?;
        proved[at] = true;
        next = at + 1;
    }
    for (candidate, _) in candidates.iter().zip(proved).filter(|(_, proved)| !proved) {
        if let Some(n) = candidate.in_prompt {
            let (datanet, seq) = (candidate.datanet.clone(), candidate.seq);
            return Err(VerifyError::DatapointMissing { n, datanet, seq });
        }
    }
    Ok(())
}

fn datapoint(
    bundle: &Bundle,
    checkpoint: &SignedCheckpoint,
    proof: &DatapointProof,
    candidate: &Candidate,
    part: String,
) -> Result<(), VerifyError> {
    let found = proof.commitment.leaf().map_err(VerifyError::Form)?;
    if found != candidate.leaf {
        return Err(VerifyError::LeafMismatch { part, expected: candidate.leaf, found });
    }
    let snapshot = bundle.record.retrieval.as_ref().and_then(|retrieval| retrieval.snapshot(&candidate.datanet));
    let Some(snapshot) = snapshot else {
        return Err(VerifyError::DatapointNotInRecord { datanet: candidate.datanet.clone(), seq: candidate.seq });
    };
    let inclusion = &proof.inclusion;
    let numbers = [
        ("n", candidate.in_prompt, proof.n),
        ("inclusion.index", Some(candidate.seq), Some(inclusion.index)),
        ("inclusion.size", Some(snapshot.size), Some(inclusion.size)),
    ];
    for (name, expected, found) in numbers {
        if expected != found {
            let text = |number: Option<u64>| number.map_or("null".to_owned(), |number| number.to_string());
            let (expected, found) = (text(expected), text(found));
            return Err(VerifyError::NumberMismatch { part: format!("{part}.{name}"), expected, found });
        }
    }
    verify_inclusion(&found, inclusion.index, inclusion.size, &inclusion.path, &snapshot.root).map_err(|source| {
        let (datanet, root) = (snapshot.name.clone(), snapshot.root);
        VerifyError::NotInSnapshot { part: part.clone(), datanet, root, source: Box::new(source) }
    })?;
    for (field, opening) in proof.disclosed.iter() {
        opens(opening, proof.commitment.field(field), || format!("{part}.disclosed.{}", field.name()))?;
    }
    erasure(checkpoint, proof, found, &part)?;
    let expected = proof.derived_status();
    if proof.status != expected {
        return Err(VerifyError::StatusMismatch { part, expected, found: proof.status });
    }
    Ok(())
}

/// A tombstone must be of this very datapoint and in the log under the same checkpoint.
fn erasure(checkpoint: &SignedCheckpoint, proof: &DatapointProof, leaf: Hash, part: &str) -> Result<(), VerifyError> {
    let Some(erased) = &proof.erased else { return Ok(()) };
    let part = part.to_owned();
    if !proof.disclosed.is_empty() {
        return Err(VerifyError::DisclosedAfterErasure { part });
    }
    let tombstone = &erased.tombstone;
    let place = (&tombstone.datanet, tombstone.seq, tombstone.leaf);
    if place != (&proof.commitment.datanet, proof.commitment.seq, leaf) {
        let (datanet, seq, leaf) = (tombstone.datanet.clone(), tombstone.seq, tombstone.leaf);
        return Err(VerifyError::TombstoneMismatch { part, datanet, seq, leaf });
    }
    let entry = Entry::from(tombstone.clone()).leaf().map_err(VerifyError::Form)?;
    let index = erased.index;
    verify_inclusion(&entry, index, checkpoint.size(), &erased.path, &checkpoint.root())
        .map_err(|source| VerifyError::TombstoneNotInLog { part, index, source })
}

fn openings(bundle: &Bundle) -> Result<(), VerifyError> {
    let (record, openings) = (&bundle.record, &bundle.openings);
    let query = record.retrieval.as_ref().map(|retrieval| retrieval.query);
    let filter = record.retrieval.as_ref().and_then(|retrieval| retrieval.filter);
    let pairs = [
        ("request", &openings.request, Some(record.request)),
        ("response", &openings.response, Some(record.response)),
        ("query", &openings.query, query),
        ("caller", &openings.caller, Some(record.caller)),
        ("filter", &openings.filter, filter),
    ];
    for (name, opening, commitment) in pairs {
        let Some(opening) = opening else { continue };
        let absent = || if name == "filter" { VerifyError::NoFilter } else { VerifyError::NoQuery };
        let commitment = commitment.ok_or_else(absent)?;
        opens(opening, commitment, || format!("openings.{name}"))?;
    }
    Ok(())
}

pub(crate) fn opens(opening: &Opening, expected: Hash, part: impl FnOnce() -> String) -> Result<(), VerifyError> {
    let found = opening.commitment().map_err(VerifyError::Form)?;
    if found == expected { Ok(()) } else { Err(VerifyError::OpeningMismatch { part: part(), expected, found }) }
}

/// The cited spans, quoted where the response is disclosed.
fn citations(bundle: &Bundle) -> Result<Vec<Quote>, VerifyError> {
    let response = bundle.openings.response.as_ref().map(|opening| &opening.value);
    let quote = |(position, citation): (usize, &Citation)| {
        let text = match response {
            Some(response) => Some(span(response, citation, position)?),
            None => None,
        };
        Ok(Quote { citation: citation.clone(), text })
    };
    bundle.record.citations.iter().enumerate().map(quote).collect()
}

/// The characters of the response a citation spans.
fn span(response: &Value, citation: &Citation, position: usize) -> Result<String, VerifyError> {
    let Citation { choice, start, end, .. } = *citation;
    let choices = response.get("choices").unwrap_or(response);
    let at = usize::try_from(choice).ok().and_then(|choice| choices.get(choice));
    let text = at.and_then(|at| at.pointer("/message/content").or(at.get("text")).and_then(Value::as_str));
    let text = text.ok_or(VerifyError::NoSuchChoice { position, choice })?;
    let length = text.chars().count() as u64;
    if end > length {
        return Err(VerifyError::CitationOutside { position, start, end, length });
    }
    Ok(text.chars().skip(start as usize).take((end - start) as usize).collect())
}
