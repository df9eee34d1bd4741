//! What an adapter learnt from, for the transparency log and for those whose data it was.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::Context;
use cairn_policy::Purpose;
use cairn_proof::{
    Commitment, Hash, TrainingBundle, TrainingEntry,
    datapoint::Field,
    log::Draft,
    record::Entry as LogEntry,
    training::{Consent, TrainingDatapoint, TrainingKind, TrainingRow, TrainingRows, TrainingSource},
};
use cairn_trainer::job::{self, Exported, Source, Spec, UsedRow};
use serde::{Deserialize, Serialize};

use crate::{
    access, convert,
    error::{ApiError, Code},
    state::AppState,
    store::{
        now,
        training::{StoredTraining, StoredTrainingRow},
    },
};

/// A run's entry and its place in the log, as the job's directory keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// Index in the log.
    pub(crate) log_index: u64,
    /// The entry.
    pub(crate) entry: TrainingEntry,
}

/// Adds to what is written down of where a job's rows come from, and by what right.
pub(super) fn note_source(dir: &Path, source: TrainingSource) -> Result<(), ApiError> {
    let path = dir.join(SOURCES);
    let mut sources: Vec<TrainingSource> = job::read(&path).unwrap_or_default();
    sources.push(source);
    job::write(&path, &sources).map_err(ApiError::internal)
}

/// The source for a file of the owner's own, which is read: not for an async thread.
pub(super) fn of_file(path: &Path) -> Result<TrainingSource, ApiError> {
    let mut reader = BufReader::new(File::open(path).map_err(ApiError::internal)?);
    let mut hash = <sha2::Sha256 as sha2::Digest>::new();
    loop {
        let part = reader.fill_buf().map_err(ApiError::internal)?;
        if part.is_empty() {
            break;
        }
        sha2::Digest::update(&mut hash, part);
        let read = part.len();
        reader.consume(read);
    }
    let digest: [u8; 32] = sha2::Digest::finalize(hash).into();
    let file = Some(Hash::from(digest));
    Ok(TrainingSource { datanet: None, size: None, root: None, file, consent: Consent::Own, grant: None })
}

/// Puts a finished run into the log; done once, and again after a crash in between (the job's name tells that it is one run).
pub(super) async fn record(
    state: &AppState,
    job: &StoredTraining,
    dir: &Path,
    generation: &str,
) -> anyhow::Result<Provenance> {
    if let Some(done) = read(dir).ok().filter(|done| done.entry.generation.to_string() == generation) {
        return Ok(done);
    }
    let spec: Spec = job::read(&dir.join("job.json"))?;
    let rows = rows(dir)?;
    let (summary, _) = TrainingRows::of(&rows)?;
    // Before the grants are looked at: one that is in force then was not revoked before the time that the entry gives.
    let time = now();
    let sources: Vec<TrainingSource> = job::read(&dir.join(SOURCES))?;
    for source in &sources {
        holds(state, &job.owner, source).await?;
    }
    let entry = TrainingEntry {
        kind: TrainingKind::V1,
        job: job.id.clone(),
        base: job.base.clone(),
        base_weights: state.models.get(&job.base.parse()?)?.manifest.serving_hash.0.parse()?,
        generation: generation.parse()?,
        config: serde_json::to_string(&spec.options)?,
        sources,
        rows: summary,
        owner: job.owner.clone(),
        time,
    };
    state.store.add_training_rows(&job.id, &stored_rows(&spec, &rows)?).await?;
    let placed = state.ledger.append(Draft::Entry(LogEntry::from(entry.clone()).to_bytes()?)).await?;
    let provenance = Provenance { log_index: placed.index, entry };
    job::write(&dir.join(PROVENANCE), &provenance)?;
    Ok(provenance)
}

/// Whether the grant that a run names still holds at its end, which is when the log says that its rows were used. What was
/// found of it before may be over by then.
async fn holds(state: &AppState, owner: &str, source: &TrainingSource) -> anyhow::Result<()> {
    let (Some(datanet), Some(grant)) = (&source.datanet, source.grant) else { return Ok(()) };
    let leaf = grant.to_string();
    let held = state.store.grants_in_force(datanet, owner).await?;
    let named = held.iter().find(|held| held.leaf.as_deref() == Some(leaf.as_str()));
    anyhow::ensure!(
        named.is_some_and(|held| held.purposes.contains(&Purpose::Training)),
        "the grant of training on {datanet} that {owner} began with has ended; begin the job again under one that is in force"
    );
    Ok(())
}

