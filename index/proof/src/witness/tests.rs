//! A witness and a log against each other, with a disk that fails, and with a log that forks.

use super::client::{Step, Submission};
use super::*;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::cosignature::CosignedCheckpoint;
use crate::hash::leaf_hash;
use crate::log::Log;

const NOW: u64 = 1_700_000_000;

fn log_key() -> SigningKey {
    SigningKey::from_seed([5; 32])
}

fn origin() -> Origin {
    Origin::new("example.com/log").unwrap()
}

fn log_public() -> VerifyingKey {
    log_key().verifying_key(&origin())
}

fn name() -> Origin {
    Origin::new("witness.example/w1").unwrap()
}

fn own_key() -> SigningKey {
    SigningKey::from_seed([77; 32])
}

fn open(dir: &Path) -> Witness {
    Witness::open(dir, name(), own_key(), &[log_public()]).unwrap()
}

fn fresh() -> (tempfile::TempDir, Witness) {
    let dir = tempfile::tempdir().unwrap();
    Witness::init(dir.path(), &name(), &own_key()).unwrap();
    let witness = open(dir.path());
    (dir, witness)
}

fn tree(salt: u64, size: u64) -> Tree {
    (0..size).map(|i| leaf_hash(format!("{salt} {i}").as_bytes())).collect()
}

fn signed(tree: &Tree, size: u64) -> SignedCheckpoint {
    let root = tree.root_at(size).unwrap();
    SignedCheckpoint::sign(Checkpoint { origin: origin(), size, root }, &log_key())
}

fn request(tree: &Tree, old: u64, new: u64) -> Vec<u8> {
    let proof = tree.consistency(old, new).unwrap();
    AddCheckpoint { old, proof, checkpoint: signed(tree, new).to_string() }.to_bytes()
}

/// Submits until there is a cosignature; returns it and the number of requests.
fn submit(witness: &Witness, tree: &Tree, size: u64, seen: u64) -> Result<(Cosignature, usize)> {
    let mut submission = Submission::new(witness.public_key(), signed(tree, size), seen);
    for number in 1.. {
        let answer = witness.add_checkpoint(&submission.request(tree)?, NOW);
        match submission.answer(answer.status, answer.body.as_bytes(), tree.len())? {
            Step::Cosigned(cosignature) => return Ok((cosignature, number)),
            Step::Again => continue,
            Step::Outrun => panic!("nobody else submits"),
        }
    }
    unreachable!("the loop ends by returning")
}

#[test]
fn a_log_is_cosigned_as_it_grows() {
    let (dir, mut witness) = fresh();
    let tree = tree(0, 700);
    let mut seen = 0;
    for size in [0, 1, 1, 2, 256, 257, 699, 700] {
        let (cosignature, requests) = submit(&witness, &tree, size, seen).unwrap();
        assert_eq!((cosignature.time, requests), (NOW, 1), "size {size}");
        seen = size;
        // What was cosigned survives a restart.
        drop(witness);
        witness = open(dir.path());
        let latest =
            CosignedCheckpoint::open(&witness.latest("example.com/log").unwrap().unwrap(), &log_public()).unwrap();
        assert_eq!(latest.signed().size(), size);
        assert_eq!(latest.by(&witness.public_key()), Some(&cosignature));
    }
    // A client that does not know where the witness is asks once more.
    assert_eq!(submit(&witness, &tree, 700, 3).unwrap().1, 2);
    assert_eq!(witness.latest("example.com/other").unwrap(), None);
}

#[test]
fn statuses_are_those_of_the_specification() {
    let (dir, witness) = fresh();
    let (tree, fork) = (tree(0, 20), tree(1, 20));
    submit(&witness, &tree, 10, 0).unwrap();
    let status = |body: Vec<u8>| witness.add_checkpoint(&body, NOW).status;
    let text = |body: Vec<u8>| String::from_utf8(body).unwrap();

    assert_eq!(status(b"old 10\n".to_vec()), 400);
    assert_eq!(status(request(&tree, 10, 20).split_last().unwrap().1.to_vec()), 400, "no last newline");
    assert_eq!(status(text(request(&tree, 10, 20)).replace("old 10", "old 010").into_bytes()), 400);
    assert_eq!(status(text(request(&tree, 10, 20)).replace("old 10", "old 21").into_bytes()), 400, "old above new");
    assert_eq!(status(text(request(&tree, 10, 20)).replace("\n20\n", "\n+20\n").into_bytes()), 400);

    let stranger = SigningKey::from_seed([6; 32]);
    let forged = |origin: Origin, key: &SigningKey| {
        let root = tree.root_at(20).unwrap();
        let checkpoint = SignedCheckpoint::sign(Checkpoint { origin, size: 20, root }, key).to_string();
        AddCheckpoint { old: 10, proof: tree.consistency(10, 20).unwrap(), checkpoint }.to_bytes()
    };
    assert_eq!(status(forged(Origin::new("example.com/unknown").unwrap(), &log_key())), 404);
    assert_eq!(status(forged(origin(), &stranger)), 403);

    for old in [0, 9, 11] {
        let answer = witness.add_checkpoint(&request(&tree, old, 20), NOW);
        assert_eq!((answer.status, answer.body.as_str(), answer.content_type), (409, "10\n", "text/x.tlog.size"));
    }
    assert_eq!(status(request(&fork, 10, 20)), 422, "a fork");
    assert_eq!(status(request(&fork, 10, 10)), 409, "another root at the same size");
    let mut broken = AddCheckpoint::parse(&request(&tree, 10, 20)).unwrap();
    broken.proof.pop();
    assert_eq!(status(broken.to_bytes()), 422);
    // The contradicting checkpoints were kept, and nothing of it moved the witness.
    assert!(std::fs::read_dir(dir.path().join("evidence")).unwrap().count() >= 2);
    assert_eq!(submit(&witness, &tree, 20, 10).unwrap().1, 1);
}

