//! From an answer to its record: what the log gets, what is kept beside it, and the bundle that proves it.

use std::collections::{BTreeMap, HashMap, HashSet};

use cairn_adapters::{AdapterGeneration, AdapterShare, Choice, Usage, WeightsHash};
use cairn_index::{LeftOut, Rerank, Retrieval};
use cairn_openapi::{
    access::AccessBasis,
    attribution::{
        AdapterShare as WireShare, Attribution, AttributionRecord, Citation, CitationKind, Passage, Receipt,
    },
};
use cairn_proof::{
    Entry, Hash, Log, Record, Salt,
    canonical::fixed,
    log::{Batching, Draft},
    record::{self as proof, field},
    registration::Registered,
    uses::Use,
};
use serde_json::{Value, json};

use crate::{
    access::Access,
    auth::Caller,
    convert,
    error::ApiError,
    ledger::Ledger,
    pipeline::{Endpoint, Question, finish_name, was_shown},
    prompt::Shown,
    state::AppState,
    store::{
        Store,
        attributions::{Private, StoredAttribution},
        contributors::UseLine,
        datanets::StoredSnapshot,
        now,
        records::Served,
    },
};

mod bundle;

pub(crate) use bundle::{bundle, place};

/// What was asked, with what was found and shown.
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) caller: Caller,
    /// When it was admitted and its access was checked.
    pub(crate) at: String,
    pub(crate) question: Question,
    /// The base, and the names of the adapters, that answer.
    pub(crate) served: Served,
    /// The generations that the request's adapters meant when it was admitted.
    pub(crate) adapters: Vec<AdapterShare>,
    pub(crate) top_k: usize,
    pub(crate) candidates: usize,
    /// By what right each datanet was searched.
    pub(crate) accesses: Vec<Access>,
    pub(crate) retrieval: Option<Retrieval>,
    pub(crate) shown: Vec<Shown>,
}

/// What was answered so far.
pub(crate) struct Answered {
    pub(crate) weights: Option<WeightsHash>,
    pub(crate) adapter: Option<AdapterGeneration>,
    /// Each choice, and whether it was completed.
    pub(crate) choices: Vec<(Choice, bool)>,
    /// Parts of texts that were sent.
    pub(crate) deltas: u64,
    pub(crate) usage: Usage,
}

/// Writes what the record commits to, appends the record to the log, and returns the attribution once both are durable.
pub(crate) async fn append(
    state: &AppState,
    asked: &Asked,
    answered: &Answered,
    citations: Vec<Citation>,
) -> Result<Attribution, ApiError> {
    let salt = Salt::random().map_err(ApiError::internal)?;
    let private = Private {
        salt: hex::encode(salt.as_bytes()),
        request: Value::String(asked.question.raw.clone()),
        response: response(asked.question.endpoint, answered),
        query: asked.retrieval.as_ref().map(|retrieval| retrieval.query.clone()),
        filter: wanted_rows(asked)?,
    };
    let mut record = record(asked, answered, &citations, &private, &salt).map_err(ApiError::internal)?;
    record.uses = Some(uses(state, asked).await?);
    let blank = Receipt {
        log: String::new(),
        index: 0,
        leaf: String::new(),
        tree_size: 0,
        root: String::new(),
        record_url: String::new(),
        proof_url: String::new(),
    };
    let mut attribution = Attribution {
        id: asked.id.clone(),
        adapter_generation: answered.adapter.as_ref().map(|adapter| adapter.0.clone()),
        adapters: asked.mixed().iter().map(described).collect(),
        datapoints: passages(asked, &citations),
        influence: None,
        candidates: asked
            .retrieval
            .iter()
            .flat_map(|retrieval| &retrieval.candidates)
            .map(|candidate| convert::candidate(candidate, false))
            .collect(),
        citations,
        receipt: blank,
    };
    let stored = StoredAttribution {
        id: asked.id.clone(),
        subject: asked.caller.subject.clone(),
        created_at: now(),
        record: text(record.to_bytes().map_err(ApiError::internal)?),
        private,
        attribution: serde_json::to_value(&attribution).map_err(ApiError::internal)?,
        log_index: None,
        base: None,
    };
    state.store.create_attribution(&stored, &asked.served).await?;
    state.store.blank_erased(&asked.id).await?;
    state.store.note_uses(&asked.id, &stored.created_at, &lines(asked)).await?;
    let placed = state.ledger.append(Draft::Record(Box::new(record))).await?;
    state.store.attribution_logged(&asked.id, placed.index, &text(placed.entry.clone())).await?;
    attribution.receipt = receipt(state, &asked.id, placed.index, placed.leaf, placed.size, placed.root);
    Ok(attribution)
}

