//! kill -9 at bad moments: nothing half-written is visible afterwards, and nothing that was answered is lost.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use cairn_proof::{VerifyingKey, verify};
use cairn_tests::{Client, Gateway, Setup, copy, dictionary};
use serde_json::{Value, json};

/// Entries of the ingests that are killed: enough for several batches of embedding.
const ENTRIES: usize = 160;

#[tokio::test]
async fn a_killed_ingest_shows_nothing_or_everything() {
    let mut gateway = Setup::new().start();
    let files = dictionary("foldoc", gateway.scratch(), ENTRIES, |_| false);
    let files = [files.index, files.dict];
    let calm = ingest_calmly(&gateway, &files).await;
    let total = calm.len() as u64;
    assert!(total as usize >= ENTRIES / 2, "only {total} entries were ingested");

    type Moment = fn(&Value) -> bool;
    let moments: [(&str, Moment); 4] = [
        ("as soon as it is accepted", |_| true),
        ("while it embeds", |job| job["stage"] == "embedding" && job["done"].as_u64() > Some(0)),
        ("when it writes", |job| matches!(job["stage"].as_str(), Some("writing" | "indexing"))),
        ("when it has just been committed", |job| job["stage"] == "indexing"),
    ];
    for (round, (when, moment)) in moments.into_iter().enumerate() {
        let name = format!("killed-{round}");
        let client = gateway.admin();
        client.post("/v1/datanets", json!({"name": name, "licence": "GFDL"})).await.ok();
        let job = client.ingest(&name, &[("format", "dictd"), ("contributor", "x")], &[&files[0], &files[1]]).await;
        client.follow(&job, moment).await;
        gateway.kill9();
        gateway.start();
        let client = gateway.admin();
        let size = size(&client, &name).await;
        assert!(size == 0 || size == total, "killed {when}: {size} of {total} datapoints are visible");
        if size == 0 {
            let found = client.post("/v1/search", json!({"query": "computer", "datanets": [name]})).await.ok();
            let size_then = self::size(&client, &name).await;
            let consistent = found["data"].as_array().is_some_and(Vec::is_empty) || size_then == total;
            assert!(consistent, "killed {when}: the datanet is empty and yet something is found: {found:#}");
        }
        // The job goes on by itself, and ends as if nothing had happened.
        let report = client.succeeded(&job).await;
        let (added, skipped) =
            (report["added"].as_u64().expect("added"), report["skipped_duplicates"].as_u64().expect("skipped"));
        assert_eq!(added + skipped, total, "killed {when}: {report:#}");
        if when == "while it embeds" {
            assert!(report["resumed"].as_u64() > Some(0), "what was embedded before the kill is used: {report:#}");
        }
        assert_eq!(contents(&client, &name).await, calm, "killed {when}: the same datapoints as without a kill");
        let found = client.post("/v1/search", json!({"query": "computer", "datanets": [name], "top_k": 3})).await.ok();
        assert_eq!(found["data"].as_array().map(Vec::len), Some(3), "killed {when}: the indices are whole");
    }
    gateway.stop();
    let report = check_log(&gateway);
    assert!(report.snapshots >= 5, "each ingest is in the log: {report:?}");
    let left: Vec<_> = std::fs::read_dir(gateway.data().join("jobs")).expect("the jobs directory").flatten().collect();
    assert!(left.is_empty(), "uploads and staging are cleaned up: {left:?}");
}