#[test]
fn the_client_tells_a_restored_backup_and_a_fork() {
    let (_dir, witness) = fresh();
    let whole = tree(0, 20);
    submit(&witness, &whole, 20, 0).unwrap();
    let backup = tree(0, 15);
    let error = submit(&witness, &backup, 15, 15).unwrap_err();
    assert!(matches!(error, Error::BehindWitness { size: 15, seen: 20, .. }), "{error}");
    assert!(error.to_string().contains("restored"));
    for size in [20, 25] {
        let fork = tree(1, size);
        let error = submit(&witness, &fork, size, 0).unwrap_err();
        assert!(matches!(error, Error::ForkedFromWitness { size: 20, .. }), "{error}");
    }
    let mut outrun = Submission::new(witness.public_key(), signed(&whole, 18), 0);
    assert_eq!(outrun.answer(409, b"20\n", 20).unwrap(), Step::Outrun);
}

#[test]
fn a_witness_that_misbehaves_is_refused() {
    let (_dir, witness) = fresh();
    let tree = tree(0, 20);
    let make = || Submission::new(witness.public_key(), signed(&tree, 20), 0);
    let other =
        WitnessKey::cosign(&name(), &SigningKey::from_seed([78; 32]), &signed(&tree, 20).checkpoint().body(), NOW);
    let earlier = WitnessKey::cosign(&name(), &own_key(), &signed(&tree, 19).checkpoint().body(), NOW);
    for body in [other.to_string(), earlier.to_string(), String::new(), "\u{2014} x AAAAAAAA\n".to_owned()] {
        assert!(matches!(make().answer(200, body.as_bytes(), 20), Err(Error::WrongCosignature { .. })), "{body}");
    }
    for body in ["hello", "\u{2014} witness.example/w1\n"] {
        assert!(matches!(make().answer(200, body.as_bytes(), 20), Err(Error::Malformed { .. })), "{body}");
    }
    for (status, body) in
        [(409, "x"), (409, "7"), (409, "07\n"), (409, "0\n"), (403, ""), (404, ""), (500, "\u{7}oops")]
    {
        let error = make().answer(status, body.as_bytes(), 20).unwrap_err();
        assert!(matches!(error, Error::WitnessRefused { .. }), "{status} {body:?}: {error}");
    }
    let mut restless = make();
    let steps: Vec<bool> =
        (1..=4).map(|size: u8| restless.answer(409, format!("{size}\n").as_bytes(), 20).is_ok()).collect();
    assert_eq!(steps, [true, true, true, false]);
}

#[test]
fn lost_or_foreign_state_is_refused() {
    let (dir, witness) = fresh();
    submit(&witness, &tree(0, 3), 3, 0).unwrap();
    assert!(matches!(Witness::open(dir.path(), name(), own_key(), &[]), Err(Error::Locked(_))));
    drop(witness);
    assert!(Witness::init(dir.path(), &name(), &own_key()).is_err(), "there is a witness already");
    let other = SigningKey::from_seed([1; 32]);
    assert!(matches!(Witness::open(dir.path(), name(), other, &[log_public()]), Err(Error::OtherWitness { .. })));
    let state = dir.path().join(file("example.com/log"));
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("\n3\n", "\n2\n")).unwrap();
    assert!(matches!(Witness::open(dir.path(), name(), own_key(), &[log_public()]), Err(Error::DamagedFile { .. })));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Witness::open(empty.path(), name(), own_key(), &[]), Err(Error::NotAWitness(_))));
}

