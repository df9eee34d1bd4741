//! The bundle that proves a row's use in a training run: every row of runs of every size, every byte of a bundle; and what an
//! audit says of a run whose grant did not hold.
#![allow(clippy::unwrap_used)]

mod common;

use cairn_proof::access::Purpose;
use cairn_proof::audit::{FaultKind, LocalLog, audit};
use cairn_proof::bundle::LogProof;
use cairn_proof::datapoint::{Commitment, DatapointFields, Field};
use cairn_proof::record::Entry;
use cairn_proof::report::{Outcome, verify_files};
use cairn_proof::training::{
    Consent, TrainingBundle, TrainingDatapoint, TrainingEntry, TrainingKind, TrainingRow, TrainingRows, TrainingSource,
    verify_training,
};
use cairn_proof::{Hash, Log, Salt, SignedCheckpoint, Trust, leaf_hash};
use common::access::{append, grant, revocation};
use common::{golden, key, origin, vkey, world};
use serde_json::json;

fn datapoint() -> TrainingDatapoint {
    let fields = DatapointFields {
        datanet: "terms".into(),
        id: "b-tree".into(),
        seq: 2,
        contributor: "Ada".into(),
        contributed_at: "2026-01-02".into(),
        source: None,
        licence: "GFDL-1.3".into(),
        metadata: json!({}),
        text: "A balanced tree.".into(),
    };
    let salt = Salt::new([7; 32]);
    let commitment = Commitment::new(&fields, &salt).unwrap();
    TrainingDatapoint { commitment, disclosed: fields.disclose(&salt, &Field::ALL) }
}

/// Rows of which number 2 is the datapoint above, and every third was held out.
fn rows(count: usize) -> Vec<TrainingRow> {
    let row = |at: usize| match at {
        2 => TrainingRow { row: "terms/b-tree".into(), leaf: datapoint().commitment.leaf().unwrap(), held_out: false },
        at => TrainingRow { row: format!("terms/{at}"), leaf: leaf_hash(&[at as u8]), held_out: at % 3 == 1 },
    };
    (0..count).map(row).collect()
}

fn entry(rows: TrainingRows) -> TrainingEntry {
    TrainingEntry {
        kind: TrainingKind::V1,
        job: "ftjob-1".into(),
        base: "tiny".into(),
        base_weights: Hash::from([1; 32]),
        generation: Hash::from([2; 32]),
        config: r#"{"r":16,"lr":0.0002,"seed":42}"#.into(),
        sources: vec![TrainingSource {
            datanet: Some("terms".into()),
            size: Some(9),
            root: Some(Hash::from([3; 32])),
            file: None,
            consent: Consent::Grant,
            grant: Some(Hash::from([4; 32])),
        }],
        rows,
        owner: "trainer".into(),
        time: "2026-01-03T00:00:00Z".into(),
    }
}

fn bundle_of(count: usize, at: usize) -> TrainingBundle {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), key(), origin()).unwrap();
    let rows = rows(count);
    let (summary, tree) = TrainingRows::of(&rows).unwrap();
    let entry = entry(summary);
    log.append(&[b"before".to_vec(), Entry::from(entry.clone()).to_bytes().unwrap(), b"after".to_vec()]).unwrap();
    let path = tree.inclusion(at as u64, count as u64).unwrap();
    let shown = (at == 2).then(datapoint);
    let row = (rows[at].clone(), at as u64, path);
    TrainingBundle::build(&vkey(), entry, LogProof::of(&log, 1).unwrap(), row, shown).unwrap()
}

#[test]
fn every_row_is_proved_and_in_words() {
    for count in [3, 4, 7, 8, 300] {
        for at in 0..count.min(9) {
            let bytes = bundle_of(count, at).to_bytes().unwrap();
            let report = verify_training(&bytes, &Trust::new(vkey())).unwrap();
            let said = report.proved.join("\n");
            assert!(
                said.contains("adapter generation 0202")
                    && said.contains("by the datanet's grant of training whose entry is 0404"),
                "{said}"
            );
            let learnt = if at != 2 && at % 3 == 1 { "held out for evaluation, and not learnt" } else { "was learnt" };
            assert!(said.contains(learnt), "{said}");
            assert_eq!(at == 2, said.contains("A balanced tree."));
        }
    }
}

#[test]
fn the_golden_file_is_as_written() {
    let bytes = bundle_of(5, 2).to_bytes().unwrap();
    if std::env::var_os("CAIRN_WRITE_GOLDEN").is_some() {
        std::fs::write(golden("trained.json"), &bytes).unwrap();
    }
    assert!(std::fs::read(golden("trained.json")).unwrap() == bytes, "trained.json differs from the golden file");
}

