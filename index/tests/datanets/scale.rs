//! Datanets that are too large to be scanned, at a scale that tests can build: partitions of some dozen vectors, above a few
//! hundred rows. Vectors are made up and staged, for what is tested does not depend on what they mean.

use std::collections::BTreeSet;
use std::path::Path;

use cairn_index::{
    DatanetName, Draft, Embedder, Index, IndexError, IndexOptions, IngestOptions, NearDuplicates, Query, RetrievalMode,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tempfile::TempDir;

use super::{at, embedder, name, options};

const DIMENSIONS: usize = 384;

async fn open(dir: &Path, embedder: &Embedder) -> Index {
    let small = IndexOptions { scanned_rows: 500, partition_rows: 64, cache_bytes: 0, ..at(dir, embedder) };
    Index::open(small).await.unwrap()
}

/// Rows around some centres, by places from `first` on: draft and vector.
fn rows(first: u64, count: u64) -> Vec<(Draft, Vec<f32>)> {
    (first..first + count).map(|number| (draft(number), vector(number))).collect()
}

fn draft(number: u64) -> Draft {
    let text =
        format!("Row {number} of family w{} is about w{} and w{}.", number % 40, number * 7 % 911, number * 13 % 701);
    // One in ninety is rare, wherever it lies.
    let contributor = if number.is_multiple_of(90) { "rare" } else { "common" };
    let metadata = json!({"third": number % 3, "batch": number / 1000});
    Draft {
        line: number + 1,
        id: Some(format!("row-{number}")),
        text,
        contributor: Some(contributor.to_owned()),
        metadata: metadata.as_object().unwrap().clone(),
        ..Draft::default()
    }
}

fn vector(number: u64) -> Vec<f32> {
    let mut of_family = StdRng::seed_from_u64(number % 40);
    let mut of_row = StdRng::seed_from_u64(1_000_000 + number);
    let mut draw = |noise: f32| of_family.random::<f32>() - 0.5 + noise * (of_row.random::<f32>() - 0.5);
    let mut vector: Vec<f32> = (0..DIMENSIONS).map(|_| draw(1.0)).collect();
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= norm);
    vector
}

async fn add(index: &Index, name: &DatanetName, dir: &Path, rows: Vec<(Draft, Vec<f32>)>) -> u64 {
    let staged = rows.iter().map(|(draft, vector)| (draft.text.clone(), vector.clone())).collect();
    let options = IngestOptions { near_duplicates: NearDuplicates::Ignore, ..options(dir) };
    index.stage(name, &options.staging_dir, staged).await.unwrap();
    let drafts = Box::new(rows.into_iter().map(|(draft, _)| Ok(draft)));
    let report = index.ingest(name, drafts, options).await.unwrap();
    assert_eq!((report.embedded, report.rejected_total), (0, 0), "{:?}", report.rejected.first());
    report.added
}

/// The places found, best first, and their scores.
async fn nearest(index: &Index, name: &DatanetName, number: u64, filter: Option<&str>, exact: bool) -> Vec<(u64, f64)> {
    let query = Query {
        mode: RetrievalMode::Vector,
        vector: Some(vector(number)),
        filter: filter.map(|filter| filter.parse().unwrap()),
        exact,
        ..Query::new("a vector", vec![name.clone()])
    };
    let found = index.retrieve(query).await.unwrap().candidates;
    found.iter().map(|candidate| (candidate.datapoint.seq, candidate.vector_score.unwrap())).collect()
}

/// What part of what a scan finds is found.
async fn recall(index: &Index, name: &DatanetName, filter: Option<&str>) -> f64 {
    let (mut found, mut all) = (0, 0);
    for number in (0..400).step_by(17) {
        let exact: BTreeSet<u64> = nearest(index, name, number, filter, true).await.iter().map(|it| it.0).collect();
        let fast = nearest(index, name, number, filter, false).await;
        found += fast.iter().filter(|(seq, _)| exact.contains(seq)).count();
        all += exact.len();
    }
    found as f64 / all as f64
}

