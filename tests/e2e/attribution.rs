//! What attribution means: influence of each passage, the ledger that follows, uses that nobody can leave out, erasure.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_proof::{
    Bundle, VerifyingKey,
    canonical::from_canonical,
    rotation::KeyHistory,
    uses::{UseStatement, check_uses},
    verify,
};
use cairn_tests::{Client, Gateway, copy, free_port, verify_both};
use serde_json::{Value, json};

/// Only the first of these can explain the answer.
const FACTS: [(&str, &str); 4] = [
    (
        "zorbium",
        "Zorbium is a soft metal. Its melting point is 4711 degrees, and it was found by Ilse Quandt. Mark QX-77-ALPHA.",
    ),
    ("marble", "Marble is a metamorphic rock of recrystallized carbonate minerals, used in sculpture for centuries."),
    ("granite", "Granite is a coarse-grained igneous rock of quartz, feldspar and mica, found in the crust."),
    ("copper", "Copper is a soft, malleable metal with very high thermal conductivity, used for wires and pipes."),
];

const QUESTION: &str = "What is the melting point of zorbium, and who found it?";

async fn minerals(gateway: &Gateway) -> Client {
    let client = gateway.admin();
    client.post("/v1/datanets", json!({"name": "minerals"})).await.ok();
    let lines: Vec<String> = FACTS
        .iter()
        .enumerate()
        .map(|(at, (id, text))| {
            let contributor = if at == 0 { "Quandt Estate" } else { "Stone Society" };
            json!({"id": id, "text": text, "contributor": contributor, "metadata": {"title": id}}).to_string()
        })
        .collect();
    let job = client.ingest_text("minerals", &[("format", "jsonl")], "facts.jsonl", &lines.join("\n")).await;
    client.succeeded(&job).await;
    client
}

async fn asked(client: &Client, attribution: Value) -> Value {
    let fields = json!({"ask": QUESTION, "datanets": ["minerals"], "max_tokens": 40, "attribution": attribution});
    client.chat(fields).await
}

fn key(gateway: &Gateway) -> VerifyingKey {
    VerifyingKey::load(&gateway.public_key()).expect("cairn.pub holds a key")
}

fn parsed(bundle: &[u8]) -> Bundle {
    from_canonical(bundle.strip_suffix(b"\n").expect("a bundle ends with a newline")).expect("a bundle is canonical")
}

