//! Anchoring when all goes well: proofs, registrations, full blocks, and what is refused at the start.

use cairn_anchor::proof::{Anchor, Claim, Fixed, Pins, kind};
use cairn_anchor::{Anchorer, Error, Saved};
use serde_json::json;

use crate::anvil::Anvil;
use crate::support::{LOG, Operator, anchored, checkpoint, origin, read, until};

fn claim(size: u64) -> Claim<'static> {
    Claim { origin: LOG, size, root: *checkpoint(0, size).root.as_bytes() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_gets_an_anchor_that_verifies_offline() {
    let anvil = Anvil::start(&[]).await;
    let operator = Operator::new(&anvil).await;
    let anchorer = operator.start();
    assert_eq!(anchorer.covering(0).unwrap(), None);
    for size in [3, 7, 300] {
        anchorer.offer(&checkpoint(0, size));
        anchored(&anchorer, size).await;
    }
    // Smaller ones and those of other logs are not taken.
    anchorer.offer(&checkpoint(0, 299));
    let mut foreign = checkpoint(0, 400);
    foreign.origin = cairn_proof::Origin::new("example.com/other").unwrap();
    anchorer.offer(&foreign);
    assert_eq!(anchorer.status().offered, Some(300));

    let sizes = [0, 2, 3, 6, 7, 299].map(|index| anchorer.covering(index).unwrap().unwrap().size);
    assert_eq!(sizes, [3, 3, 7, 7, 300, 300]);
    assert_eq!(anchorer.covering(300).unwrap(), None);
    let kept = |before, most| -> Vec<u64> {
        anchorer.anchors(before, most).unwrap().iter().map(|anchor| anchor.size).collect()
    };
    assert_eq!((kept(None, 2), kept(Some(7), 9), kept(Some(3), 9)), (vec![300, 7], vec![3], vec![]));
    assert_eq!(anchorer.status().proofs, 3);

    let saved = Saved::load(&operator.state()).unwrap().unwrap();
    assert_eq!((saved.proofs, saved.anchored, saved.log.as_str()), (3, anchorer.status().anchored, LOG));
    assert!(saved.in_flight.is_empty() && Saved::load(operator.dir.path()).unwrap().is_none());

    let anchor = anchorer.covering(10).unwrap().unwrap();
    let status = anchorer.status();
    let last = status.anchored.unwrap();
    let canonical = anvil.ask("eth_getBlockByNumber", json!([format!("0x{:x}", last.block_number), false])).await;
    let pins = Pins {
        block_hash: Some(canonical["hash"].as_str().unwrap().parse().unwrap()),
        chain_id: Some(31337),
        contract: Some(operator.config.contract),
        sender: Some(operator.address()),
    };
    let proved = anchor.verify(&claim(300), &pins).unwrap();
    assert!(proved.on_chain && proved.open.is_empty(), "{proved:#?}");
    assert_eq!(proved.block_number, last.block_number);
    assert_eq!(proved.transaction, Some(last.transaction));
    let time = canonical["timestamp"].as_str().unwrap().trim_start_matches("0x");
    assert_eq!(proved.time, u64::from_str_radix(time, 16).unwrap());

    // Without pins it says what is missing.
    let unpinned = anchor.verify(&claim(300), &Pins::default()).unwrap();
    assert!(!unpinned.on_chain && unpinned.open.len() == 3, "{unpinned:#?}");

    // Of another checkpoint, log, block, chain, contract or account it proves nothing.
    let root = *checkpoint(1, 300).root.as_bytes();
    assert!(anchor.verify(&Claim { size: 299, ..claim(300) }, &pins).is_err());
    assert!(anchor.verify(&Claim { root, ..claim(300) }, &pins).is_err());
    assert!(anchor.verify(&Claim { origin: "example.com/other", ..claim(300) }, &pins).is_err());
    for pins in [
        Pins { block_hash: Some(Fixed([0; 32])), ..pins },
        Pins { chain_id: Some(1), ..pins },
        Pins { contract: Some(Fixed([0; 20])), ..pins },
        Pins { sender: Some(Fixed([0; 20])), ..pins },
    ] {
        assert!(anchor.verify(&claim(300), &pins).is_err());
    }
    // No digit of the file is free.
    let text = serde_json::to_string(&anchor).unwrap();
    assert_eq!(serde_json::from_str::<Anchor>(&text).unwrap(), anchor);
    let mut changed = 0;
    for (at, digit) in text.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
        let mut other = text.clone();
        other.replace_range(at..=at, if digit == '1' { "2" } else { "1" });
        let Ok(other) = serde_json::from_str::<Anchor>(&other) else { continue };
        if other != anchor {
            changed += 1;
            assert!(other.verify(&claim(300), &Pins::default()).is_err(), "digit {at} of {text}");
        }
    }
    assert!(changed > 500, "{changed}");
    if let Some(path) = std::env::var_os("CAIRN_WRITE_ANCHOR") {
        std::fs::write(path, text + "\n").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_anchor_has_its_time() {
    let anvil = Anvil::start(&[]).await;
    let mut operator = Operator::new(&anvil).await;
    operator.config.interval_s = 3600;
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 10));
    let status = anchored(&anchorer, 10).await;
    assert_eq!((status.next_at, status.confirmations), (None, 1));
    anchorer.offer(&checkpoint(0, 11));
    let status = until(&anchorer, "planned", |status| status.next_at.is_some()).await;
    let wait = status.next_at.unwrap() - status.anchored.unwrap().at.unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert_eq!(anvil.count(operator.address()).await, 2, "deployment and one anchor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_block_is_proved_from_the_middle() {
    let anvil = Anvil::start(&["--no-mining"]).await;
    let mut operator = Operator::without_contract(&anvil).await;
    operator.config.contract = "0x00000000000000000000000000000000000c41e4".parse().unwrap();
    let code = cairn_anchor::contract::deployed_bytecode();
    anvil.ask("anvil_setCode", json!([operator.config.contract, code])).await;
    let accounts = anvil.ask("eth_accounts", json!([])).await;
    // Transactions of all the old kinds around ours, so many that keys have three bytes.
    let transfers = async |count: u64| {
        for number in 0..count {
            let mut transfer = json!({"from": accounts[number as usize % 10], "to": accounts[0], "value": "0x1"});
            match number % 3 {
                0 => transfer["gasPrice"] = json!("0x77359400"),
                1 => (transfer["gasPrice"], transfer["accessList"]) = (json!("0x77359400"), json!([])),
                _ => (),
            }
            anvil.ask("eth_sendTransaction", json!([transfer])).await;
        }
    };
    transfers(140).await;
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 5));
    anchorer.register("cairn/datanet/v1", [7; 32]).unwrap();
    until(&anchorer, "both sent", |status| status.in_flight.len() == 2).await;
    transfers(140).await;
    anvil.mine(1).await;
    anchored(&anchorer, 5).await;
    let anchor = anchorer.covering(0).unwrap().unwrap();
    let proved = anchor.verify(&claim(5), &Pins::default()).unwrap();
    assert!(proved.transaction.is_some() && anchor.event.receipt.len() > 1);
    let status = until(&anchorer, "registered", |status| status.waiting == 0).await;
    assert_eq!(status.counts.confirmed, 2);
    let registration = anchorer.registration("cairn/datanet/v1", [7; 32]).unwrap().unwrap();
    let block = anvil.ask("eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(block["transactions"].as_array().unwrap().len(), 282);
    assert_eq!(registration.event.block_hash.to_string(), block["hash"].as_str().unwrap());
    let proved = registration.verify(&Pins { block_hash: Some(anchor.event.block_hash), ..Pins::default() }).unwrap();
    assert!(proved.on_chain);
    let mut other = registration.clone();
    other.kind = kind("cairn/contributor/v1");
    assert!(other.verify(&Pins::default()).is_err());
    // An anchor is no registration, nor the other way round.
    other.event = anchor.event.clone();
    assert!(other.verify(&Pins::default()).is_err());
    let swapped = Anchor { event: registration.event, ..anchor };
    assert!(swapped.verify(&claim(5), &Pins::default()).is_err());
    // Twice is once.
    anchorer.register("cairn/datanet/v1", [7; 32]).unwrap();
    assert_eq!(anchorer.status().waiting, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() {
    let anvil = Anvil::start(&[]).await;
    let operator = Operator::new(&anvil).await;
    let problem = async |change: &dyn Fn(&mut cairn_anchor::Config)| {
        let mut config = operator.config.clone();
        change(&mut config);
        let dir = tempfile::tempdir().unwrap();
        let anchorer = Anchorer::start(config, dir.path(), &origin()).unwrap();
        anchorer.offer(&checkpoint(0, 5));
        let status = until(&anchorer, "a problem", |status| status.problem.is_some()).await;
        assert!(status.in_flight.is_empty());
        status.problem.unwrap()
    };
    let before = anvil.count(operator.address()).await;
    let said = problem(&|config| config.chain_id = 1).await;
    assert!(said.contains("of chain 31337"), "{said}");
    let said = problem(&|config| config.contract = operator.address()).await;
    assert!(said.contains("not that of CheckpointAnchor"), "{said}");
    let said = problem(&|config| config.budget_gwei = 10_000).await;
    assert!(said.contains("budget_gwei"), "{said}");
    let said = problem(&|config| config.max_gas = 30_000).await;
    assert!(said.contains("max_gas"), "{said}");
    anvil.ask("anvil_setNextBlockBaseFeePerGas", json!(["0xba43b7400"])).await;
    anvil.mine(1).await;
    let said = problem(&|config| config.max_fee_gwei = 10).await;
    assert!(said.contains("max_fee_gwei"), "{said}");
    assert_eq!(anvil.count(operator.address()).await, before, "nothing was sent");

    anvil.ask("anvil_setNextBlockBaseFeePerGas", json!(["0x3b9aca00"])).await;
    anvil.mine(1).await;
    // At the start: the directory of somebody else, a directory in use, unknown keys.
    let anchorer = operator.start();
    anchorer.offer(&checkpoint(0, 5));
    anchored(&anchorer, 5).await;
    let again = Anchorer::start(operator.config.clone(), &operator.state(), &origin());
    assert!(matches!(again, Err(Error::Storage(cairn_proof::Error::Locked(_)))), "{again:?}");
    anchorer.stop().await;
    let other = cairn_proof::Origin::new("example.com/other").unwrap();
    let error = Anchorer::start(operator.config.clone(), &operator.state(), &other).unwrap_err();
    assert!(matches!(error, Error::OtherAnchors { what: "log", .. }), "{error}");
    assert!(read(&operator.state().join("state.json")).contains(LOG));
    let mut unknown = serde_json::to_value(&operator.config).unwrap();
    unknown["gas_price"] = json!(1);
    assert!(serde_json::from_value::<cairn_anchor::Config>(unknown).is_err());
    let mut bad = operator.config.clone();
    bad.rpc_url = "ftp://example.com".to_owned();
    assert!(Anchorer::start(bad, &operator.state(), &origin()).unwrap_err().to_string().contains("rpc_url"));
}
