//! Anchoring when something goes wrong: no node, reorganisations, stuck transactions, restarts, restored backups.

use std::time::{Duration, Instant};

use cairn_anchor::proof::{Claim, Pins};
use serde_json::json;

use crate::anvil::{Anvil, free_port};
use crate::support::{LOG, Operator, anchored, checkpoint, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_away_delays_and_blocks_nobody() {
    let anvil = Anvil::start(&[]).await;
    let mut operator = Operator::without_contract(&anvil).await;
    operator.config.contract = "0x00000000000000000000000000000000000c41e4".parse().unwrap();
    let code = json!([operator.config.contract, cairn_anchor::contract::deployed_bytecode()]);
    drop(anvil);
    let port = free_port();
    operator.config.rpc_url = format!("http://127.0.0.1:{port}");
    let anchorer = operator.start();
    let begun = Instant::now();
    for size in 1..=1000 {
        anchorer.offer(&cairn_proof::Checkpoint { size, ..checkpoint(0, 4) });
    }
    anchorer.register("cairn/contributor/v1", [1; 32]).unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    let status = until(&anchorer, "it is noticed", |status| status.counts.failures > 1).await;
    assert!(!status.connected && status.problem.unwrap().contains("does not answer"));

    // A node that accepts and never answers is no better than none.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let held = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    anchorer.offer(&checkpoint(0, 1001));
    assert!(begun.elapsed() < Duration::from_millis(100));
    held.abort();
    let _ = held.await;

    let anvil = Anvil::start_on(port, &[]).await;
    anvil.ask("anvil_setBalance", json!([operator.address(), "0xde0b6b3a7640000"])).await;
    anvil.ask("anvil_setCode", code).await;
    let status = anchored(&anchorer, 1001).await;
    assert!(status.connected && status.last_failure.is_some(), "past, but not forgotten");
    until(&anchorer, "registered too", |status| status.waiting == 0).await;
    // Of a thousand checkpoints, the newest was sent.
    assert_eq!(anvil.count(operator.address()).await, 2);

    // It goes away and comes back with the same chain gone: nothing is lost but the chain.
    drop(anvil);
    anchorer.offer(&checkpoint(0, 1002));
    until(&anchorer, "it is noticed", |status| !status.connected).await;
    assert_eq!(anchorer.covering(1000).unwrap().unwrap().size, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_is_noticed_and_made_good() {
    let anvil = Anvil::start(&[]).await;
    let mut operator = Operator::new(&anvil).await;
    operator.config.confirmations = 4;
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 10));
    let status = until(&anchorer, "in a block", |status| {
        status.in_flight.first().is_some_and(|flight| flight.block_number.is_some())
    })
    .await;
    let first = status.in_flight[0].block_number.unwrap();
    anvil.mine(1).await;
    let hash = async |number: u64| {
        let block = anvil.ask("eth_getBlockByNumber", json!([format!("0x{number:x}"), false])).await;
        block["hash"].as_str().unwrap().to_owned()
    };
    let before = hash(first).await;
    // The last two blocks leave the chain, and our transaction with them.
    anvil.ask("anvil_reorg", json!([2, []])).await;
    assert_ne!(hash(first).await, before);
    let status = until(&anchorer, "noticed", |status| status.counts.reorganised > 0).await;
    assert_eq!(status.anchored, None, "it was not final");
    // It is sent again, gets into another block, and becomes final there.
    until(&anchorer, "in another block", |status| {
        status.in_flight.first().is_some_and(|flight| flight.block_number.is_some())
    })
    .await;
    anvil.mine(3).await;
    let last = anchored(&anchorer, 10).await.anchored.unwrap();
    let anchor = anchorer.covering(0).unwrap().unwrap();
    let canonical = hash(last.block_number).await;
    assert_ne!(canonical, before);
    let root = *checkpoint(0, 10).root.as_bytes();
    let pins = Pins { block_hash: Some(canonical.parse().unwrap()), ..Pins::default() };
    anchor.verify(&Claim { origin: LOG, size: 10, root }, &pins).unwrap();
    assert_eq!(anvil.count(operator.address()).await, 2, "deployment and one anchor");

    // One that goes deeper than the confirmations: the anchor that was final is given up and made anew.
    anvil.ask("anvil_reorg", json!([5, []])).await;
    assert_ne!(hash(last.block_number).await, canonical);
    anchorer.offer(&checkpoint(0, 11));
    until(&anchorer, "noticed", |status| status.counts.reorganised > 1).await;
    assert_eq!(anchorer.covering(0).unwrap(), None, "the proof of a block that is no more is not handed out");
    until(&anchorer, "in a block", |status| {
        status.in_flight.first().is_some_and(|flight| flight.block_number.is_some())
    })
    .await;
    anvil.mine(3).await;
    anchored(&anchorer, 11).await;
    assert_eq!(anchorer.covering(0).unwrap().unwrap().size, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_transaction_is_replaced_by_a_dearer_one() {
    let anvil = Anvil::start(&[]).await;
    let mut operator = Operator::new(&anvil).await;
    operator.config.stuck_s = 1;
    anvil.ask("evm_setAutomine", json!([false])).await;
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 10));
    let status = until(&anchorer, "replaced twice", |status| status.counts.replaced >= 2).await;
    let [flight] = status.in_flight[..] else { panic!("{status:#?}") };
    assert_eq!((flight.nonce, flight.attempts), (1, 3));
    anvil.mine(1).await;
    let status = anchored(&anchorer, 10).await;
    assert_eq!(anvil.count(operator.address()).await, 2, "one number, one transaction");
    let sent = anvil.ask("eth_getTransactionByHash", json!([status.anchored.unwrap().transaction])).await;
    assert!(sent["blockHash"].is_string());
    assert!(status.spent_gwei > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_what_was_under_way() {
    let anvil = Anvil::start(&[]).await;
    let mut operator = Operator::new(&anvil).await;
    operator.config.confirmations = 3;
    anvil.ask("evm_setAutomine", json!([false])).await;
    let mut anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 10));
    anchorer.register("cairn/datanet/v1", [1; 32]).unwrap();
    anchorer.register("cairn/datanet/v1", [2; 32]).unwrap();
    let sent = until(&anchorer, "three sent", |status| status.in_flight.len() == 3).await;
    let hashes = |status: &cairn_anchor::Status| -> Vec<_> {
        status.in_flight.iter().map(|flight| (flight.nonce, flight.transaction)).collect()
    };
    assert_eq!(hashes(&sent).iter().map(|(nonce, _)| *nonce).collect::<Vec<_>>(), [1, 2, 3]);
    // The process ends without a word; meanwhile the node loses what it had not put into blocks.
    anchorer.stop().await;
    anvil.ask("anvil_dropAllTransactions", json!([])).await;
    anchorer = operator.start();
    assert_eq!(hashes(&anchorer.status()), hashes(&sent));
    // It is not offered anything, and still brings to an end what it had begun.
    let pool = async || anvil.ask("txpool_status", json!([])).await["pending"].clone();
    let deadline = Instant::now() + Duration::from_secs(20);
    while pool().await != "0x3" {
        assert!(Instant::now() < deadline, "sent again: {}", pool().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anvil.mine(1).await;
    until(&anchorer, "in a block", |status| status.in_flight.iter().all(|flight| flight.block_number.is_some())).await;
    // Once more, in the middle of the confirmations.
    anchorer.stop().await;
    anvil.mine(2).await;
    anchorer = operator.start();
    anchored(&anchorer, 10).await;
    until(&anchorer, "registered", |status| status.waiting == 0).await;
    assert_eq!(anvil.count(operator.address()).await, 4, "deployment and three, each once");
    assert!(anchorer.registration("cairn/datanet/v1", [2; 32]).unwrap().is_some());
    // Offered the same again, it sends nothing; offered more, it takes the next number.
    anchorer.offer(&checkpoint(0, 10));
    anchorer.offer(&checkpoint(0, 11));
    let status = until(&anchorer, "the next", |status| status.in_flight.len() == 1).await;
    assert_eq!((status.in_flight[0].nonce, status.in_flight[0].size), (4, Some(11)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_elsewhere_does_not_stop_anchors() {
    let anvil = Anvil::start(&[]).await;
    let mut operator = Operator::new(&anvil).await;
    operator.config.confirmations = 2;
    anvil.ask("evm_setAutomine", json!([false])).await;
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 10));
    until(&anchorer, "sent", |status| status.in_flight.len() == 1).await;
    // Somebody else's transaction takes the number.
    anvil.ask("anvil_dropAllTransactions", json!([])).await;
    let sender = operator.address();
    anvil.ask("anvil_impersonateAccount", json!([sender])).await;
    let fee = "0x2540be400";
    let own = json!([{"from": sender, "to": sender, "nonce": "0x1", "maxFeePerGas": fee, "maxPriorityFeePerGas": fee}]);
    anvil.ask("eth_sendTransaction", own).await;
    anvil.ask("anvil_stopImpersonatingAccount", json!([sender])).await;
    anvil.mine(5).await;
    let status = until(&anchorer, "under a new number", |status| {
        status.in_flight.first().is_some_and(|flight| flight.nonce == 2)
    })
    .await;
    assert_eq!(status.in_flight.len(), 1);
    anvil.mine(3).await;
    anchored(&anchorer, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_and_a_fork_raise_an_alarm() {
    let anvil = Anvil::start(&[]).await;
    let operator = Operator::new(&anvil).await;
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 10));
    anchored(&anchorer, 10).await;
    anchorer.stop().await;
    let sent = anvil.count(operator.address()).await;
    // The state is lost with the backup's restore: the chain still knows.
    for (salt, size, behind) in [(0, 7, true), (1, 10, false)] {
        std::fs::remove_dir_all(operator.state()).unwrap();
        let anchorer = operator.start();
        anchorer.offer(&checkpoint(salt, size));
        let why = tokio::time::timeout(Duration::from_secs(20), anchorer.alarmed()).await.unwrap();
        match &*why {
            cairn_proof::Error::BehindWitness { size: 7, seen: 10, .. } if behind => (),
            cairn_proof::Error::ForkedFromWitness { size: 10, .. } if !behind => (),
            other => panic!("{other}"),
        }
        let status = until(&anchorer, "told", |status| status.alarm.is_some()).await;
        assert!(status.in_flight.is_empty());
        // It is over, whatever comes.
        anchorer.offer(&checkpoint(salt, 20));
        anchorer.register("cairn/datanet/v1", [1; 32]).unwrap();
        until(&anchorer, "registered", |status| status.counts.confirmed == 1).await;
        anchorer.stop().await;
    }
    assert_eq!(anvil.count(operator.address()).await, sent + 2, "two registrations, no checkpoint");
    // With the right log and no state it goes on, and has a proof of the last one again.
    std::fs::remove_dir_all(operator.state()).unwrap();
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 10));
    anchored(&anchorer, 10).await;
    assert!(anchorer.covering(9).unwrap().is_some());
}
