//! Erasure: a contributor takes back a datapoint, or everything.
//!
//! In this order, so that a crash leaves something that a restart completes: what is to go is noted; a tombstone for each is
//! logged; the documents it was cut from go; the index forgets text, vector, salt and every older version; then answers, training data and reports that were
//! kept. Proofs made before stay valid, proofs made later say "erased on". What an adapter learnt cannot be taken out of
//! it: the adapters concerned are named, for their owners to decide.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use cairn_index::DatanetName;
use cairn_openapi::datanets::{Erasure, ErasureRequest, Tombstone as WireTombstone};
use cairn_proof::{
    Entry,
    log::Draft,
    record::{Tombstone, TombstoneKind},
};
use futures::future::try_join_all;
use serde_json::Value;

use crate::{
    convert,
    error::{ApiError, Code},
    ingest::originals,
    state::AppState,
    store::{erasures::StoredErasure, now, training::TrainedOn},
    training,
};

/// Erases what a request names; returns once nothing is left of it here.
pub(crate) async fn erase(
    state: &Arc<AppState>,
    datanet: &DatanetName,
    request: &ErasureRequest,
    by: &str,
) -> Result<Erasure, ApiError> {
    let seqs = wanted(state, datanet, request).await?;
    let rows = state.index.by_seq(datanet, &seqs).await.map_err(convert::index_error)?;
    let at = now();
    let contributors: BTreeSet<String> = rows.iter().map(|row| row.datapoint.contributor.clone()).collect();
    let noted: Vec<StoredErasure> = rows
        .iter()
        .map(|row| StoredErasure {
            datanet: datanet.to_string(),
            seq: row.datapoint.seq,
            datapoint: row.datapoint.id.to_string(),
            leaf: row.datapoint.leaf.to_string(),
            requested_at: at.clone(),
            log_index: None,
        })
        .collect();
    let mut trained: Vec<TrainedOn> = Vec::new();
    for row in &rows {
        for used in state.store.trained_on(datanet.as_str(), Some(row.datapoint.id.as_str()), None).await? {
            if trained.iter().all(|known| known.job.id != used.job.id) {
                trained.push(used);
            }
        }
    }
    state.store.request_erasures(&noted, by).await?;
    // A task of its own: a caller that goes away must not stop it half-way.
    let (of_task, name) = (state.clone(), datanet.clone());
    let answers = state.runtime.spawn(async move { complete(&of_task, &name, &contributors).await });
    let answers = answers.await.map_err(ApiError::internal)??;
    let mut erased = Vec::with_capacity(noted.len());
    for one in noted {
        let logged = state.store.erasure(&one.datanet, &one.leaf).await?;
        erased.push(WireTombstone {
            datapoint: one.datapoint,
            seq: one.seq,
            leaf: one.leaf,
            log_index: logged.and_then(|logged| logged.log_index).unwrap_or_default(),
        });
    }
    let adapters = trained.into_iter().map(convert::trained_on).collect();
    Ok(Erasure { datanet: datanet.to_string(), erased_at: at, erased, answers, adapters })
}

/// Completes what a crash interrupted.
pub(crate) async fn resume(state: &Arc<AppState>) -> Result<(), ApiError> {
    let pending = state.store.pending_erasures(None).await?;
    let datanets: BTreeSet<String> = pending.into_iter().map(|erasure| erasure.datanet).collect();
    for name in datanets {
        let Ok(datanet) = name.parse::<DatanetName>() else { continue };
        if state.index.snapshot(&datanet).is_err() {
            // The datanet was deleted since, with all that was in it.
            continue;
        }
        tracing::info!(datanet = name, "completing an erasure that a restart interrupted");
        // Whose it was is known only where the index still has it.
        let seqs: Vec<u64> = state.store.pending_erasures(Some(&name)).await?.iter().map(|one| one.seq).collect();
        let rows = state.index.by_seq(&datanet, &seqs).await.map_err(convert::index_error)?;
        let contributors = rows.into_iter().map(|row| row.datapoint.contributor).filter(|it| !it.is_empty()).collect();
        complete(state, &datanet, &contributors).await?;
    }
    Ok(())
}

/// The places that a request names.
async fn wanted(state: &AppState, datanet: &DatanetName, request: &ErasureRequest) -> Result<Vec<u64>, ApiError> {
    match (&request.datapoints[..], &request.contributor) {
        ([], Some(contributor)) => {
            let seqs = state.index.of_contributor(datanet, contributor).await.map_err(convert::index_error)?;
            if seqs.is_empty() {
                let message = format!("{datanet} has no datapoints of {contributor:?}");
                return Err(ApiError::new(Code::NotFound, message));
            }
            Ok(seqs)
        }
        ([_, ..], None) => {
            let mut seqs = Vec::with_capacity(request.datapoints.len());
            for id in &request.datapoints {
                let missing = || ApiError::new(Code::NotFound, format!("datanet {datanet} has no datapoint {id:?}"));
                let parsed = id.parse().map_err(|_| missing())?;
                let found = state.index.datapoint(datanet, &parsed).await.map_err(convert::index_error)?;
                seqs.push(found.ok_or_else(missing)?.seq);
            }
            seqs.sort_unstable();
            seqs.dedup();
            Ok(seqs)
        }
        _ => Err(ApiError::invalid("datapoints", "give either datapoints, by their ids, or a contributor")),
    }
}

