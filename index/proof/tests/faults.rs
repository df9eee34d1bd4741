//! A process that appends, under faults from outside: killed at any moment under load, and each of its system calls
//! failing or being its last. After each fault the whole log is checked: nothing acknowledged is missing, no fork.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cairn_proof::log::check;
use cairn_proof::merkle::verify_consistency;
use cairn_proof::{Error, Hash, Log, SigningKey};
use common::{key, origin, vkey};

/// One test at a time: a process that another test is just starting holds copies of all open files, and so of locks, for
/// a moment.
static ALONE: Mutex<()> = Mutex::new(());

/// The example `log_writer`, built when it is not yet.
fn writer() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.ancestors().nth(2).unwrap().join("examples/log_writer");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let arguments = ["build", "--quiet", "--package", "cairn-proof", "--example", "log_writer"];
    let built = Command::new(cargo).current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).status();
    assert!(path.exists(), "{} is not there, and building it gave {built:?}", path.display());
    path
}

/// A log's directories, everything ever acknowledged, and every checkpoint ever seen.
struct Site {
    dir: tempfile::TempDir,
    acknowledged: BTreeMap<u64, Hash>,
    seen: Vec<(u64, Hash)>,
}

impl Site {
    /// On a disk.
    fn new() -> Site {
        Site::within(tempfile::tempdir().unwrap())
    }

    /// In memory where that is possible: to a process whose calls fail it makes no difference, and there are hundreds.
    fn in_memory() -> Site {
        Site::within(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn within(dir: tempfile::TempDir) -> Site {
        Site { dir, acknowledged: BTreeMap::new(), seen: Vec::new() }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn guard(&self) -> PathBuf {
        self.dir.path().join("elsewhere/guard")
    }

    fn command(&self, program: &Path, mode: &str) -> Command {
        let mut command = Command::new(program);
        command.arg(mode).arg(self.log()).arg(self.guard());
        command
    }

    /// Takes down what the writer said. A line cut off was not acknowledged.
    fn heard(&mut self, output: &str) {
        for line in output.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let (index, leaf) = line.split_once(' ').unwrap();
            let taken = self.acknowledged.insert(index.parse().unwrap(), leaf.parse().unwrap());
            assert!(taken.is_none(), "entry {index} was acknowledged twice");
        }
    }

    /// Opens the log, as the next start would, and checks everything.
    fn check(&mut self, case: &str) {
        let open = |signer| Log::open_guarded(&self.log(), signer, origin(), &self.guard());
        let log = match open(key()) {
            Err(Error::KeyRotated { .. }) => open(SigningKey::from_seed([43; 32])),
            opened => opened,
        };
        let log = log.unwrap_or_else(|error| panic!("{case}: {error}"));
        for (index, leaf) in &self.acknowledged {
            assert_eq!(log.tree().leaf(*index), Some(*leaf), "{case}: entry {index} was acknowledged");
        }
        let (size, root) = (log.size(), log.checkpoint().root());
        for (old, old_root) in &self.seen {
            let proof = log.tree().consistency(*old, size).unwrap();
            verify_consistency(*old, old_root, size, &root, &proof).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        self.seen.push((size, root));
        drop(log);
        let report = check(&self.log(), &vkey()).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!((report.size, report.root), (size, root), "{case}");
    }
}

#[test]
fn kill_minus_nine_under_load_loses_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let writer = writer();
    let mut site = Site::new();
    let rounds = std::env::var("CAIRN_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12);
    for round in 0..rounds {
        let mut child: Child = site.command(&writer, "hammer").arg("8").stdout(Stdio::piped()).spawn().unwrap();
        // At another moment each time, the first ones while the log is being opened.
        let moment = Duration::from_millis([3, 11, 40, 90, 170, 260][round % 6] + round as u64 * 7 % 23);
        let stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let (mut stdout, mut output) = (stdout, String::new());
            stdout.read_to_string(&mut output).unwrap();
            output
        });
        let start = Instant::now();
        while start.elapsed() < moment {
            // Somebody reads along: what was ever served must stay part of the log.
            if let Ok(text) = fs::read_to_string(site.log().join("checkpoint")) {
                let signed = cairn_proof::SignedCheckpoint::open(&text, &vkey()).unwrap();
                site.seen.push((signed.size(), signed.root()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        site.heard(&reader.join().unwrap());
        site.seen.sort_by_key(|(size, _)| *size);
        site.seen.dedup();
        site.check(&format!("kill {round} after {moment:?}"));
    }
    println!("{rounds} kills, {} entries acknowledged, {} checkpoints seen", site.acknowledged.len(), site.seen.len());
    assert!(site.acknowledged.len() > 100, "only {} entries", site.acknowledged.len());
}

/// The system calls by which a log is read and written. Not `close`: strace injects an error in place of the call, and on
/// Linux a file is closed whatever error `close` returns.
const CALLS: [&str; 11] =
    ["openat", "read", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "flock", "getdents64", "statx"];

/// Runs the writer under strace, with a fault injected or none; returns how often it made each call.
fn traced(site: &mut Site, writer: &Path, mode: &str, inject: Option<&str>) -> BTreeMap<String, usize> {
    let trace = site.dir.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg("-e").arg(format!("trace={}", CALLS.join(",")));
    if let Some(inject) = inject {
        command.arg("-e").arg(format!("inject={inject}"));
    }
    command.arg(writer).arg(mode).arg(site.log()).arg(site.guard());
    let output = command.stderr(Stdio::null()).output().unwrap();
    site.heard(&String::from_utf8(output.stdout).unwrap());
    let mut calls = BTreeMap::new();
    for line in fs::read_to_string(&trace).unwrap_or_default().lines() {
        let name = line.split_once(' ').map_or("", |(_, call)| call.trim_start()).split('(').next().unwrap_or_default();
        if CALLS.contains(&name) {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

/// Whether strace is there and may trace.
fn may_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    traced.is_ok_and(|status| status.success())
}

fn every_call(mode: &str) {
    if !may_trace() {
        println!("skipped: strace is not installed, or this machine does not permit ptrace");
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let writer = writer();
    let calls = traced(&mut Site::in_memory(), &writer, mode, None);
    let total: usize = calls.values().sum();
    assert!(total > 100 && calls["fsync"] > 20, "{calls:?}");
    let mut faults = 0;
    for (call, count) in &calls {
        // The loader's calls come first: failing those says nothing about the log, and costs little.
        for number in 1..=*count {
            let mut kinds = vec![format!("{call}:error=EIO:when={number}")];
            // To be killed at a call that changes nothing is to be killed at the next one that does.
            if ["write", "fsync", "rename", "mkdir", "unlink"].contains(&call.as_str()) {
                kinds.push(format!("{call}:signal=KILL:when={number}"));
            }
            // A disk that is full and stays so.
            if call == "write" {
                kinds.push(format!("{call}:error=ENOSPC:when={number}+"));
            }
            for inject in kinds {
                let mut site = Site::in_memory();
                traced(&mut site, &writer, mode, Some(&inject));
                site.check(&inject);
                faults += 1;
            }
        }
    }
    println!("{mode}: {faults} faults at {total} system calls: {calls:?}");
}

#[test]
fn a_fault_at_every_system_call_of_an_append_loses_nothing() {
    every_call("steps");
}

#[test]
fn a_fault_at_every_system_call_of_a_rotation_loses_nothing() {
    every_call("rotate");
}
