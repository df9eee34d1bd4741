//! The log against a disk that fails before or after every single operation, and against damaged files.

use std::collections::BTreeMap;

use super::check::check_storage;
use super::failing_disk::Disk;
use super::load::CHECKPOINT;
use super::storage::Storage;
use super::*;
use crate::key::SigningKey;

impl Disk {
    fn start(&self, guarded: bool) -> Result<Log<Disk>> {
        self.start_with(guarded, 5)
    }

    /// Opens the log with the key of this seed.
    fn start_with(&self, guarded: bool, seed: u8) -> Result<Log<Disk>> {
        let guard = guarded.then(|| (self.clone(), "guard".to_owned()));
        Log::start(self.clone(), guard, Box::new(SigningKey::from_seed([seed; 32])), origin())
    }
}

fn public(seed: u8) -> VerifyingKey {
    SigningKey::from_seed([seed; 32]).verifying_key(&origin())
}

fn origin() -> Origin {
    Origin::new("example.com/log").unwrap()
}

/// Batches that stay in a tile, complete it exactly, cross it, and span several.
const BATCHES: [usize; 7] = [1, 3, 252, 1, 700, 66, 2];

/// The same in short, for the test that runs thousands of times.
const FEW_BATCHES: [usize; 4] = [3, 253, 1, 2];

fn batch(number: usize, attempt: usize) -> Vec<Vec<u8>> {
    entries(BATCHES[number], number, attempt)
}

fn entries(count: usize, number: usize, attempt: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("entry {number}.{i} attempt {attempt}").into_bytes()).collect()
}

/// Appends all batches, opening the log again after each failure, and then checks everything that was promised.
/// Returns whether any failure was injected.
fn survive(batches: &[usize], guarded: bool, after: bool, first: usize, second: Option<usize>) -> bool {
    let disk = Disk::default();
    disk.fail(Some(first), after);
    let mut second = second;
    let mut crashed = false;
    let mut acknowledged: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut next = 0;
    let mut attempt = 0;
    while next < batches.len() {
        if disk.0.dead.get() {
            crashed = true;
            disk.fail(second.take(), after);
        }
        attempt += 1;
        let Ok(mut log) = disk.start(guarded) else { continue };
        for (index, entry) in &acknowledged {
            assert_eq!(log.tree().leaf(*index), Some(leaf_hash(entry)), "entry {index} was acknowledged");
        }
        while next < batches.len() {
            let entries = entries(batches[next], next, attempt);
            let before = log.size();
            let Ok(range) = log.append(&entries) else {
                assert!(matches!(log.append(&entries), Err(Error::NeedsReopen)));
                assert_eq!((log.size(), log.tree().len()), (before, before));
                break;
            };
            acknowledged.extend(range.zip(entries));
            next += 1;
        }
    }
    crashed |= disk.0.dead.get();

    disk.fail(None, after);
    let log = disk.start(guarded).unwrap();
    for (index, entry) in &acknowledged {
        assert_eq!(log.entry(*index).unwrap(), *entry, "entry {index} was acknowledged");
    }
    for text in disk.0.published.borrow().iter() {
        let text = std::str::from_utf8(text).unwrap();
        let signed = SignedCheckpoint::open(text, &log.verifying_key()).unwrap();
        assert_eq!(log.tree().root_at(signed.size()).unwrap(), signed.root(), "the log forked at {}", signed.size());
    }
    let report = check_storage(&disk, &log.verifying_key()).unwrap();
    assert_eq!((report.size, report.other), (log.size(), log.size()));
    let expected: Vec<String> = TilePath::all(log.size()).iter().map(TilePath::to_string).collect();
    assert_eq!(disk.list().unwrap().len(), expected.len(), "the log is tidy");
    crashed
}

#[test]
fn no_single_failure_loses_or_forks() {
    for guarded in [false, true] {
        for after in [false, true] {
            let points = (0..).take_while(|at| survive(&BATCHES, guarded, after, *at, None)).count();
            assert!(points > 50, "only {points} failure points were found");
        }
    }
}

