//! Weights in an object store that is given by its address: a directory as file://…, or with `CAIRN_TEST_S3` (the address of
//! an S3-compatible server with a bucket `cairn`) a bucket.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod common;

use std::path::Path;

use cairn_adapters::store::{Caller, Objects, StoreError};
use common::{name, open_on, options, upload};

fn objects(dir: &Path) -> Objects {
    let Ok(endpoint) = std::env::var("CAIRN_TEST_S3") else {
        std::fs::create_dir_all(dir.join("bucket")).unwrap();
        return Objects::at(&format!("file://{}", dir.join("bucket").display()), []).unwrap();
    };
    let prefix = dir.file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
    let options = [
        ("endpoint", endpoint.as_str()),
        ("allow_http", "true"),
        ("region", "us-east-1"),
        ("access_key_id", "tests"),
        ("secret_access_key", "tests"),
    ];
    Objects::at(&format!("s3://cairn/{prefix}"), options).unwrap()
}

#[tokio::test]
async fn a_generation_outlives_the_process_and_goes_with_its_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let alice = Caller::new("alice");
    let store = open_on(dir.path(), objects(dir.path()), options(dir.path())).await;
    let kept = upload(&store, 0.0, "alice").await.generation;
    let gone = upload(&store, 5.0, "alice").await.generation;
    store.publish("base", &name("style"), &kept.0, &alice).await.unwrap();
    drop(store);

    let store = open_on(dir.path(), objects(dir.path()), options(dir.path())).await;
    let lease = store.resolve("base", &"style".parse().unwrap(), "", &alice).await.unwrap();
    let adapter = store.load(&lease.generation).await.unwrap();
    assert_eq!((lease.generation == kept, adapter.layers.len()), (true, 1));
    assert_eq!(store.load(&gone).await.unwrap().layers.len(), 1);
    store.delete("base", &gone, "alice", &alice).await.unwrap();
    // Removal is a task of its own.
    let mut tries = 0;
    while store.load(&gone).await.is_ok() {
        tries += 1;
        assert!(tries < 500, "a deleted generation is still there");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(matches!(store.load(&gone).await, Err(StoreError::Objects(_) | StoreError::Corrupt { .. })));
    store.load(&kept).await.unwrap();
}

#[test]
fn what_is_no_address_is_refused() {
    assert!(matches!(Objects::at("bucket", []), Err(StoreError::Address(_))));
    assert!(matches!(Objects::at("nonsense://bucket", []), Err(StoreError::Objects(_))));
}
