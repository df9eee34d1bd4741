//! Which datapoints of an input nearly repeat others: of the same input, or of the datanet.

use std::sync::Arc;

use cairn_documents::near::Near;
use futures::TryStreamExt;
use lancedb::Table;
use lancedb::query::{ExecutableQuery, QueryBase, Select};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::IngestOptions;
use crate::datapoint::Checked;
use crate::schema::Columns;
use crate::{DatanetName, IndexError};

/// A datapoint that nearly repeats another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NearDuplicate {
    /// Its line in the input, from 1.
    pub line: u64,
    /// Its id.
    pub id: String,
    /// The id of the one that it repeats, which came first.
    pub of: String,
    /// Jaccard similarity of their three-word sequences, [`LEAST`] to 1.
    pub similarity: f64,
}

/// For each of `checked`, what it repeats most closely, if anything. Costs a scan of the datanet's texts.
pub(super) async fn near_duplicates(
    name: &DatanetName,
    table: &Table,
    checked: Arc<Vec<Checked>>,
    options: &IngestOptions,
) -> Result<Vec<Option<NearDuplicate>>, IndexError> {
    let of_input = checked.clone();
    let (near, mut found) = spawn_blocking(move || within(&of_input)).await?;
    let near = Arc::new(near);
    let mut batches = table.query().select(Select::columns(&["id", "text"])).execute().await?;
    while let Some(batch) = batches.try_next().await? {
        options.not_cancelled()?;
        let columns = Columns { datanet: name, batch: &batch };
        let (ids, texts) = (columns.texts("id")?.clone(), columns.texts("text")?.clone());
        let (near, checked) = (near.clone(), checked.clone());
        found = spawn_blocking(move || {
            for (id, text) in ids.iter().zip(texts.iter()) {
                let (Some(id), Some(text)) = (id, text) else { continue };
                // An erased datapoint has none.
                if !text.is_empty() {
                    compare(&near, &checked, id, text, &mut found);
                }
            }
            found
        })
        .await?;
    }
    Ok(found)
}

/// Those that repeat an earlier one of the input, and the texts to compare the datanet's with.
fn within(checked: &[Checked]) -> (Near, Vec<Option<NearDuplicate>>) {
    let mut near = Near::new(LEAST);
    let mut found = vec![None; checked.len()];
    for (draft, found) in checked.iter().zip(&mut found) {
        for earlier in near.candidates(&draft.text) {
            let earlier = &checked[earlier];
            if let Some(similarity) = near.similar(&draft.text, &earlier.text) {
                closest(found, draft, earlier.id.as_str(), similarity);
            }
        }
        near.add(&draft.text);
    }
    (near, found)
}

fn compare(near: &Near, checked: &[Checked], id: &str, text: &str, found: &mut [Option<NearDuplicate>]) {
    for number in near.candidates(text) {
        let draft = &checked[number];
        if let Some(similarity) = near.similar(&draft.text, text) {
            closest(&mut found[number], draft, id, similarity);
        }
    }
}

fn closest(found: &mut Option<NearDuplicate>, draft: &Checked, of: &str, similarity: f64) {
    if found.as_ref().is_none_or(|known| known.similarity < similarity) {
        *found = Some(NearDuplicate { line: draft.line, id: draft.id.to_string(), of: of.to_owned(), similarity });
    }
}

/// From this similarity on a text repeats another: of thirty words, two may differ.
const LEAST: f64 = 0.8;