#[test]
fn no_failure_during_recovery_loses_or_forks() {
    for guarded in [false, true] {
        for after in [false, true] {
            for first in 0.. {
                let crashed = (0..14).filter(|second| survive(&FEW_BATCHES, guarded, after, first, Some(*second)));
                if crashed.count() == 0 {
                    assert!(first > 20, "only {first} failure points were found");
                    break;
                }
            }
        }
    }
}

#[test]
fn a_restored_backup_does_not_start() {
    let disk = Disk::default();
    let mut log = disk.start(true).unwrap();
    log.append(&batch(1, 0)).unwrap();
    let backup = disk.0.files.borrow().clone();
    log.append(&batch(2, 0)).unwrap();
    drop(log);
    let current = disk.0.files.borrow().clone();
    let guard = current["guard"].clone();

    *disk.0.files.borrow_mut() = backup;
    disk.0.files.borrow_mut().insert("guard".into(), guard.clone());
    assert!(matches!(disk.start(true), Err(Error::BehindGuard { size: 3, guard: 255 })));

    // Everything lost but the guard.
    *disk.0.files.borrow_mut() = BTreeMap::from([("guard".to_owned(), guard)]);
    assert!(matches!(disk.start(true), Err(Error::BehindGuard { size: 0, guard: 255 })));

    // Only the checkpoint lost: the guard has it.
    *disk.0.files.borrow_mut() = current;
    disk.0.files.borrow_mut().remove(CHECKPOINT);
    assert_eq!(disk.start(true).unwrap().size(), 255);
}

#[test]
fn a_fork_is_noticed() {
    let disk = Disk::default();
    disk.start(true).unwrap().append(&batch(1, 0)).unwrap();
    let other = Disk::default();
    other.start(true).unwrap().append(&batch(1, 1)).unwrap();
    let foreign = other.0.files.borrow()["guard"].clone();
    disk.0.files.borrow_mut().insert("guard".into(), foreign);
    assert!(matches!(disk.start(true), Err(Error::GuardMismatch { size: 3, .. })));
}

#[test]
fn a_damaged_or_missing_file_is_named() {
    let disk = Disk::default();
    let mut log = disk.start(false).unwrap();
    for number in 0..BATCHES.len() {
        log.append(&batch(number, 0)).unwrap();
    }
    let public = log.verifying_key();
    drop(log);
    let files = disk.0.files.borrow().clone();
    assert_eq!(files.len(), TilePath::all(1025).len() + 1);
    for name in files.keys() {
        disk.0.files.borrow_mut().remove(name);
        let error = disk.start(false).map(|log| log.size()).unwrap_err();
        assert!(matches!(&error, Error::MissingFile(missing) if missing == name), "{name}: {error}");
        *disk.0.files.borrow_mut() = files.clone();

        disk.0.files.borrow_mut().get_mut(name).unwrap()[20] ^= 1;
        let error = check_storage(&disk, &public).unwrap_err().to_string();
        // A hash that differs from the one above it may be wrong on either side: both files are named. The last,
        // partial tile has nothing above it but the checkpoint.
        let named = error.contains(name.as_str()) || name == "tile/0/004.p/1" || name == "tile/1/000.p/4";
        assert!(named || name == CHECKPOINT, "{name}: {error}");
        *disk.0.files.borrow_mut() = files.clone();
    }
    disk.start(false).unwrap();
}

#[test]
fn an_entry_too_long_changes_nothing() {
    let disk = Disk::default();
    let mut log = disk.start(false).unwrap();
    let before = disk.0.files.borrow().clone();
    let error = log.append(&[vec![0; MAX_ENTRY], vec![0; MAX_ENTRY + 1]]).unwrap_err();
    assert!(matches!(error, Error::EntryTooLong { position: 1, length: 65_536 }));
    assert_eq!(*disk.0.files.borrow(), before);
    assert_eq!(log.append(&[]).unwrap(), 0..0);
    assert_eq!(log.append(&[vec![0; MAX_ENTRY], Vec::new()]).unwrap(), 0..2);
    assert_eq!(log.entry(0).unwrap().len(), MAX_ENTRY);
    assert!(log.entry(1).unwrap().is_empty());
}

