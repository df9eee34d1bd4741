//! What a key may do and how much; what was used; how many adapters may be stored, and who uses them.

use std::path::Path;

use cairn_tests::{Client, Gateway, MODEL, copy, golden};
use reqwest::Method;
use serde_json::{Value, json};

async fn change(client: &Client, id: &str, body: Value) -> cairn_tests::Reply {
    client.send(client.request(Method::PATCH, &format!("/v1/keys/{id}")).json(&body)).await
}

async fn key(gateway: &Gateway, subject: &str, limits: Value) -> (Client, String) {
    let body = json!({"subject": subject, "roles": ["app"], "limits": limits});
    let made = gateway.admin().post("/v1/keys", body).await.ok();
    (gateway.client(made["secret"].as_str().expect("a secret")), made["id"].as_str().expect("an id").to_owned())
}

fn hello(tokens: u32) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "Hello."}], "max_tokens": tokens})
}

#[tokio::test]
async fn a_key_is_refused_beyond_its_requests_a_minute_and_told_when_to_come_back() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let (app, id) = key(&gateway, "busy", json!({"requests_per_minute": 2})).await;
    for left in ["1", "0"] {
        let reply = app.post("/v1/chat/completions", hello(1)).await;
        reply.ok();
        assert_eq!(reply.header("x-ratelimit-limit-requests"), "2");
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), left);
        assert!(reply.header("x-ratelimit-reset-requests").ends_with('s'), "{reply}");
    }
    let refused = app.post("/v1/chat/completions", hello(1)).await;
    let error = refused.error(429, "rate_limit_exceeded");
    assert_eq!(error["type"], "rate_limit_error");
    let wait: u64 = refused.header("retry-after").parse().expect("Retry-After is seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
    // Every door to a model is the same door.
    app.post("/v1/search", json!({"query": "x"})).await.error(429, "rate_limit_exceeded");
    app.post("/v1/embeddings", json!({"model": "all-minilm-l6-v2", "input": "x"}))
        .await
        .error(429, "rate_limit_exceeded");
    let completion = json!({"model": MODEL, "prompt": "x", "max_tokens": 1});
    app.post("/v1/completions", completion).await.error(429, "rate_limit_exceeded");
    // What asks nothing of a model is not counted; nor is another key of the same subject.
    assert_eq!(app.get("/v1/me").await.status, 200);
    let (other, _) = key(&gateway, "busy", json!({})).await;
    let unlimited = other.post("/v1/chat/completions", hello(1)).await;
    assert_eq!((unlimited.status, unlimited.header("x-ratelimit-limit-requests")), (200, ""));

    let lifted = change(&admin, &id, json!({"limits": {}})).await.ok();
    assert_eq!(lifted["limits"], json!({}));
    app.post("/v1/chat/completions", hello(1)).await.ok();
}

#[tokio::test]
async fn a_key_ends_its_day_at_its_tokens_and_usage_says_who_used_what() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let (app, id) = key(&gateway, "frugal", json!({"tokens_per_day": 1_000_000})).await;
    let answer = app.post("/v1/chat/completions", hello(3)).await;
    assert_eq!(answer.header("x-ratelimit-remaining-tokens"), "1000000");
    let used = answer.ok()["usage"].clone();
    let embedded = app.post("/v1/embeddings", json!({"model": "all-minilm-l6-v2", "input": "a text"})).await;
    let all = used["total_tokens"].as_u64().expect("tokens")
        + embedded.ok()["usage"]["total_tokens"].as_u64().expect("tokens");
    let next = app.post("/v1/chat/completions", hello(1)).await;
    assert_eq!(next.header("x-ratelimit-remaining-tokens"), (1_000_000 - all).to_string());

    let usage = app.get("/v1/usage").await.ok();
    let lines = usage["data"].as_array().expect("lines");
    assert_eq!(lines.len(), 2, "a line a model: {usage:#}");
    let chat = lines.iter().find(|line| line["model"] == MODEL).expect("the model's line");
    assert_eq!((&chat["subject"], &chat["key"], &chat["requests"]), (&json!("frugal"), &json!(id), &json!(2)));
    assert!(chat["completion_tokens"].as_u64() >= used["completion_tokens"].as_u64(), "{chat}");
    assert_eq!(admin.get("/v1/usage?subject=frugal").await.ok()["data"], usage["data"]);
    let (other, _) = gateway.caller(&["app"]).await;
    assert_eq!(other.get("/v1/usage?subject=frugal").await.ok()["data"], json!([]), "others' usage is not shown");
    admin.get("/v1/usage?from=November").await.error(400, "invalid_request");
    let shown = gateway.cli(&["usage", "--subject", "frugal"]);
    assert!(shown.ok() && shown.stdout.contains("frugal") && shown.stdout.contains(MODEL), "{shown}");

    // A day's tokens are used up: until midnight nothing is answered. Over the command line, on the data directory.
    let lowered = gateway.cli(&["keys", "change", &id, "--tokens-per-day", "5"]);
    assert!(lowered.ok() && lowered.stderr.contains("5 tokens/day"), "{lowered}");
    let began = std::time::Instant::now();
    let refused = loop {
        let reply = app.post("/v1/chat/completions", hello(1)).await;
        if reply.status == 429 {
            break reply;
        }
        assert!(began.elapsed().as_secs() < 30, "another process's change is seen within seconds: {reply}");
    };
    let error = refused.error(429, "rate_limit_exceeded");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("midnight UTC")), "{error}");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| wait <= 86_400), "{refused}");
    let freed = gateway.cli(&["keys", "change", &id, "--no-limits"]);
    assert!(freed.ok(), "{freed}");
    let nothing = gateway.cli(&["keys", "change", &id]);
    assert!(!nothing.ok() && nothing.stderr.contains("nothing is to change"), "{nothing}");
}

