//! The proof bundle of a stored record.

use std::collections::BTreeMap;

use cairn_index::DatanetName;
use cairn_proof::{
    Bundle, Commitment, Hash, Log, Record, Salt,
    access::{self, GrantEntry},
    bundle::{AnchorProof, Erasure, Evidence, GrantEvidence, LogProof, Openings, Parts},
    datapoint::{Disclosed, Field},
    influence::{InfluenceEntry, InfluenceProof},
    record::{Access, Candidate, Snapshot, Tombstone, field},
};
use serde_json::Value;

use crate::{
    convert,
    error::{ApiError, Code},
    state::AppState,
    store::{access::StoredEntry, attributions::StoredAttribution},
};

/// The bundle's bytes, verified before they leave.
pub(crate) async fn bundle(state: &AppState, stored: StoredAttribution) -> Result<Vec<u8>, ApiError> {
    let index = stored.log_index.ok_or_else(|| ApiError::internal("a record has no place in the log"))?;
    let record: Record = serde_json::from_str(&stored.record).map_err(ApiError::internal)?;
    let datapoints = evidence(state, &record).await?;
    let influence = state.store.influence(&stored.id).await?;
    let influence = influence.and_then(|influence| Some((influence.log_index?, influence.entry?)));
    let influence = influence
        .map(|(index, entry)| Ok::<_, serde_json::Error>((index, serde_json::from_str::<InfluenceEntry>(&entry)?)))
        .transpose()
        .map_err(ApiError::internal)?;
    let grants = grants(state, &record, &stored.subject).await?;
    let witnesses = state.ledger.outside().witnesses().to_vec();
    let place = state.ledger.read(move |log| {
        // One checkpoint that covers everything in the bundle.
        let tombstones = datapoints.iter().filter_map(|(_, tombstone)| tombstone.as_ref().map(|(index, _)| *index));
        let last = tombstones.chain(influence.as_ref().map(|(index, _)| *index)).fold(index, u64::max);
        let checkpoint = log.checkpoint_for(last);
        let size = checkpoint.signed().size();
        let influence = influence.map(|(index, entry)| InfluenceProof::under(log, index, entry, size)).transpose()?;
        // Grants stand before the record that cites them.
        let grants = grants.into_iter().map(|grant| grant.under(log, size)).collect::<cairn_proof::Result<Vec<_>>>()?;
        let placed = |(mut evidence, tombstone): Found| {
            evidence.erased = tombstone.map(|(index, of)| Erasure::under(log, index, of, size)).transpose()?;
            Ok(evidence)
        };
        let datapoints = datapoints.into_iter().map(placed).collect::<cairn_proof::Result<Vec<_>>>()?;
        let log = LogProof::under(log, index, &checkpoint, &witnesses)?;
        Ok::<_, cairn_proof::Error>((log, influence, grants, datapoints))
    });
    let (mut log, influence, grants, datapoints) =
        place.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    log.anchor = anchor(state, index).await?;
    let openings = openings(&stored)?;
    let parts = Parts { key: state.ledger.key(), log, influence, grants, openings, datapoints, record };
    Bundle::build(parts).map_err(ApiError::internal)?.to_bytes().map_err(ApiError::internal)
}

/// The grants that a record cites, with the terms they were decided by.
async fn grants(state: &AppState, record: &Record, subject: &str) -> Result<Vec<GrantEvidence>, ApiError> {
    let searched = record.retrieval.iter().flat_map(|retrieval| &retrieval.datanets);
    let mut grants = Vec::new();
    for snapshot in searched {
        let Some(Access::Grant { grant: leaf }) = &snapshot.access else { continue };
        let (stored, index) = logged(state, leaf).await?;
        let entry: GrantEntry = serde_json::from_str(&stored.entry).map_err(ApiError::internal)?;
        let terms = match &entry.terms {
            Some(leaf) => {
                let (terms, index) = logged(state, leaf).await?;
                Some((serde_json::from_str(&terms.entry).map_err(ApiError::internal)?, index))
            }
            None => None,
        };
        let subject = stored.salt.open(access::field::SUBJECT, Value::String(subject.to_owned()));
        grants.push(GrantEvidence { entry, index, terms, subject: Some(subject) });
    }
    Ok(grants)
}

/// An entry about access and its place in the log.
async fn logged(state: &AppState, leaf: &Hash) -> Result<(StoredEntry, u64), ApiError> {
    let entry = state.store.entry_of_leaf(leaf).await?;
    let entry = entry.ok_or_else(|| ApiError::internal("a record cites what the log does not have"))?;
    let index = entry.log_index.ok_or_else(|| ApiError::internal("an entry has no place in the log"))?;
    Ok((entry, index))
}

