//! Anchors through the gateway: from an answer to a block of a real chain, and what happens when the chain is away.

use std::time::{Duration, Instant};

use cairn_tests::{Anvil, Client, Gateway, Setup, data};
use serde_json::{Value, json};

/// A gateway whose log is anchored on a chain, by an account with money and a contract of its own, all as an operator sets it up.
async fn anchored_on(anvil: &Anvil) -> Gateway {
    let mut gateway = Setup::new()
        .copy_of(data().await)
        .set("anchor.rpc_url", anvil.url())
        .set("anchor.chain_id", Anvil::CHAIN)
        .set("anchor.interval_s", "0")
        .set("anchor.confirmations", "1")
        .set("anchor.poll_ms", "50")
        .set("anchor.timeout_s", "2")
        .prepare();
    let made = gateway.cli(&["anchor", "keygen"]);
    assert!(made.ok(), "{made}");
    anvil.ask("anvil_setBalance", json!([made.stdout.trim(), "0xde0b6b3a7640000"])).await;
    let deployed = gateway.cli(&["anchor", "deploy", "--patience-s", "20"]);
    assert!(deployed.ok(), "{deployed}");
    gateway.set("anchor.contract", deployed.stdout.trim());
    gateway.start();
    gateway
}

/// Waits until the state of anchoring is as wanted.
async fn until(client: &Client, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let state = client.get("/v1/log/anchors").await.ok();
        if wanted(&state) {
            return state;
        }
        assert!(Instant::now() < deadline, "{what}: {state:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn asked(client: &Client) -> Value {
    let answer = client.chat(json!({"ask": "What is a B-tree?", "datanets": ["foldoc"], "max_tokens": 8})).await;
    answer["attribution"].clone()
}

#[tokio::test]
async fn an_answers_trail_ends_in_a_block() {
    let anvil = Anvil::start().await;
    let gateway = anchored_on(&anvil).await;
    let client = gateway.admin();
    client
        .datanet("quillmere", &[("lamp", "The lamp of the Quillmere Lighthouse turns once in seventeen seconds.")])
        .await;
    let attribution = asked(&client).await;
    let (id, index) =
        (attribution["id"].as_str().expect("an id"), attribution["receipt"]["index"].as_u64().expect("an index"));
    let state = until(&client, "the answer is anchored", |state| {
        state["anchored"]["size"].as_u64().is_some_and(|size| size > index)
            && state["waiting_registrations"] == 0
            && state["in_flight"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    assert_eq!((&state["enabled"], &state["connected"], &state["problem"]), (&json!(true), &json!(true), &Value::Null));
    assert_eq!((state["chain_id"].to_string().as_str(), &state["confirmations"]), (Anvil::CHAIN, &json!(1)));

    // The list of what is kept has it, page by page.
    let size = state["anchored"]["size"].as_u64().expect("a size");
    let newest = client.get("/v1/log/anchors/history?limit=100").await.ok();
    let sizes: Vec<u64> =
        newest["data"].as_array().expect("anchors").iter().filter_map(|it| it["size"].as_u64()).collect();
    assert!(sizes.contains(&size) && sizes.is_sorted_by(|a, b| a > b) && newest["has_more"] == false, "{newest:#}");
    let page = client.get(&format!("/v1/log/anchors/history?before={}&limit=1", size + 1)).await.ok();
    let last = &page["data"][0];
    for field in ["size", "root", "transaction", "block_hash", "block_number"] {
        assert_eq!(last[field], state["anchored"][field], "{field}");
    }
    let times = [&last["block_time"], &state["anchored"]["at"]].map(|time| time.as_str().expect("a time").len());
    assert_eq!(times, ["2026-11-24T12:00:00Z".len(); 2], "{page:#}");
    client.get("/v1/log/anchors/history?limit=0").await.error(400, "invalid_request");

    // What a reader pins comes from the chain, not from the file.
    let bundle = client.proof(id).await;
    let path = gateway.scratch().join("answer.cairn.json");
    std::fs::write(&path, &bundle).expect("the bundle");
    let bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
    let event = &bundle["log"]["anchor"]["anchor"]["event"];
    let number = event["block_hash"].clone();
    let block = anvil.ask("eth_getBlockByHash", json!([number, false])).await;
    let hash = block["hash"].as_str().expect("the chain has the block");
    let (path, key) = (path.to_string_lossy().into_owned(), gateway.public_key().to_string_lossy().into_owned());
    let contract = state["contract"].as_str().expect("a contract");
    let sender = state["sender"].as_str().expect("a sender");
    let pins = [
        "--anchor-block",
        hash,
        "--anchor-chain",
        Anvil::CHAIN,
        "--anchor-contract",
        contract,
        "--anchor-sender",
        sender,
    ];
    let verified = gateway.cli(&[&["verify", &path, "--key", &key], &pins[..]].concat());
    assert!(verified.ok() && verified.stdout.contains("existed by then"), "{verified}");
    let other = format!("0x{}", "ab".repeat(32));
    let refused = gateway.cli(&["verify", &path, "--key", &key, "--anchor-block", &other]);
    assert_eq!(refused.code(), 1, "{refused}");

    // The datanet's creation, and the contributor whose data the answer drew on, stand on the chain as well.
    let file = gateway.scratch().join("quillmere.json").to_string_lossy().into_owned();
    let fetched = gateway.cli(&["datanets", "registration", "quillmere", "-o", &file]);
    assert!(fetched.ok(), "{fetched}");
    let registered: Value = serde_json::from_slice(&std::fs::read(&file).expect("the file")).expect("JSON");
    let block = registered["registration"]["event"]["block_hash"].as_str().expect("a block").to_owned();
    assert!(anvil.ask("eth_getBlockByHash", json!([block, false])).await["hash"] == block.as_str());
    let verified = gateway.cli(&["verify", &file, "--key", &key, "--anchor-block", &block, "--anchor-sender", sender]);
    assert!(verified.ok() && verified.stdout.contains("of datanet quillmere"), "{verified}");
    let forged = gateway.scratch().join("forged.json");
    let text = String::from_utf8(std::fs::read(&file).expect("the file")).expect("UTF-8");
    let owner = registered["registered"]["owner"].as_str().expect("an owner");
    std::fs::write(&forged, text.replace(&format!("\"owner\":\"{owner}\""), "\"owner\":\"someone else\""))
        .expect("a file");
    assert_eq!(gateway.cli(&["verify", &forged.to_string_lossy(), "--key", &key]).code(), 1);
    let pseudonym = bundle["record"]["uses"][0]["contributor"].as_str().expect("a pseudonym");
    let contributor = client.get(&format!("/v1/log/contributors/{pseudonym}/registration")).await.ok();
    assert_eq!(contributor["registered"], json!({"type": "cairn/contributor/v1", "contributor": pseudonym}));
    client.get(&format!("/v1/log/contributors/{}/registration", "00".repeat(32))).await.error(404, "not_found");

    // A datanet from before there were anchors was registered when the gateway started with them.
    let older = client.get("/v1/datanets/foldoc/registration").await.ok();
    assert_eq!(older["registered"]["name"], "foldoc", "{older:#}");

    let metrics = client.get("/metrics").await.text();
    let size = format!("cairn_anchor_size {size}");
    for line in ["cairn_anchor_connected 1", size.as_str(), "cairn_anchor_age_seconds ", "cairn_anchor_alarm 0"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_chain_that_is_away_holds_up_no_answer() {
    let anvil = Anvil::start().await;
    let gateway = anchored_on(&anvil).await;
    let client = gateway.admin();
    asked(&client).await;
    until(&client, "the first anchor", |state| state["anchored"].is_object()).await;
    drop(anvil);
    let attribution = asked(&client).await;
    let state = until(&client, "its absence is noticed", |state| state["connected"] == false).await;
    assert!(state["problem"].as_str().is_some_and(|problem| problem.contains("does not answer")), "{state:#}");
    assert!(state["last_failure"]["problem"].is_string() && state["last_failure"]["at"].is_string(), "{state:#}");
    assert!(client.get("/metrics").await.text().contains("cairn_anchor_connected 0"));
    // Answered and proved, without the anchor that is to come.
    let bundle: Value =
        serde_json::from_slice(&client.proof(attribution["id"].as_str().expect("an id")).await).expect("JSON");
    assert!(bundle["log"]["anchor"].is_null(), "{:#}", bundle["log"]);
    assert_eq!(gateway.cli(&["anchor", "status"]).code(), 0);
}

#[tokio::test]
async fn a_log_without_anchors_says_so() {
    let gateway = cairn_tests::shared().await;
    let client = gateway.admin();
    assert_eq!(client.get("/v1/log/anchors").await.ok()["enabled"], false);
    assert_eq!(client.get("/v1/log/anchors/history").await.ok(), json!({"data": [], "has_more": false}));
    let error = client.get("/v1/datanets/foldoc/registration").await.error(404, "not_found");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("not anchored")), "{error}");
}
