//! How much each passage mattered to an answer: queued with the answer, measured after it, logged as an entry of its own
//! that completes the record.
//!
//! Measuring scores the answer under many prompts, so it takes longer than the answer itself. One answer is measured at a
//! time, while no other is being written; a request that waits for its own does not stand in that queue. The queue is in
//! the database, so a restart goes on with it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cairn_index::DatanetName;
use cairn_influence::Method;
use cairn_openapi::attribution::{
    ContributorShare, Influence, InfluenceMethod, InfluenceStatus, OnSentence, PassageInfluence, SentenceInfluence,
};
use cairn_proof::{Entry, Record, influence::InfluenceEntry, log::Draft};
use serde_json::Value;

use crate::{
    convert,
    error::{ApiError, Code},
    record::{Answered, Asked},
    state::AppState,
    store::{attributions::StoredAttribution, contributors::UseLine, influence::StoredInfluence},
};

pub(crate) mod measure;

use measure::{Case, measure};

/// Measurements that may wait; answers given beyond that are not measured, unless it is asked for later.
const QUEUE: u32 = 10_000;
/// Longest that a measurement waits for a moment in which nothing is being answered.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the queue is looked at for what replicas put there.
const LOOK: Duration = Duration::from_secs(5);

/// Queues the measurement that the request or the configuration asks for; where the request waits for it, makes it.
pub(crate) async fn of_answer(
    state: &Arc<AppState>,
    asked: &Asked,
    answered: &Answered,
) -> Result<Option<Influence>, ApiError> {
    let options = asked.question.attribution;
    let method = options.influence.unwrap_or(state.config.attribution.influence);
    if method == InfluenceMethod::None || asked.shown.is_empty() || answered.is_empty() {
        return Ok(None);
    }
    order(state, &asked.id, method, options.wait).await
}

/// Queues a measurement of a recorded answer, or makes it at once.
pub(crate) async fn order(
    state: &Arc<AppState>,
    id: &str,
    method: InfluenceMethod,
    wait: bool,
) -> Result<Option<Influence>, ApiError> {
    if !state.store.queue_influence(id, name(method), QUEUE).await? {
        tracing::warn!(
            id,
            "too many answers wait for the influence of their passages to be measured; this one does not"
        );
        metrics::counter!("cairn_influence_dropped_total").increment(1);
        return Ok(None);
    }
    if wait {
        if let Some(claimed) = state.store.claim_influence(Some(id)).await? {
            finish(state, claimed).await?;
        }
    } else {
        state.measurements.notify_one();
    }
    describe(state, id).await
}

