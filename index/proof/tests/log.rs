//! The log in a real directory.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use cairn_proof::log::{Log, check, read_tile};
use cairn_proof::merkle::{verify_consistency, verify_inclusion};
use cairn_proof::{Error, leaf_hash};
use common::{key, origin, vkey};

fn entries(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(|i| format!("entry {i}").into_bytes()).collect()
}

#[test]
fn entries_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut published = Vec::new();
    for (round, count) in [0, 1, 2, 253, 1, 600, 5].into_iter().enumerate() {
        let mut log = Log::open(dir.path(), key(), origin()).unwrap();
        let size = log.size();
        assert_eq!(log.append(&entries(size, count)).unwrap(), size..size + count);
        let report = check(dir.path(), &vkey()).unwrap();
        assert_eq!((report.size, report.root), (size + count, log.checkpoint().root()), "round {round}");
        assert_eq!(fs::read_to_string(dir.path().join("checkpoint")).unwrap(), log.checkpoint().to_string());
        published.push((log.size(), log.checkpoint().root()));
    }
    let log = Log::open(dir.path(), key(), origin()).unwrap();
    for index in 0..log.size() {
        let entry = log.entry(index).unwrap();
        assert_eq!(entry, format!("entry {index}").into_bytes());
        let path = log.inclusion(index).unwrap();
        verify_inclusion(&leaf_hash(&entry), index, log.size(), &path, &log.checkpoint().root()).unwrap();
    }
    assert!(log.entry(log.size()).is_err());
    for (size, root) in published {
        let proof = log.tree().consistency(size, log.size()).unwrap();
        verify_consistency(size, &root, log.size(), &log.checkpoint().root(), &proof).unwrap();
    }
}

#[test]
fn every_partial_tile_ever_published_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), origin()).unwrap();
    for _ in 0..3 {
        log.append(&entries(log.size(), 100)).unwrap();
    }
    let hashes: Vec<u8> = (0..300).flat_map(|i| *log.tree().leaf(i).unwrap().as_bytes()).collect();
    for (path, range) in [
        ("tile/0/000", 0..256),
        ("tile/0/000.p/100", 0..100),
        ("tile/0/000.p/200", 0..200),
        ("tile/0/001.p/44", 256..300),
        ("tile/0/001.p/7", 256..263),
    ] {
        assert_eq!(read_tile(dir.path(), path).unwrap(), hashes[range.start * 32..range.end * 32], "{path}");
    }
    assert_eq!(read_tile(dir.path(), "tile/entries/000.p/2").unwrap(), b"\0\x07entry 0\0\x07entry 1");
    assert_eq!(read_tile(dir.path(), "tile/1/000.p/1").unwrap(), log.tree().root_at(256).unwrap().as_bytes());
    for path in ["tile/0/001", "tile/0/001.p/45", "tile/0/002", "tile/2/000.p/1", "tile/1/000.p/2"] {
        assert!(matches!(read_tile(dir.path(), path), Err(Error::NoSuchTile(_))), "{path}");
    }
    for path in ["checkpoint", "lock", "tile/../checkpoint", "/etc/hostname", "tile/0/000.p/.100.tmp", "tile"] {
        assert!(matches!(read_tile(dir.path(), path), Err(Error::BadTilePath(_))), "{path}");
    }
}

#[test]
fn what_a_crash_left_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), origin()).unwrap();
    log.append(&entries(0, 5)).unwrap();
    drop(log);
    let tile = |name: &str| dir.path().join("tile/0").join(name);
    fs::write(tile("000.p/7"), [1; 7 * 32]).unwrap();
    fs::write(tile("000.p/2"), [1; 2 * 32]).unwrap();
    fs::write(tile("000"), [1; 256 * 32]).unwrap();
    fs::write(tile(".001.tmp"), [1; 3]).unwrap();
    let mut log = Log::open(dir.path(), key(), origin()).unwrap();
    assert_eq!(log.size(), 5);
    for gone in ["000.p/7", "000.p/2", "000", ".001.tmp"] {
        assert!(!tile(gone).exists(), "{gone}");
    }
    assert!(dir.path().join("aside/tile/0/000.p/7").exists());
    log.append(&entries(5, 300)).unwrap();
    check(dir.path(), &vkey()).unwrap();
}

#[test]
fn one_process_one_key_one_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), origin()).unwrap();
    assert!(matches!(Log::open(dir.path(), key(), origin()), Err(Error::Locked(_))));
    log.append(&entries(0, 1)).unwrap();
    drop(log);
    let other = cairn_proof::SigningKey::from_seed([1; 32]);
    assert!(matches!(Log::open(dir.path(), other, origin()), Err(Error::WrongSigner { .. })));
    let renamed = cairn_proof::Origin::new("example.com/other").unwrap();
    assert!(matches!(Log::open(dir.path(), key(), renamed), Err(Error::WrongSigner { .. })));
    Log::open(dir.path(), key(), origin()).unwrap();
}

#[test]
fn a_restored_backup_is_refused() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let guard = elsewhere.path().join("cairn.checkpoint");
    let mut log = Log::open_guarded(dir.path(), key(), origin(), &guard).unwrap();
    log.append(&entries(0, 3)).unwrap();
    let backup = tempfile::tempdir().unwrap();
    copy(dir.path(), backup.path());
    log.append(&entries(3, 3)).unwrap();
    drop(log);
    let restored = Log::open_guarded(backup.path(), key(), origin(), &guard);
    assert!(matches!(restored, Err(Error::BehindGuard { size: 3, guard: 6 })));
    assert_eq!(Log::open_guarded(dir.path(), key(), origin(), &guard).unwrap().size(), 6);
    // The guard itself may be lost: it is written anew.
    fs::remove_file(&guard).unwrap();
    Log::open_guarded(dir.path(), key(), origin(), &guard).unwrap();
    assert_eq!(fs::read(&guard).unwrap(), fs::read(dir.path().join("checkpoint")).unwrap());
}

#[test]
fn the_checker_counts_kinds() {
    let world = common::world();
    let report = check(world.dir.path(), &vkey()).unwrap();
    assert_eq!((report.records, report.snapshots, report.tombstones, report.other), (1, 263, 1, 0));
    assert_eq!(report.tiles, 3);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
