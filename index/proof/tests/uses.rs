//! Counters of uses: numbered by the sequencer, checked by a contributor and over the whole log.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use cairn_proof::log::{Batching, Draft, Sequencer, check};
use cairn_proof::record::{Candidate, Entry, Record, Retrieval, Snapshot};
use cairn_proof::uses::{Counters, Use, UseStatement, check_uses, is_pseudonym, pseudonym};
use cairn_proof::{Error, Hash, Log, Salt, SigningKey, leaf_hash};
use common::{key, origin, vkey, world};
use serde_json::json;

fn contributor(number: u8) -> Hash {
    pseudonym(&Salt::new([number; 32]), &format!("contributor {number}")).unwrap()
}

/// A record whose prompt held one passage of each of these contributors.
fn record(id: u64, contributors: &[u8]) -> Record {
    let golden = world_record();
    let passages = contributors.len() as u64;
    let candidate = |n: u64| Candidate {
        datanet: "law".into(),
        leaf: Hash::of(&n.to_be_bytes()),
        seq: n,
        rank: Some(n),
        in_prompt: Some(n),
        vector_score: None,
        vector_rank: None,
        text_score: None,
        text_rank: None,
        phrase_score: None,
        fused_score: None,
        rerank_score: None,
        left_out: None,
    };
    let mut uses: Vec<Use> = Vec::new();
    for (n, number) in (1..).zip(contributors) {
        match uses.iter_mut().find(|own| own.contributor == contributor(*number)) {
            Some(own) => own.passages.push(n),
            None => uses.push(Use { contributor: contributor(*number), count: 0, passages: vec![n] }),
        }
    }
    Record {
        id: format!("answer-{id}"),
        retrieval: Some(Retrieval {
            query: Hash::default(),
            mode: "hybrid".into(),
            top_k: passages,
            candidates_per_source: 9,
            datanets: vec![Snapshot {
                name: "law".into(),
                lance_version: 1,
                size: 99,
                root: Hash::default(),
                access: None,
            }],
            candidates: (1..=passages).map(candidate).collect(),
            filter: None,
            rerank: None,
        }),
        citations: Vec::new(),
        uses: Some(uses),
        ..golden
    }
}

fn world_record() -> Record {
    let bytes = fs::read(common::golden("bundle.json")).unwrap();
    serde_json::from_slice::<cairn_proof::Bundle>(&bytes).unwrap().record
}

fn start(dir: &std::path::Path, interval: u64) -> Sequencer {
    let log = Log::open(dir, key(), origin()).unwrap();
    let batching = Batching { interval: Duration::from_millis(interval), entries: 16, queue: 4096 };
    Sequencer::start(log, batching).unwrap()
}

/// The records of a log with their indices.
fn records(log: &Log) -> Vec<(u64, Record)> {
    let parse = |index| match Entry::parse(&log.entry(index).unwrap()) {
        Ok(Entry::Record(record)) => Some((index, *record)),
        _ => None,
    };
    (0..log.size()).filter_map(parse).collect()
}

fn of<'a>(records: &'a [(u64, Record)], contributor: &Hash) -> Vec<(u64, &'a Record)> {
    let uses = |record: &Record| record.uses.iter().flatten().any(|own| own.contributor == *contributor);
    records.iter().filter(|(_, record)| uses(record)).map(|(index, record)| (*index, record)).collect()
}

