//! Measuring influence from what a record and its openings say, and nothing else: the gateway does it after an answer, and
//! `cairn recompute` from a proof bundle.

use std::collections::BTreeMap;

use cairn_adapters::{AdapterGeneration, AdapterShare, GenerateError, Generation, Input, ModelName, ScoredToken};
use cairn_base::BaseModels;
use cairn_influence::{Coalition, Method, Outcome, Plan};
use cairn_proof::{
    Record,
    canonical::fixed,
    influence::{InfluenceEntry, InfluenceKind, InfluenceMethod, PassageInfluence, SentenceInfluence},
    record::Endpoint,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::{
    error::{ApiError, Code},
    http::{chat, completions},
    pipeline::Question,
    prompt::{self, Shown},
    store::now,
};

/// An answer as its record and the openings have it.
pub(crate) struct Case {
    pub(crate) record: Record,
    /// The request's body, as it was received.
    pub(crate) request: String,
    /// The response that the record commits to.
    pub(crate) response: Value,
    /// The whole text of each passage, by its number in the prompt.
    pub(crate) passages: BTreeMap<u64, String>,
    /// Most characters of a passage that the prompt showed.
    pub(crate) passage_chars: usize,
}

/// Coalitions that are scored at once; the lane batches them, and those that come later find cached beginnings.
const AT_ONCE: usize = 4;
/// Most numbers of passages in an entry, so that it stays below a log entry's 65,535 bytes; sentences are joined to fit.
const MOST_NUMBERS: usize = 320;

/// How much each passage mattered to the answer, by the weights and adapters that gave it.
pub(crate) async fn measure(models: &BaseModels, case: &Case, method: Method) -> Result<InfluenceEntry, ApiError> {
    let record = &case.record;
    let question = question(case)?;
    let shown = prompt::number(case.passages.values().map(String::as_str), case.passage_chars);
    let leaf = record.leaf().map_err(ApiError::internal)?;
    let plan = Plan::new(shown.len(), method, *leaf.as_bytes());
    let template = Generation {
        adapters: adapters(record)?,
        tenant: TENANT.to_owned(),
        tools: question.tools.clone(),
        tool_choice: question.tool_choice.clone(),
        ..Generation::new(base(models, record)?, question.input.clone(), Default::default())
    };
    let mut sentences = Vec::new();
    let choices: Vec<(usize, &str)> = texts(&case.response).collect();
    for (choice, text) in choices {
        let prompt = |coalition: &Coalition| Generation {
            input: with_passages(&question, &shown, *coalition),
            ..template.clone()
        };
        let prompts: Vec<Generation> = plan.coalitions().iter().map(prompt).collect();
        let scoring = stream::iter(prompts).map(|prompt| score(models, prompt, text));
        let scored: Vec<Vec<ScoredToken>> = scoring.buffered(AT_ONCE).try_collect().await?;
        sentences.extend(of_sentences(record, choice, text, &plan, &scored));
    }
    let (method, permutations) = match (method, plan.permutations()) {
        (Method::LeaveOneOut, _) => (InfluenceMethod::LeaveOneOut, None),
        (Method::Exact, _) | (Method::Shapley, 0) => (InfluenceMethod::Shapley, None),
        (Method::Shapley, drawn) => (InfluenceMethod::SampledShapley, Some(drawn as u64)),
    };
    let mut entry = InfluenceEntry {
        kind: InfluenceKind::V1,
        record: leaf,
        id: record.id.clone(),
        method,
        permutations,
        passage_chars: case.passage_chars as u64,
        passages: case.passages.keys().copied().collect(),
        sentences,
        shares: Vec::new(),
        time: now(),
    };
    entry.shares = entry.shares_of(record).map_err(ApiError::internal)?;
    Ok(entry)
}

/// Whom the lane counts the work for: one tenant for all of it, so that people who wait come before it in turn.
const TENANT: &str = "influence";

fn question(case: &Case) -> Result<Question, ApiError> {
    let unreadable = |error| ApiError::internal(format!("a request cannot be read again: {error}"));
    let raw = case.request.clone();
    match case.record.endpoint {
        Endpoint::ChatCompletions => chat::question(serde_json::from_str(&raw).map_err(unreadable)?, raw),
        Endpoint::Completions => completions::question(serde_json::from_str(&raw).map_err(unreadable)?, raw),
    }
}

/// The base whose weights answered; its name may be another than then.
fn base(models: &BaseModels, record: &Record) -> Result<ModelName, ApiError> {
    let weights = record.base_weights.to_string();
    let listed = models.list().map_err(ApiError::internal)?;
    let found = listed.into_iter().find(|listed| listed.manifest.serving_hash.0 == weights);
    found.map(|listed| listed.manifest.name.clone()).ok_or_else(|| {
        ApiError::new(Code::ModelNotFound, format!("the weights that answered ({weights}) are not here any more"))
    })
}

fn adapters(record: &Record) -> Result<Vec<AdapterShare>, ApiError> {
    let share =
        |generation: &str, weight: f32| AdapterShare { generation: AdapterGeneration(generation.to_owned()), weight };
    match (&record.adapters, &record.adapter_generation) {
        (Some(all), _) => {
            all.iter().map(|one| Ok(share(&one.generation, one.weight.parse().map_err(ApiError::internal)?))).collect()
        }
        (None, Some(one)) => Ok(vec![share(one, 1.0)]),
        (None, None) => Ok(Vec::new()),
    }
}

/// The prompt as it was, instruction included, with these passages only; they keep their numbers.
fn with_passages(question: &Question, shown: &[Shown], coalition: Coalition) -> Input {
    let kept: Vec<Shown> =
        shown.iter().enumerate().filter(|(at, _)| coalition.has(*at)).map(|(_, passage)| passage.clone()).collect();
    match question.input.clone() {
        Input::Chat(messages) => Input::Chat(prompt::framed(messages, &kept)),
        Input::Text(text) => Input::Text(prompt::completion(&text, &kept)),
    }
}

/// The choices that say something.
fn texts(response: &Value) -> impl Iterator<Item = (usize, &str)> {
    let choices = response["choices"].as_array().into_iter().flatten().enumerate();
    choices.filter_map(|(index, choice)| {
        let text = choice.pointer("/message/content").or(choice.get("text"))?.as_str()?;
        (!text.trim().is_empty()).then_some((index, text))
    })
}

/// Waits while the lane is full: nobody is kept waiting by that.
async fn score(models: &BaseModels, prompt: Generation, answer: &str) -> Result<Vec<ScoredToken>, ApiError> {
    loop {
        match models.score(prompt.clone(), answer.to_owned()).await {
            Err(GenerateError::Overloaded { retry_after }) => tokio::time::sleep(retry_after).await,
            outcome => return Ok(outcome?),
        }
    }
}

/// The influence on each sentence of a choice; `scored`: the tokens of the choice by coalition.
fn of_sentences(
    record: &Record,
    choice: usize,
    text: &str,
    plan: &Plan,
    scored: &[Vec<ScoredToken>],
) -> Vec<SentenceInfluence> {
    let passages = record.retrieval.iter().flat_map(|retrieval| &retrieval.candidates);
    let passages = passages.filter(|candidate| candidate.in_prompt.is_some()).count().max(1);
    let single = cairn_influence::sentences(text);
    let joined = (single.len() * passages).div_ceil(MOST_NUMBERS).max(1);
    let spans: Vec<_> = single.chunks(joined).map(|some| some[0].start..some[some.len() - 1].end).collect();
    let by_coalition: Vec<Vec<(f64, usize)>> = scored
        .iter()
        .map(|tokens| {
            let tokens: Vec<_> = tokens.iter().map(|token| (token.chars.clone(), f64::from(token.logprob))).collect();
            cairn_influence::by_sentence(&spans, &tokens)
        })
        .collect();
    let sentence = |(at, span): (usize, &std::ops::Range<usize>)| {
        let tokens = by_coalition[0][at].1;
        let values: Vec<f64> = by_coalition.iter().map(|sums| sums[at].0).collect();
        let outcome = plan.solve(&values);
        let cited = record.citations.iter().any(|citation| {
            citation.choice == choice as u64 && citation.start < span.end as u64 && citation.end > span.start as u64
        });
        let influential = |passage: &cairn_influence::Passage| cairn_influence::supports(passage.influence(), tokens);
        let supported = cited || outcome.passages.iter().any(influential);
        written(&outcome, choice, span, tokens, supported)
    };
    spans.iter().enumerate().map(sentence).collect()
}

fn written(
    outcome: &Outcome,
    choice: usize,
    span: &std::ops::Range<usize>,
    tokens: usize,
    supported: bool,
) -> SentenceInfluence {
    SentenceInfluence {
        choice: choice as u64,
        start: span.start as u64,
        end: span.end as u64,
        tokens: tokens as u64,
        closed_book: fixed(outcome.closed_book),
        with_all: fixed(outcome.with_all),
        passages: outcome
            .passages
            .iter()
            .map(|passage| PassageInfluence {
                necessity: fixed(passage.necessity),
                sufficiency: fixed(passage.sufficiency),
                shapley: passage.shapley.map(fixed),
                error: passage.error.map(fixed),
            })
            .collect(),
        supported,
    }
}