#[tokio::test]
async fn a_kill_while_indices_are_built_loses_no_row_and_a_killed_erasure_is_completed() {
    // From the third round on there are trees and partitions too.
    let mut gateway = Setup::new().set("retrieval.scanned_rows", "70").start();
    gateway.admin().post("/v1/datanets", json!({"name": "birds"})).await.ok();
    let query = [("format", "jsonl"), ("contributor", "tests")];
    for round in 0..5 {
        let client = gateway.admin();
        let word = format!("quill{}", ["finch", "heron", "swift", "stork", "crane"][round]);
        let lines: String = (0..30)
            .map(|n| {
                format!("{}\n", json!({"id": format!("{word}-{n}"), "text": format!("The {word} sings note {n}.")}))
            })
            .collect();
        client.succeeded(&client.ingest_text("birds", &query, "birds.jsonl", &lines).await).await;
        // Its rows are searchable, its indices are being brought up to date.
        gateway.kill9();
        gateway.start();
        let client = gateway.admin();
        assert_eq!(size(&client, "birds").await, 30 * (round as u64 + 1), "round {round}");
        let search = json!({"query": word, "datanets": ["birds"], "mode": "full_text", "top_k": 3});
        let found = client.post("/v1/search", search).await.ok();
        let texts: Vec<&str> =
            found["data"].as_array().expect("results").iter().filter_map(|it| it["text"].as_str()).collect();
        assert!(texts.len() == 3 && texts.iter().all(|text| text.contains(&word)), "round {round}: {found:#}");
        let search =
            json!({"query": format!("The {word} sings note 7."), "datanets": ["birds"], "mode": "vector", "top_k": 3});
        let found = client.post("/v1/search", search).await.ok();
        assert_eq!(found["data"][0]["id"], format!("{word}-7"), "round {round}: {found:#}");
    }
    // Killed in the middle of erasing, a little later each time; what was asked for is done after the restart.
    for (round, milliseconds) in [1_u64, 20, 60].into_iter().enumerate() {
        let client = gateway.admin();
        let id = format!("quillfinch-{round}");
        let erasing = tokio::spawn({
            let request = client.request(reqwest::Method::POST, "/v1/datanets/birds/erasures");
            request.json(&json!({"datapoints": [id]})).send()
        });
        tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
        gateway.kill9();
        drop(erasing.await);
        gateway.start();
        let client = gateway.admin();
        let reply = client.post("/v1/datanets/birds/erasures", json!({"datapoints": [id]})).await;
        // Asked again it is done, or it was done already and there is nothing of that name.
        assert!(matches!(reply.status, 200 | 400 | 404), "round {round}: {reply}");
        assert_eq!(client.get(&format!("/v1/datanets/birds/datapoints/{id}")).await.status, 404, "round {round}");
        assert_eq!(size(&client, "birds").await, 150, "its place stays");
    }
    gateway.stop();
    check_log(&gateway);
}

#[tokio::test]
async fn a_killed_ingest_that_keeps_the_good_ends_as_if_it_had_not_been_killed() {
    let mut gateway = Setup::new().start();
    let query = [("format", "jsonl"), ("contributor", "tests"), ("keep_good", "true")];
    let lines: String = (0..1200)
        .map(|n| format!("{}\n", json!({"text": if n < 40 { format!("Note {n}.") } else { String::new() }})))
        .collect();
    for round in 0..3 {
        let client = gateway.admin();
        let name = format!("kept-{round}");
        client.post("/v1/datanets", json!({"name": name})).await.ok();
        let job = client.ingest_text(&name, &query, "notes.jsonl", &lines).await;
        client.follow(&job, |job| job["stage"] == "indexing").await;
        gateway.kill9();
        gateway.start();
        let client = gateway.admin();
        let report = client.succeeded(&job).await;
        assert_eq!(report["added"].as_u64().zip(report["skipped_duplicates"].as_u64()).map(|(a, b)| a + b), Some(40));
        assert_eq!(
            (&report["rejected_total"], report["rejected"].as_array().map(Vec::len)),
            (&json!(1160), Some(1000))
        );
        assert_eq!(size(&client, &name).await, 40);
        // Its snapshot is in the log: an answer can name it.
        let snapshots = client.get(&format!("/v1/datanets/{name}/snapshots")).await.ok();
        assert_eq!(snapshots["data"].as_array().map(Vec::len), Some(1), "{snapshots:#}");
        let all = client.get(&format!("/v1/jobs/{job}/rejections")).await;
        assert_eq!((all.status, all.text().lines().count()), (200, 1161));
        assert!(all.text().lines().nth(1160).is_some_and(|line| line.starts_with("1200,")));
    }
    gateway.stop();
    assert!(check_log(&gateway).snapshots >= 3);
}

/// Ingests without being killed; id and content hash of each datapoint.
async fn ingest_calmly(gateway: &Gateway, files: &[PathBuf; 2]) -> BTreeMap<String, String> {
    let client = gateway.admin();
    client.post("/v1/datanets", json!({"name": "calm", "licence": "GFDL"})).await.ok();
    let job = client.ingest("calm", &[("format", "dictd"), ("contributor", "x")], &[&files[0], &files[1]]).await;
    client.succeeded(&job).await;
    contents(&client, "calm").await
}

async fn size(client: &Client, datanet: &str) -> u64 {
    let datanet = client.get(&format!("/v1/datanets/{datanet}")).await.ok();
    datanet["snapshot"]["size"].as_u64().expect("a size")
}