#[test]
fn a_batch_costs_one_checkpoint() {
    let disk = Disk::default();
    let mut log = disk.start(false).unwrap();
    log.append(&batch(4, 0)).unwrap();
    assert_eq!(disk.0.published.borrow().len(), 2);
}

/// Appends, rotates the key and appends again, with one failure; then everything must hold under either key. Returns
/// whether the failure was injected.
fn survive_rotation(guarded: bool, after: bool, at: usize) -> bool {
    let disk = Disk::default();
    let mut log = disk.start(guarded).unwrap();
    log.append(&entries(255, 0, 0)).unwrap();
    disk.fail(Some(at), after);
    let rotated = log.rotate(SigningKey::from_seed([6; 32]), "2026-01-02T03:04:05Z".into());
    let appended = log.append(&entries(2, 1, 0));
    assert!(rotated.is_ok() || appended.is_err());
    drop(log);
    let crashed = disk.0.dead.get();
    disk.fail(None, after);

    // Exactly one of the two keys goes on; which one, the checkpoint says.
    let (old, new) = (disk.start_with(guarded, 5), disk.start_with(guarded, 6));
    let mut log = match (old, new) {
        (Ok(mut log), Err(Error::KeyRotated { .. } | Error::WrongSigner { .. })) => {
            assert!(rotated.is_err(), "an acknowledged rotation stands");
            log.rotate(SigningKey::from_seed([6; 32]), "2026-01-02T03:04:06Z".into()).unwrap();
            log
        }
        (Err(Error::KeyRotated { .. }), Ok(log)) => log,
        (old, new) => panic!("{:?} {:?}", old.map(|log| log.size()), new.map(|log| log.size())),
    };
    log.append(&entries(1, 2, 0)).unwrap();
    let keys = log.keys().unwrap();
    assert_eq!((keys.at(255), keys.at(256)), (&public(5), &public(6)));
    for trusted in [public(5), public(6)] {
        let report = check_storage(&disk, &trusted).unwrap();
        assert_eq!((report.size, report.rotations), (log.size(), 1));
    }
    for text in disk.0.published.borrow().iter() {
        let signed = SignedCheckpoint::parse(std::str::from_utf8(text).unwrap()).unwrap();
        keys.verify(&signed).unwrap();
        assert_eq!(log.tree().root_at(signed.size()).unwrap(), signed.root(), "the log forked at {}", signed.size());
    }
    crashed
}

#[test]
fn no_failure_during_a_rotation_loses_the_key_or_forks() {
    for guarded in [false, true] {
        for after in [false, true] {
            let points = (0..).take_while(|at| survive_rotation(guarded, after, *at)).count();
            assert!(points > 10, "only {points} failure points were found");
        }
    }
}

#[test]
fn keys_are_rotated_again_and_not_back() {
    let disk = Disk::default();
    let mut log = disk.start(false).unwrap();
    let time = || "2026-01-02T03:04:05Z".to_owned();
    for seed in [6, 7, 8] {
        log.append(&entries(3, seed.into(), 0)).unwrap();
        log.rotate(SigningKey::from_seed([seed; 32]), time()).unwrap();
        drop(log);
        assert!(matches!(disk.start_with(false, seed - 1), Err(Error::KeyRotated { .. })));
        log = disk.start_with(false, seed).unwrap();
    }
    for seed in [5, 8] {
        assert!(matches!(log.rotate(SigningKey::from_seed([seed; 32]), time()), Err(Error::BadRotation { .. })));
    }
    assert_eq!(log.append(&entries(1, 9, 0)).unwrap(), 12..13, "a refused rotation changes nothing");
    for seed in 5..=8 {
        assert_eq!(check_storage(&disk, &public(seed)).unwrap().rotations, 3);
    }
    assert!(check_storage(&disk, &public(9)).is_err());
}

