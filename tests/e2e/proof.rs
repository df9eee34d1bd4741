//! Proof bundles: verified with the server stopped, by both programs; and what fails.

use cairn_proof::{Origin, SigningKey, VerifyingKey, verify};
use cairn_tests::{Gateway, copy, shared, verify_both};
use serde_json::{Value, json};

const QUESTION: &str = "What is a B-tree?";

async fn answered(gateway: &Gateway) -> (String, Vec<u8>) {
    let client = gateway.admin();
    let answer = client.chat(json!({"ask": QUESTION, "datanets": ["foldoc"], "max_tokens": 24})).await;
    let id = answer["attribution"]["id"].as_str().expect("an answer has an attribution").to_owned();
    let bundle = client.proof(&id).await;
    (id, bundle)
}

fn key(gateway: &Gateway) -> VerifyingKey {
    VerifyingKey::load(&gateway.public_key()).expect("cairn.pub holds a key")
}

#[tokio::test]
async fn a_bundle_verifies_with_the_server_stopped() {
    let mut gateway = copy().await;
    let (id, bundle) = answered(&gateway).await;
    gateway.stop();
    let verdict = verify_both(&gateway, &bundle, &gateway.public_key());
    assert_eq!(verdict.code, 0, "{}", verdict.text);
    assert!(verdict.text.starts_with("PROVED"), "{}", verdict.text);
    for said in [id.as_str(), "cairn.local/log", "smollm2-135m-instruct", "foldoc", "GFDL", QUESTION] {
        assert!(verdict.text.contains(said), "the verdict names {said:?}:\n{}", verdict.text);
    }
    let report = &verdict.json["report"];
    assert_eq!(verdict.json["verdict"], "proved");
    assert_eq!(report["record"]["id"], id);
    assert_eq!(report["datapoints"].as_array().map(Vec::len), Some(4), "every passage of the prompt is proved");
    // Without --key, `cairn verify` takes the key of its own data directory.
    let path = gateway.scratch().join("own.cairn.json");
    std::fs::write(&path, &bundle).expect("a bundle can be written");
    assert!(gateway.cli(&["verify", &path.to_string_lossy()]).ok());
}

#[tokio::test]
async fn no_byte_of_a_bundle_can_be_changed() {
    let gateway = shared().await;
    let (_, bundle) = answered(gateway).await;
    let key = key(gateway);
    verify(&bundle, &key).expect("the bundle as it was fetched is proved");
    let step = (bundle.len() / 400).max(1);
    let mut codes = std::collections::BTreeSet::new();
    for at in (0..bundle.len()).step_by(step).chain([bundle.len() - 1]) {
        for flip in [0x01, 0x20] {
            let mut changed = bundle.clone();
            changed[at] ^= flip;
            match verify(&changed, &key) {
                Ok(_) => panic!(
                    "byte {at} was changed from {:?} to {:?}, unnoticed",
                    bundle[at] as char, changed[at] as char
                ),
                Err(error) => codes.insert(error.code().to_owned()),
            };
        }
    }
    assert!(codes.len() > 3, "failures are told apart: {codes:?}");
    // The programs themselves, at a few places.
    for part in 1..6 {
        let mut changed = bundle.clone();
        changed[bundle.len() * part / 6] ^= 1;
        let verdict = verify_both(gateway, &changed, &gateway.public_key());
        assert_eq!(verdict.code, 1, "{}", verdict.text);
        assert!(verdict.text.starts_with("NOT PROVED"), "{}", verdict.text);
        assert!(verdict.json["code"].is_string() && verdict.json["error"].is_string(), "{}", verdict.json);
    }
    for broken in [&bundle[..bundle.len() / 2], &bundle[..bundle.len() - 1], b"", b"{}\n"] {
        assert_eq!(verify_both(gateway, broken, &gateway.public_key()).code, 1, "a part of a bundle");
    }
}

#[tokio::test]
async fn what_was_changed_is_named() {
    let gateway = shared().await;
    let (_, bundle) = answered(gateway).await;
    let key = key(gateway);
    let original: Value = serde_json::from_slice(&bundle).expect("a bundle is JSON");
    let change = |pointer: &str, value: Value| {
        let mut bundle = original.clone();
        let place = bundle.pointer_mut(pointer).unwrap_or_else(|| panic!("a bundle has {pointer}: {original:#}"));
        *place = value;
        let mut bytes = cairn_proof::canonical::to_canonical(&bundle).expect("a changed bundle can be written");
        bytes.push(b'\n');
        verify(&bytes, &key).err().unwrap_or_else(|| panic!("{pointer} was changed, unnoticed")).code().to_owned()
    };
    let response = original.pointer("/openings/response/value").expect("the response is disclosed").clone();
    let mut other = response.clone();
    other["choices"][0]["message"]["content"] = json!("A B-tree is a fruit tree.");
    assert_eq!(change("/openings/response/value", other), "opening_mismatch");
    assert_eq!(change("/record/model", json!("another-model")), "record_not_in_log");
    assert_eq!(change("/record/time", json!("2020-01-01T00:00:00Z")), "record_not_in_log");
    let index = original["log"]["index"].as_u64().expect("an index");
    assert_eq!(change("/log/index", json!(index.saturating_sub(1))), "record_not_in_log");
}

