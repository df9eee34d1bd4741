//! The indices of a datanet's table: which there are, when they are built, and how they follow the rows.
//!
//! | column | index | |
//! | --- | --- | --- |
//! | `titles`, `text` | full text | from the first row on: without one nothing is found by words |
//! | `seq`, `id`, `contributor` | B-tree | above [`IndexOptions::scanned_rows`](crate::IndexOptions::scanned_rows) |
//! | `vector` | IVF, 8 bits a dimension | above it as well |
//!
//! Rows that an index does not have yet are scanned beside it, so what is built here changes how long a search takes and not what
//! it may find. Each step is a commit of its own: a crash in between costs the work since the last. `contributed_at` has no tree,
//! because filters compare moments and the column holds them as they were written.

use lancedb::index::scalar::BTreeIndexBuilder;
use lancedb::index::vector::IvfSqIndexBuilder;
use lancedb::index::{Index as LanceIndex, IndexConfig};
use lancedb::table::{CompactionOptions, OptimizeAction, OptimizeOptions};
use lancedb::{DistanceType, Table};

use crate::{IndexError, terms};

/// See [`IndexOptions`](crate::IndexOptions).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) scanned_rows: usize,
    pub(crate) partition_rows: u32,
}

/// Builds the full-text indices where they are missing.
pub(crate) async fn make_searchable(table: &Table) -> Result<(), IndexError> {
    if table.count_rows(None).await? == 0 {
        return Ok(());
    }
    let present = table.list_indices().await?;
    for column in WORDS {
        if !has(&present, column) {
            table.create_index(&[column], LanceIndex::FTS(terms::analyzer())).execute().await?;
        }
    }
    Ok(())
}

/// Brings every index up to the table's rows; trees and partitions only where a scan would take long.
pub(crate) async fn update(table: &Table, scale: Scale) -> Result<(), IndexError> {
    let rows = table.count_rows(None).await?;
    if rows == 0 {
        return Ok(());
    }
    let fragments = match table.as_native() {
        Some(native) => native.count_fragments().await?,
        None => 0,
    };
    if fragments > MOST_FRAGMENTS {
        let compact = OptimizeAction::Compact { options: Default::default(), remap_options: None };
        table.optimize(compact).await?;
    }
    make_searchable(table).await?;
    let large = rows > scale.scanned_rows;
    let mut present = table.list_indices().await?;
    if large && present.iter().any(|index| outgrown(index, rows)) {
        build_partitions(table, (rows, scale.partition_rows), &present).await?;
        present = table.list_indices().await?;
    }
    if present.iter().any(|index| index.num_unindexed_rows != Some(0)) {
        table.optimize(OptimizeAction::Index(OptimizeOptions::default())).await?;
        present = table.list_indices().await?;
    }
    // Every search asks each part of an index.
    let parts = |index: &IndexConfig| index.num_segments.unwrap_or(1);
    let scattered: Vec<&IndexConfig> = present.iter().filter(|index| parts(index) > MOST_PARTS).collect();
    if let Some(most) = scattered.iter().map(|index| parts(index)).max() {
        let mut merge = OptimizeOptions::merge(most as usize);
        merge.index_names = Some(scattered.iter().map(|index| index.name.clone()).collect());
        table.optimize(OptimizeAction::Index(merge)).await?;
    }
    if large {
        for column in LOOKED_UP {
            if !has(&present, column) {
                table.create_index(&[column], LanceIndex::BTree(BTreeIndexBuilder::default())).execute().await?;
            }
        }
        if !has(&present, VECTOR) {
            build_partitions(table, (rows, scale.partition_rows), &present).await?;
        }
    }
    Ok(())
}

/// Writes files and indices anew without what is no longer in the table. Costs as much as building all of them.
pub(crate) async fn rewrite(table: &Table, scale: Scale) -> Result<(), IndexError> {
    let options = CompactionOptions { materialize_deletions_threshold: 0.0, ..CompactionOptions::default() };
    table.optimize(OptimizeAction::Compact { options, remap_options: None }).await?;
    let present = table.list_indices().await?;
    for column in WORDS {
        if has(&present, column) {
            table.create_index(&[column], LanceIndex::FTS(terms::analyzer())).replace(true).execute().await?;
        }
    }
    // The trees over what stays hold nothing of what was erased.
    if has(&present, CONTRIBUTOR) {
        let tree = LanceIndex::BTree(BTreeIndexBuilder::default());
        table.create_index(&[CONTRIBUTOR], tree).replace(true).execute().await?;
    }
    if has(&present, VECTOR) {
        build_partitions(table, (table.count_rows(None).await?, scale.partition_rows), &present).await?;
    }
    Ok(())
}

/// Partitions the vectors anew, in place of what `present` has of them.
async fn build_partitions(
    table: &Table,
    (rows, of_partition): (usize, u32),
    present: &[IndexConfig],
) -> Result<(), IndexError> {
    let name = format!("{VECTOR}_{rows}");
    let partitions = IvfSqIndexBuilder::default()
        .distance_type(DistanceType::Cosine)
        .target_partition_size(of_partition)
        .sample_rate(SAMPLED)
        .max_iterations(ITERATIONS);
    table.create_index(&[VECTOR], LanceIndex::IvfSq(partitions)).name(name.clone()).replace(true).execute().await?;
    for old in present.iter().filter(|index| index.columns == [VECTOR] && index.name != name) {
        table.drop_index(&old.name).await?;
    }
    Ok(())
}

fn has(present: &[IndexConfig], column: &str) -> bool {
    present.iter().any(|index| index.columns == [column])
}

/// Whether a table has so many more rows than when its vectors were partitioned that its partitions are too large. The name says
/// how many there were; older ones do not, and are built anew once.
fn outgrown(index: &IndexConfig, rows: usize) -> bool {
    let built = || index.name.strip_prefix(VECTOR)?.strip_prefix('_')?.parse::<usize>().ok();
    index.columns == [VECTOR] && built().is_none_or(|built| rows > built.saturating_mul(GROWTH))
}

const WORDS: [&str; 2] = ["titles", "text"];
const CONTRIBUTOR: &str = "contributor";
const LOOKED_UP: [&str; 3] = ["seq", "id", CONTRIBUTOR];
const VECTOR: &str = "vector";
/// Vectors a partition that its centre is learnt from, and rounds of learning.
const SAMPLED: u32 = 64;
const ITERATIONS: u32 = 20;
/// Vectors are partitioned anew when there are so many times as many.
const GROWTH: usize = 2;
/// Every ingest adds a part to each index.
const MOST_PARTS: u32 = 8;
/// Every ingest adds a fragment or more; many small ones slow every scan.
const MOST_FRAGMENTS: usize = 32;
