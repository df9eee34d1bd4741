//! Retrieval: the candidates for a query over any number of datanets, and why each is one.
//!
//! Vector search and full-text search (BM25) run separately on the same pinned snapshots, because a record needs the
//! score and the rank that each gave; then [`fuse`](fusion::fuse) ranks all candidates, minding the order of words. Where asked
//! for, the best of them are read once more beside the query ([`Rerank`]).
//!
//! Ranks run over all datanets of a query together. Cosine similarities are comparable between datanets. BM25 scores are
//! so only roughly, for a word's weight depends on how rare it is in its own datanet; the merged text ranks inherit that.

mod found;
mod fusion;
mod nearest;

pub(crate) use found::Found;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cairn_filter::Filter;
use cairn_proof::Hash;
use futures::TryStreamExt;
use futures::future::try_join_all;
use lancedb::arrow::SendableRecordBatchStream;
use lancedb::index::scalar::{CombinedFieldsQuery, FtsQuery, FullTextSearchQuery};
use lancedb::query::{ExecutableQuery, QueryBase, Select};
use serde::{Deserialize, Serialize};

use crate::datanet::Published;
use crate::schema::{Columns, DATAPOINT_COLUMNS, datapoints};
use crate::terms::Terms;
use crate::{DatanetName, Datapoint, Index, IndexError, SaltedDatapoint, Snapshot};

/// How candidates are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrievalMode {
    /// Vector and full text, fused.
    #[default]
    Hybrid,
    /// Embedding similarity alone.
    Vector,
    /// Full text alone.
    FullText,
}

/// How the best candidates are put in order once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rerank {
    /// Token by token with the embedding model: for each of the query's tokens its best cosine in the passage.
    LateInteraction,
    /// By a cross-encoder, which reads query and passage together; see
    /// [`IndexOptions::cross_encoder`](crate::IndexOptions::cross_encoder).
    CrossEncoder,
}

/// What to search for, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The question or words. Never read as query syntax. Of a long text the first 256 tokens are embedded and the first
    /// 64 different words searched.
    pub text: String,
    /// The datanets to search: those that the caller may read, and of each the rows.
    pub datanets: Vec<Source>,
    /// Only these rows of all of them.
    pub filter: Option<Filter>,
    /// At most so many passages of one contributor.
    pub per_contributor: Option<usize>,
    /// Least [`Candidate::fused_score`] of a passage.
    pub minimum_score: Option<f64>,
    /// How many candidates are passages of the answer.
    pub top_k: usize,
    /// Candidates asked of each search before fusion.
    pub candidates: usize,
    /// How candidates are found.
    pub mode: RetrievalMode,
    /// How the best [`RERANKED`] are put in order once more.
    pub rerank: Option<Rerank>,
    /// The embedding of `text`, where the caller has it; none: it is computed.
    pub vector: Option<Vec<f32>>,
    /// Scans all vectors, however many there are. For measuring what the search otherwise misses.
    pub exact: bool,
}

impl Query {
    /// A hybrid query for 5 passages out of 50 candidates a search.
    pub fn new(text: impl Into<String>, datanets: Vec<DatanetName>) -> Self {
        let whole = |datanet| Source { datanet, rows: None };
        Self {
            text: text.into(),
            datanets: datanets.into_iter().map(whole).collect(),
            filter: None,
            per_contributor: None,
            minimum_score: None,
            top_k: 5,
            candidates: 50,
            mode: RetrievalMode::Hybrid,
            rerank: None,
            vector: None,
            exact: false,
        }
    }
}

/// A datanet, and which of its rows may be found.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The datanet.
    pub datanet: DatanetName,
    /// The rows that the caller's grant covers; none: all.
    pub rows: Option<Filter>,
}

/// What a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieval {
    /// What was searched for.
    pub query: String,
    /// How.
    pub mode: RetrievalMode,
    /// How the best were put in order once more.
    pub rerank: Option<Rerank>,
    /// The weights of the cross-encoder, where one read them.
    pub cross_encoder: Option<Hash>,
    /// How many candidates are passages.
    pub top_k: usize,
    /// The state of each datanet searched, in the query's order.
    pub snapshots: Vec<Snapshot>,
    /// Everything found, best first.
    pub candidates: Vec<Candidate>,
    /// Tokens embedded: for usage accounting.
    pub tokens: u64,
}

impl Retrieval {
    /// The passages of the answer: the best `top_k` candidates.
    pub fn passages(&self) -> &[Candidate] {
        let kept = self.candidates.iter().take_while(|candidate| candidate.left_out.is_none()).count();
        &self.candidates[..self.top_k.min(kept)]
    }
}