/// What the log says of a job's run.
pub(crate) fn read(dir: &Path) -> Result<Provenance, job::JobError> {
    job::read(&dir.join(PROVENANCE))
}

/// The bundle that proves a row's use. The datapoint is opened where it still is what it was, and `subject` may see it now
/// (`None`: may see all): whoever lost the grant keeps the proof, and not the text.
pub(crate) async fn bundle(
    state: &AppState,
    dir: &Path,
    row: &str,
    subject: Option<&str>,
) -> Result<Vec<u8>, ApiError> {
    let no_entry = || ApiError::new(Code::NotFound, "the run has no entry in the log yet: it has not ended".to_owned());
    let provenance = read(dir).map_err(|_| no_entry())?;
    let rows = rows(dir).map_err(ApiError::internal)?;
    let found = rows.iter().position(|used| used.row == row).ok_or_else(|| {
        let message = format!("{row:?} is not a row of this run; rows are named datanet/id, or line N of a file");
        ApiError::new(Code::NotFound, message)
    })?;
    let (_, tree) = TrainingRows::of(&rows).map_err(ApiError::internal)?;
    let path = tree.inclusion(found as u64, rows.len() as u64).map_err(ApiError::internal)?;
    let datapoint = datapoint(state, &rows[found], subject).await?;
    let index = provenance.log_index;
    let place = crate::record::place(state, index).await?;
    let row = (rows[found].clone(), found as u64, path);
    let bundle = TrainingBundle::build(state.ledger.key(), provenance.entry, place, row, datapoint);
    bundle.map_err(ApiError::internal)?.to_bytes().map_err(ApiError::internal)
}

async fn datapoint(
    state: &AppState,
    row: &TrainingRow,
    subject: Option<&str>,
) -> Result<Option<TrainingDatapoint>, ApiError> {
    let Some((datanet, id)) = row.row.split_once('/') else { return Ok(None) };
    let Some(described) = state.store.datanet(datanet, subject).await? else { return Ok(None) };
    let Ok(datanet) = datanet.parse() else { return Ok(None) };
    let Ok(id) = id.parse() else { return Ok(None) };
    let Ok(Some(stored)) = state.index.datapoint(&datanet, &id).await else { return Ok(None) };
    if let Some(subject) = subject
        && !access::covered(state, subject, &described, &stored).await?
    {
        return Ok(None);
    }
    let salted = state.index.by_seq(&datanet, &[stored.seq]).await.map_err(convert::index_error)?;
    let Some(salted) = salted.into_iter().next().filter(|salted| salted.erased.is_none()) else { return Ok(None) };
    let fields = salted.datapoint.fields();
    let commitment = Commitment::new(&fields, &salted.salt).map_err(ApiError::internal)?;
    // A datanet that was made anew under the same name holds other datapoints.
    if commitment.leaf().map_err(ApiError::internal)? != row.leaf {
        return Ok(None);
    }
    Ok(Some(TrainingDatapoint { commitment, disclosed: fields.disclose(&salted.salt, &Field::ALL) }))
}

/// The rows of a run, in its order.
fn rows(dir: &Path) -> anyhow::Result<Vec<TrainingRow>> {
    let file = File::open(dir.join("rows.jsonl")).context("the list of rows cannot be read")?;
    let row = |line: std::io::Result<String>| {
        let UsedRow { row, leaf, held_out } = serde_json::from_str(&line?)?;
        Ok(TrainingRow { row, leaf: leaf.parse()?, held_out })
    };
    BufReader::new(file).lines().map(row).collect()
}

/// The rows that are datapoints, with their contributors.
fn stored_rows(spec: &Spec, rows: &[TrainingRow]) -> anyhow::Result<Vec<StoredTrainingRow>> {
    let Source::Rows { path, .. } = &spec.source else { return Ok(Vec::new()) };
    let mut contributors = BTreeMap::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let Exported { id, contributor, .. } = serde_json::from_str(&line?)?;
        contributors.insert(id, contributor);
    }
    let stored = |row: &TrainingRow| {
        let (datanet, datapoint) = row.row.split_once('/')?;
        Some(StoredTrainingRow {
            datanet: datanet.to_owned(),
            datapoint: datapoint.to_owned(),
            contributor: contributors.get(&row.row)?.clone(),
            held_out: row.held_out,
        })
    };
    Ok(rows.iter().filter_map(stored).collect())
}

const SOURCES: &str = "sources.json";
const PROVENANCE: &str = "provenance.json";
