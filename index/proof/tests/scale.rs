//! Figures, not checks: `cargo test -p cairn-proof --test scale -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use cairn_proof::{Log, Tree, leaf_hash, verify};

#[test]
#[ignore = "prints timings"]
fn a_million_leaves() {
    let leaves: Vec<_> = (0..1_000_000u64).map(|i| leaf_hash(&i.to_be_bytes())).collect();
    let start = Instant::now();
    let tree: Tree = leaves.into_iter().collect();
    println!("push of a million leaf hashes: {:?}", start.elapsed());
    let start = Instant::now();
    let root = tree.root();
    println!("root: {:?} ({root})", start.elapsed());
    let start = Instant::now();
    for index in (0..1_000_000).step_by(1000) {
        tree.inclusion(index, tree.len()).unwrap();
    }
    println!("one inclusion proof: {:?}", start.elapsed() / 1000);
}

#[test]
#[ignore = "prints timings"]
fn appends_and_verification() {
    let entry = vec![7u8; 3000];
    for batch in [1, 64] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), common::key(), common::origin()).unwrap();
        let start = Instant::now();
        for _ in 0..300 {
            log.append(&vec![entry.clone(); batch]).unwrap();
        }
        println!("append of {batch} entries of 3 kB: {:?}", start.elapsed() / 300);
        drop(log);
        let start = Instant::now();
        let log = Log::open(dir.path(), common::key(), common::origin()).unwrap();
        println!("opening {} entries: {:?}", log.size(), start.elapsed());
    }
    let bytes = common::world().bundle.to_bytes().unwrap();
    let start = Instant::now();
    for _ in 0..1000 {
        verify(&bytes, &common::vkey()).unwrap();
    }
    println!("verification of a bundle of {} bytes: {:?}", bytes.len(), start.elapsed() / 1000);
}
