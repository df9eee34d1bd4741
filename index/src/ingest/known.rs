//! Which ids of an input a datanet has already, and with which text.

use std::collections::{HashMap, HashSet};

use arrow_array::Array;
use futures::TryStreamExt;
use lancedb::Table;
use lancedb::expr::{col, is_in, lit};
use lancedb::query::{ExecutableQuery, Query, QueryBase, Select};

use crate::datapoint::Checked;
use crate::schema::{Columns, hash_at};
use crate::{DatanetName, IndexError};

/// Id and content hash of datapoints.
pub(super) type Ids = HashMap<String, [u8; 32]>;

/// Those of the ids of `checked` that the table has. Costs a look-up for every thousand ids, or a scan of about 60 bytes a row where
/// that is less: where there is no tree over the ids, or the input is not small beside the table.
pub(super) async fn known_ids(name: &DatanetName, table: &Table, checked: &[Checked]) -> Result<Ids, IndexError> {
    let wanted: HashSet<String> = checked.iter().map(|draft| draft.id.to_string()).collect();
    let rows = table.count_rows(None).await?;
    let mut ids = Ids::new();
    if wanted.is_empty() || rows == 0 {
        return Ok(ids);
    }
    let indexed = table.list_indices().await?.iter().any(|index| index.columns == ["id"]);
    if indexed && wanted.len() < rows / SCAN_BESIDE {
        let listed: Vec<&String> = wanted.iter().collect();
        for some in listed.chunks(LOOKED_UP) {
            let among = is_in(col("id"), some.iter().map(|id| lit(id.as_str())).collect());
            collect(name, table.query().only_if_expr(among), &wanted, &mut ids).await?;
        }
    } else {
        collect(name, table.query(), &wanted, &mut ids).await?;
    }
    Ok(ids)
}

async fn collect(name: &DatanetName, query: Query, wanted: &HashSet<String>, ids: &mut Ids) -> Result<(), IndexError> {
    let mut batches = query.select(Select::columns(&["id", "content_hash"])).execute().await?;
    while let Some(batch) = batches.try_next().await? {
        let columns = Columns { datanet: name, batch: &batch };
        let (id, hash) = (columns.texts("id")?, columns.hashes("content_hash")?);
        let rows = (0..id.len()).filter(|row| wanted.contains(id.value(*row)));
        ids.extend(rows.map(|row| (id.value(row).to_owned(), hash_at(hash, row))));
    }
    Ok(())
}

/// Ids of one look-up.
const LOOKED_UP: usize = 1000;
/// A look-up of so many rows costs about as much as scanning all.
const SCAN_BESIDE: usize = 20;
