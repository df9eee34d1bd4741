//! Several gateways on one index: a primary and replicas, over a PostgreSQL server, one place of datanets and one of adapters.
//! Run under `scripts/with_postgres.py`; a database in a file is one gateway's. Under `scripts/with_s3.py` as well, the
//! places are in a bucket.
#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use cairn_tests::{Client, Gateway, MODEL, Setup, golden, pack, unique, verify_both};
use reqwest::{Method, multipart};
use serde_json::{Value, json};

/// A primary and what makes a replica of it; none on SQLite.
fn primary() -> Option<(Gateway, Setup)> {
    std::env::var_os("CAIRN_TEST_POSTGRES")?;
    let mut primary = Setup::new().prepare();
    let settings = shared(primary.scratch());
    for (key, value) in &settings {
        primary.set(key, value);
    }
    primary.start();
    let made = primary.cli(&["keys", "create", "west", "--role", "replica"]);
    assert!(made.ok(), "{made}");
    let key = primary.scratch().join("replica.key");
    std::fs::write(&key, &made.stdout).unwrap();
    let mut replica = Setup::new()
        .set("replica.primary", primary.url())
        .set("replica.key_file", key.to_string_lossy())
        .set("database.url", primary.database_url().unwrap());
    for (key, value) in &settings {
        replica = replica.set(key, value);
    }
    Some((primary, replica))
}

/// Where datanets and adapters lie: directories, or a bucket where `scripts/with_s3.py` made one.
fn shared(dir: &Path) -> Vec<(String, String)> {
    let Ok(endpoint) = std::env::var("CAIRN_TEST_S3") else {
        std::fs::create_dir(dir.join("objects")).unwrap();
        let datanets = dir.join("datanets").to_string_lossy().into_owned();
        let objects = format!("file://{}", dir.join("objects").display());
        return [("data.datanets_uri", datanets), ("adapters.objects_uri", objects)]
            .map(|(key, value)| (key.to_owned(), value))
            .into();
    };
    let prefix = unique("replicas");
    let mut settings = Vec::new();
    for (uri, storage, place) in [
        ("data.datanets_uri", "data.datanets_storage", "datanets"),
        ("adapters.objects_uri", "adapters.objects_storage", "objects"),
    ] {
        settings.push((uri.to_owned(), format!("s3://cairn/{prefix}/{place}")));
        for (option, value) in [
            ("endpoint", endpoint.as_str()),
            ("allow_http", "true"),
            ("region", "us-east-1"),
            ("access_key_id", "tests"),
            ("secret_access_key", "tests"),
        ] {
            settings.push((format!("{storage}.{option}"), value.to_owned()));
        }
    }
    settings
}

/// A primary, a replica of it, and the administrator at the replica; none on SQLite.
fn pair() -> Option<(Gateway, Gateway, Client)> {
    let (primary, replica) = primary()?;
    let replica = replica.start();
    let admin = replica.client(primary.admin().credential());
    Some((primary, replica, admin))
}