#[test]
fn no_failure_of_the_disk_makes_a_witness_cosign_a_fork() {
    use crate::log::failing_disk::Disk;
    let (tree, fork) = (tree(0, 20), tree(1, 20));
    for after in [false, true] {
        for at in 0.. {
            let disk = Disk::default();
            disk.write(MARKER, WitnessKey::of(&name(), &own_key()).to_string().as_bytes()).unwrap();
            let start = || Witness::start(disk.clone(), name(), own_key(), &[log_public()]);
            let mut witness = start().unwrap();
            disk.fail(Some(at), after);
            // Whatever was cosigned before the failure, the fork from size 10 on is not cosigned after it.
            let (mut cosigned, mut crashed) = (0, false);
            for (old, new) in [(0, 4), (4, 10), (10, 15)] {
                let answer = witness.add_checkpoint(&request(&tree, old, new), NOW);
                if answer.status == 200 {
                    cosigned = new;
                } else {
                    assert_eq!(answer.status, 500);
                    crashed = true;
                    disk.fail(None, after);
                    witness = start().unwrap();
                    // It may have been written and not answered: then the next says so.
                    let status = witness.add_checkpoint(&request(&tree, old, new), NOW).status;
                    assert!(status == 200 || (status == 409 && after), "{status}");
                    cosigned = new;
                }
            }
            assert_eq!(cosigned, 15);
            disk.fail(None, after);
            assert_ne!(witness.add_checkpoint(&request(&fork, 15, 20), NOW).status, 200);
            assert_ne!(witness.add_checkpoint(&request(&fork, 10, 20), NOW).status, 200);
            assert_eq!(witness.add_checkpoint(&request(&tree, 15, 20), NOW).status, 200);
            if !crashed {
                assert!(at > 5, "only {at} failure points were found");
                break;
            }
        }
    }
}

#[test]
fn racing_requests_never_roll_back() {
    let (_dir, witness) = fresh();
    let tree = tree(0, 400);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (witness, tree) = (&witness, &tree);
            scope.spawn(move || {
                let mut last = 0;
                for size in (1..=400).filter(|size| size % 4 == thread) {
                    let mut submission = Submission::new(witness.public_key(), signed(tree, size), last);
                    loop {
                        let answer = witness.add_checkpoint(&submission.request(tree).unwrap(), NOW);
                        match submission.answer(answer.status, answer.body.as_bytes(), 400) {
                            Ok(Step::Again) => continue,
                            Ok(Step::Cosigned(_)) => last = size,
                            // Others were faster, even four times in a row.
                            Ok(Step::Outrun) | Err(Error::WitnessRefused { .. }) => (),
                            Err(error) => panic!("{error}"),
                        }
                        break;
                    }
                    let text = witness.latest("example.com/log").unwrap();
                    let now = text.map_or(0, |text| CosignedCheckpoint::parse(&text).unwrap().signed().size());
                    assert!(now >= last, "rolled back from {last} to {now}");
                }
            });
        }
    });
}

#[test]
fn a_log_keeps_what_was_cosigned_and_stops_when_contradicted() {
    let (_state, witness) = fresh();
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), log_key(), origin()).unwrap();
    log.append(&[b"a".to_vec(), b"b".to_vec()]).unwrap();
    let mut submission = Submission::new(witness.public_key(), log.checkpoint().clone(), 0);
    let answer = witness.add_checkpoint(&submission.request(log.tree()).unwrap(), NOW);
    let Step::Cosigned(cosignature) = submission.answer(answer.status, answer.body.as_bytes(), 2).unwrap() else {
        panic!("{answer:?}")
    };
    let mut cosigned = CosignedCheckpoint::new(submission.checkpoint().clone());
    cosigned.add(&witness.public_key(), cosignature).unwrap();
    log.keep_cosigned(&cosigned).unwrap();
    log.append(&[b"c".to_vec()]).unwrap();
    assert_eq!((log.checkpoint_for(1).signed().size(), log.checkpoint_for(2).signed().size()), (2, 3));
    drop(log);
    let mut log = Log::open(dir.path(), log_key(), origin()).unwrap();
    assert_eq!(log.cosigned(), Some(&cosigned));
    // A checkpoint of another tree is not taken.
    let foreign = CosignedCheckpoint::new(signed(&tree(1, 3), 3));
    assert!(matches!(log.keep_cosigned(&foreign), Err(Error::RootMismatch { .. })));
    log.stop(std::sync::Arc::new(Error::BehindWitness { size: 3, witness: "w".into(), seen: 4 }));
    assert!(matches!(log.append(&[b"d".to_vec()]), Err(Error::Stopped(_))));
    assert!(matches!(log.rotate(own_key(), "2026-01-02T03:04:05Z".into()), Err(Error::Stopped(_))));
    assert_eq!(log.size(), 3);
}