#[test]
fn two_writers_do_not_fork() {
    for guarded in [false, true] {
        // As if the lock did not hold: the second opens while the first is open.
        let disk = Disk::default();
        let (mut first, mut second) = (disk.start(guarded).unwrap(), disk.start(guarded).unwrap());
        first.append(&entries(3, 0, 0)).unwrap();
        let error = second.append(&entries(3, 0, 1)).unwrap_err();
        assert!(matches!(error, Error::CheckpointMoved(_)), "{error}");
        assert!(matches!(second.append(&entries(1, 0, 2)), Err(Error::NeedsReopen)));
        first.append(&entries(2, 1, 0)).unwrap();
        check_storage(&disk, &public(5)).unwrap();
        // Opened again, the second goes on from where the first is, and then it is the first that is refused.
        second.reopen().unwrap();
        assert_eq!(second.append(&entries(1, 2, 0)).unwrap(), 5..6);
        assert!(matches!(first.append(&entries(1, 2, 1)), Err(Error::CheckpointMoved(_))));
        assert_eq!(check_storage(&disk, &public(5)).unwrap().size, 6);
    }
}

#[test]
fn two_writers_between_tiles_and_checkpoint_do_not_fork() {
    // The second writer gets past the first look at the checkpoint: the tile or the swap stops it.
    let disk = Disk::default();
    let mut log = disk.start(false).unwrap();
    let name = TilePath { level: None, index: 0, width: 3 }.to_string();
    disk.write(&name, b"of another writer").unwrap();
    assert!(matches!(log.append(&entries(3, 0, 0)), Err(Error::TileTaken(taken)) if taken == name));
    assert_eq!(disk.read(&name).unwrap().unwrap(), b"of another writer");
    let moved = disk.swap(CHECKPOINT, Some(b"not this"), b"other").unwrap_err();
    assert!(matches!(moved, Error::CheckpointMoved(_)));
    // Reopening puts the stranger's tile aside, and goes on.
    log.reopen().unwrap();
    log.append(&entries(3, 0, 0)).unwrap();
    check_storage(&disk, &public(5)).unwrap();
}

#[test]
fn a_signer_that_fails_changes_nothing() {
    #[derive(Debug)]
    struct Moody(SigningKey, std::sync::atomic::AtomicUsize);
    impl Signer for Moody {
        fn verifying_key(&self, origin: &Origin) -> VerifyingKey {
            self.0.verifying_key(origin)
        }
        fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
            match self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 {
                0 => Ok(self.0.sign(message)),
                _ => Err(Error::SigningProgram { program: "kms".into(), problem: "unreachable".into() }),
            }
        }
    }
    let disk = Disk::default();
    let signer = Box::new(Moody(SigningKey::from_seed([5; 32]), 0.into()));
    let mut log = Log::start(disk.clone(), None, signer, origin()).unwrap();
    for round in 0..5 {
        assert!(matches!(log.append(&entries(100, round, 0)), Err(Error::SigningProgram { .. })));
        assert_eq!(check_storage(&disk, &public(5)).unwrap().size, 100 * round as u64);
        log.reopen().unwrap();
        log.append(&entries(100, round, 1)).unwrap();
    }
    assert_eq!(check_storage(&disk, &public(5)).unwrap().size, 500);
}

#[test]
fn a_log_behind_its_cosigned_checkpoint_does_not_start() {
    let disk = Disk::default();
    let mut log = disk.start(false).unwrap();
    log.append(&entries(3, 0, 0)).unwrap();
    let backup = disk.0.files.borrow().clone();
    log.append(&entries(3, 1, 0)).unwrap();
    log.keep_cosigned(&CosignedCheckpoint::new(log.checkpoint().clone())).unwrap();
    drop(log);
    let cosigned = disk.0.files.borrow()["cosigned"].clone();
    *disk.0.files.borrow_mut() = backup;
    disk.0.files.borrow_mut().insert("cosigned".into(), cosigned);
    assert!(matches!(disk.start(false), Err(Error::BehindWitness { size: 3, seen: 6, .. })));
}