/// Carries out what is noted for a datanet; says how many answers had kept something of it.
async fn complete(
    state: &Arc<AppState>,
    datanet: &DatanetName,
    contributors: &BTreeSet<String>,
) -> Result<u64, ApiError> {
    let pending = state.store.pending_erasures(Some(datanet.as_str())).await?;
    // Together, so that they share a checkpoint.
    let tombstones = pending.iter().filter(|one| one.log_index.is_none()).map(|one| log_tombstone(state, one));
    try_join_all(tombstones).await?;
    let seqs: Vec<u64> = pending.iter().map(|one| one.seq).collect();
    // Before the index forgets which documents they were cut from.
    for row in state.index.by_seq(datanet, &seqs).await.map_err(convert::index_error)? {
        if let Some(document) = row.datapoint.metadata[originals::DOCUMENT].as_str() {
            originals::forget(&state.config, datanet.as_str(), Some(document)).await?;
        }
    }
    let snapshot = state.index.erase(datanet, &seqs).await.map_err(convert::index_error)?;
    crate::record::append_snapshot(state, &snapshot).await?;
    let mut answers = 0;
    for one in &pending {
        answers += state.store.blank_datapoint(&one.leaf).await?;
    }
    let directories = [state.config.data_dir.join("training"), crate::evaluations::all(&state.config)];
    let ids: BTreeSet<String> = pending.iter().map(|one| format!("{}/{}", one.datanet, one.datapoint)).collect();
    let cleaned = tokio::task::spawn_blocking(move || {
        directories.iter().try_for_each(|directory| clean_trainings(directory, &ids))
    })
    .await;
    cleaned.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    for contributor in contributors {
        if !has_any(state, contributor).await? {
            state.store.forget_contributor(contributor).await?;
        }
    }
    state.store.erased(datanet.as_str()).await?;
    state.store.settle().await?;
    Ok(answers)
}

async fn log_tombstone(state: &AppState, erasure: &StoredErasure) -> Result<(), ApiError> {
    let tombstone = tombstone(erasure)?;
    let entry = Entry::from(tombstone).to_bytes().map_err(ApiError::internal)?;
    let placed = state.ledger.append(Draft::Entry(entry)).await?;
    Ok(state.store.tombstoned(erasure, placed.index).await?)
}

/// The log entry of an erasure.
pub(crate) fn tombstone(erasure: &StoredErasure) -> Result<Tombstone, ApiError> {
    Ok(Tombstone {
        kind: TombstoneKind::V1,
        datanet: erasure.datanet.clone(),
        seq: erasure.seq,
        leaf: erasure.leaf.parse().map_err(ApiError::internal)?,
        time: erasure.requested_at.clone(),
    })
}

/// Whether any datanet has a datapoint of this contributor.
async fn has_any(state: &AppState, contributor: &str) -> Result<bool, ApiError> {
    for snapshot in state.index.list() {
        let found = state.index.of_contributor(&snapshot.datanet, contributor).await.map_err(convert::index_error)?;
        if !found.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes the rows out of the data that fine-tuning jobs and evaluations keep, and the samples out of their reports; a job that is still
/// learning from one of them is cancelled.
fn clean_trainings(directory: &Path, ids: &BTreeSet<String>) -> anyhow::Result<()> {
    let jobs = match std::fs::read_dir(directory) {
        Ok(jobs) => jobs,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("the fine-tuning jobs cannot be read"),
    };
    for dir in jobs {
        let dir = dir?.path();
        let mut concerned = false;
        for name in ["source.jsonl", "validation-source.jsonl"] {
            concerned |= without_rows(&dir.join(name), ids)?;
        }
        concerned |= used(&dir.join("rows.jsonl"), ids)?;
        if !concerned {
            continue;
        }
        if training::running(&dir) {
            std::fs::write(dir.join("cancel"), b"")?;
        } else if !dir.join("provenance.json").exists() && dir.join("outcome.json").exists() {
            // A run that learnt them and is not on record must not be put there as it is.
            std::fs::remove_file(dir.join("outcome.json"))?;
        }
        training::hide_samples(&dir)?;
    }
    Ok(())
}

/// Whether a list of rows, whose texts may be gone before, has one of these.
fn used(path: &Path, ids: &BTreeSet<String>) -> anyhow::Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    for line in BufReader::new(std::fs::File::open(path)?).lines() {
        let row = serde_json::from_str::<Value>(&line?);
        if row.is_ok_and(|row| row["row"].as_str().is_some_and(|id| ids.contains(id))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a file of rows again without some of them; says whether any was there.
fn without_rows(path: &Path, ids: &BTreeSet<String>) -> anyhow::Result<bool> {
    if !path.exists() {
        return Ok(false);
    }
    let mut kept = Vec::new();
    let mut found = false;
    for line in BufReader::new(std::fs::File::open(path)?).lines() {
        let line = line?;
        let gone =
            serde_json::from_str::<Value>(&line).is_ok_and(|row| row["id"].as_str().is_some_and(|id| ids.contains(id)));
        found |= gone;
        if !gone {
            kept.extend_from_slice(line.as_bytes());
            kept.push(b'\n');
        }
    }
    if found {
        replace(path, &kept)?;
    }
    Ok(found)
}

/// Empties every list of samples in a JSON file.
pub(crate) fn without_samples(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut value: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    empty_samples(&mut value);
    replace(path, &serde_json::to_vec(&value)?)
}

fn empty_samples(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Array(samples) if name == "samples" => samples.clear(),
                    other => empty_samples(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(empty_samples),
        _ => {}
    }
}

/// Replaces a file at once and durably. The old bytes are freed, which on some disks is not the same as overwritten.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().context("a job's file has no directory")?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
