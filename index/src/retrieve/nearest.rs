//! The vector search: the rows whose embeddings are nearest to the query's.
//!
//! Up to [`IndexOptions::scanned_rows`](crate::IndexOptions::scanned_rows) rows it scans, which is exact. Beyond, it asks the
//! partitions whose centres are nearest, by vectors of 8 bits a dimension, and weighs the best once more by the vectors as they
//! are. Under a filter there is more to mind, for the rows that it leaves may lie in any partition: are they few, all partitions
//! are asked and every row is weighed, so nothing is missed; are they many, so many more partitions are asked as there are fewer
//! rows in each, and further ones until there are as many rows as were asked for.
//!
//! Scanning what a filter leaves would be the plainer way, but the store reads all vectors for it, unless a tree answers the filter.

use std::sync::Arc;

use futures::future::try_join_all;
use lancedb::DistanceType;
use lancedb::query::{ExecutableQuery, QueryBase};

use super::{Hit, Query, Question, RetrievalMode, Searched, best, columns_with, fusion, hits};
use crate::{Index, IndexError};

/// How the rows of a datanet are gone through.
enum Way {
    /// All of them.
    Scan,
    /// Those of so many partitions, or of more if these have too few; so many times as many as are asked for are weighed again.
    Partitions { least: usize, again: usize },
    /// There are none.
    Nothing,
}

impl Index {
    /// Cosine similarity with the query's embedding, over all datanets; and that embedding.
    pub(super) async fn by_vector(&self, query: &Query, at: &[Searched]) -> Result<(Vec<Hit>, Question), IndexError> {
        if query.mode == RetrievalMode::FullText {
            return Ok((Vec::new(), Question::default()));
        }
        let question = match &query.vector {
            Some(vector) => Question { vector: vector.clone(), tokens: 0 },
            None => self.question(&query.text).await?,
        };
        let some = at.iter().filter(|searched| searched.published.snapshot.size > 0);
        let searches = some.map(|searched| self.nearest(&question.vector, query, searched));
        let found = try_join_all(searches).await?.into_iter().flatten().collect();
        Ok((best(found, query.candidates), question))
    }

    async fn nearest(&self, question: &[f32], query: &Query, searched: &Searched) -> Result<Vec<Hit>, IndexError> {
        let search = searched.published.table.query().nearest_to(question)?.column("vector");
        let search = search.distance_type(DistanceType::Cosine).limit(query.candidates);
        let search = match self.way(query, searched).await? {
            Way::Nothing => return Ok(Vec::new()),
            Way::Scan => search.bypass_vector_index(),
            Way::Partitions { least, again } => {
                let search = search.minimum_nprobes(least)?.maximum_nprobes(None)?;
                // As many as are asked for are weighed below, by the vectors that come with them.
                if again == 1 { search } else { search.refine_factor(u32::try_from(again).unwrap_or(u32::MAX)) }
            }
        };
        // Before the nearest are sought, so that as many are found as the rows have.
        let search = match &searched.condition {
            Some(condition) => search.only_if(condition),
            None => search,
        };
        let batches = search.select(columns_with("_distance")).execute().await?;
        let mut found = hits(&searched.published, batches, "_distance").await?;
        for hit in &mut found {
            // As of candidates that full text found, so that all compare.
            hit.score = fusion::cosine(question, &hit.vector);
        }
        Ok(found)
    }

    async fn way(&self, query: &Query, searched: &Searched) -> Result<Way, IndexError> {
        let size = usize::try_from(searched.published.snapshot.size).unwrap_or(usize::MAX);
        if query.exact || size <= self.scale.scanned_rows {
            return Ok(Way::Scan);
        }
        let Some(condition) = &searched.condition else {
            return Ok(Way::Partitions { least: PARTITIONS, again: WEIGHED.div_ceil(query.candidates.max(1)) });
        };
        let left = self.rows_left(searched, condition).await?;
        Ok(match left {
            0 => Way::Nothing,
            1..=ALL_WEIGHED => Way::Partitions { least: ALL, again: left.div_ceil(query.candidates.max(1)) },
            _ => Way::Partitions { least: PARTITIONS.saturating_mul(size) / left, again: 2 },
        })
    }

    /// How many rows a condition leaves; counted once for each version.
    async fn rows_left(&self, searched: &Searched, condition: &str) -> Result<usize, IndexError> {
        let snapshot = &searched.published.snapshot;
        let key = (snapshot.datanet.clone(), snapshot.lance_version, condition.to_owned());
        let table = searched.published.table.clone();
        let counted = self.found.rows_left(key, async move { table.count_rows(Some(condition.to_owned())).await });
        counted.await.map_err(|error: Arc<lancedb::Error>| IndexError::Counting(error))
    }

    /// The embedding of a query, computed where it was not asked lately.
    async fn question(&self, text: &str) -> Result<Question, IndexError> {
        if let Some(question) = self.found.question(text).await {
            return Ok(question);
        }
        let mut embedded = self.embedder().embed(vec![text.to_owned()]).await?;
        let question = Question { vector: embedded.vectors.pop().unwrap_or_default(), tokens: embedded.tokens };
        self.found.keep_question(text, &question).await;
        Ok(question)
    }
}

/// Partitions that are asked at least.
const PARTITIONS: usize = 16;
/// Rows that are weighed once more at least, however few are asked for.
const WEIGHED: usize = 50;
/// More partitions than there can be.
const ALL: usize = 1 << 20;
/// Most rows that are all weighed, where a filter leaves them: so many are fetched one by one in some milliseconds.
const ALL_WEIGHED: usize = 2000;
