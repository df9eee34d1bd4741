//! A disk in memory that fails, for tests: the second implementation of [`Storage`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::storage::Storage;
use crate::error::{Error, Result};

/// A disk in memory that fails at a chosen operation and then stays failed until revived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(pub(crate) Rc<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) files: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Every checkpoint ever written, to the log or to the guard: none may contradict another.
    pub(crate) published: RefCell<Vec<Vec<u8>>>,
    pub(crate) operations: Cell<usize>,
    pub(crate) fail_at: Cell<Option<usize>>,
    pub(crate) after: Cell<bool>,
    pub(crate) dead: Cell<bool>,
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

    /// Fails operation `at`, counted from now, before or after it is done.
    pub(crate) fn fail(&self, at: Option<usize>, after: bool) {
        self.0.dead.set(false);
        self.0.operations.set(0);
        self.0.fail_at.set(at);
        self.0.after.set(after);
    }
}

impl Storage for Disk {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.operate(path, |files| files.get(path).cloned())
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.operate(path, |files| {
            assert!(path != "checkpoint" && path != "guard", "a checkpoint is swapped, never overwritten");
            files.insert(path.to_owned(), bytes.to_vec());
        })
    }

    fn swap(&self, path: &str, expected: Option<&[u8]>, bytes: &[u8]) -> Result<()> {
        self.operate(path, |files| {
            if files.get(path).map(Vec::as_slice) != expected {
                return Err(Error::CheckpointMoved(path.into()));
            }
            self.0.published.borrow_mut().push(bytes.to_vec());
            files.insert(path.to_owned(), bytes.to_vec());
            Ok(())
        })?
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
