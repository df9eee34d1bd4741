//! The cross-encoder: the scores that transformers gives, and an order by them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_index::{CrossEncoder, Index, IndexError, IndexOptions, Query, Rerank};
use serde::Deserialize;
use tempfile::TempDir;

use super::{at, drafts, embedder, name, options};

#[derive(Deserialize)]
struct Golden {
    query: String,
    passage: String,
    score: f32,
}

/// A tiny one with random weights, made by its make.py.
fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cross-encoder")
}

#[test]
fn scores_are_those_of_transformers() {
    let encoder = CrossEncoder::load(&dir()).unwrap();
    let golden: Vec<Golden> = serde_json::from_slice(&std::fs::read(dir().join("golden.json")).unwrap()).unwrap();
    for pair in &golden {
        let score = encoder.scores(&pair.query, std::slice::from_ref(&pair.passage)).unwrap()[0];
        assert!((score - pair.score).abs() < 1e-4, "{:?} is {score}, not {}", pair.query, pair.score);
    }
    // The same among others as alone.
    let passages: Vec<String> = golden.iter().map(|pair| pair.passage.clone()).collect();
    let scores = encoder.scores(&golden[0].query, &passages).unwrap();
    assert!((scores[0] - golden[0].score).abs() < 1e-4, "{scores:?}");
    let long = "tree ".repeat(5_000);
    assert!(encoder.scores(&long, &[long.clone(), String::new()]).unwrap().iter().all(|score| score.is_finite()));
    assert!(encoder.scores("nothing to read", &[]).unwrap().is_empty());
}

#[test]
fn a_directory_that_is_none_is_refused() {
    let empty = TempDir::new().unwrap();
    let Err(IndexError::CrossEncoder { path, .. }) = CrossEncoder::load(empty.path()) else {
        panic!("an empty directory was taken")
    };
    assert!(path.ends_with("config.json"));
}

#[tokio::test]
async fn a_cross_encoder_alone_orders_the_best_and_without_one_it_is_refused() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let encoder = Arc::new(CrossEncoder::load(&self::dir()).unwrap());
    let with = IndexOptions { cross_encoder: Some(encoder.clone()), ..at(dir.path(), &embedder) };
    let index = Index::open(with).await.unwrap();
    let trees = name("trees");
    index.create(&trees).await.unwrap();
    let texts =
        ["A search tree is kept on disk.", "An oak is a tree.", "A heap is used for a sorted list.", "Bananas."];
    index.ingest(&trees, drafts(texts), options(dir.path())).await.unwrap();
    let query = Query { rerank: Some(Rerank::CrossEncoder), ..Query::new("a tree on disk", vec![trees.clone()]) };
    let found = index.retrieve(query.clone()).await.unwrap();
    assert_eq!(found.cross_encoder, Some(encoder.weights_hash()));
    let scores: Vec<f64> = found.candidates.iter().map(|candidate| candidate.rerank_score.unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    let passages: Vec<String> = found.candidates.iter().map(|candidate| candidate.datapoint.text.clone()).collect();
    let own = encoder.scores("a tree on disk", &passages).unwrap();
    assert!(own.iter().zip(&scores).all(|(own, score)| (f64::from(*own) - score).abs() < 1e-4), "{own:?} {scores:?}");

    let index = Index::open(at(dir.path(), &embedder)).await.unwrap();
    let refused = index.retrieve(query).await;
    assert!(matches!(refused, Err(IndexError::NoCrossEncoder)), "{refused:?}");
}
