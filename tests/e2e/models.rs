//! Models at run time: loading, unloading under an answer, and one that cannot be loaded.

use std::{fs, os::unix::fs::symlink, path::Path};

use cairn_tests::{Client, EMBEDDING, MODEL, Setup, copy, models_dir};
use serde_json::{Value, json};

async fn status(client: &Client, model: &str) -> Value {
    client.get(&format!("/v1/models/{model}")).await.ok()["status"].clone()
}

#[tokio::test]
async fn models_are_listed_loaded_and_unloaded() {
    let gateway = Setup::new().start();
    let client = gateway.admin();
    let list = client.get("/v1/models").await.ok();
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"].as_array().expect("models").iter().map(|it| (&it["id"], &it["kind"])).collect();
    assert!(ids.contains(&(&json!(MODEL), &json!("chat"))), "{ids:?}");
    assert!(ids.contains(&(&json!(EMBEDDING), &json!("embedding"))), "{ids:?}");
    let model = client.get(&format!("/v1/models/{MODEL}")).await.ok();
    assert_eq!((&model["object"], &model["status"]), (&json!("model"), &json!("unloaded")));
    assert_eq!(model["weights"].as_str().map(str::len), Some(64), "{model:#}");
    assert!(model["context_length"].as_u64() >= Some(2048), "{model:#}");
    assert_eq!(client.post(&format!("/v1/models/{MODEL}/load"), json!({})).await.ok()["status"], "loaded");
    assert_eq!(status(&client, MODEL).await, "loaded");
    assert_eq!(client.post(&format!("/v1/models/{MODEL}/unload"), json!({})).await.ok()["status"], "unloaded");
    // The next request loads it again.
    let answer = client.chat(json!({"ask": "Hello!", "max_tokens": 2})).await;
    assert_eq!(answer["model"], MODEL);
    assert_eq!(status(&client, MODEL).await, "loaded");
    // The record names the weights that answered.
    let record = client.get(&format!("/v1/attributions/{}", answer["id"].as_str().expect("an id"))).await.ok();
    assert_eq!(record["record"]["base_weights"], model["weights"]);
    for action in ["load", "unload"] {
        client.post(&format!("/v1/models/none/{action}"), json!({})).await.error(404, "model_not_found");
    }
    let (app, _) = gateway.caller(&["app"]).await;
    app.post(&format!("/v1/models/{MODEL}/unload"), json!({})).await.error(403, "insufficient_scope");
}

#[tokio::test]
async fn an_answer_finishes_on_a_model_that_is_unloaded_under_it() {
    let gateway = copy().await;
    let client = gateway.admin();
    let request = json!({"ask": "Name the days of the week in order.", "max_tokens": 40});
    let undisturbed = client.chat(request.clone()).await;
    let mut events = client.chat_events(request).await;
    let first = events.next().await.expect("the stream holds").expect("there is a first event");
    assert_eq!(client.post(&format!("/v1/models/{MODEL}/unload"), json!({})).await.ok()["status"], "unloaded");
    let mut streamed = events.collect().await.expect("the stream holds");
    streamed.chunks.insert(0, serde_json::from_str(&first).expect("a chunk"));
    assert!(streamed.done, "the answer ends with [DONE]");
    assert_eq!(streamed.text(0), undisturbed["choices"][0]["message"]["content"].as_str().expect("content"));
    client.proof(streamed.attribution()["id"].as_str().expect("an id")).await;
    client.chat(json!({"ask": "Hello!", "max_tokens": 2})).await;
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_leaves_the_others_serving() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for model in [MODEL, EMBEDDING] {
        symlink(models_dir().join(model), dir.path().join(model)).expect("a link can be made");
    }
    break_a_copy(&models_dir().join(MODEL), &dir.path().join("broken"));
    let gateway = Setup::new().set("models.dir", dir.path().to_string_lossy()).start();
    let client = gateway.admin();
    let ask = json!({"model": "broken", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1});
    client.chat(json!({"ask": "Hello!", "max_tokens": 2})).await;
    client.post("/v1/chat/completions", ask.clone()).await.error(503, "model_load_failed");
    client.post("/v1/models/broken/load", json!({})).await.error(503, "model_load_failed");
    let broken = client.get("/v1/models/broken").await.ok();
    assert_eq!(broken["status"], "failed", "{broken:#}");
    assert!(broken["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "it says why: {broken:#}");
    assert_eq!(status(&client, MODEL).await, "loaded");
    client.chat(json!({"ask": "Hello!", "max_tokens": 2})).await;
}

#[tokio::test]
async fn a_model_that_does_not_fit_the_budget_is_refused() {
    let gateway = Setup::new().set("models.memory_budget_mib", "1").start();
    let client = gateway.admin();
    client.post(&format!("/v1/models/{MODEL}/load"), json!({})).await.error(503, "memory_budget_exceeded");
    let ask = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1});
    client.post("/v1/chat/completions", ask).await.error(503, "memory_budget_exceeded");
}

#[tokio::test]
async fn more_than_the_engine_takes_is_429() {
    let gateway = Setup::new().set("models.max_in_flight", "1").set("models.retry_after_s", "3").start();
    let client = gateway.admin();
    client.chat(json!({"ask": "Hello!", "max_tokens": 1})).await;
    let mut events = client.chat_events(json!({"ask": "Tell me a long story.", "max_tokens": 60})).await;
    events.next().await.expect("the stream holds").expect("there is a first event");
    let ask = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1});
    let reply = client.post("/v1/chat/completions", ask).await;
    reply.error(429, "overloaded");
    assert_eq!(reply.header("retry-after"), "3");
    let rest = events.collect().await.expect("the stream holds");
    assert!(rest.done, "the one in the engine is not disturbed");
    client.chat(json!({"ask": "Hello!", "max_tokens": 1})).await;
}

/// A copy of a pulled model under another name, with its largest file cut in half.
fn break_a_copy(from: &Path, to: &Path) {
    let serving = to.join("serving");
    fs::create_dir_all(&serving).expect("a directory can be made");
    let manifest = fs::read_to_string(from.join("model.json")).expect("a manifest");
    let mut manifest: Value = serde_json::from_str(&manifest).expect("a manifest is JSON");
    manifest["name"] = json!("broken");
    fs::write(to.join("model.json"), manifest.to_string()).expect("a manifest can be written");
    let files = fs::read_dir(from.join("serving")).expect("a pulled model").flatten();
    let mut files: Vec<_> = files.map(|entry| (entry.metadata().map_or(0, |it| it.len()), entry.path())).collect();
    files.sort();
    let (size, largest) = files.pop().expect("a model has files");
    for (_, path) in files {
        let name = path.file_name().expect("a file has a name");
        fs::copy(&path, serving.join(name)).expect("a file can be copied");
    }
    let weights = fs::read(&largest).expect("weights can be read");
    let name = largest.file_name().expect("a file has a name");
    fs::write(serving.join(name), &weights[..usize::try_from(size / 2).expect("a size")])
        .expect("half of it can be written");
}