/// A datapoint that was considered, with why. Ranks count from 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The datapoint.
    pub datapoint: Datapoint,
    /// Cosine similarity of the embeddings; none where only full text is searched.
    pub vector_score: Option<f64>,
    /// Rank in the vector search, where it found the datapoint.
    pub vector_rank: Option<usize>,
    /// BM25 score, where the full-text search found it.
    pub text_score: Option<f64>,
    /// Rank in the full-text search.
    pub text_rank: Option<usize>,
    /// Of the neighbouring words of the query, the part that are neighbours here too, 0 to 1; where both searches are
    /// fused and the query has more than one word.
    pub phrase_score: Option<f64>,
    /// Words of the query found in title or text, after stemming.
    pub matched_terms: Vec<String>,
    /// What orders the candidates; its scale means nothing beyond this query.
    pub fused_score: f64,
    /// Score by [`Retrieval::rerank`], where it was among the best [`RERANKED`]: these are in the order of its sum with
    /// `fused_score`, or of a cross-encoder's score alone.
    pub rerank_score: Option<f64>,
    /// Place among the candidates; those that are left out come last.
    pub rank: usize,
    /// Why it is no passage, however it scores.
    pub left_out: Option<LeftOut>,
}

/// A rule that keeps a candidate from being a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// It scores less than the query asks for.
    MinimumScore,
    /// Its contributor has as many passages as the query allows.
    ContributorCap,
}

impl Index {
    /// Searches the datanets of a query at their present snapshots.
    pub async fn retrieve(&self, query: Query) -> Result<Retrieval, IndexError> {
        if query.text.trim().is_empty() {
            return Err(IndexError::EmptyQuery);
        }
        if query.datanets.is_empty() {
            return Err(IndexError::NoDatanets);
        }
        let cross_encoder = match query.rerank {
            Some(Rerank::CrossEncoder) => Some(self.cross_encoder.clone().ok_or(IndexError::NoCrossEncoder)?),
            _ => None,
        };
        let mut sources = query.datanets.clone();
        let mut seen = BTreeSet::new();
        sources.retain(|source| seen.insert(source.datanet.clone()));
        let searched = |source: &Source| {
            let rows = match (&source.rows, &query.filter) {
                (Some(rows), Some(filter)) => Some(rows.and(filter)),
                (rows, filter) => rows.clone().or_else(|| filter.clone()),
            };
            Ok(Searched { published: self.published(&source.datanet)?, condition: rows.map(|rows| rows.to_sql()) })
        };
        let searched = sources.iter().map(searched).collect::<Result<Vec<_>, IndexError>>()?;
        // What is only measured is not kept.
        let key = (query.vector.is_none() && !query.exact).then(|| found::key(&query, &searched));
        if let Some(key) = &key
            && let Some(found) = self.found.same(key).await
        {
            return Ok(found);
        }
        let mut terms = Terms::new(&query.text)?;

        let (by_vector, by_text) =
            tokio::try_join!(self.by_vector(&query, &searched), self.by_text(&query, &terms, &searched))?;
        let (by_vector, question) = by_vector;
        let mut candidates = fusion::fuse(by_vector, by_text, &question.vector, query.candidates, &mut terms);
        if let Some(rerank) = query.rerank {
            self.rerank(rerank, &query.text, &mut candidates).await?;
        }
        let candidates = kept_first(candidates, &query);
        let retrieval = Retrieval {
            query: query.text,
            mode: query.mode,
            rerank: query.rerank,
            cross_encoder: cross_encoder.map(|encoder| encoder.weights_hash()),
            top_k: query.top_k,
            snapshots: searched.iter().map(|searched| searched.published.snapshot.clone()).collect(),
            candidates,
            tokens: question.tokens,
        };
        if let Some(key) = key {
            self.found.keep(key, &retrieval).await;
        }
        Ok(retrieval)
    }

    /// Puts the best candidates in order once more, as [`Candidate::rerank_score`] says.
    async fn rerank(&self, rerank: Rerank, query: &str, candidates: &mut [Candidate]) -> Result<(), IndexError> {
        let best = candidates.len().min(RERANKED);
        let best = &mut candidates[..best];
        let texts = |of: fn(&Datapoint) -> String| best.iter().map(|candidate| of(&candidate.datapoint)).collect();
        let scores = match rerank {
            Rerank::LateInteraction => {
                let passages = texts(|datapoint| datapoint.text.clone());
                self.embedder().late_interaction(query.to_owned(), passages).await?
            }
            Rerank::CrossEncoder => {
                let encoder = self.cross_encoder.clone().ok_or(IndexError::NoCrossEncoder)?;
                self.embedder().cross_scores(encoder, query.to_owned(), texts(Datapoint::titled)).await?
            }
        };
        for (candidate, score) in best.iter_mut().zip(scores) {
            candidate.rerank_score = Some(score);
        }
        let decides = |candidate: &Candidate| match rerank {
            // Together: late interaction alone forgets what a title says, see docs/retrieval.md.
            Rerank::LateInteraction => candidate.fused_score + candidate.rerank_score.unwrap_or_default(),
            // It has read the title too, and its scale is its own.
            Rerank::CrossEncoder => candidate.rerank_score.unwrap_or(f64::NEG_INFINITY),
        };
        best.sort_by(|a, b| decides(b).total_cmp(&decides(a)));
        Ok(())
    }