#[tokio::test]
async fn another_key_does_not_verify() {
    let gateway = shared().await;
    let (_, bundle) = answered(gateway).await;
    let another = SigningKey::generate().expect("a key can be made");
    let path = gateway.scratch().join("another.pub");
    for origin in ["cairn.local/log", "example.org/log"] {
        let origin = Origin::new(origin.to_owned()).expect("an origin");
        std::fs::write(&path, format!("{}\n", another.verifying_key(&origin))).expect("a key can be written");
        let verdict = verify_both(gateway, &bundle, &path);
        assert_eq!(verdict.code, 1, "{}", verdict.text);
        assert_eq!(verdict.json["code"], "wrong_key", "{}", verdict.text);
    }
    let missing = gateway.cairn_verify(&["no-such-file.json", "--key", &gateway.public_key().to_string_lossy()]);
    assert_eq!(missing.code(), 2, "a file that cannot be read is no verdict: {missing}");
}

#[tokio::test]
async fn a_proof_outlives_what_comes_after() {
    let mut gateway = copy().await;
    let client = gateway.admin();
    let (id, before) = answered(&gateway).await;
    let lines = "{\"text\": \"A B-tree entry that came later.\"}\n{\"text\": \"And another.\"}\n";
    let job = client.ingest_text("foldoc", &[("format", "jsonl"), ("contributor", "later")], "more.jsonl", lines).await;
    client.succeeded(&job).await;
    answered(&gateway).await;
    let after = client.proof(&id).await;
    let size = |bundle: &[u8]| verify(bundle, &key(&gateway)).expect("the bundle is proved").log_size;
    assert!(size(&after) > size(&before), "the later bundle has a later checkpoint");
    gateway.restart();
    let restarted = gateway.admin().proof(&id).await;
    verify(&restarted, &key(&gateway)).expect("the bundle is proved after a restart");
    gateway.stop();
    for bundle in [&before, &after, &restarted] {
        assert_eq!(verify_both(&gateway, bundle, &gateway.public_key()).code, 0);
    }
}

#[tokio::test]
async fn a_record_is_for_its_caller_and_for_auditors() {
    let gateway = shared().await;
    let (asker, subject) = gateway.caller(&["app"]).await;
    let (other, _) = gateway.caller(&["app"]).await;
    let (auditor, _) = gateway.caller(&["auditor"]).await;
    let answer = asker.chat(json!({"ask": "Hello!", "max_tokens": 4, "user": "someone"})).await;
    let id = answer["attribution"]["id"].as_str().expect("an id");
    let path = format!("/v1/attributions/{id}");
    for reader in [&asker, &auditor, &gateway.admin()] {
        let record = reader.get(&path).await.ok();
        assert_eq!(record["id"], id);
        assert_eq!(record["request"]["user"], "someone");
        let proof = reader.proof(id).await;
        let report = verify(&proof, &key(gateway)).expect("the bundle is proved");
        assert_eq!(report.record.id, id);
    }
    other.get(&path).await.error(404, "not_found");
    other.get(&format!("{path}/proof")).await.error(404, "not_found");
    // What goes into the log for everyone's eyes is commitments.
    let record = asker.get(&path).await.ok()["record"].to_string();
    assert!(!record.contains(&subject) && !record.contains("Hello!"), "the log entry gives away its content: {record}");
}

#[tokio::test]
async fn the_log_is_public_to_auditors() {
    let gateway = shared().await;
    let (app, _) = gateway.caller(&["app"]).await;
    let (auditor, _) = gateway.caller(&["auditor"]).await;
    answered(gateway).await;
    let key = key(gateway);
    let shown = app.get("/v1/log/key").await.ok();
    let published = std::fs::read_to_string(gateway.public_key()).expect("cairn.pub");
    assert_eq!((shown["key"].as_str(), &shown["origin"]), (Some(published.trim()), &json!("cairn.local/log")));
    let note = app.get("/v1/log/checkpoint").await;
    assert_eq!(note.status, 200, "{note}");
    let text = note.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "cairn.local/log", "the origin is a checkpoint's first line: {text}");
    let size: u64 = lines[1].parse().expect("the tree size is its second");
    assert!(size >= 3, "two snapshots and an answer: {text}");
    assert!(lines.iter().any(|line| line.starts_with("— cairn.local/log ")), "it is signed: {text}");
    app.get("/v1/log/tile/0/000").await.error(403, "insufficient_scope");
    // The whole log, checked from its files, beside the running gateway.
    let report = cairn_proof::log::check(&gateway.data().join("log"), &key).expect("the log is consistent");
    assert!(report.size >= size && report.records >= 1 && report.snapshots >= 2, "{report:?}");
    if size < 256 {
        // Partial tiles are replaced as the log grows; the size that was read just now may be gone already.
        let tile = auditor.get(&format!("/v1/log/tile/0/000.p/{size}")).await;
        assert!(tile.status == 200 && tile.body.len() as u64 == size * 32 || tile.status == 404, "{tile}");
    }
    auditor.get("/v1/log/tile/../../log.key").await.error(404, "not_found");
    auditor.get("/v1/log/tile/%2e%2e/%2e%2e/log.key").await.error(404, "not_found");
}