#[tokio::test]
async fn partitions_find_what_a_scan_finds_whatever_a_filter_leaves() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let (index, large) = (open(dir.path(), &embedder).await, name("large"));
    index.create(&large).await.unwrap();
    assert_eq!(add(&index, &large, dir.path(), rows(0, 4000)).await, 4000);
    index.indexed(&large).await.unwrap();
    let mut indexed: Vec<String> = Vec::new();
    for index in index.indices(&large).await.unwrap() {
        assert_eq!((index.rows, index.scanned), (4000, 0), "{index:?}");
        indexed.push(index.column);
    }
    indexed.sort();
    assert_eq!(indexed, ["contributor", "id", "seq", "text", "titles", "vector"]);

    let whole = recall(&index, &large, None).await;
    assert!(whole >= 0.95, "{whole}");
    // 45 rows, in as many partitions as there are families: exactly what a scan finds, with the same scores.
    for narrow in [r#"contributor = "rare""#, r#"contributor in ("rare", "nobody")"#, r#"id starts_with "row-39""#] {
        for number in [0, 7, 23, 1234] {
            let exact = nearest(&index, &large, number, Some(narrow), true).await;
            assert!((45..=50).contains(&exact.len()), "{narrow}: {}", exact.len());
            assert_eq!(nearest(&index, &large, number, Some(narrow), false).await, exact, "{narrow}");
        }
    }
    // 1,333 rows, and 2,667, which are too many to weigh each.
    for broad in ["metadata.third = 1", "metadata.third != 1"] {
        let part = recall(&index, &large, Some(broad)).await;
        assert!(part >= 0.95, "{broad}: {part}");
    }
    assert!(nearest(&index, &large, 3, Some(r#"contributor = "nobody""#), false).await.is_empty());
}

#[tokio::test]
async fn new_rows_are_found_at_once_beside_partitions_and_larger_datanets_are_partitioned_anew() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let (index, grows) = (open(dir.path(), &embedder).await, name("grows"));
    index.create(&grows).await.unwrap();
    add(&index, &grows, dir.path(), rows(0, 800)).await;
    index.indexed(&grows).await.unwrap();
    for first in [800, 900, 1900] {
        let size = index.snapshot(&grows).unwrap().size;
        assert_eq!(size, first);
        let count = if first == 800 { 100 } else { 1000 };
        // Twice the same, which is looked up by id.
        let mut again = rows(first, count);
        again.extend(rows(5, 20));
        assert_eq!(add(&index, &grows, dir.path(), again).await, count);
        // Whether or not the background is done by now.
        for _ in 0..2 {
            for number in [first, first + count - 1, 3] {
                assert_eq!(nearest(&index, &grows, number, None, false).await[0].0, number);
            }
            index.indexed(&grows).await.unwrap();
        }
        let whole = recall(&index, &grows, None).await;
        assert!(whole >= 0.95, "{whole} of {first} and {count} more");
    }
    assert!(index.indices(&grows).await.unwrap().iter().all(|index| (index.rows, index.scanned) == (2900, 0)));
    let other = Draft { id: Some("row-7".to_owned()), text: "Another text.".to_owned(), ..Draft::default() };
    let report = index.ingest(&grows, Box::new([Ok(other)].into_iter()), options(dir.path())).await.unwrap();
    assert!(report.is_rejected() && report.rejected[0].reason.contains("row-7"), "{report:?}");

    // What is erased is in no index, and the rest is found as before.
    index.erase(&grows, &[7, 90]).await.unwrap();
    assert!(nearest(&index, &grows, 7, None, false).await.iter().all(|(seq, _)| *seq != 7));
    assert_eq!(nearest(&index, &grows, 8, None, false).await[0].0, 8);
    assert!(!index.of_contributor(&grows, "rare").await.unwrap().contains(&90));
}

#[tokio::test]
async fn many_small_ingests_are_brought_together() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let (index, drops) = (open(dir.path(), &embedder).await, name("drops"));
    index.create(&drops).await.unwrap();
    add(&index, &drops, dir.path(), rows(0, 600)).await;
    for round in 0..36 {
        add(&index, &drops, dir.path(), rows(600 + 5 * round, 5)).await;
    }
    index.indexed(&drops).await.unwrap();
    assert!(index.indices(&drops).await.unwrap().iter().all(|index| (index.rows, index.scanned) == (780, 0)));
    let reopened = open(dir.path(), &embedder).await;
    for number in [0, 599, 600, 777] {
        assert_eq!(nearest(&reopened, &drops, number, None, false).await[0].0, number);
        let words = Query { mode: RetrievalMode::FullText, ..Query::new(format!("row {number}"), vec![drops.clone()]) };
        assert_eq!(reopened.retrieve(words).await.unwrap().candidates[0].datapoint.seq, number);
    }
}

