//! Auditing and monitoring real logs: sound ones, ones with a changed byte anywhere, forked ones and rolled back ones.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use cairn_proof::audit::{AuditError, AuditReport, FaultKind, Fetch, LocalLog, Relation, audit};
use cairn_proof::log::check;
use cairn_proof::monitor::{MonitorError, Sighting, look};
use cairn_proof::record::{Entry, SnapshotEntry, SnapshotKind};
use cairn_proof::{Error, Hash, Log, SignedCheckpoint, SigningKey};
use common::{key, origin, vkey, world};

fn open(text: &str) -> Result<SignedCheckpoint, Error> {
    SignedCheckpoint::open(text, &vkey())
}

fn audited(dir: &Path) -> AuditReport {
    audit(&LocalLog(dir.to_owned()), &open, None).unwrap()
}

/// Entries as a gateway writes them; `salt` makes them those of another history.
fn entries(from: u64, count: u64, salt: &str) -> Vec<Vec<u8>> {
    let entry = |version: u64| SnapshotEntry {
        kind: SnapshotKind::V1,
        datanet: "tenancy-law".into(),
        lance_version: version,
        size: version,
        root: Hash::of(format!("{salt}{version}").as_bytes()),
        time: "2026-01-31T00:00:00Z".into(),
    };
    (from..from + count).map(|version| Entry::from(entry(version)).to_bytes().unwrap()).collect()
}

fn log(sizes: &[u64], salt: &str) -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), origin()).unwrap();
    for size in sizes {
        log.append(&entries(log.size(), size - log.size(), salt)).unwrap();
    }
    (dir, log)
}

/// All files of tiles and entries, as paths within the log.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.join("tile")];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.sort();
    found
}

/// The first entry under a byte of a file.
fn position(file: &str, bytes: &[u8], at: usize) -> u64 {
    let (level, number) = file.strip_prefix("tile/").unwrap().split_once('/').unwrap();
    let number = number.split(".p/").next().unwrap();
    let index: u64 =
        number.split('/').fold(0, |n, group| n * 1000 + group.trim_start_matches('x').parse::<u64>().unwrap());
    if let Ok(level) = level.parse::<u32>() {
        return (index * 256 + at as u64 / 32) << (8 * level);
    }
    let (mut start, mut entry) = (0, 0);
    loop {
        let length = usize::from(u16::from_be_bytes([bytes[start], bytes[start + 1]]));
        if at < start + 2 {
            // The lengths hold the file together: if one is wrong, no entry of it can be told from the next.
            return index * 256;
        }
        if at < start + 2 + length {
            return index * 256 + entry;
        }
        (start, entry) = (start + 2 + length, entry + 1);
    }
}

/// Flips a bit of every `step`th byte of every file, one at a time, and expects the file and the entry to be named.
fn flip_everywhere(dir: &Path, step: impl Fn(&str) -> usize) -> usize {
    let mut flips = 0;
    for file in files(dir) {
        let good = fs::read(dir.join(&file)).unwrap();
        for at in (0..good.len()).step_by(step(&file)) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(dir.join(&file), &bad).unwrap();
            let report = audited(dir);
            let fault = report.first_fault().unwrap_or_else(|| panic!("{file} byte {at} was changed unnoticed"));
            let expected = (file.as_str(), position(&file, &good, at), FaultKind::Changed);
            assert_eq!((fault.path.as_str(), fault.position, fault.kind), expected, "byte {at}: {}", fault.problem);
            assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
            let counted: u64 = report.entries.values().sum();
            assert!(counted >= report.size - 256, "all other entries are read all the same");
            flips += 1;
        }
        fs::write(dir.join(&file), good).unwrap();
    }
    assert!(audited(dir).is_sound());
    flips
}

#[test]
fn a_sound_log_is_counted() {
    let world = world();
    let report = audited(world.dir.path());
    assert!(report.is_sound() && report.exit_code() == 0, "{}", report.to_text());
    let checked = check(world.dir.path(), &vkey()).unwrap();
    assert_eq!((report.size, report.root, report.tiles), (checked.size, checked.root, checked.tiles));
    let counts: Vec<(&str, u64)> = report.entries.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(counts, [("cairn/record/v1", 1), ("cairn/snapshot/v1", 263), ("cairn/tombstone/v1", 1)]);
    assert!(report.to_text().starts_with("SOUND\n") && report.to_text().contains("263  cairn/snapshot/v1"));
    let json = report.to_json();
    assert_eq!((json["verdict"].as_str(), json["report"]["size"].as_u64()), (Some("sound"), Some(265)));
}

#[test]
fn logs_of_every_shape_are_sound() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, 1000] {
        let (dir, log) = log(&[size / 2, size], "a");
        let report = audited(dir.path());
        assert!(report.is_sound(), "{size}: {}", report.to_text());
        assert_eq!((report.size, report.root), (size, log.checkpoint().root()));
    }
}

#[test]
fn a_flipped_bit_in_any_file_is_found_and_located() {
    // Two full tiles and a partial one at level 0, a partial one at level 1.
    let (dir, _log) = log(&[600], "a");
    let flips = flip_everywhere(dir.path(), |file| if file.contains("entries") { 997 } else { 53 });
    assert!(flips > 400, "{flips}");
}

