//! The log against a disk that fails before or after every single operation, and against damaged files.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::check::check_storage;
use super::load::CHECKPOINT;
use super::storage::Storage;
use super::*;

/// A disk in memory that fails at a chosen operation and then stays failed until revived.
#[derive(Clone, Default)]
struct Disk(Rc<State>);

#[derive(Default)]
struct State {
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Every checkpoint ever written, to the log or to the guard: none may contradict another.
    published: RefCell<Vec<Vec<u8>>>,
    operations: Cell<usize>,
    fail_at: Cell<Option<usize>>,
    after: Cell<bool>,
    dead: Cell<bool>,
}

impl Disk {
    /// Runs an operation, or fails before it, or fails after it.
    fn operate<T>(&self, path: &str, operation: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> Result<T> {
        let state = &self.0;
        let failure = || Error::Io { path: path.into(), source: io::Error::other("injected") };
        if state.dead.get() {
            return Err(failure());
        }
        let number = state.operations.replace(state.operations.get() + 1);
        if state.fail_at.get() != Some(number) {
            return Ok(operation(&mut state.files.borrow_mut()));
        }
        state.dead.set(true);
        if state.after.get() {
            operation(&mut state.files.borrow_mut());
        }
        Err(failure())
    }

    fn fail(&self, at: Option<usize>, after: bool) {
        self.0.dead.set(false);
        self.0.operations.set(0);
        self.0.fail_at.set(at);
        self.0.after.set(after);
    }

    fn start(&self, guarded: bool) -> Result<Log<Disk>> {
        let guard = guarded.then(|| (self.clone(), "guard".to_owned()));
        Log::start(self.clone(), guard, key(), origin())
    }
}

impl Storage for Disk {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.operate(path, |files| files.get(path).cloned())
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.operate(path, |files| {
            if path == CHECKPOINT || path == "guard" {
                self.0.published.borrow_mut().push(bytes.to_vec());
            }
            files.insert(path.to_owned(), bytes.to_vec());
        })
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.operate(path, |files| {
            files.remove(path);
        })
    }

    fn list(&self) -> Result<Vec<String>> {
        self.operate("tile", |files| files.keys().filter(|path| path.starts_with("tile/")).cloned().collect())
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed([5; 32])
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
