//! What operators need: health, metrics, request ids, a shutdown that loses nothing, configuration that is checked.

use std::collections::HashSet;

use cairn_tests::{Setup, copy, shared};
use serde_json::{Value, json};

#[tokio::test]
async fn health_and_metrics() {
    let gateway = shared().await;
    let anonymous = gateway.anonymous();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(anonymous.get(path).await.status, 200, "{path}");
    }
    anonymous.get("/metrics").await.error(401, "invalid_api_key");
    let (app, _) = gateway.caller(&["app"]).await;
    app.get("/metrics").await.error(403, "insufficient_scope");
    app.chat(json!({"ask": "Hello!", "max_tokens": 3})).await;
    let (auditor, _) = gateway.caller(&["auditor"]).await;
    let metrics = auditor.get("/metrics").await;
    assert_eq!(metrics.status, 200, "{metrics}");
    assert!(metrics.header("content-type").starts_with("text/plain"), "{}", metrics.header("content-type"));
    let text = metrics.text();
    for name in [
        "cairn_http_requests_total",
        "cairn_http_request_seconds_bucket",
        "gen_ai_client_token_usage",
        "gen_ai_server_request_duration",
    ] {
        assert!(text.contains(name), "{name} is measured:\n{text}");
    }
    let counted = text.lines().find(|line| {
        line.starts_with("cairn_http_requests_total")
            && line.contains("/v1/chat/completions")
            && line.contains("\"200\"")
    });
    assert!(counted.is_some(), "requests are counted by route and status:\n{text}");
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let client = shared().await.admin();
    let mut seen = HashSet::new();
    for (path, status) in
        [("/v1/me", 200), ("/v1/models", 200), ("/v1/nothing", 404), ("/v1/jobs/none", 404), ("/healthz", 200)]
    {
        let reply = client.get(path).await;
        assert_eq!(reply.status, status, "{reply}");
        let id = reply.header("x-request-id").to_owned();
        assert!(id.len() >= 16, "{path} has x-request-id {id:?}");
        assert!(seen.insert(id), "{path} repeats a request id");
        assert!(reply.header("openai-processing-ms").parse::<u64>().is_ok(), "{path} has openai-processing-ms");
    }
    let refused = shared().await.anonymous().get("/v1/me").await;
    assert!(!refused.header("x-request-id").is_empty(), "a refusal has one too");
}