#[test]
fn a_flipped_bit_is_located_in_a_log_of_three_levels() {
    // A full tile at level 1, and so partial ones at all three levels.
    let (dir, _log) = log(&[65_536 + 256 + 10], "a");
    assert!(audited(dir.path()).is_sound());
    for (file, at) in [
        ("tile/0/000", 33),
        ("tile/0/200", 8_191),
        ("tile/0/257.p/10", 64),
        ("tile/1/000", 32 * 200),
        ("tile/1/001.p/1", 0),
        ("tile/2/000.p/1", 31),
        ("tile/entries/128", 20_000),
        ("tile/entries/257.p/10", 100),
    ] {
        let path = dir.path().join(file);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let report = audited(dir.path());
        let found: Vec<(&str, u64)> = report.faults.iter().map(|fault| (fault.path.as_str(), fault.position)).collect();
        assert_eq!(found, [(file, position(file, &good, at))], "{}", report.to_text());
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_missing_or_short_file_is_named_and_the_rest_is_audited() {
    let (dir, _log) = log(&[600], "a");
    for file in files(dir.path()) {
        let path = dir.path().join(&file);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let report = audited(dir.path());
        let fault = report.first_fault().unwrap();
        assert_eq!((fault.path.as_str(), fault.kind), (file.as_str(), FaultKind::Missing));
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(audited(dir.path()).first_fault().unwrap().path, file);
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn entry_and_tile_changed_together_are_found_below_what_was_signed() {
    let (dir, _log) = log(&[600], "a");
    let (other, _other) = log(&[600], "b");
    for (number, from) in [("000", 0), ("001", 256), ("002.p/88", 512)] {
        let copies: Vec<(PathBuf, Vec<u8>)> = ["0", "entries"]
            .map(|level| {
                let path = dir.path().join(format!("tile/{level}/{number}"));
                let good = fs::read(&path).unwrap();
                fs::copy(other.path().join(format!("tile/{level}/{number}")), &path).unwrap();
                (path, good)
            })
            .into();
        let report = audited(dir.path());
        assert_eq!(
            report.first_fault().unwrap().kind == FaultKind::Root,
            number.contains(".p"),
            "{}",
            report.to_text()
        );
        assert!(report.faults.iter().any(|fault| fault.kind == FaultKind::Root || fault.position == from));
        for (path, good) in copies {
            fs::write(path, good).unwrap();
        }
    }
}

#[test]
fn an_entry_of_no_known_form_is_found() {
    let (dir, mut log) = log(&[300], "a");
    let strange = br#"{"note":"a later kind","type":"cairn/later/v1"}"#.to_vec();
    log.append(&[strange, b"entry".to_vec(), br#"{"type":"cairn/tombstone/v1"}"#.to_vec()]).unwrap();
    let report = audited(dir.path());
    assert_eq!(report.entries["cairn/later/v1"], 1, "a kind from the future is counted, not condemned");
    let found: Vec<(FaultKind, u64)> = report.faults.iter().map(|fault| (fault.kind, fault.position)).collect();
    assert_eq!(found, [(FaultKind::Entry, 301), (FaultKind::Entry, 302)]);
    assert!(report.to_text().starts_with("NOT SOUND\n") && report.to_text().contains("From entry 301"));
    assert_eq!(report.to_json()["first_fault"]["position"].as_u64(), Some(301));
}

#[test]
fn a_checkpoint_of_another_key_ends_the_audit() {
    let (dir, _log) = log(&[5], "a");
    let other = SigningKey::from_seed([1; 32]).verifying_key(&origin());
    let error = audit(&LocalLog(dir.path().into()), &|text| SignedCheckpoint::open(text, &other), None).unwrap_err();
    assert!(matches!(error, AuditError::Checkpoint(_)) && error.exit_code() == 1, "{error}");
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let error = audit(&LocalLog(dir.path().into()), &open, None).unwrap_err();
    assert!(matches!(error, AuditError::NoCheckpoint), "{error}");
}

/// A log behind a network that fails at one path.
struct Unreachable(LocalLog, &'static str);

impl Fetch for Unreachable {
    fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        if path == self.1 { Err("connection refused".into()) } else { self.0.fetch(path) }
    }
}

#[test]
fn what_cannot_be_read_is_no_fault_of_the_log() {
    let (dir, _log) = log(&[600], "a");
    for path in ["checkpoint", "tile/0/001", "tile/entries/002.p/88", "tile/1/000.p/2"] {
        let error = audit(&Unreachable(LocalLog(dir.path().into()), path), &open, None).unwrap_err();
        assert!(
            matches!(&error, AuditError::Fetch { path: at, .. } if at == path) && error.exit_code() == 2,
            "{error}"
        );
    }
}

#[test]
fn an_audit_against_an_earlier_checkpoint() {
    for (from, to) in [(0, 5), (1, 300), (255, 256), (256, 257), (300, 900), (512, 1024), (700, 700)] {
        let (dir, older) = log(&[from], "a");
        let earlier = older.checkpoint().clone();
        drop(older);
        let mut now = Log::open(dir.path(), key(), origin()).unwrap();
        now.append(&entries(from, to - from, "a")).unwrap();
        let against = |dir: &Path| audit(&LocalLog(dir.into()), &open, Some(&earlier)).unwrap();
        let relation = against(dir.path()).earlier.unwrap();
        let expected = if from == to { Relation::Same { size: from } } else { Relation::Grew { from, to } };
        assert_eq!(relation, expected);

        // Another history under the same key: sound in itself, but not the log that was seen.
        let (forked, _log) = log(&[to], "b");
        let report = against(forked.path());
        assert!(report.faults.is_empty());
        assert_eq!(report.is_sound(), from == 0, "everything goes on from nothing");
        if from > 0 {
            assert!(matches!(report.earlier, Some(Relation::Fork { size, .. }) if size == from), "{from} to {to}");
            assert!(report.exit_code() == 1 && report.to_text().contains("FORK"));
        }
        if from > 1 {
            let (short, _log) = log(&[from - 1], "a");
            assert_eq!(against(short.path()).earlier, Some(Relation::Rollback { from, to: from - 1 }));
        }
    }
}

#[test]
fn a_monitor_follows_and_raises_alarms() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("seen");
    let (dir, mut log_a) = log(&[10], "a");
    let here = LocalLog(dir.path().into());
    let look_at = |fetch: &dyn Fetch| look(fetch, &open, &state);

    assert!(matches!(look_at(&here).unwrap(), Sighting::First { .. }));
    assert!(matches!(look_at(&here).unwrap(), Sighting::Consistent { .. }));
    log_a.append(&entries(10, 500, "a")).unwrap();
    let grew = look_at(&here).unwrap();
    assert!(matches!(grew, Sighting::Grew { from: 10, .. }) && !grew.is_alarm() && grew.exit_code() == 0);
    let kept = fs::read_to_string(&state).unwrap();
    assert_eq!(kept, log_a.checkpoint().to_string());

    // A backup is restored: alarm, as often as one looks, and what was seen is not forgotten.
    let (backup, mut log_b) = log(&[300], "a");
    let restored = LocalLog(backup.path().into());
    for _ in 0..2 {
        let sighting = look_at(&restored).unwrap();
        assert!(matches!(sighting, Sighting::Rollback { .. }) && sighting.exit_code() == 1);
        assert!(sighting.to_text().starts_with("ALARM") && sighting.to_text().contains(&kept));
        assert_eq!(fs::read_to_string(&state).unwrap(), kept);
    }
    // The restored log goes on, as it must not: at the same size, and beyond it.
    for count in [210, 7] {
        log_b.append(&entries(1000, count, "b")).unwrap();
        let sighting = look_at(&restored).unwrap();
        assert!(matches!(sighting, Sighting::Fork { .. }), "{}", sighting.to_text());
        let json = sighting.to_json();
        assert_eq!((json["sighting"].as_str(), json["alarm"].as_bool()), (Some("fork"), Some(true)));
        assert_eq!(
            (json["before"]["size"].as_u64(), json["before"]["checkpoint"].as_str()),
            (Some(510), Some(kept.as_str()))
        );
        assert_eq!(fs::read_to_string(&state).unwrap(), kept);
    }
    // The true log is followed further.
    log_a.append(&entries(510, 1, "a")).unwrap();
    assert!(matches!(look_at(&here).unwrap(), Sighting::Grew { from: 510, .. }));
}

#[test]
fn damage_is_not_taken_for_a_fork() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("seen");
    let (dir, mut log) = log(&[300], "a");
    let here = LocalLog(dir.path().into());
    look(&here, &open, &state).unwrap();
    let kept = fs::read(&state).unwrap();
    log.append(&entries(300, 300, "a")).unwrap();
    for file in files(dir.path()).into_iter().filter(|file| !file.contains("entries")) {
        let path = dir.path().join(&file);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(32 * 11) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            match look(&here, &open, &state) {
                // The proof did not need that hash.
                Ok(Sighting::Grew { .. }) => fs::write(&state, &kept).unwrap(),
                Err(MonitorError::Log(AuditError::Unproven { from: 300, to: 600, .. })) => {}
                other => panic!("{file} byte {at}: {other:?}"),
            }
            assert_eq!(fs::read(&state).unwrap(), kept);
        }
        fs::write(&path, good).unwrap();
    }
    assert!(matches!(look(&here, &open, &state).unwrap(), Sighting::Grew { from: 300, .. }));
}

#[test]
fn a_forged_memory_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("seen");
    let (dir, log) = log(&[5], "a");
    for text in ["", "x", &log.checkpoint().to_string().replace("\n5\n", "\n4\n")] {
        fs::write(&state, text).unwrap();
        let error = look(&LocalLog(dir.path().into()), &open, &state).unwrap_err();
        assert!(matches!(error, MonitorError::State { .. }), "{error}");
        assert_eq!(fs::read_to_string(&state).unwrap(), text);
    }
}
