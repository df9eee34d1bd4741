//! The proof bundle of a stored record.

use std::collections::BTreeMap;

use cairn_index::DatanetName;
use cairn_proof::{
    Bundle, Commitment, Record, Salt,
    bundle::{Evidence, LogProof, Openings, Parts},
    datapoint::Field,
    record::{Candidate, Snapshot, field},
};
use serde_json::Value;

use crate::{
    convert,
    error::{ApiError, Code},
    state::AppState,
    store::attributions::StoredAttribution,
};

/// The bundle's bytes, verified before they leave.
pub(crate) async fn bundle(state: &AppState, stored: StoredAttribution) -> Result<Vec<u8>, ApiError> {
    let index = stored.log_index.ok_or_else(|| ApiError::internal("a record has no place in the log"))?;
    let record: Record = serde_json::from_str(&stored.record).map_err(ApiError::internal)?;
    let datapoints = evidence(state, &record).await?;
    let place = state.ledger.read(move |log| LogProof::of(log, index)).await.map_err(ApiError::internal)?;
    let parts = Parts {
        key: state.ledger.key(),
        log: place.map_err(ApiError::internal)?,
        openings: openings(&stored)?,
        datapoints,
        record,
    };
    Bundle::build(parts).map_err(ApiError::internal)?.to_bytes().map_err(ApiError::internal)
}

/// Every passage that was in the prompt, with its text and its place in the snapshot that was searched.
async fn evidence(state: &AppState, record: &Record) -> Result<Vec<Evidence>, ApiError> {
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

async fn of_snapshot(
    state: &AppState,
    snapshot: &Snapshot,
    candidates: &[&Candidate],
) -> Result<Vec<Evidence>, ApiError> {
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
    datapoints
        .into_iter()
        .map(|salted| {
            let fields = salted.datapoint.fields();
            Ok(Evidence {
                commitment: Commitment::new(&fields, &salted.salt).map_err(ApiError::internal)?,
                path: state.index.prove(&datanet, fields.seq, snapshot.size).map_err(convert::index_error)?,
                disclosed: fields.disclose(&salted.salt, &Field::ALL),
                erased: None,
            })
        })
        .collect()
}

fn openings(stored: &StoredAttribution) -> Result<Openings, ApiError> {
    let private = &stored.private;
    let bytes = hex::decode(&private.salt).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let salt = Salt::new(bytes.ok_or_else(|| ApiError::internal("a stored salt is damaged"))?);
    Ok(Openings {
        request: Some(salt.open(field::REQUEST, private.request.clone())),
        response: Some(salt.open(field::RESPONSE, private.response.clone())),
        query: private.query.as_ref().map(|query| salt.open(field::QUERY, Value::String(query.clone()))),
        caller: Some(salt.open(field::CALLER, Value::String(stored.subject.clone()))),
    })
}