#[tokio::test]
async fn a_streamed_answer_that_is_hung_up_on_is_counted() {
    let gateway = copy().await;
    let (app, _) = key(&gateway, "hasty", json!({})).await;
    let mut events = app.chat_events(json!({"ask": "Tell me a long story.", "max_tokens": 400})).await;
    for _ in 0..4 {
        events.next().await.expect("the stream goes on");
    }
    drop(events);
    let began = std::time::Instant::now();
    loop {
        let usage = app.get("/v1/usage").await.ok();
        if let Some(line) = usage["data"].as_array().and_then(|lines| lines.first()) {
            assert!(line["completion_tokens"].as_u64().is_some_and(|tokens| (1..400).contains(&tokens)), "{line}");
            assert!(line["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{line}");
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "it is counted once the engine has stopped");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn roles_of_a_key_change_at_once_and_an_administrator_remains() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let (app, id) = key(&gateway, "growing", json!({})).await;
    app.get("/v1/log/tile/0/000").await.error(403, "insufficient_scope");
    let changed = change(&admin, &id, json!({"roles": ["app", "auditor"]})).await.ok();
    assert_eq!(changed["roles"], json!(["app", "auditor"]));
    assert_ne!(app.get("/v1/log/tile/0/000").await.status, 403);
    change(&admin, &id, json!({"roles": []})).await.error(400, "invalid_request");
    change(&admin, "none", json!({"roles": ["app"]})).await.error(404, "not_found");
    change(&app, &id, json!({"roles": ["admin"]})).await.error(403, "insufficient_scope");
    let keys = admin.get("/v1/keys").await.ok();
    let keys = keys["data"].as_array().expect("keys");
    let own = keys.iter().find(|key| key["subject"] == "admin").expect("the administrator's key");
    let own = own["id"].as_str().expect("an id");
    change(&admin, own, json!({"roles": ["app"]})).await.error(409, "already_exists");
    change(&admin, &id, json!({"roles": ["admin"]})).await.ok();
    change(&app, own, json!({"roles": ["app"]})).await.ok();
    admin.get("/v1/keys").await.error(403, "insufficient_scope");
}

fn variant(alpha: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let from = golden("smollm2/adapter");
    let config = std::fs::read(from.join("adapter_config.json")).expect("a configuration");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["lora_alpha"] = json!(alpha);
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("a file can be written");
    std::fs::copy(from.join("adapter_model.safetensors"), dir.path().join("adapter_model.safetensors"))
        .expect("a file can be copied");
    dir
}

#[tokio::test]
async fn a_canary_takes_its_part_of_the_requests_and_the_owner_sees_who_had_which() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let push = |dir: &Path, rest: &[&str]| {
        let dir = dir.to_string_lossy().into_owned();
        let pushed = gateway.cli(&[&["adapters", "push", &dir, "--base", MODEL, "--json"], rest].concat()).json();
        pushed["generation"].as_str().expect("a generation").to_owned()
    };
    let first = push(&golden("smollm2/adapter"), &["--name", "style"]);
    let second = push(variant(7).path(), &[]);
    let path = format!("/v1/adapters/{MODEL}/style");
    let set = async |body: Value| admin.send(admin.request(Method::PUT, &path).json(&body)).await.ok();
    set(json!({"visibility": "public"})).await;
    let (app, subject) = gateway.caller(&["app"]).await;
    let ask = async || {
        let answer = app.chat(json!({"model": format!("{MODEL}:style"), "ask": "Hello.", "max_tokens": 1})).await;
        answer["attribution"]["adapter_generation"].as_str().expect("a generation").to_owned()
    };
    assert_eq!(ask().await, first, "without a trial every request gets the one in use");

    set(json!({"canary": {"generation": second, "percent": 50}})).await;
    let mut canary = 0;
    for _ in 0..40 {
        match ask().await {
            of if of == second => canary += 1,
            of => assert_eq!(of, first),
        }
    }
    // Of 40 at one half, fewer than 6 or more than 34 come once in ten million times.
    assert!((6..=34).contains(&canary), "{canary} of 40 went to the trial");
    set(json!({"canary": {"generation": second, "percent": 0}})).await;
    assert_eq!(ask().await, first, "the trial has ended");

    let uses = admin.get(&format!("{path}/uses")).await.ok();
    let of = |generation: &str| {
        let line = uses["data"].as_array().expect("lines").iter().find(|line| line["generation"] == generation);
        let line = line.unwrap_or_else(|| panic!("{uses:#}"));
        assert_eq!(line["subject"], subject);
        line["answers"].as_u64().expect("a number")
    };
    assert_eq!((of(&first), of(&second)), (42 - canary, canary));
    app.get(&format!("{path}/uses")).await.error(403, "insufficient_scope");
    let (trainer, _) = gateway.caller(&["trainer"]).await;
    trainer.get(&format!("{path}/uses")).await.error(403, "insufficient_scope");
    trainer.get(&format!("{path}/grants")).await.error(403, "insufficient_scope");

    // Who it is granted to, what is stored beside it, and what rolling back would lead to.
    admin.put(&format!("{path}/grants/{subject}")).await;
    assert_eq!(admin.get(&format!("{path}/grants")).await.ok()["data"], json!([subject]));
    let listed = gateway.cli(&["adapters", "grants", MODEL, "style"]);
    assert!(listed.ok() && listed.stdout.contains(&subject), "{listed}");
    let history = async || admin.get(&format!("{path}/history")).await.ok();
    assert_eq!(history().await.get("earlier"), None, "there is nothing to roll back to");
    let stored = admin.get(&format!("/v1/adapter_generations?base={MODEL}")).await.ok();
    let stored = stored["data"].as_array().expect("generations");
    let one = |generation: &str| stored.iter().find(|it| it["generation"] == generation).expect("it is listed");
    assert_eq!((&one(&first)["aliases"], &one(&second)["aliases"]), (&json!(["style"]), &json!([])));
    assert_eq!((&one(&second)["report"]["accepted"], one(&second).get("training")), (&json!(true), None));
    assert_eq!(trainer.get(&format!("/v1/adapter_generations?base={MODEL}")).await.ok()["data"], json!([]));
    let others = format!("/v1/adapter_generations?base={MODEL}&owner=admin");
    assert_eq!(trainer.get(&others).await.ok()["data"], json!([]), "others' are for administrators");
    set(json!({"generation": second})).await;
    assert_eq!(history().await["earlier"], first);
    let shown = gateway.cli(&["adapters", "generations", MODEL]);
    assert!(shown.ok() && shown.stdout.contains(&first) && shown.stdout.contains("uploaded"), "{shown}");
    let used = gateway.cli(&["adapters", "uses", MODEL, "style", "--json"]).json();
    assert_eq!(used.as_array().map(Vec::len), Some(2));

    // A name that is taken back and given anew has no past.
    assert_eq!(admin.delete(&path).await.status, 204);
    set(json!({"generation": first})).await;
    assert_eq!(admin.get(&format!("{path}/uses")).await.ok()["data"], json!([]));
}

#[tokio::test]
async fn an_administrator_sets_how_many_adapters_an_owner_may_store() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let push = |dir: &Path| gateway.cli(&["adapters", "push", &dir.to_string_lossy(), "--base", MODEL]);
    assert!(push(&golden("smollm2/adapter")).ok());
    let quotas = admin.get("/v1/adapter_quotas").await.ok();
    assert_eq!((&quotas["data"][0]["owner"], &quotas["data"][0]["generations"]), (&json!("admin"), &json!(1)));
    assert_eq!((&quotas["data"][0]["own"], &quotas["data"][0]["limits"]), (&json!(false), &quotas["default"]));
    let (trainer, _) = gateway.caller(&["trainer"]).await;
    trainer.get("/v1/adapter_quotas").await.error(403, "insufficient_scope");
    let set = gateway.cli(&["adapters", "quota", "admin", "--generations", "1", "--gib", "1"]);
    assert!(set.ok(), "{set}");
    let refused = push(variant(5).path());
    assert!(!refused.ok() && refused.stderr.contains("quota"), "{refused}");
    assert_eq!(admin.get("/v1/adapter_quotas").await.ok()["data"][0]["own"], true);
    let shown = gateway.cli(&["adapters", "quota"]);
    assert!(shown.ok() && shown.stdout.contains("1 of 1"), "{shown}");
    assert!(gateway.cli(&["adapters", "quota", "admin", "--default"]).ok());
    assert!(push(variant(5).path()).ok());
}