/// Logs that a datanet reached a new state, so that nobody can later claim another.
pub(crate) async fn append_snapshot(state: &AppState, snapshot: &cairn_index::Snapshot) -> Result<(), ApiError> {
    let at = now();
    let entry = Entry::from(proof::SnapshotEntry {
        kind: proof::SnapshotKind::V1,
        datanet: snapshot.datanet.to_string(),
        lance_version: snapshot.lance_version,
        size: snapshot.size,
        root: snapshot.root,
        time: at.clone(),
    });
    let bytes = entry.to_bytes().map_err(ApiError::internal)?;
    let placed = state.ledger.append(Draft::Entry(bytes)).await?;
    let noted = StoredSnapshot {
        datanet: snapshot.datanet.to_string(),
        number: 0,
        lance_version: snapshot.lance_version,
        size: snapshot.size,
        root: snapshot.root.to_string(),
        at,
        log_index: placed.index,
    };
    state.store.note_snapshot(&noted).await?;
    Ok(())
}

/// Whose passages were put before the model. The log's writer counts them.
async fn uses(state: &AppState, asked: &Asked) -> Result<Vec<Use>, ApiError> {
    let mut passages: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let candidates = asked.retrieval.iter().flat_map(|retrieval| &retrieval.candidates);
    for (shown, candidate) in asked.shown.iter().zip(candidates) {
        passages.entry(&candidate.datapoint.contributor).or_default().push(shown.n as u64);
    }
    let mut uses = Vec::with_capacity(passages.len());
    for (contributor, passages) in passages {
        let (contributor, new) = state.store.pseudonym(contributor).await?;
        if new {
            state.ledger.outside().register(&Registered::Contributor { contributor }).await;
        }
        uses.push(Use { contributor, count: 1, passages });
    }
    uses.sort_by_key(|own| own.contributor);
    Ok(uses)
}

/// The ledger's lines of this answer.
fn lines(asked: &Asked) -> Vec<UseLine> {
    let mut passages: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    let candidates = asked.retrieval.iter().flat_map(|retrieval| &retrieval.candidates);
    for (shown, candidate) in asked.shown.iter().zip(candidates) {
        let datapoint = &candidate.datapoint;
        let whose = (datapoint.datanet.to_string(), datapoint.contributor.clone());
        passages.entry(whose).or_default().push(shown.n as u64);
    }
    let line = |((datanet, contributor), passages)| UseLine { datanet, contributor, passages };
    passages.into_iter().map(line).collect()
}

