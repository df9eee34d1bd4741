//! Erasure: what was contributed goes, its place stays.
//!
//! The row of an erased datapoint keeps its place, id, date, licence and leaf, so that trees and older proofs hold, and the
//! commitment without its salts, so that new proofs can say what stood there. Text, contributor, source, metadata, content
//! hash, salt and vector are overwritten in one commit; then the files that still hold them are rewritten without, the
//! indices over any of these are built anew, and every older version of the table is removed. Running it again after a
//! crash completes it.

use arrow_array::RecordBatchIterator;
use cairn_proof::Commitment;
use chrono::Duration;
use lancedb::expr::{col, is_in, lit};
use lancedb::query::QueryBase;
use lancedb::table::OptimizeAction;
use serde_json::{Value, json};

use crate::datapoint::Checked;
use crate::index::fetch;
use crate::schema::{NewRow, batch, datanet_schema};
use crate::{DatanetName, Index, IndexError, SaltedDatapoint, Snapshot};

/// Key under which the metadata column of an erased row keeps its commitment.
pub(crate) const ERASED: &str = "cairn.erased";

impl Index {
    /// Erases the datapoints at these places; those that are erased already stay so. Waits for an ingest that is under
    /// way. Searches that began before may fail, and no later one finds them.
    pub async fn erase(&self, name: &DatanetName, seqs: &[u64]) -> Result<Snapshot, IndexError> {
        let datanet = self.datanet(name)?;
        let writer = datanet.writer.lock().await;
        let snapshot = datanet.refresh(&writer).await?;
        if let Some(seq) = seqs.iter().copied().find(|seq| *seq >= snapshot.size) {
            return Err(IndexError::UnknownSeq { datanet: name.clone(), seq, size: snapshot.size });
        }
        if seqs.is_empty() {
            return Ok(snapshot);
        }
        let wanted = seqs.iter().map(|seq| lit(*seq)).collect();
        let found = fetch(name, writer.query().only_if_expr(is_in(col("seq"), wanted))).await?;
        let dimensions = self.embedder().dimensions();
        let rows = found.into_iter().filter(|row| row.erased.is_none()).map(|row| blank(name, row, dimensions));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        if !rows.is_empty() {
            let schema = datanet_schema(self.embedder());
            let batch = batch(&schema, &rows)?;
            let mut update = writer.merge_insert(&["seq"]);
            update.when_matched_update_all(None);
            update.execute(Box::new(RecordBatchIterator::new([Ok(batch)], schema))).await?;
            datanet.publish(&writer, Vec::new()).await?;
        }
        datanet.bands.forget(seqs);
        datanet.rewrite(&writer).await?;
        let snapshot = datanet.publish(&writer, Vec::new()).await?;
        // Only now does nobody read the older versions any more.
        let prune = OptimizeAction::Prune {
            older_than: Some(Duration::zero()),
            delete_unverified: Some(true),
            error_if_tagged_old_versions: None,
        };
        writer.optimize(prune).await?;
        self.found.forget();
        Ok(snapshot)
    }

    /// Places of the datapoints that a contributor has in a datanet, erased ones excepted.
    pub async fn of_contributor(&self, name: &DatanetName, contributor: &str) -> Result<Vec<u64>, IndexError> {
        let published = self.published(name)?;
        let query = published.table.query().only_if_expr(col("contributor").eq(lit(contributor)));
        let rows = fetch(name, query).await?;
        let mut seqs: Vec<u64> = rows.iter().filter(|row| row.erased.is_none()).map(|row| row.datapoint.seq).collect();
        seqs.sort_unstable();
        Ok(seqs)
    }
}

/// The row that stays.
fn blank(name: &DatanetName, row: SaltedDatapoint, dimensions: usize) -> Result<NewRow, IndexError> {
    let SaltedDatapoint { datapoint, salt, .. } = row;
    let failed = |source: cairn_proof::Error| IndexError::Commit {
        datanet: name.clone(),
        id: datapoint.id.to_string(),
        source: Box::new(source),
    };
    let commitment = Commitment::new(&datapoint.fields(), &salt).map_err(failed)?;
    let commitment = serde_json::to_value(commitment).map_err(|error| corrupt(name, error.to_string()))?;
    // A vector of length 1 like all others, near to no text, because an index takes no other.
    let mut vector = vec![0.0; dimensions];
    if let Some(first) = vector.first_mut() {
        *first = 1.0;
    }
    let checked = Checked {
        line: 0,
        id: datapoint.id,
        titles: String::new(),
        text: String::new(),
        contributor: String::new(),
        contributed_at: datapoint.contributed_at,
        source: None,
        licence: datapoint.licence,
        metadata: json!({ERASED: commitment}),
        content_hash: [0; 32],
    };
    Ok(NewRow { seq: datapoint.seq, checked, salt: [0; 32], leaf: datapoint.leaf, vector })
}

/// The commitment in an erased row's metadata.
pub(crate) fn commitment(name: &DatanetName, metadata: &Value) -> Result<Option<Commitment>, IndexError> {
    let Some(value) = metadata.get(ERASED) else { return Ok(None) };
    let parsed = serde_json::from_value(value.clone());
    parsed.map(Some).map_err(|error| corrupt(name, format!("the commitment of an erased datapoint: {error}")))
}

fn corrupt(name: &DatanetName, reason: String) -> IndexError {
    IndexError::Corrupt { datanet: name.clone(), reason }
}