/// The place of an entry in the log, under a checkpoint that witnesses cosigned where there is one, with its anchor.
pub(crate) async fn place(state: &AppState, index: u64) -> Result<LogProof, ApiError> {
    let witnesses = state.ledger.outside().witnesses().to_vec();
    let place = move |log: &Log| LogProof::under(log, index, &log.checkpoint_for(index), &witnesses);
    let mut place = state.ledger.read(place).await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    place.anchor = anchor(state, index).await?;
    Ok(place)
}

/// The first anchor on a blockchain that covers the entry, with the entry's place under it.
async fn anchor(state: &AppState, index: u64) -> Result<Option<AnchorProof>, ApiError> {
    let Some(anchor) = state.ledger.outside().covering(index).map_err(ApiError::internal)? else { return Ok(None) };
    let size = anchor.size;
    let path = state.ledger.read(move |log| log.tree().inclusion(index, size)).await.map_err(ApiError::internal)?;
    Ok(Some(AnchorProof { anchor, path: path.map_err(ApiError::internal)? }))
}

/// A datapoint's evidence, and where its tombstone stands in the log, if it was erased.
type Found = (Evidence, Option<(u64, Tombstone)>);

/// Every passage that was in the prompt, with its text and its place in the snapshot that was searched.
async fn evidence(state: &AppState, record: &Record) -> Result<Vec<Found>, ApiError> {
    let Some(retrieval) = &record.retrieval else { return Ok(Vec::new()) };
    let mut of_datanet: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in retrieval.candidates.iter().filter(|candidate| candidate.in_prompt.is_some()) {
        of_datanet.entry(&candidate.datanet).or_default().push(candidate);
    }
    let mut found = Vec::new();
    for (name, candidates) in of_datanet {
        let snapshot = retrieval.snapshot(name).ok_or_else(|| ApiError::internal("a record lacks a snapshot"))?;
        found.extend(of_snapshot(state, snapshot, &candidates).await?);
    }
    Ok(found)
}

async fn of_snapshot(state: &AppState, snapshot: &Snapshot, candidates: &[&Candidate]) -> Result<Vec<Found>, ApiError> {
    let datanet: DatanetName = snapshot.name.parse().map_err(ApiError::internal)?;
    // A datanet of the same name made anew is another datanet: its root at that size differs.
    if state.index.root_at(&datanet, snapshot.size).ok() != Some(snapshot.root) {
        let message = format!(
            "datanet {datanet} was deleted since, so no proof of what it held can be made any more; proofs made before stay valid"
        );
        return Err(ApiError::new(Code::NotFound, message));
    }
    let seqs: Vec<u64> = candidates.iter().map(|candidate| candidate.seq).collect();
    let datapoints = state.index.by_seq(&datanet, &seqs).await.map_err(convert::index_error)?;
    let mut found = Vec::with_capacity(datapoints.len());
    for salted in datapoints {
        let fields = salted.datapoint.fields();
        let path = state.index.prove(&datanet, fields.seq, snapshot.size).map_err(convert::index_error)?;
        let (commitment, disclosed, tombstone) = match salted.erased {
            None => {
                let commitment = Commitment::new(&fields, &salted.salt).map_err(ApiError::internal)?;
                (commitment, fields.disclose(&salted.salt, &Field::ALL), None)
            }
            Some(commitment) => {
                let leaf = salted.datapoint.leaf.to_string();
                let erasure = state.store.erasure(&snapshot.name, &leaf).await?;
                let erasure = erasure.ok_or_else(|| ApiError::internal("an erased datapoint has no tombstone"))?;
                let tombstone = crate::erasure::tombstone(&erasure)?;
                (commitment, Disclosed::default(), erasure.log_index.map(|index| (index, tombstone)))
            }
        };
        found.push((Evidence { commitment, path, disclosed, erased: None }, tombstone));
    }
    Ok(found)
}

fn openings(stored: &StoredAttribution) -> Result<Openings, ApiError> {
    let private = &stored.private;
    let bytes = hex::decode(&private.salt).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let salt = Salt::new(bytes.ok_or_else(|| ApiError::internal("a stored salt is damaged"))?);
    Ok(Openings {
        request: Some(salt.open(field::REQUEST, private.request.clone())),
        response: Some(salt.open(field::RESPONSE, private.response.clone())),
        filter: private.filter.as_ref().map(|filter| salt.open(field::FILTER, Value::String(filter.clone()))),
        query: private.query.as_ref().map(|query| salt.open(field::QUERY, Value::String(query.clone()))),
        caller: Some(salt.open(field::CALLER, Value::String(stored.subject.clone()))),
    })
}