#[tokio::test]
async fn influence_finds_the_passage_that_explains_the_answer_and_completes_the_proof() {
    let gateway = copy().await;
    let client = minerals(&gateway).await;
    let answer = asked(&client, json!({"influence": "shapley", "wait": true})).await;
    let (id, influence) = (answer["attribution"]["id"].as_str().unwrap(), &answer["attribution"]["influence"]);
    assert_eq!((&influence["status"], &influence["method"]), (&json!("measured"), &json!("shapley")), "{influence}");
    let passages = answer["attribution"]["datapoints"].as_array().unwrap();
    let explains = passages.iter().find(|passage| passage["id"] == "zorbium").expect("it was retrieved");
    let most = influence["passages"]
        .as_array()
        .unwrap()
        .iter()
        .max_by(|a, b| a["nats"].as_f64().unwrap().total_cmp(&b["nats"].as_f64().unwrap()));
    assert_eq!(most.unwrap()["n"], explains["n"], "{influence}");
    let shares: f64 =
        influence["contributors"].as_array().unwrap().iter().map(|one| one["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-5, "{influence}");
    // The values of a sentence add up to what all passages changed.
    for sentence in influence["sentences"].as_array().unwrap() {
        let number = |value: &Value| value.as_f64().unwrap();
        let sum: f64 = sentence["passages"].as_array().unwrap().iter().map(|it| number(&it["shapley"])).sum();
        let gain = number(&sentence["with_all"]) - number(&sentence["closed_book"]);
        assert!((sum - gain).abs() < 1e-4, "{sentence}");
    }

    let bundle = client.proof(id).await;
    let verdict = verify_both(&gateway, &bundle, &gateway.public_key());
    assert_eq!(verdict.code, 0, "{}", verdict.text);
    assert!(verdict.text.contains("exact Shapley values"), "{}", verdict.text);
    let step = (bundle.len() / 300).max(1);
    for at in (0..bundle.len()).step_by(step) {
        let mut changed = bundle.clone();
        changed[at] ^= 1;
        assert!(verify(&changed, &key(&gateway)).is_err(), "byte {at} was changed unnoticed");
    }

    // Anyone with the weights gets the same numbers; a changed one is noticed.
    let path = gateway.scratch().join("influence.cairn.json");
    std::fs::write(&path, &bundle).unwrap();
    let repeated = gateway.cli(&["recompute", &path.to_string_lossy()]);
    assert!(repeated.ok() && repeated.stdout.starts_with("REPEATED"), "{repeated}");
    let strict = gateway.cli(&["recompute", &path.to_string_lossy(), "--tolerance=-1"]);
    assert_eq!(strict.status.code(), Some(1), "a tolerance that nothing meets: {strict}");
}

#[tokio::test]
async fn a_measurement_waits_for_nobody_and_survives_a_kill() {
    let mut gateway = copy().await;
    gateway.set("attribution.influence", "leave_one_out");
    gateway.restart();
    let client = minerals(&gateway).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = asked(&client, json!({})).await;
        let status = &answer["attribution"]["influence"]["status"];
        assert!(*status == "waiting" || *status == "measuring", "the answer waited: {answer}");
        ids.push(answer["attribution"]["id"].as_str().unwrap().to_owned());
    }
    gateway.kill9();
    gateway.start();
    let client = gateway.admin();
    for id in &ids {
        let measured = until_measured(&client, id).await;
        assert_eq!(measured["method"], "leave_one_out");
        let passage = &measured["sentences"][0]["passages"][0];
        assert!(passage["shapley"].is_null() && passage["necessity"].is_number(), "{measured}");
    }
    let audit = gateway.cli(&["audit", &gateway.data().join("log").to_string_lossy()]);
    assert!(audit.ok(), "{audit}");
    // Measured again, by the other method, when asked.
    let path = format!("/v1/attributions/{}/influence", ids[0]);
    let again = client.post(&path, json!({"influence": "shapley", "wait": true})).await.ok();
    assert!(again["sentences"][0]["passages"][0]["shapley"].is_number(), "{again}");
    client.post(&path, json!({"influence": "none"})).await.error(400, "invalid_request");
}

async fn until_measured(client: &Client, id: &str) -> Value {
    let began = Instant::now();
    loop {
        let now = client.get(&format!("/v1/attributions/{id}/influence")).await.ok();
        match now["status"].as_str() {
            Some("measured") => return now,
            Some("failed") => panic!("{now}"),
            _ => assert!(began.elapsed() < Duration::from_secs(120), "{now}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn the_ledger_says_whose_data_helped_and_no_use_can_be_left_out() {
    let gateway = copy().await;
    let client = minerals(&gateway).await;
    let mut bundles = Vec::new();
    for measured in [true, false] {
        let options = if measured { json!({"influence": "shapley", "wait": true}) } else { json!({}) };
        let answer = asked(&client, options).await;
        let id = answer["attribution"]["id"].as_str().unwrap().to_owned();
        bundles.push((id.clone(), client.proof(&id).await));
    }
    let ledger = client.get("/v1/ledger?datanet=minerals").await.ok();
    let lines = ledger["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 4, "two contributors in two answers: {ledger}");
    let of_first: f64 = lines.iter().filter_map(|line| line["share"].as_f64()).sum();
    assert!((of_first - 1.0).abs() < 1e-9, "{ledger}");
    let total = ledger["totals"].as_array().unwrap().iter().find(|total| total["contributor"] == "Quandt Estate");
    assert_eq!((&total.unwrap()["answers"], &total.unwrap()["measured"]), (&json!(2), &json!(1)), "{ledger}");
    let csv = client.get("/v1/ledger?contributor=Quandt%20Estate&format=csv").await.text();
    assert!(csv.lines().count() == 3 && csv.contains(&bundles[0].0), "{csv}");
    client.get("/v1/ledger?from=yesterday").await.error(400, "invalid_request");
    // An application sees no ledger but that of its own datanets.
    let (app, _) = gateway.caller(&["app"]).await;
    assert_eq!(app.get("/v1/ledger").await.ok()["lines"], json!([]));
    app.get("/v1/contributors/Quandt%20Estate/uses").await.error(404, "not_found");
    let shown = gateway.cli(&["ledger", "--datanet", "minerals"]);
    assert!(shown.ok() && shown.stdout.contains("Stone Society"), "{shown}");

    // A contributor checks that these two records are all: their counts run 1, 2, and the log signed "2".
    let uses = client.get("/v1/contributors/Quandt%20Estate/uses").await.ok();
    let statement: UseStatement = serde_json::from_value(uses["statement"].clone()).unwrap();
    statement.verify(&KeyHistory::new(&key(&gateway), &[]).unwrap()).unwrap();
    let mut records: Vec<(u64, cairn_proof::Record)> = Vec::new();
    for (_, bundle) in &bundles {
        let bundle = parsed(bundle);
        records.push((bundle.log.index, bundle.record));
    }
    let pseudonym = uses["pseudonym"].as_str().unwrap().parse().unwrap();
    assert_eq!(statement.count, 2);
    let all = check_uses(&pseudonym, records.iter().map(|(index, record)| (*index, record)));
    assert_eq!(all.unwrap(), statement.count);
    let one = check_uses(&pseudonym, records[1..].iter().map(|(index, record)| (*index, record)));
    assert!(one.is_err(), "a record that is left out shows");
}

#[tokio::test]
async fn what_is_erased_is_nowhere_and_its_proofs_say_so() {
    let mut gateway = copy().await;
    let client = minerals(&gateway).await;
    let answer = asked(&client, json!({"influence": "shapley", "wait": true})).await;
    let id = answer["attribution"]["id"].as_str().unwrap().to_owned();
    let before = client.proof(&id).await;
    let stranger = gateway.caller(&["steward"]).await.0;
    let wanted = json!({"contributor": "Quandt Estate"});
    stranger.post("/v1/datanets/minerals/erasures", wanted.clone()).await.error(404, "datanet_not_found");
    client.post("/v1/datanets/minerals/erasures", json!({})).await.error(400, "invalid_request");
    client.post("/v1/datanets/minerals/erasures", json!({"datapoints": ["no-such"]})).await.error(404, "not_found");
    let erased = client.post("/v1/datanets/minerals/erasures", wanted).await.ok();
    assert_eq!((&erased["erased"][0]["datapoint"], &erased["answers"]), (&json!("zorbium"), &json!(1)), "{erased}");

    // No search finds it, by words, meaning or id.
    for mode in ["hybrid", "vector", "full_text"] {
        let query = json!({"query": "zorbium", "datanets": ["minerals"], "mode": mode});
        let found = client.post("/v1/search", query).await.ok();
        let hits = found["data"].as_array().unwrap();
        assert!(hits.iter().all(|hit| hit["id"] != "zorbium"), "{mode}: {found}");
    }
    client.get("/v1/datanets/minerals/datapoints/zorbium").await.error(404, "not_found");
    let listed = client.get("/v1/datanets/minerals/datapoints?limit=2").await.ok();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["next"]), (1, &json!(2)), "{listed}");
    // Older proofs hold, newer ones say what happened.
    verify(&before, &key(&gateway)).expect("a proof from before still verifies");
    let after = client.proof(&id).await;
    let verdict = verify_both(&gateway, &after, &gateway.public_key());
    assert!(verdict.code == 0 && verdict.text.contains("erased on"), "{}", verdict.text);
    let record = client.get(&format!("/v1/attributions/{id}")).await.text();
    assert!(!record.contains("QX-77-ALPHA") && !record.contains("Quandt Estate"), "{record}");
    client.post(&format!("/v1/attributions/{id}/influence"), json!({"influence": "shapley", "wait": true})).await.ok();
    let influence = client.get(&format!("/v1/attributions/{id}/influence")).await.ok();
    assert!(influence["error"].as_str().unwrap().contains("erased"), "{influence}");

    // The files do not hold it either: neither its text nor the name, which stands in no answer or question.
    gateway.stop();
    for needle in ["QX-77-ALPHA", "Quandt Estate"] {
        let kept = files_with(&gateway.data(), needle.as_bytes());
        assert!(kept.is_empty(), "{needle:?} is still in {kept:?}");
    }
    gateway.start();
    let found = gateway.admin().post("/v1/search", json!({"query": "zorbium", "datanets": ["minerals"]})).await.ok();
    assert!(!found.to_string().contains("QX-77"), "{found}");
}

#[tokio::test]
async fn who_trusts_the_old_key_follows_its_rotation() {
    let mut gateway = copy().await;
    let client = gateway.admin();
    let old = gateway.scratch().join("old.pub");
    std::fs::copy(gateway.public_key(), &old).unwrap();
    let id = |answer: &Value| answer["attribution"]["id"].as_str().unwrap().to_owned();
    let before = id(&client.chat(json!({"ask": "Hello.", "max_tokens": 4})).await);
    let busy = gateway.cli(&["rotate-key"]);
    assert!(!busy.ok() && busy.stderr.contains("another cairn"), "a running gateway keeps its key: {busy}");
    gateway.stop();
    let rotated = gateway.cli(&["rotate-key"]);
    assert!(rotated.ok(), "{rotated}");
    gateway.start();
    let client = gateway.admin();
    let after = id(&client.chat(json!({"ask": "Hello.", "max_tokens": 4})).await);
    for id in [&before, &after] {
        let bundle = client.proof(id).await;
        for key in [&old, &gateway.public_key()] {
            let path = gateway.scratch().join("rotated.cairn.json");
            std::fs::write(&path, &bundle).unwrap();
            let verdict = gateway.cairn_verify(&[&path.to_string_lossy(), "--key", &key.to_string_lossy()]);
            assert!(verdict.ok(), "{id} by {}: {verdict}", key.display());
        }
    }
    let audit = gateway.cli(&["audit"]);
    assert!(audit.ok() && audit.stdout.contains("rotat"), "{audit}");
    // Whoever kept the old key learns of the change from the log's own word, which both keys signed.
    let told = client.get("/v1/log/key").await.ok();
    let rotation = told["rotations"][0].clone();
    assert_eq!(told["rotations"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(rotation["previous"], std::fs::read_to_string(&old).unwrap().trim());
    assert_eq!(rotation["next"], told["key"]);
    let rotation: cairn_proof::Rotation = serde_json::from_value(rotation).unwrap();
    rotation.verify().unwrap();
    let out = gateway.scratch().join("rotated");
    let exported = gateway.cli(&["export", "--output", &out.to_string_lossy()]);
    assert!(exported.ok(), "{exported}");
    for key in [old, out.join("cairn.pub")] {
        let file = out.join("records.jsonl");
        let all = gateway.cli(&["verify", &file.to_string_lossy(), "--key", &key.to_string_lossy()]);
        assert!(all.ok() && all.stdout.starts_with("2 proved, 0 not"), "{all}");
    }
}

#[tokio::test]
async fn witnesses_cosign_what_bundles_prove() {
    let mut gateway = copy().await;
    gateway.stop();
    let (file, listen) = (gateway.scratch().join("witness.toml"), free_port());
    let log = std::fs::read_to_string(gateway.public_key()).unwrap();
    let text = format!(
        "name = \"witness.example/w1\"\nlisten = \"{listen}\"\nkey_file = \"witness.key\"\nstate_dir = \"seen\"\n\
         [[logs]]\norigin = \"cairn.local/log\"\nkeys = [\"{}\"]\n",
        log.trim()
    );
    std::fs::write(&file, text).unwrap();
    let made = gateway.cli(&["witness", "keygen", &file.to_string_lossy()]);
    assert!(made.ok(), "{made}");
    let key = made.stdout.trim().to_owned();
    let _witness = gateway.beside(&["witness", "serve", &file.to_string_lossy()]);
    let settings = format!("[witnesses]\nquorum = 1\nlist = [{{ url = \"http://{listen}\", key = \"{key}\" }}]\n");
    std::fs::write(gateway.scratch().join("cairn.toml"), settings).unwrap();
    gateway.start();
    let client = gateway.admin();
    let answer = client.chat(json!({"ask": "Hello.", "max_tokens": 4})).await;
    let id = answer["attribution"]["id"].as_str().unwrap();
    let (path, keys) = (gateway.scratch().join("seen.cairn.json"), gateway.scratch().join("witnesses.pub"));
    std::fs::write(&keys, format!("{key}\n")).unwrap();
    let began = Instant::now();
    loop {
        std::fs::write(&path, client.proof(id).await).unwrap();
        let (path, keys) = (path.to_string_lossy(), keys.to_string_lossy());
        let wanted = ["verify", &path, "--witnesses", &keys, "--require-witnesses", "1"];
        let verdict = gateway.cli(&wanted);
        if verdict.ok() {
            assert!(verdict.stdout.contains("witness.example/w1"), "{verdict}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{verdict}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The checkpoint that is served carries the log's signature and the witness's.
    let checkpoint = client.get("/v1/log/checkpoint").await.text();
    assert_eq!(checkpoint.lines().filter(|line| line.starts_with('\u{2014}')).count(), 2, "{checkpoint}");
    // A witness that is not trusted counts for nothing.
    let second = gateway.scratch().join("second.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&second, text.replace("/w1", "/w2").replace("witness.key", "second.key").replace("seen", "second"))
        .unwrap();
    let made = gateway.cli(&["witness", "keygen", &second.to_string_lossy()]);
    assert!(made.ok(), "{made}");
    std::fs::write(&keys, &made.stdout).unwrap();
    let (path, keys) = (path.to_string_lossy(), keys.to_string_lossy());
    let other = gateway.cli(&["verify", &path, "--witnesses", &keys, "--require-witnesses", "1"]);
    assert!(other.status.code() == Some(1) && other.stdout.contains("NOT PROVED"), "{other}");
}

/// Files below a directory that hold these bytes.
fn files_with(directory: &std::path::Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle) {
            found.push(path);
        }
    }
    found
}
