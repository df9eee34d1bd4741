//! Collecting from several witnesses, of which some are away, slow or of another mind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_proof::Error as ProofError;
use cairn_witness::{Collector, Error, Remote};
use tokio::net::TcpListener;

use crate::support::{Process, request, signed, tree};

const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_is_collected_without_the_slow() {
    let (first, second) =
        (Process::start("witness.example/w1", "").await, Process::start("witness.example/w2", "").await);
    // One that accepts and never answers, and one that is not there.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = |seed| {
        let name = cairn_proof::Origin::new(format!("witness.example/w{seed}")).unwrap();
        cairn_proof::WitnessKey::of(&name, &cairn_proof::SigningKey::from_seed([seed; 32])).to_string()
    };
    let slow = Remote { url: format!("http://{}", silent.local_addr().unwrap()), key: key(3) };
    let gone = Remote { url: "http://127.0.0.1:1/".into(), key: key(4) };
    let all = [first.remote(), slow.clone(), second.remote(), gone];
    let collector = Collector::new(&all, 2, TIMEOUT).unwrap();
    let whole = tree(0, 300);
    for size in [7, 7, 256, 300] {
        let begun = Instant::now();
        let collected = collector.collect(signed(&whole, size), Arc::new(whole.clone())).await;
        assert!(collected.enough && collected.alarm.is_none(), "{collected:?}");
        assert!(begun.elapsed() < TIMEOUT / 2, "{:?}", begun.elapsed());
        for key in [&first.key, &second.key] {
            assert!(collected.checkpoint.by(key).is_some());
        }
        assert_eq!(collected.failed.len(), 2);
        assert!(collected.failed.iter().any(|(_, why)| matches!(**why, Error::TimedOut(_))));
    }
    // With more required than there are, it ends at the time-out.
    let collector = Collector::new(&all, 3, Duration::from_secs(1)).unwrap();
    let begun = Instant::now();
    let collected = collector.collect(signed(&whole, 300), Arc::new(whole.clone())).await;
    assert!(!collected.enough && collected.checkpoint.cosignatures().len() == 2);
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(Collector::new(&[slow.clone(), slow], 1, TIMEOUT).is_err(), "one witness twice");
    assert!(Collector::new(&all, 5, TIMEOUT).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_learns_that_it_was_restored_or_forked() {
    let witness = Process::start("witness.example/w1", "").await;
    assert_eq!(witness.post(request(&tree(0, 20), 0, 20)).await.status, 200);
    let collect = async |salt, size| {
        let whole = tree(salt, size);
        let collector = Collector::new(&[witness.remote()], 1, TIMEOUT).unwrap();
        collector.collect(signed(&whole, size), Arc::new(whole)).await
    };
    let restored = collect(0, 15).await;
    assert!(matches!(*restored.alarm.unwrap(), ProofError::BehindWitness { size: 15, seen: 20, .. }));
    let forked = collect(1, 25).await;
    assert!(!forked.enough && matches!(*forked.alarm.unwrap(), ProofError::ForkedFromWitness { size: 20, .. }));
    let same = collect(1, 20).await;
    assert!(matches!(*same.alarm.unwrap(), ProofError::ForkedFromWitness { .. }));
    assert!(collect(0, 25).await.enough);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_under_a_wrong_key_counts_for_nothing() {
    let (first, second) =
        (Process::start("witness.example/w1", "").await, Process::start("witness.example/w2", "").await);
    let confused = Remote { url: first.url.clone(), key: second.key.to_string() };
    let collector = Collector::new(&[confused], 1, TIMEOUT).unwrap();
    let whole = tree(0, 9);
    let collected = collector.collect(signed(&whole, 9), Arc::new(whole)).await;
    assert!(!collected.enough && collected.alarm.is_none());
    let [(name, why)] = &collected.failed[..] else { panic!("{collected:?}") };
    assert_eq!(name, "witness.example/w2");
    assert!(matches!(**why, Error::Witness(ProofError::WrongCosignature { .. })), "{why}");
}