async fn found(client: &Client, datanet: &str, words: &str) -> Vec<String> {
    let found = client.post("/v1/search", json!({"query": words, "datanets": [datanet]})).await.ok();
    found["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_replica_answers_over_what_its_primary_keeps_and_every_answer_is_in_the_one_log() {
    let Some((mut primary, replica, there)) = pair() else { return };
    let here = primary.admin();
    let name = unique("shared");
    // What is no question is passed on: a datanet is made, and filled, through the replica.
    there
        .datanet(
            &name,
            &[("heron", "A heron stands in the lake and waits for fish."), ("stork", "A stork nests on roofs.")],
        )
        .await;
    assert!(found(&here, &name, "heron").await.contains(&"heron".to_owned()));
    assert!(found(&there, &name, "heron").await.contains(&"heron".to_owned()));

    let ask = json!({"ask": "Where does a heron stand?", "datanets": [name], "temperature": 0, "max_tokens": 24});
    let (one, other) = (here.chat(ask.clone()).await, there.chat(ask.clone()).await);
    assert_eq!(one["choices"][0]["message"]["content"], other["choices"][0]["message"]["content"]);
    let receipt = &other["attribution"]["receipt"];
    assert_eq!(receipt["log"], one["attribution"]["receipt"]["log"]);
    assert!(receipt["index"].as_u64() > one["attribution"]["receipt"]["index"].as_u64(), "{receipt}");
    let id = other["attribution"]["id"].as_str().unwrap();
    for client in [&here, &there] {
        let verdict = verify_both(&primary, &client.proof(id).await, &primary.public_key());
        assert_eq!(verdict.code, 0, "{}", verdict.text);
    }
    let streamed = there.chat_streamed(json!({"ask": "Where does a heron stand?", "max_tokens": 8})).await;
    let streamed = streamed.attribution()["id"].as_str().unwrap().to_owned();
    here.get(&format!("/v1/attributions/{streamed}")).await.ok();

    // What is added, withdrawn or erased at the primary is felt by the next request.
    here.succeeded(
        &here
            .ingest_text(
                &name,
                &[("format", "jsonl"), ("contributor", "tests")],
                "more.jsonl",
                r#"{"id": "crane", "text": "A crane dances in spring."}"#,
            )
            .await,
    )
    .await;
    assert!(found(&there, &name, "crane dances").await.contains(&"crane".to_owned()));
    let erase = json!({"datapoints": ["heron"]});
    here.post(&format!("/v1/datanets/{name}/erasures"), erase).await.ok();
    assert!(!found(&there, &name, "heron").await.contains(&"heron".to_owned()));
    let (app, subject) = primary.caller(&["app"]).await;
    let app = replica.client(app.credential());
    let grant = format!("/v1/datanets/{name}/grants/{subject}");
    app.post("/v1/search", json!({"query": "crane", "datanets": [name]})).await.error(404, "datanet_not_found");
    there.put(&grant).await.ok();
    assert!(found(&app, &name, "crane").await.contains(&"crane".to_owned()));
    assert_eq!(there.delete(&grant).await.status, 204);
    app.post("/v1/search", json!({"query": "crane", "datanets": [name]})).await.error(404, "datanet_not_found");
    // Another datanet of the same name has nothing of the first.
    assert_eq!(there.delete(&format!("/v1/datanets/{name}")).await.status, 204);
    here.datanet(&name, &[("owl", "An owl hunts at night."), ("kite", "A kite circles."), ("rook", "A rook caws.")])
        .await;
    assert_eq!(found(&there, &name, "heron crane stork owl").await.len(), 3);

    // Without the log nothing is answered; when it is back, everything is.
    primary.kill9();
    there.post("/v1/chat/completions", chat(&name)).await.error(503, "primary_away");
    there.get("/v1/datanets").await.error(503, "primary_away");
    primary.start();
    let mut replica = replica;
    replica.set("replica.primary", primary.url());
    replica.restart();
    let there = replica.client(primary.admin().credential());
    there.post("/v1/chat/completions", chat(&name)).await.ok();
    let audit = primary.cli(&["audit", &primary.data().join("log").to_string_lossy()]);
    assert!(audit.ok(), "{audit}");
}

fn chat(datanet: &str) -> Value {
    json!({"model": MODEL, "datanets": [datanet], "max_tokens": 8, "messages": [{"role": "user", "content": "Who hunts at night?"}]})
}

#[tokio::test]
async fn a_replica_serves_adapters_and_measures_influence_and_may_do_nothing_else() {
    let Some((primary, replica, there)) = pair() else { return };
    let (here, alias) = (primary.admin(), unique("style"));
    let form = multipart::Part::bytes(pack(&golden("smollm2/adapter"))).file_name("adapter.tar");
    let upload = there.request(Method::POST, "/v1/adapters").query(&[("base", MODEL), ("alias", &alias)]);
    there.send(upload.multipart(multipart::Form::new().part("file", form))).await.ok();
    let ask =
        json!({"model": format!("{MODEL}:{alias}"), "ask": "Tell me of herons.", "temperature": 0, "max_tokens": 16});
    let (one, other) = (here.chat(ask.clone()).await, there.chat(ask).await);
    assert_eq!(one["choices"], other["choices"]);
    assert_eq!(one["adapter_generation"], other["adapter_generation"]);

    let name = unique("measured");
    here.datanet(&name, &[("heron", "A heron stands in the lake.")]).await;
    let ask = json!({"ask": "Where does a heron stand?", "datanets": [name], "max_tokens": 12, "attribution": {"influence": "leave_one_out"}});
    let answered = there.chat(ask).await;
    let path = format!("/v1/attributions/{}/influence", answered["attribution"]["id"].as_str().unwrap());
    // The primary measures what the replica answered, though nobody told it.
    let began = std::time::Instant::now();
    loop {
        let influence = there.get(&path).await.ok();
        if influence["status"] == "measured" {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{influence}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let key = std::fs::read_to_string(primary.scratch().join("replica.key")).unwrap();
    let west = primary.client(key.trim());
    west.get("/v1/datanets").await.error(403, "insufficient_scope");
    west.post("/v1/chat/completions", chat(&name)).await.error(403, "insufficient_scope");
    west.post("/v1/log/entries", json!({"type": "cairn/snapshot/v1"})).await.error(400, "invalid_request");
    let record = here.get(&format!("/v1/attributions/{}", answered["attribution"]["id"].as_str().unwrap())).await.ok();
    // Once more is refused: an answer has one record.
    west.post("/v1/log/entries", record["record"].clone()).await.error(404, "not_found");
    here.post("/v1/log/entries", record["record"].clone()).await.error(403, "insufficient_scope");
    drop(replica);
}

/// The primary logged a record, and the replica heard nothing of it.
#[tokio::test]
async fn an_answer_that_was_lost_on_the_way_has_its_record_after_the_primarys_next_start() {
    let Some((mut primary, _replica, there)) = pair() else { return };
    let answered = there.chat(json!({"ask": "Where does a heron stand?", "max_tokens": 4})).await;
    let (id, index) = (answered["attribution"]["id"].as_str().unwrap(), &answered["attribution"]["receipt"]["index"]);
    primary.sql(&format!("UPDATE attributions SET log_index = NULL WHERE id = '{id}'"));
    let path = format!("/v1/attributions/{id}");
    assert_ne!(primary.admin().get(&path).await.status, 200);
    primary.kill9();
    primary.start();
    let record = primary.admin().get(&path).await.ok();
    assert_eq!(&record["attribution"]["receipt"]["index"], index, "{record}");
}

#[tokio::test]
async fn a_replica_of_another_version_does_not_start() {
    let Some((primary, replica)) = primary() else { return };
    let last = "(SELECT max(version) FROM cairn_migrations)";
    primary.sql(&format!("UPDATE cairn_migrations SET checksum = '\\x00' WHERE version = {last}"));
    let mut replica = replica.prepare();
    assert!(replica.try_start().is_err());
    assert!(replica.log_tail().contains("another version's"), "{}", replica.log_tail());
}
