//! What was found lately: the same query over the same rows is answered from memory.
//!
//! The key holds all that the answer follows from: the words and how they are sought, and of each datanet the rows that the
//! caller's grant covers and the version read. Rights are decided before, for every request, so a grant that is revoked or
//! narrowed is felt at once, and so is a new row or an erased one, for the version is another then. An erasure also drops all
//! that is kept, for the erased words are in it.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::{Query, Question, Rerank, Retrieval, RetrievalMode, Searched};
use crate::DatanetName;

/// Queries and what they found.
#[derive(Clone)]
pub(crate) struct Found {
    retrievals: Cache<Key, Retrieval>,
    questions: Cache<String, Question>,
    /// How many rows of a datanet, at a version, a condition leaves.
    rows_left: Cache<Condition, usize>,
}

type Condition = (DatanetName, u64, String);

/// All that a retrieval follows from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    text: String,
    mode: RetrievalMode,
    rerank: Option<Rerank>,
    top_k: usize,
    candidates: usize,
    per_contributor: Option<usize>,
    /// Bits of the score: it is compared for being the same.
    minimum_score: Option<u64>,
    /// Name, version read, and which rows.
    datanets: Vec<(DatanetName, u64, u64, Option<String>)>,
}

pub(super) fn key(query: &Query, searched: &[Searched]) -> Key {
    let datanets = searched.iter().map(|searched| {
        let snapshot = &searched.published.snapshot;
        (snapshot.datanet.clone(), snapshot.lance_version, snapshot.size, searched.condition.clone())
    });
    Key {
        text: query.text.clone(),
        mode: query.mode,
        rerank: query.rerank,
        top_k: query.top_k,
        candidates: query.candidates,
        per_contributor: query.per_contributor,
        minimum_score: query.minimum_score.map(f64::to_bits),
        datanets: datanets.collect(),
    }
}

impl Found {
    pub(super) async fn same(&self, key: &Key) -> Option<Retrieval> {
        self.retrievals.get(key).await
    }

    pub(super) async fn keep(&self, key: Key, retrieval: &Retrieval) {
        self.retrievals.insert(key, retrieval.clone()).await;
    }

    pub(super) async fn question(&self, text: &str) -> Option<Question> {
        self.questions.get(text).await
    }

    pub(super) async fn keep_question(&self, text: &str, question: &Question) {
        self.questions.insert(text.to_owned(), question.clone()).await;
    }

    pub(super) async fn rows_left(
        &self,
        key: Condition,
        count: impl Future<Output = Result<usize, lancedb::Error>>,
    ) -> Result<usize, Arc<lancedb::Error>> {
        self.rows_left.try_get_with(key, count).await
    }

    /// Drops every retrieval.
    pub(crate) fn forget(&self) {
        self.retrievals.invalidate_all();
    }
}

impl Found {
    /// Keeps so many bytes of retrievals, about; 0: nothing.
    pub(crate) fn new(most_bytes: u64) -> Self {
        let weight = |_: &Key, retrieval: &Retrieval| {
            let texts = retrieval.candidates.iter().map(|candidate| candidate.datapoint.text.len() + CANDIDATE_BYTES);
            u32::try_from(texts.sum::<usize>()).unwrap_or(u32::MAX)
        };
        let retrievals = Cache::builder().weigher(weight).max_capacity(most_bytes).time_to_live(KEPT).build();
        let most_questions = if most_bytes == 0 { 0 } else { MOST_QUESTIONS };
        let questions = Cache::builder().max_capacity(most_questions).time_to_live(KEPT).build();
        Self {
            retrievals,
            questions,
            rows_left: Cache::builder().max_capacity(MOST_CONDITIONS).time_to_live(KEPT).build(),
        }
    }
}

/// Bytes of a candidate beside its text, about.
const CANDIDATE_BYTES: usize = 1024;
/// Embedded queries kept: about 1.5 kB each.
const MOST_QUESTIONS: u64 = 4096;
/// Conditions whose rows are known: a grant has one, a filter another.
const MOST_CONDITIONS: u64 = 1024;
/// How long anything is kept.
const KEPT: Duration = Duration::from_mins(10);
