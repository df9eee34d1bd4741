//! End-to-end tests of the crate, in one binary because every further one links LanceDB again.
//!
//! Those that embed need all-MiniLM-L6-v2: `CAIRN_TEST_MINILM` names its directory. They fail without it, for a test
//! that skips itself tests nothing.
//!
//! With `CAIRN_TEST_S3` set to the address of an S3-compatible server that has a bucket named `cairn`, all of them keep their
//! datanets there instead of in a directory: `./test` runs them both ways.
#![allow(clippy::unwrap_used)]

mod cross_encoder;
mod embedding;
mod erase;
mod filters;
mod ingest;
mod readers;
mod retrieval;
mod scale;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cairn_index::{
    DatanetName, Draft, Drafts, Embedder, EmbedderOptions, Index, IndexOptions, IngestDefaults, IngestOptions, MiniLm,
};

/// The model's directory.
fn model_dir() -> PathBuf {
    let dir = std::env::var_os("CAIRN_TEST_MINILM");
    dir.map(PathBuf::from).expect("set CAIRN_TEST_MINILM to a directory with all-MiniLM-L6-v2 (model.safetensors, …)")
}

/// Embedding threads of this test's own: they end with it.
fn embedder() -> Embedder {
    Embedder::start(MiniLm::load(&model_dir()).unwrap(), &EmbedderOptions::default()).unwrap()
}

/// The index of a directory, or of a prefix of its name.
async fn open(dir: &Path, embedder: &Embedder) -> Index {
    Index::open(at(dir, embedder)).await.unwrap()
}

/// The options that [`open`] opens with.
fn at(dir: &Path, embedder: &Embedder) -> IndexOptions {
    let (uri, storage_options) = match s3(dir) {
        Some((bucket, prefix)) => {
            let endpoint = bucket.strip_suffix("/cairn").unwrap();
            let options = [
                ("endpoint", endpoint),
                ("allow_http", "true"),
                ("region", "us-east-1"),
                ("access_key_id", "tests"),
                ("secret_access_key", "tests"),
            ];
            let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
            (format!("s3://cairn/{prefix}"), options.into_iter().collect())
        }
        None => (dir.join("lance").to_string_lossy().into_owned(), HashMap::new()),
    };
    IndexOptions { storage_options, cache_bytes: 1 << 20, ..IndexOptions::new(uri, embedder.clone()) }
}

/// Address of the bucket and prefix that stand for a directory, where the tests run on an object store.
fn s3(dir: &Path) -> Option<(String, String)> {
    let endpoint = std::env::var("CAIRN_TEST_S3").ok()?;
    let prefix = dir.file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
    Some((format!("{endpoint}/cairn"), prefix))
}

fn name(name: &str) -> DatanetName {
    name.parse().unwrap()
}

fn options(dir: &Path) -> IngestOptions {
    let defaults = IngestDefaults { contributor: Some("ada".to_owned()), ..IngestDefaults::default() };
    IngestOptions { defaults, ..IngestOptions::new(dir.join("staging")) }
}

/// Drafts of these texts, a line each.
fn drafts(texts: impl IntoIterator<Item = impl Into<String>>) -> Drafts {
    let draft = |(line, text): (u64, String)| Ok(Draft { line, text, ..Draft::default() });
    let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
    Box::new((1..).zip(texts).map(draft))
}