/// Starts the worker, which goes on with what a restart interrupted.
pub(crate) async fn start(state: Arc<AppState>) -> Result<(), ApiError> {
    state.store.release_influence().await?;
    tokio::spawn(async move {
        loop {
            match state.store.claim_influence(None).await {
                Ok(Some(claimed)) => {
                    quiet(&state).await;
                    if let Err(error) = finish(&state, claimed).await {
                        tracing::error!(%error, "a measurement of influence could not be written");
                        tokio::time::sleep(PATIENCE).await;
                    }
                }
                // What a replica answered is noted without a word to this one.
                Ok(None) => drop(tokio::time::timeout(LOOK, state.measurements.notified()).await),
                Err(error) => {
                    tracing::error!(%error, "the queue of measurements cannot be read");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    });
    Ok(())
}

/// Waits until nothing is being answered, for as long as that is bearable.
async fn quiet(state: &AppState) {
    let began = tokio::time::Instant::now();
    while !state.in_flight.is_empty() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Measures, logs and notes. What goes wrong with the measurement is noted as its outcome.
async fn finish(state: &Arc<AppState>, claimed: StoredInfluence) -> Result<(), ApiError> {
    let started = std::time::Instant::now();
    let id = claimed.id.as_str();
    match measured(state, &claimed).await {
        Ok(entry) => {
            let text = Entry::Influence(Box::new(entry.clone())).to_bytes().map_err(ApiError::internal)?;
            let placed = state.ledger.append(Draft::Entry(text)).await?;
            let lines = shares(state, &entry, id).await?;
            state.store.share_uses(id, &lines).await?;
            let text = String::from_utf8_lossy(&placed.entry);
            state.store.finish_influence(id, Ok((&text, placed.index))).await?;
            metrics::histogram!("cairn_influence_seconds").record(started.elapsed().as_secs_f64());
        }
        Err(error) => {
            tracing::warn!(id, error = error.message, "the influence of an answer's passages could not be measured");
            state.store.finish_influence(id, Err(&error.message)).await?;
        }
    }
    Ok(())
}

async fn measured(state: &Arc<AppState>, claimed: &StoredInfluence) -> Result<InfluenceEntry, ApiError> {
    let stored = state.store.attribution(&claimed.id, None).await?;
    let stored = stored.ok_or_else(|| ApiError::internal("an answer to measure is not recorded"))?;
    let case = case(state, &stored).await?;
    let method = match claimed.method.as_str() {
        "leave_one_out" => Method::LeaveOneOut,
        _ => Method::Shapley,
    };
    let models = state.models.clone();
    state.runtime.spawn(async move { measure(&models, &case, method).await }).await.map_err(ApiError::internal)?
}

/// The answer as its record has it, with the texts of its passages.
async fn case(state: &AppState, stored: &StoredAttribution) -> Result<Case, ApiError> {
    let record: Record = serde_json::from_str(&stored.record).map_err(ApiError::internal)?;
    let Value::String(request) = stored.private.request.clone() else {
        return Err(ApiError::internal("a stored request is not text"));
    };
    let mut of_datanet: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for candidate in record.retrieval.iter().flat_map(|retrieval| &retrieval.candidates) {
        if let Some(n) = candidate.in_prompt {
            of_datanet.entry(&candidate.datanet).or_default().push((candidate.seq, n));
        }
    }
    let mut passages = BTreeMap::new();
    for (name, wanted) in of_datanet {
        let datanet: DatanetName = name.parse().map_err(ApiError::internal)?;
        let seqs: Vec<u64> = wanted.iter().map(|(seq, _)| *seq).collect();
        let found = state.index.by_seq(&datanet, &seqs).await.map_err(convert::index_error)?;
        for (seq, n) in wanted {
            let datapoint = found.iter().find(|salted| salted.datapoint.seq == seq).ok_or_else(|| {
                ApiError::new(
                    Code::NotFound,
                    format!("passage {n} is not in {name} any more, so it cannot be measured"),
                )
            })?;
            if datapoint.erased.is_some() {
                let message = format!("passage {n} was erased from {name}, so it cannot be measured any more");
                return Err(ApiError::new(Code::NotFound, message));
            }
            passages.insert(n, datapoint.datapoint.text.clone());
        }
    }
    let passage_chars = state.config.retrieval.max_passage_chars;
    Ok(Case { record, request, response: stored.private.response.clone(), passages, passage_chars })
}

/// What falls to each line of the ledger.
async fn shares(state: &AppState, entry: &InfluenceEntry, id: &str) -> Result<Vec<(UseLine, f64, f64)>, ApiError> {
    let totals = entry.totals().map_err(ApiError::internal)?;
    let helped: BTreeMap<u64, f64> =
        entry.passages.iter().copied().zip(totals.into_iter().map(|total| total.max(0.0))).collect();
    let sum: f64 = helped.values().sum();
    let lines = state.store.uses_of(id).await?;
    Ok(lines
        .into_iter()
        .map(|line| {
            let nats: f64 = line.passages.iter().filter_map(|n| helped.get(n)).sum();
            (line, if sum > 0.0 { nats / sum } else { 0.0 }, nats)
        })
        .collect())
}

/// The measurement of an answer as the wire has it; none where none was asked for.
pub(crate) async fn describe(state: &AppState, id: &str) -> Result<Option<Influence>, ApiError> {
    let Some(stored) = state.store.influence(id).await? else { return Ok(None) };
    let mut influence = Influence {
        status: match stored.state.as_str() {
            "waiting" => InfluenceStatus::Waiting,
            "measuring" => InfluenceStatus::Measuring,
            "measured" => InfluenceStatus::Measured,
            _ => InfluenceStatus::Failed,
        },
        method: match stored.method.as_str() {
            "leave_one_out" => InfluenceMethod::LeaveOneOut,
            _ => InfluenceMethod::Shapley,
        },
        error: stored.error,
        passages: Vec::new(),
        sentences: Vec::new(),
        contributors: Vec::new(),
        log_index: stored.log_index,
    };
    let Some(entry) = stored.entry else { return Ok(Some(influence)) };
    let entry: InfluenceEntry = serde_json::from_str(&entry).map_err(ApiError::internal)?;
    let number = |text: &str| text.parse::<f64>().map_err(ApiError::internal);
    let totals = entry.totals().map_err(ApiError::internal)?;
    let parts = cairn_influence::shares(&totals);
    influence.passages = entry
        .passages
        .iter()
        .zip(totals.iter().zip(parts))
        .map(|(n, (nats, share))| PassageInfluence { n: *n, nats: *nats, share })
        .collect();
    for sentence in &entry.sentences {
        let passages = entry.passages.iter().zip(&sentence.passages).map(|(n, passage)| {
            Ok(OnSentence {
                n: *n,
                necessity: number(&passage.necessity)?,
                sufficiency: number(&passage.sufficiency)?,
                shapley: passage.shapley.as_deref().map(number).transpose()?,
                error: passage.error.as_deref().map(number).transpose()?,
            })
        });
        influence.sentences.push(SentenceInfluence {
            choice: sentence.choice,
            start: sentence.start,
            end: sentence.end,
            tokens: sentence.tokens,
            closed_book: number(&sentence.closed_book)?,
            with_all: number(&sentence.with_all)?,
            supported: sentence.supported,
            passages: passages.collect::<Result<_, ApiError>>()?,
        });
    }
    for share in &entry.shares {
        let known = state.store.contributor_of(&share.contributor).await?;
        influence.contributors.push(ContributorShare {
            contributor: known.map_or_else(|| share.contributor.to_string(), |known| known.name),
            share: number(&share.share)?,
            nats: number(&share.nats)?,
        });
    }
    Ok(Some(influence))
}

fn name(method: InfluenceMethod) -> &'static str {
    match method {
        InfluenceMethod::None => "none",
        InfluenceMethod::LeaveOneOut => "leave_one_out",
        InfluenceMethod::Shapley => "shapley",
    }
}