#[test]
fn a_process_that_ends_while_indices_are_built_leaves_all_rows_and_the_next_builds_them() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let broken = name("broken");
    let run = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (round, wait) in [0_u64, 30, 90, 200, 400].into_iter().enumerate() {
        let runtime = run();
        runtime.block_on(async {
            let index = open(dir.path(), &embedder).await;
            if round == 0 {
                index.create(&broken).await.unwrap();
            }
            assert_eq!(index.snapshot(&broken).unwrap().size, 700 * round as u64);
            add(&index, &broken, dir.path(), rows(700 * round as u64, 700)).await;
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        });
        // Tasks end where they are.
        runtime.shutdown_background();
    }
    run().block_on(async {
        let index = open(dir.path(), &embedder).await;
        assert_eq!(index.snapshot(&broken).unwrap().size, 3500);
        index.indexed(&broken).await.unwrap();
        let indices = index.indices(&broken).await.unwrap();
        assert!(indices.len() == 6 && indices.iter().all(|index| index.scanned == 0), "{indices:?}");
        let whole = recall(&index, &broken, None).await;
        assert!(whole >= 0.95, "{whole}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_appear_at_once() {
    const ROWS: u64 = 100_000;
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let options = IndexOptions { cache_bytes: 0, ..at(dir.path(), &embedder) };
    let (index, bulk) = (Index::open(options).await.unwrap(), name("bulk"));
    index.create(&bulk).await.unwrap();
    add(&index, &bulk, dir.path(), rows(0, 1000)).await;

    let (done, mut ended) = tokio::sync::oneshot::channel();
    let searched = tokio::spawn({
        let (index, bulk) = (index.clone(), bulk.clone());
        async move {
            let (mut sizes, mut searches) = (BTreeSet::new(), 0);
            while ended.try_recv().is_err() {
                let filter = format!("metadata.batch = {}", 1 + searches % 100);
                let mode = [RetrievalMode::Vector, RetrievalMode::Hybrid][searches % 2];
                let query = Query {
                    mode,
                    vector: Some(vector(searches as u64)),
                    filter: Some(filter.parse().unwrap()),
                    ..Query::new("row family", vec![bulk.clone()])
                };
                let found = index.retrieve(query).await.unwrap();
                let size = found.snapshots[0].size;
                // Of a batch of the new rows there is nothing, or as much as one can ask for.
                let expected = if size == 1000 { 0 } else { 50 };
                assert!(found.candidates.len() >= expected && (size > 1000 || found.candidates.is_empty()), "{size}");
                assert!(found.candidates.iter().all(|candidate| candidate.datapoint.seq < size));
                sizes.insert(size);
                searches += 1;
            }
            (sizes, searches)
        }
    });
    assert_eq!(add(&index, &bulk, dir.path(), rows(1000, ROWS)).await, ROWS);
    let after = nearest(&index, &bulk, 1000 + ROWS - 1, None, false).await;
    assert_eq!(after[0].0, 1000 + ROWS - 1);
    done.send(()).unwrap();
    let (sizes, searches) = searched.await.unwrap();
    assert!(searches > 3, "{searches}");
    assert!(sizes.is_subset(&BTreeSet::from([1000, 1000 + ROWS])), "{sizes:?}");
    assert_eq!(index.snapshot(&bulk).unwrap().size, 1000 + ROWS);
    let unknown = index.by_seq(&bulk, &[1000 + ROWS]).await;
    assert!(matches!(unknown, Err(IndexError::UnknownSeq { .. })));
}