#[tokio::test]
async fn the_documentation_is_served() {
    let anonymous = shared().await.anonymous();
    let docs = anonymous.get("/docs/").await;
    assert!(docs.status == 200 && docs.text().to_lowercase().contains("swagger"), "{docs}");
    assert!(docs.header("content-type").starts_with("text/html"), "{}", docs.header("content-type"));
    let root = anonymous.get("/").await;
    assert_eq!(root.status, 200, "people are led from / to the studio: {root}");
    assert!(root.text().contains("<title>Cairn"), "{root}");
    let policy = root.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn a_shutdown_finishes_streams() {
    let mut gateway = copy().await;
    let client = gateway.admin();
    let mut events = client.chat_events(json!({"ask": "Name the days of the week in order.", "max_tokens": 40})).await;
    let first = events.next().await.expect("the stream holds").expect("there is a first event");
    gateway.terminate();
    let mut streamed = events.collect().await.expect("the stream outlives SIGTERM");
    streamed.chunks.insert(0, serde_json::from_str(&first).expect("a chunk"));
    assert!(streamed.done, "the stream ends with [DONE]: {:#?}", streamed.chunks.last());
    let id = streamed.attribution()["id"].as_str().expect("an id").to_owned();
    gateway.wait_stopped();
    gateway.start();
    let record = gateway.admin().get(&format!("/v1/attributions/{id}")).await.ok();
    assert_eq!(record["response"]["choices"][0]["message"]["content"], streamed.text(0));
}

#[tokio::test]
async fn a_caller_that_goes_away_is_recorded_and_frees_the_engine() {
    let gateway = Setup::new().set("models.max_in_flight", "1").start();
    let client = gateway.admin();
    client.chat(json!({"ask": "Hello!", "max_tokens": 1})).await;
    let mut events = client.chat_events(json!({"ask": "Tell me a long story.", "max_tokens": 400})).await;
    let mut first: Value = Value::Null;
    for _ in 0..3 {
        let event = events.next().await.expect("the stream holds").expect("there are events");
        first = serde_json::from_str(&event).expect("a chunk");
    }
    drop(events);
    // The engine is free again long before four hundred tokens could be made.
    let ask = json!({"model": cairn_tests::MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1});
    let mut tries = 0;
    while client.post("/v1/chat/completions", ask.clone()).await.status == 429 {
        tries += 1;
        assert!(tries < 100, "the engine is not freed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let record = client.get(&format!("/v1/attributions/{}", first["id"].as_str().expect("an id"))).await.ok();
    assert_eq!(record["response"]["choices"][0]["finish_reason"], "cancelled");
    assert!(record["response"]["choices"][0]["message"]["content"].as_str().is_some_and(|text| !text.is_empty()));
    client.proof(first["id"].as_str().expect("an id")).await;
}

#[tokio::test]
async fn one_gateway_a_data_directory() {
    let gateway = Setup::new().start();
    let second = gateway.cli_with(&["serve"], &[("CAIRN__SERVER__LISTEN", "127.0.0.1:0")]);
    assert!(!second.ok(), "a second gateway started on the same data directory: {second}");
    assert!(second.stderr.contains("another cairn"), "it says why: {second}");
    gateway.admin().get("/v1/me").await.ok();
}

#[tokio::test]
async fn configuration_is_checked() {
    let gateway = Setup::new().prepare();
    let file = gateway.scratch().join("settings.toml");
    let path = file.to_string_lossy();
    for (text, named) in [
        ("[server]\nlistn = \"127.0.0.1:1\"\n", "listn"),
        ("[servr]\n", "servr"),
        ("[retrieval]\ntop_k = 21\n", "retrieval.top_k"),
        ("[server]\nworkers = 0\n", "server.workers"),
        ("[models]\nwhen_loading = \"panic\"\n", "when_loading"),
        ("not toml", "settings.toml"),
    ] {
        std::fs::write(&file, text).expect("a file can be written");
        for command in [&["config", "check"][..], &["serve"]] {
            let checked = gateway.cli(&[&["--config", path.as_ref()], command].concat());
            assert_eq!(checked.code(), 2, "{text:?} was accepted: {checked}");
            assert!(checked.stderr.contains(named), "{text:?}: the message names {named}: {checked}");
        }
    }
    let typo = gateway.cli_with(&["config", "check"], &[("CAIRN__SERVER__LISTN", "127.0.0.1:1")]);
    assert!(typo.code() == 2 && typo.stderr.contains("listn"), "a variable that names no key: {typo}");
    // The generated example is valid, complete, and changes nothing.
    let example = gateway.cli(&["config", "example"]);
    std::fs::write(&file, &example.stdout).expect("a file can be written");
    let checked = gateway.cli(&["--config", path.as_ref(), "config", "check"]);
    assert!(checked.ok(), "{checked}");
    for key in ["listen", "origin", "memory_budget_mib", "top_k", "jwks_url", "filter"] {
        assert!(example.stdout.contains(&format!("{key} = ")), "the example has {key}:\n{}", example.stdout);
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../cairn.example.toml");
    let checked_in = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(checked_in, example.stdout, "run: cairn config example > cairn.example.toml");
}

#[tokio::test]
async fn init_keeps_what_is_there() {
    let gateway = Setup::new().prepare();
    let read = |name: &str| std::fs::read_to_string(gateway.data().join(name)).expect("init writes it");
    let before = (read("admin.key"), read("cairn.pub"), read("log.key"));
    assert_eq!(gateway.cli(&["init"]).code(), 2, "a data directory is not made twice");
    assert!(gateway.cli(&["init", "--if-missing"]).ok());
    assert_eq!(before, (read("admin.key"), read("cairn.pub"), read("log.key")));
    for secret in ["admin.key", "log.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(gateway.data().join(secret)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret} is for its owner alone: {mode:o}");
    }
}