/// An entry is JSON, so it is text.
pub(crate) fn text(entry: Vec<u8>) -> String {
    String::from_utf8(entry).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// After a crash: rows that the log knows get their place; rows that it does not know were never answered and go.
pub(crate) async fn reconcile(store: &Store, ledger: &Ledger) -> anyhow::Result<()> {
    let pending = store.pending_attributions().await?;
    if pending.is_empty() {
        return Ok(());
    }
    // A record waits behind fewer entries than the log's queue holds, so it stands near the last one that was noted.
    let from = store.last_logged().await?.saturating_sub(2 * Batching::default().queue as u64);
    let ids: HashSet<String> = pending.iter().map(|row| row.id.clone()).collect();
    let mut found = ledger.read(move |log| records(log, from, &ids)).await??;
    for row in pending {
        match found.remove(&row.id) {
            Some((index, record)) => {
                tracing::info!(id = row.id, index, "a record got its place after a crash");
                store.attribution_logged(&row.id, index, &record).await?;
            }
            None => {
                tracing::info!(id = row.id, "an answer that a crash cut off before its record is forgotten");
                store.delete_attribution(&row.id).await?;
            }
        }
    }
    Ok(())
}

/// The records of these answers among the entries from `from` on, with their places.
fn records(log: &Log, from: u64, ids: &HashSet<String>) -> cairn_proof::Result<HashMap<String, (u64, String)>> {
    let mut found = HashMap::new();
    for index in from..log.size() {
        let entry = log.entry(index)?;
        if let Ok(Entry::Record(record)) = Entry::parse(&entry)
            && ids.contains(&record.id)
        {
            found.insert(record.id, (index, text(entry)));
        }
    }
    Ok(found)
}

/// A stored record as its reader gets it.
pub(crate) async fn describe(state: &AppState, stored: StoredAttribution) -> Result<AttributionRecord, ApiError> {
    let index = stored.log_index.unwrap_or_default();
    let leaf = cairn_proof::leaf_hash(stored.record.as_bytes());
    let (tree_size, root) =
        state.ledger.read(|log| (log.size(), log.tree().root())).await.map_err(ApiError::internal)?;
    let mut attribution: Attribution = serde_json::from_value(stored.attribution).map_err(ApiError::internal)?;
    attribution.influence = crate::influence::describe(state, &stored.id).await?;
    attribution.receipt = receipt(state, &stored.id, index, leaf, tree_size, root);
    let Value::String(request) = stored.private.request else {
        return Err(ApiError::internal("a stored request is not text"));
    };
    Ok(AttributionRecord {
        id: stored.id,
        created_at: stored.created_at,
        record: serde_json::from_str(&stored.record).map_err(ApiError::internal)?,
        request: serde_json::from_str(&request).map_err(ApiError::internal)?,
        response: stored.private.response,
        attribution,
    })
}

fn receipt(state: &AppState, id: &str, index: u64, leaf: Hash, tree_size: u64, root: Hash) -> Receipt {
    let url = &state.config.public_url;
    Receipt {
        log: state.ledger.origin().to_string(),
        index,
        leaf: leaf.to_string(),
        tree_size,
        root: root.to_string(),
        record_url: format!("{url}/v1/attributions/{id}"),
        proof_url: format!("{url}/v1/attributions/{id}/proof"),
    }
}

fn passages(asked: &Asked, citations: &[Citation]) -> Vec<Passage> {
    let candidates = asked.retrieval.iter().flat_map(|retrieval| &retrieval.candidates);
    asked
        .shown
        .iter()
        .zip(candidates)
        .map(|(shown, candidate)| Passage {
            n: shown.n,
            cited: citations.iter().any(|citation| citation.n == shown.n),
            truncated: shown.truncated,
            datapoint: convert::candidate(candidate, true),
        })
        .collect()
}

/// The part of the answer that the record commits to: its choices, as they were sent.
fn response(endpoint: Endpoint, answered: &Answered) -> Value {
    let choices = answered.choices.iter().enumerate().map(|(index, (choice, complete))| {
        // A caller that went away got less than the whole.
        let reason = if *complete { finish_name(choice.finish_reason) } else { "cancelled" };
        match endpoint {
            Endpoint::Chat => json!({
                "index": index,
                "message": message(choice),
                "finish_reason": reason,
            }),
            Endpoint::Completions => json!({"index": index, "text": choice.text, "finish_reason": reason}),
        }
    });
    json!({"choices": choices.collect::<Vec<_>>()})
}

/// As OpenAI writes it; `tool_calls` only where there are any.
fn message(choice: &Choice) -> Value {
    let mut message = json!({"role": "assistant", "content": choice.text});
    if !choice.tool_calls.is_empty() {
        let calls = choice.tool_calls.iter().map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

fn record(
    asked: &Asked,
    answered: &Answered,
    citations: &[Citation],
    private: &Private,
    salt: &Salt,
) -> anyhow::Result<Record> {
    let weights = answered.weights.as_ref().map(|weights| weights.0.parse::<Hash>()).transpose()?;
    let retrieval = asked.retrieval.as_ref().map(|retrieval| retrieved(asked, retrieval, private, salt)).transpose()?;
    Ok(Record {
        kind: proof::RecordKind::V1,
        id: asked.id.clone(),
        time: asked.at.clone(),
        endpoint: match asked.question.endpoint {
            Endpoint::Chat => proof::Endpoint::ChatCompletions,
            Endpoint::Completions => proof::Endpoint::Completions,
        },
        request: salt.commit(field::REQUEST, &private.request)?,
        response: salt.commit(field::RESPONSE, &private.response)?,
        model: asked.question.model.clone(),
        base_weights: weights.ok_or_else(|| anyhow::anyhow!("the engine did not say which weights answer"))?,
        adapter_generation: answered.adapter.as_ref().map(|adapter| adapter.0.clone()),
        caller: salt.commit(field::CALLER, &asked.caller.subject)?,
        retrieval,
        citations: citations.iter().map(cited).collect(),
        uses: None,
        adapters: Some(asked.mixed().iter().map(shared).collect::<Vec<_>>()).filter(|all| !all.is_empty()),
    })
}

impl Asked {
    /// The adapters, where one generation alone does not say it: several, or one not at weight 1.
    fn mixed(&self) -> &[AdapterShare] {
        match self.adapters.as_slice() {
            [one] if one.weight == 1.0 => &[],
            all => all,
        }
    }
}

fn described(share: &AdapterShare) -> WireShare {
    WireShare { generation: share.generation.0.clone(), weight: share.weight }
}

fn shared(share: &AdapterShare) -> proof::AdapterShare {
    proof::AdapterShare { generation: share.generation.0.clone(), weight: fixed(f64::from(share.weight)) }
}

/// The filter that the caller asked with, as the record commits to it.
fn wanted_rows(asked: &Asked) -> Result<Option<String>, ApiError> {
    let Some(options) = asked.question.retrieval.as_ref().filter(|_| asked.retrieval.is_some()) else {
        return Ok(None);
    };
    Ok(convert::Refine::of_options(options).rows()?.map(|rows| rows.to_string()))
}

fn retrieved(asked: &Asked, retrieval: &Retrieval, private: &Private, salt: &Salt) -> anyhow::Result<proof::Retrieval> {
    let mode = serde_json::to_value(retrieval.mode)?;
    let snapshots = retrieval.snapshots.iter().map(|snapshot| {
        let access = asked.accesses.iter().find(|access| access.name == snapshot.datanet);
        Ok(proof::Snapshot {
            name: snapshot.datanet.to_string(),
            lance_version: snapshot.lance_version,
            size: snapshot.size,
            root: snapshot.root,
            access: access.map(right).transpose()?,
        })
    });
    let filter = private.filter.as_ref().map(|filter| salt.commit(field::FILTER, &Value::String(filter.clone())));
    let filter = filter.transpose()?;
    let candidates = retrieval.candidates.iter().map(|candidate| proof::Candidate {
        datanet: candidate.datapoint.datanet.to_string(),
        leaf: candidate.datapoint.leaf,
        seq: candidate.datapoint.seq,
        rank: Some(candidate.rank as u64),
        in_prompt: was_shown(&asked.shown, candidate).map(|shown| shown.n as u64),
        vector_score: candidate.vector_score.map(fixed),
        vector_rank: candidate.vector_rank.map(|rank| rank as u64),
        text_score: candidate.text_score.map(fixed),
        text_rank: candidate.text_rank.map(|rank| rank as u64),
        phrase_score: candidate.phrase_score.map(fixed),
        fused_score: Some(fixed(candidate.fused_score)),
        rerank_score: candidate.rerank_score.map(fixed),
        left_out: candidate.left_out.map(|rule| match rule {
            LeftOut::MinimumScore => proof::LeftOut::MinimumScore,
            LeftOut::ContributorCap => proof::LeftOut::ContributorCap,
        }),
    });
    Ok(proof::Retrieval {
        query: salt.commit(field::QUERY, &retrieval.query)?,
        mode: mode.as_str().unwrap_or_default().to_owned(),
        top_k: asked.top_k as u64,
        candidates_per_source: asked.candidates as u64,
        datanets: snapshots.collect::<anyhow::Result<_>>()?,
        candidates: candidates.collect(),
        filter,
        rerank: retrieval.rerank.map(|rerank| match rerank {
            Rerank::LateInteraction => "late-interaction".to_owned(),
            Rerank::CrossEncoder => {
                format!("cross-encoder:{}", retrieval.cross_encoder.map(|hash| hash.to_string()).unwrap_or_default())
            }
        }),
    })
}

/// By what right a datanet was searched, as the record says it.
fn right(access: &Access) -> anyhow::Result<proof::Access> {
    Ok(match (&access.grant, access.basis) {
        (Some(grant), _) => {
            let leaf = grant.leaf.as_deref().ok_or_else(|| anyhow::anyhow!("a grant in force has no entry"))?;
            proof::Access::Grant { grant: leaf.parse()? }
        }
        (None, AccessBasis::Owner) => proof::Access::Owner,
        (None, AccessBasis::Administrator) => proof::Access::Administrator,
        (None, AccessBasis::Public) => proof::Access::Public,
        (None, AccessBasis::Grant | AccessBasis::OnRequest) => anyhow::bail!("a datanet was searched without a right"),
    })
}

fn cited(citation: &Citation) -> proof::Citation {
    proof::Citation {
        choice: citation.choice as u64,
        n: citation.n as u64,
        start: citation.start as u64,
        end: citation.end as u64,
        kind: match citation.kind {
            CitationKind::Marker => proof::CitationKind::Marker,
            CitationKind::Overlap => proof::CitationKind::Overlap,
        },
        score: Some(fixed(citation.score)),
    }
}