#[test]
fn concurrent_records_are_numbered_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = [0u64; 4];
    for round in 0..2 {
        let sequencer = Arc::new(start(dir.path(), 1));
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let sequencer = &sequencer;
                scope.spawn(move || {
                    for i in 0..20 {
                        let used = [(thread % 4) as u8, ((thread + i) % 4) as u8, 3];
                        let placed = sequencer.append(Draft::Record(Box::new(record(i, &used)))).unwrap();
                        assert_eq!(placed.leaf, leaf_hash(&placed.entry));
                        assert_eq!(sequencer.log().entry(placed.index).unwrap(), placed.entry);
                    }
                    // One that is refused takes no number.
                    let mut bad = record(99, &[0, 1]);
                    bad.time = "yesterday".into();
                    assert!(sequencer.append(Draft::Record(Box::new(bad))).is_err());
                    let mut long = record(99, &[0, 1]);
                    long.id = "x".repeat(70_000);
                    let error = sequencer.append(Draft::Record(Box::new(long))).unwrap_err();
                    assert!(matches!(*error, Error::EntryTooLong { .. }));
                });
            }
        });
        for thread in 0..8u64 {
            for i in 0..20u64 {
                let mut used = vec![thread % 4, (thread + i) % 4, 3];
                used.sort_unstable();
                used.dedup();
                used.into_iter().for_each(|number| expected[number as usize] += 1);
            }
        }
        drop(sequencer);
        let log = Log::open(dir.path(), key(), origin()).unwrap();
        assert_eq!(log.size(), 160 * (round + 1));
        let records = records(&log);
        for number in 0..4 {
            let own = of(&records, &contributor(number));
            assert_eq!(check_uses(&contributor(number), own).unwrap(), expected[number as usize]);
        }
        let report = check(dir.path(), &vkey()).unwrap();
        assert_eq!((report.contributors, report.uses), (4, expected.iter().sum()));
    }
    // The saved counters, the whole log and a damaged file all lead to the same.
    let log = Log::open(dir.path(), key(), origin()).unwrap();
    let saved = Counters::of(&log).unwrap();
    fs::write(dir.path().join("uses"), "{").unwrap();
    let read = Counters::of(&log).unwrap();
    for number in 0..4 {
        assert_eq!(saved.count(&contributor(number)), expected[number as usize]);
        assert_eq!(read.count(&contributor(number)), expected[number as usize]);
    }
}

#[test]
fn a_use_that_is_left_out_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = start(dir.path(), 0);
    for id in 0..9 {
        sequencer.append(Draft::Record(Box::new(record(id, &[1, (id % 3) as u8 + 1])))).unwrap();
    }
    drop(sequencer);
    let log = Log::open(dir.path(), key(), origin()).unwrap();
    let records = records(&log);
    let own = of(&records, &contributor(1));
    assert_eq!(check_uses(&contributor(1), own.clone()).unwrap(), 9);
    for left_out in 0..8 {
        let mut own = own.clone();
        own.remove(left_out);
        let error = check_uses(&contributor(1), own).unwrap_err();
        assert!(error.to_string().contains(&format!("use {} is missing", left_out + 1)), "{error}");
    }
    let mut swapped = own.clone();
    swapped.swap(2, 3);
    assert!(check_uses(&contributor(1), swapped).is_err());
    assert!(check_uses(&contributor(1), [own[0], own[0]]).is_err());
    assert!(check_uses(&contributor(2), own.clone()).is_err(), "records of somebody else");
    // The last ones left out do not show in the rest: the log's statement says how many there are.
    assert_eq!(check_uses(&contributor(1), own[..7].to_vec()).unwrap(), 7);
    let statement = UseStatement::sign(&log, &Counters::of(&log).unwrap(), contributor(1)).unwrap();
    assert_eq!((statement.count, statement.size), (9, 9));
    let keys = log.keys().unwrap();
    statement.verify(&keys).unwrap();
    let changes: [fn(&mut UseStatement); 4] =
        [|s| s.count = 7, |s| s.size = 8, |s| s.contributor = contributor(2), |s| s.origin = "x".into()];
    for change in changes {
        let mut changed = statement.clone();
        change(&mut changed);
        assert!(changed.verify(&keys).is_err());
    }
    let stranger = SigningKey::from_seed([1; 32]).verifying_key(&origin());
    assert!(statement.verify(&stranger.into()).is_err());
}