/// What was logged before grants were named is proved as it was, and says no more than it did.
#[test]
fn an_entry_without_its_grant_still_verifies() {
    let with = |change: &dyn Fn(&mut TrainingEntry)| {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), key(), origin()).unwrap();
        let rows = rows(3);
        let (summary, tree) = TrainingRows::of(&rows).unwrap();
        let mut entry = entry(summary);
        change(&mut entry);
        log.append(&[cairn_proof::canonical::to_canonical(&entry).unwrap()]).unwrap();
        let row = (rows[0].clone(), 0, tree.inclusion(0, 3).unwrap());
        TrainingBundle::build(&vkey(), entry, LogProof::of(&log, 0).unwrap(), row, None)
    };
    let old = with(&|entry| entry.sources[0].grant = None).unwrap();
    assert!(!String::from_utf8(old.to_bytes().unwrap()).unwrap().contains("\"grant\":"));
    let report = verify_training(&old.to_bytes().unwrap(), &Trust::new(vkey())).unwrap();
    assert!(report.proved.iter().any(|said| said.ends_with("by the datanet's grant of training.")), "{report:?}");
    assert!(!report.not_shown.iter().any(|said| said.contains("grant")), "{report:?}");
    let own = with(&|entry| entry.sources[0].consent = Consent::Own).unwrap_err().to_string();
    assert!(own.contains("not a datanet used by one"), "{own}");
    let undated = with(&|entry| entry.time = "yesterday".into()).unwrap_err().to_string();
    assert!(undated.contains("time in UTC"), "{undated}");
}

#[test]
fn an_audit_accuses_a_run_whose_grant_did_not_hold() {
    let mut granted = grant("grant-1", "terms", None);
    granted.purposes = vec![Purpose::Training];
    let (leaf, revoked) = (granted.leaf().unwrap(), revocation(&granted, "2026-02-20T00:00:00Z"));
    let run = |time: &str, grant: Hash| {
        let mut run = entry(TrainingRows::of(&rows(3)).unwrap().0);
        (run.time, run.sources[0].grant) = (time.into(), Some(grant));
        Entry::from(run)
    };
    let found = |entries: Vec<Entry>| {
        let mut world = world();
        for entry in entries {
            append(&mut world.log, entry);
        }
        let open = |text: &str| SignedCheckpoint::open(text, &vkey());
        let report = audit(&LocalLog(world.dir.path().into()), &open, None).unwrap();
        assert!(report.faults.iter().all(|fault| fault.kind == FaultKind::Access));
        report.faults.into_iter().map(|fault| fault.problem).collect::<Vec<_>>()
    };
    let begun = || Entry::from(granted.clone());
    let in_time = || run("2026-02-19T23:59:59Z", leaf);
    assert_eq!(found(vec![begun(), in_time(), revoked.clone().into()]), [""; 0]);
    assert_eq!(found(vec![begun(), revoked.clone().into(), in_time()]), [""; 0], "it ended before");
    let late = found(vec![begun(), revoked.into(), run("2026-02-20T00:00:01Z", leaf)]);
    assert!(
        late.len() == 1 && late[0].starts_with("training run ftjob-1 learnt from terms: grant grant-1 was revoked"),
        "{late:?}"
    );
    let early = found(vec![begun(), run("2026-01-31T11:59:59Z", leaf)]);
    assert!(early.len() == 1 && early[0].contains("was issued at"), "{early:?}");
    let unknown = found(vec![in_time(), begun()]);
    assert!(unknown.len() == 1 && unknown[0].contains("not in the log before it"), "{unknown:?}");
    let other = grant("grant-2", "terms", None);
    let found = found(vec![other.clone().into(), run("2026-02-19T00:00:00Z", other.leaf().unwrap())]);
    assert!(found.len() == 1 && found[0].contains("is not for training"), "{found:?}");
}

#[test]
fn any_changed_byte_fails() {
    let bytes = bundle_of(5, 2).to_bytes().unwrap();
    let trust = Trust::new(vkey());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(verify_training(&changed, &trust).is_err(), "byte {at}");
    }
}

#[test]
fn a_row_of_another_run_and_another_datapoint_are_refused() {
    let (good, other) = (bundle_of(5, 2), bundle_of(6, 3));
    let fails = |change: &dyn Fn(&mut TrainingBundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        verify_training(&bundle.to_bytes().unwrap(), &Trust::new(vkey())).unwrap_err().to_string()
    };
    let moved = fails(&|bundle| (bundle.row, bundle.index, bundle.path) = (other.row.clone(), 3, other.path.clone()));
    assert!(moved.starts_with("row: terms/3 is not a row"), "{moved}");
    let held_out = fails(&|bundle| bundle.row.held_out = true);
    assert!(held_out.starts_with("row: terms/b-tree is not a row"), "{held_out}");
    let another = fails(&|bundle| bundle.datapoint.as_mut().unwrap().commitment.seq = 3);
    assert!(another.contains("expected leaf"), "{another}");
    let more = fails(&|bundle| bundle.entry.rows.learnt += 1);
    assert!(more.starts_with("entry: it is not entry 1"), "{more}");
    let nothing = fails(&|bundle| bundle.entry.rows.learnt = 0);
    assert!(nothing.contains("learnt no row"), "{nothing}");
}

#[test]
fn a_file_is_verified_by_what_it_says_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, public) = (dir.path().join("row.cairn.json"), dir.path().join("cairn.pub"));
    std::fs::write(&bundle, bundle_of(5, 2).to_bytes().unwrap()).unwrap();
    std::fs::write(&public, format!("{}\n", vkey())).unwrap();
    let outcome = verify_files(&bundle, &public).unwrap();
    assert!(matches!(outcome, Outcome::Trained(_)) && outcome.exit_code() == 0);
    assert!(outcome.to_text().starts_with("PROVED"));
}