    /// BM25 over title and text as one field, in which a word of the title counts as [`TITLE_WEIGHT`] words.
    async fn by_text(&self, query: &Query, terms: &Terms, at: &[Searched]) -> Result<Vec<Hit>, IndexError> {
        if query.mode == RetrievalMode::Vector || terms.is_empty() {
            return Ok(Vec::new());
        }
        let searches = at.iter().filter(|searched| searched.published.snapshot.size > 0).map(|searched| async move {
            let published = &searched.published;
            let search = published.table.query().full_text_search(text_query(terms)?).limit(query.candidates);
            let search = match &searched.condition {
                Some(condition) => search.only_if(condition),
                None => search,
            };
            hits(published, search.select(columns_with("_score")).execute().await?, "_score").await
        });
        let found = try_join_all(searches).await?.into_iter().flatten().collect();
        Ok(best(found, query.candidates))
    }
}

/// A datanet as a query reads it.
struct Searched {
    published: Arc<Published>,
    /// In SQL; none: all rows.
    condition: Option<String>,
}

/// The candidates that may be passages, best first, and then those that a rule keeps out.
fn kept_first(candidates: Vec<Candidate>, query: &Query) -> Vec<Candidate> {
    let mut passages: HashMap<String, usize> = HashMap::new();
    let (mut kept, mut out) = (Vec::with_capacity(candidates.len()), Vec::new());
    for mut candidate in candidates {
        let of_contributor = passages.entry(candidate.datapoint.contributor.clone()).or_default();
        candidate.left_out = if query.minimum_score.is_some_and(|least| candidate.fused_score < least) {
            Some(LeftOut::MinimumScore)
        } else if query.per_contributor.is_some_and(|most| *of_contributor >= most) {
            Some(LeftOut::ContributorCap)
        } else {
            *of_contributor += 1;
            None
        };
        if candidate.left_out.is_none() { &mut kept } else { &mut out }.push(candidate);
    }
    (1..).zip(kept.into_iter().chain(out)).map(|(rank, candidate)| Candidate { rank, ..candidate }).collect()
}

/// The query as it was embedded; empty where the vectors are not searched.
#[derive(Clone, Default)]
struct Question {
    vector: Vec<f32>,
    tokens: u64,
}

/// A datapoint found by one search.
struct Hit {
    datapoint: Datapoint,
    score: f64,
    vector: Vec<f32>,
}

fn text_query(terms: &Terms) -> Result<FullTextSearchQuery, IndexError> {
    let columns = vec!["titles".to_owned(), "text".to_owned()];
    let query = CombinedFieldsQuery::try_new(terms.query(), columns)
        .and_then(|query| query.try_with_boosts(vec![TITLE_WEIGHT, 1.0]))
        .map_err(lancedb::Error::from)?;
    Ok(FullTextSearchQuery::new_query(FtsQuery::CombinedFields(query)))
}

fn columns_with(score: &str) -> Select {
    let columns = DATAPOINT_COLUMNS.iter().copied().chain(["vector", score]);
    Select::Columns(columns.map(str::to_owned).collect())
}

async fn hits(
    published: &Published,
    mut batches: SendableRecordBatchStream,
    score: &str,
) -> Result<Vec<Hit>, IndexError> {
    let datanet = &published.snapshot.datanet;
    let mut found = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let columns = Columns { datanet, batch: &batch };
        let (scores, vectors) = (columns.f32s(score)?, columns.vectors("vector")?);
        let rows = datapoints(datanet, &batch)?.into_iter().zip(scores.values()).zip(vectors);
        let hit = |((row, score), vector): ((SaltedDatapoint, &f32), &[f32])| {
            // The vector of an erased datapoint can be found, where there are few others.
            let found = row.erased.is_none();
            found.then(|| Hit { datapoint: row.datapoint, score: f64::from(*score), vector: vector.to_vec() })
        };
        found.extend(rows.filter_map(hit));
    }
    Ok(found)
}

/// The best hits, best first; equal scores by datanet and place, so that the same query ranks the same way again.
fn best(mut hits: Vec<Hit>, most: usize) -> Vec<Hit> {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| key(&a.datapoint).cmp(&key(&b.datapoint))));
    hits.truncate(most);
    hits
}

/// What identifies a datapoint over all datanets.
fn key(datapoint: &Datapoint) -> (DatanetName, u64) {
    (datapoint.datanet.clone(), datapoint.seq)
}

/// How many of the best candidates a rerank reads: about 0.2 s on two cores by late interaction.
pub const RERANKED: usize = 20;
/// Raises recall@1 of "What is X?" by full text from 84.5% (weight 1) to 89.5% on the Jargon File, and costs nothing where
/// the query does not name what it looks for. Beyond 4, the latter suffers.
const TITLE_WEIGHT: f32 = 4.0;
