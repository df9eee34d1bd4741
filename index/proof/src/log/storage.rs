//! Where a log keeps its files. Two implementations: [`Directory`], and in tests a disk that fails.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Named files with durable, atomic replacement.
///
/// Contract: when [`Storage::write`] returns, the file holds the new bytes and will after a power cut; if it fails or is
/// interrupted, the file holds either the old bytes or the new, never a mixture. [`Storage::remove`] need not be
/// durable: the log cleans up when it is opened. There is one writer at a time; [`Storage::swap`] notices when there are
/// two all the same.
pub trait Storage {
    /// The file's bytes, or `None` if there is no such file.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// Replaces or creates the file durably and atomically.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<()>;

    /// Like [`Storage::write`], if the file holds exactly `expected` (`None`: is absent) at that moment, and otherwise
    /// [`Error::CheckpointMoved`] with nothing changed. Of two swaps from the same bytes at most one succeeds, whichever
    /// processes try them.
    fn swap(&self, path: &str, expected: Option<&[u8]>, bytes: &[u8]) -> Result<()>;

    /// Removes the file; absent is fine.
    fn remove(&self, path: &str) -> Result<()>;

    /// Paths of all files under `tile/`.
    fn list(&self) -> Result<Vec<String>>;
}

/// Files in a local directory.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// Held open for its advisory lock: one process at a time may append.
    _lock: Option<File>,
}

impl Directory {
    /// The directory for reading, whether or not a process has it open as a log.
    pub fn shared(root: &Path) -> Directory {
        Directory { root: root.to_owned(), _lock: None }
    }

    /// The directory for this process alone, created if absent. The lock is released when the value is dropped.
    pub fn exclusive(root: &Path) -> Result<Directory> {
        ensure(root).map_err(at(root))?;
        let path = root.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Directory { root: root.to_owned(), _lock: Some(file) }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Locked(root.to_owned())),
            Err(fs::TryLockError::Error(source)) => Err(Error::Io { path, source }),
        }
    }
}

impl Storage for Directory {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = self.root.join(path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(path);
        write_durably(&path, bytes).map_err(at(&path))
    }

    fn swap(&self, path: &str, expected: Option<&[u8]>, bytes: &[u8]) -> Result<()> {
        let target = self.root.join(path);
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::Io { path: target, source: io::Error::from(io::ErrorKind::InvalidInput) });
        };
        ensure(parent).map_err(at(parent))?;
        // Opened anew each time, so that two processes meet here even if somebody deleted the `lock` file under one.
        let gate = parent.join(format!(".{}.swap", name.to_string_lossy()));
        let gate_file = File::options().create(true).truncate(false).write(true).open(&gate).map_err(at(&gate))?;
        pass(&gate_file, &gate)?;
        if self.read(path)?.as_deref() != expected {
            return Err(Error::CheckpointMoved(target));
        }
        write_durably(&target, bytes).map_err(at(&target))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let path = self.root.join(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Io { path, source: error }),
            _ => {
                // An emptied `.p` directory is of no use; one that is not empty stays.
                if let Some(parent) = path.parent().filter(|parent| parent.extension().is_some_and(|p| p == "p")) {
                    let _ = fs::remove_dir(parent);
                }
                Ok(())
            }
        }
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        let mut pending = vec!["tile".to_owned()];
        while let Some(dir) = pending.pop() {
            let path = self.root.join(&dir);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::Io { path, source }),
            };
            for entry in entries {
                let entry = entry.map_err(at(&path))?;
                let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
                if entry.file_type().map_err(at(&path))?.is_dir() {
                    pending.push(name);
                } else {
                    files.push(name);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Takes the lock of a swap. Another process holds it for a few milliseconds; one that hangs must not hang this one too.
fn pass(file: &File, path: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Err(fs::TryLockError::WouldBlock) => return Err(Error::Locked(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(Error::Io { path: path.to_owned(), source }),
        }
    }
}

/// Temporary file, fsync, rename, fsync of the directory.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    ensure(parent)?;
    let temporary = parent.join(format!(".{}.tmp", name.to_string_lossy()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync(parent)
}

/// Creates a directory and its parents so that their names survive a power cut.
fn ensure(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    ensure(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent),
    }
}

#[cfg(unix)]
fn sync(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Directories cannot be opened for syncing elsewhere; renames are then as durable as the file system makes them.
#[cfg(not(unix))]
fn sync(_dir: &Path) -> io::Result<()> {
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}