#[test]
fn the_whole_log_shows_a_wrong_count() {
    for (counts, problem) in [
        (vec![1, 2, 4], "use 3 is missing"),
        (vec![1, 2, 2], "repeats"),
        (vec![2], "use 1 is"),
        (vec![5], "uses 1 to 4"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), key(), origin()).unwrap();
        for count in counts {
            let mut record = record(count, &[1]);
            record.uses.as_mut().unwrap()[0].count = count;
            log.append(&[record.to_bytes().unwrap()]).unwrap();
        }
        let error = check(dir.path(), &vkey()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn a_record_counts_every_passage_once() {
    let good = || {
        let mut record = record(1, &[1, 2, 1]);
        let uses = record.uses.as_mut().unwrap();
        uses.sort_by_key(|own| own.contributor);
        uses.iter_mut().for_each(|own| own.count = 1);
        record
    };
    let bytes = good().to_bytes().unwrap();
    assert_eq!(Entry::parse(&bytes).unwrap().to_bytes().unwrap(), bytes);
    let changes: [fn(&mut Vec<Use>); 8] = [
        |uses| uses[0].count = 0,
        |uses| uses[0].passages.clear(),
        |uses| uses[0].passages.push(7),
        |uses| uses.iter_mut().for_each(|own| own.passages.reverse()),
        |uses| uses.reverse(),
        |uses| drop(uses.pop()),
        |uses| uses[1] = uses[0].clone(),
        |uses| uses[0].passages.push(2),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut record = good();
        change(record.uses.as_mut().unwrap());
        assert!(matches!(record.to_bytes(), Err(Error::InconsistentRecord(_))), "change {number}");
    }
    // Records from before there were counters stand as they are.
    assert!(world_record().uses.is_none());
    drop(world());
}

#[test]
fn a_pseudonym_is_opened_by_its_owner_only() {
    let salt = Salt::new([1; 32]);
    assert!(is_pseudonym(&salt.open("contributor", json!("contributor 1")), &contributor(1)).unwrap());
    assert!(!is_pseudonym(&salt.open("contributor", json!("contributor 2")), &contributor(1)).unwrap());
    assert!(!is_pseudonym(&Salt::new([2; 32]).open("contributor", json!("contributor 1")), &contributor(1)).unwrap());
}

#[test]
fn batches_share_a_checkpoint_and_an_idle_log_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Arc::new(start(dir.path(), 60_000));
    // The first finds the log idle. Of the next, sixteen fill a batch: nobody waits for the minute to pass.
    sequencer.append(Draft::Entry(b"first".to_vec())).unwrap();
    let (sender, answers) = std::sync::mpsc::channel();
    for i in 0..32u8 {
        let sender = sender.clone();
        sequencer.submit(Draft::Entry(vec![i]), move |placed| sender.send(placed.unwrap()).unwrap()).unwrap();
    }
    let placed: Vec<_> = answers.iter().take(32).collect();
    let sizes: Vec<u64> = placed.iter().map(|placed| placed.size).collect();
    assert_eq!(sizes, [vec![17; 16], vec![33; 16]].concat());
    assert!(matches!(sequencer.submit(Draft::Entry(vec![0; 70_000]), |_| ()), Err(Error::EntryTooLong { .. })));
}

#[test]
fn a_full_queue_is_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), key(), origin()).unwrap();
    let batching = Batching { interval: Duration::from_secs(60), entries: 1000, queue: 2 };
    let sequencer = Sequencer::start(log, batching).unwrap();
    sequencer.append(Draft::Entry(b"first".to_vec())).unwrap();
    // The writer is held up, because its log is held here: it can take one batch, and the queue two more.
    let held = sequencer.log();
    let submit = |_: &usize| sequencer.submit(Draft::Entry(Vec::new()), |_| ()).is_ok();
    let accepted = (0..2000).take_while(submit).count();
    assert!((1..=1002).contains(&accepted), "{accepted} accepted");
    drop(held);
}