async fn contents(client: &Client, datanet: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let (mut all, mut after) = (BTreeMap::new(), Some(0));
    while let Some(from) = after {
        let page = client.get(&format!("/v1/datanets/{datanet}/datapoints?limit=200&after={from}")).await.ok();
        for datapoint in page["data"].as_array().expect("a page") {
            let twice = all.insert(text(&datapoint["id"]), text(&datapoint["content_hash"]));
            assert!(twice.is_none(), "{} stands twice in {datanet}", datapoint["id"]);
        }
        after = page["next"].as_u64();
    }
    all
}

/// An answer as its caller received it, to the last byte.
#[derive(Clone)]
struct Received {
    id: String,
    text: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answered_record_is_lost() {
    let mut gateway = copy().await;
    let key = VerifyingKey::load(&gateway.public_key()).expect("cairn.pub holds a key");
    let mut all: Vec<Received> = Vec::new();
    for round in 0..3 {
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (done, mut answered) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..10 {
            let (client, received, done) = (gateway.admin(), received.clone(), done.clone());
            tasks.spawn(async move {
                // One after another until the gateway is gone, so that the kill meets answers at every stage.
                for turn in 0.. {
                    let Some(answer) = ask(&client, number, turn).await else { return };
                    received.lock().expect("no task panicked").push(answer);
                    let _ = done.send(());
                }
            });
        }
        for _ in 0..6 + 3 * round {
            answered.recv().await.expect("answers come");
        }
        gateway.kill9();
        while let Some(ended) = tasks.join_next().await {
            ended.expect("a caller did not panic");
        }
        all.extend(received.lock().expect("no task panicked").iter().cloned());
        gateway.start();
        let client = gateway.admin();
        for answer in &all {
            let record = client.get(&format!("/v1/attributions/{}", answer.id)).await.ok();
            assert_eq!(record["response"]["choices"][0]["message"]["content"], answer.text, "{}", answer.id);
            let report =
                verify(&client.proof(&answer.id).await, &key).unwrap_or_else(|error| panic!("{}: {error}", answer.id));
            assert_eq!(report.record.id, answer.id);
        }
        // It answers again, and its log goes on.
        client.chat(json!({"ask": "Hello!", "max_tokens": 2})).await;
        let report = check_log(&gateway);
        assert!(report.records as usize > all.len(), "{} answers were received: {report:?}", all.len());
    }
    assert!(all.len() >= 24, "only {} answers were received", all.len());
    gateway.stop();
    check_log(&gateway);
}

/// Asks; none when the gateway died before the answer's last byte. Half of the callers stream, half draw on a datanet.
async fn ask(client: &Client, number: usize, turn: usize) -> Option<Received> {
    let datanets = if number % 4 < 2 { json!([]) } else { json!(["jargon"]) };
    let mut request = json!({
        "model": cairn_tests::MODEL,
        "messages": [{"role": "user", "content": format!("What is a hacker? Say it in {} words.", number + turn + 2)}],
        "datanets": datanets,
        "max_tokens": 3 + number % 3,
        "seed": number,
        "stream": number.is_multiple_of(2),
    });
    if number % 4 >= 2 {
        request["retrieval"] = json!({"top_k": 1});
    }
    let request = client.request(reqwest::Method::POST, "/v1/chat/completions").json(&request);
    if number.is_multiple_of(2) {
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 200, "a streamed answer");
        return received_stream(response.text().await.ok()?);
    }
    let response = request.send().await.ok()?;
    assert_eq!(response.status(), 200, "an answer");
    let body: Value = response.json().await.ok()?;
    let id = body["attribution"]["id"].as_str().expect("an answer has an attribution").to_owned();
    let text = body["choices"][0]["message"]["content"].as_str().expect("an answer has content").to_owned();
    Some(Received { id, text })
}

/// A streamed answer counts as received when its attribution came, which is before `[DONE]`.
fn received_stream(body: String) -> Option<Received> {
    let mut text = String::new();
    for event in body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")) {
        let Ok(chunk) = serde_json::from_str::<Value>(event) else { continue };
        text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        if let Some(id) = chunk["attribution"]["id"].as_str() {
            return Some(Received { id: id.to_owned(), text });
        }
    }
    None
}

fn check_log(gateway: &Gateway) -> cairn_proof::log::CheckReport {
    let key = VerifyingKey::load(&gateway.public_key()).expect("cairn.pub holds a key");
    cairn_proof::log::check(&gateway.data().join("log"), &key)
        .unwrap_or_else(|error| panic!("the log is damaged: {error}"))
}
