//! The lane as a service: adapters that are in memory before they are asked for and gone after they were deleted, requests
//! that nobody can lock out, answers that nobody waits for any more, and what an alias meant.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use cairn_tests::{Client, Gateway, MODEL, Setup, copy, copy_with, golden};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// The golden adapter with another alpha, published; its generation.
fn publish(gateway: &Gateway, name: &str, alpha: u32) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let from = golden("smollm2/adapter");
    let config = std::fs::read(from.join("adapter_config.json")).expect("a configuration");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    config["lora_alpha"] = json!(alpha);
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("a file can be written");
    std::fs::copy(from.join("adapter_model.safetensors"), dir.path().join("adapter_model.safetensors"))
        .expect("a file can be copied");
    let path = dir.path().to_string_lossy().into_owned();
    let pushed = gateway.cli(&["adapters", "push", &path, "--base", MODEL, "--name", name, "--json"]);
    assert!(pushed.ok(), "{pushed}");
    pushed.json()["generation"].as_str().expect("a generation").to_owned()
}

async fn metric(client: &Client, name: &str) -> f64 {
    let text = client.get("/metrics").await.text();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0.0, |value| value.parse().expect("a number"))
}

#[tokio::test]
async fn an_adapter_is_loaded_on_request_once_and_let_go_when_it_is_deleted() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let generation = publish(&gateway, "style", 16);
    let loads = async || metric(&admin, "cairn_adapter_attach_seconds_count").await;
    assert_eq!(loads().await, 0.0);
    let loaded = gateway.cli(&["adapters", "load", MODEL, "style"]);
    assert!(loaded.ok() && loaded.stderr.contains("in memory"), "{loaded}");
    assert_eq!((loads().await, metric(&admin, "cairn_lane_adapters_resident").await), (1.0, 1.0));
    let answer = admin.chat(json!({"model": format!("{MODEL}:style"), "ask": "Hello!", "max_tokens": 4})).await;
    assert_eq!(answer["attribution"]["adapter_generation"], generation.as_str());
    assert_eq!(loads().await, 1.0, "the request found it in memory");
    let again = admin.post(&format!("/v1/adapters/{MODEL}/style/load"), json!({})).await.ok();
    assert_eq!((again["generation"].as_str(), loads().await), (Some(generation.as_str()), 1.0));
    assert!(metric(&admin, "cairn_adapter_lease_seconds_count").await >= 1.0);
    assert!(metric(&admin, "cairn_lane_adapted_seconds").await > 0.0, "the profile counts what adapters took");

    admin.post(&format!("/v1/adapters/{MODEL}/nobody/load"), json!({})).await.error(404, "adapter_not_found");
    let (stranger, _) = gateway.caller(&["app"]).await;
    stranger.post(&format!("/v1/adapters/{MODEL}/style/load"), json!({})).await.error(404, "adapter_not_found");

    admin.delete(&format!("/v1/adapters/{MODEL}/style")).await;
    assert_eq!(admin.delete(&format!("/v1/adapters/{MODEL}/generations/{generation}")).await.status, 204);
    assert_eq!(metric(&admin, "cairn_lane_adapters_resident").await, 0.0, "a deleted generation stays in memory");
}

#[tokio::test]
async fn one_caller_cannot_lock_the_others_out() {
    let gateway = copy_with(Setup::new().set("models.max_in_flight", "16")).await;
    let admin = gateway.admin();
    admin.chat(json!({"ask": "Hello!", "max_tokens": 1})).await;
    let (greedy, _) = gateway.caller(&["app"]).await;
    let (modest, _) = gateway.caller(&["app"]).await;
    let long = json!({"model": MODEL, "messages": [{"role": "user", "content": "Tell me a long story."}],
        "max_tokens": 300, "stream": true, "logit_bias": {"2": -100, "0": -100}});
    // Far more than there is room for; those that are let in go on for a while.
    let sent = join_all((0..40).map(|_| async {
        greedy.request(Method::POST, "/v1/chat/completions").json(&long).send().await.expect("an answer")
    }))
    .await;
    let status = |wanted: u16| sent.iter().filter(|answer| answer.status().as_u16() == wanted).count();
    assert_eq!((status(200), status(429)), (8, 32), "half of the places are the most for one");
    let began = Instant::now();
    let ask = json!({"ask": "Hello!", "max_tokens": 2});
    let answer = tokio::time::timeout(Duration::from_secs(60), modest.chat(ask)).await.expect("an answer in time");
    assert_eq!(answer["usage"]["completion_tokens"], 2, "{answer:#}");
    println!("the other caller waited {:?}", began.elapsed());
    drop(sent);
}

#[tokio::test]
async fn a_caller_says_how_long_it_waits() {
    let gateway = copy().await;
    let admin = gateway.admin();
    admin.chat(json!({"ask": "Hello!", "max_tokens": 1})).await;
    let body = |timeout: Value| {
        json!({"model": MODEL, "messages": [{"role": "user", "content": "Count to a thousand."}],
            "max_tokens": 4000, "logit_bias": {"2": -100, "0": -100}, "timeout_s": timeout})
    };
    let began = Instant::now();
    let refused = admin.post("/v1/chat/completions", body(json!(0.5))).await;
    refused.error(503, "timeout");
    assert!(refused.text().contains("timeout_s"), "{}", refused.text());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for wrong in [json!(0), json!(-1), json!(1e300)] {
        let error = admin.post("/v1/chat/completions", body(wrong.clone())).await.error(400, "invalid_request");
        assert_eq!(error["param"], "timeout_s", "{wrong}");
    }
    let text = json!({"model": MODEL, "prompt": "One two three", "max_tokens": 3, "timeout_s": 60});
    admin.post("/v1/completions", text).await.ok();
    // The engine is free again: nothing of the late answer goes on.
    let began = Instant::now();
    while metric(&admin, "cairn_lane_running").await > 0.0 {
        assert!(began.elapsed() < Duration::from_secs(10), "the late answer goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_auditor_learns_what_an_alias_meant_and_answers_agree_with_it() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let now = || chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let before = now();
    let mut meant = Vec::new();
    for alpha in [8, 40] {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let generation = publish(&gateway, "style", alpha);
        let answer = admin.chat(json!({"model": format!("{MODEL}:style"), "ask": "Hello!", "max_tokens": 2})).await;
        assert_eq!(answer["attribution"]["adapter_generation"], generation.as_str());
        meant.push((now(), generation));
    }
    let alias = format!("{MODEL}:style");
    let audit = |at: &str| {
        let done = gateway.cli(&["audit", "--alias", &alias, "--at", at, "--json"]);
        assert!(done.ok(), "{done}");
        done.json()
    };
    for (at, generation) in &meant {
        let found = audit(at);
        assert_eq!((&found["verdict"], &found["alias"]["meant"]["generation"]), (&json!("sound"), &json!(generation)));
    }
    assert!(audit(&before)["alias"]["meant"].is_null());
    let text = gateway.cli(&["audit", "--alias", &alias]);
    assert!(text.ok() && text.stdout.contains(&meant[1].1) && text.stdout.contains("publish by"), "{text}");
    assert!(!gateway.cli(&["audit", "--alias", "style"]).ok(), "an alias without its base");

    // Canary, rollback and removal, and answers meanwhile: the whole log agrees.
    let change = async |body: Value| {
        admin.send(admin.request(Method::PUT, &format!("/v1/adapters/{MODEL}/style")).json(&body)).await.ok();
    };
    change(json!({"canary": {"generation": meant[0].1, "percent": 50}})).await;
    let asks = (0..8).map(|_| admin.chat(json!({"model": alias, "ask": "Hello!", "max_tokens": 1})));
    let of = |answer: &Value| answer["attribution"]["adapter_generation"].as_str().expect("one").to_owned();
    let generations: BTreeSet<String> = join_all(asks).await.iter().map(of).collect();
    assert!(generations.is_subset(&meant.iter().map(|(_, generation)| generation.clone()).collect()));
    change(json!({"rollback": true})).await;
    admin.delete(&format!("/v1/adapters/{MODEL}/style")).await;
    let last = audit(&now());
    assert_eq!((&last["alias"]["meant"]["action"], &last["verdict"]), (&json!("unpublish"), &json!("sound")));
}

/// DeepSeek's family is outside the lane: each generation is an instance of its own, and the alias changes under load.
#[tokio::test]
async fn merged_instances_are_swapped_under_load_and_answers_are_those_of_their_generation() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let models = scratch.path().join("models");
    std::fs::create_dir(&models).expect("a directory can be made");
    for model in [MODEL, cairn_tests::EMBEDDING] {
        std::os::unix::fs::symlink(cairn_tests::models_dir().join(model), models.join(model)).expect("a link");
    }
    let gateway = copy_with(Setup::new().set("models.dir", models.to_string_lossy().into_owned())).await;
    let base = golden("peft/deepseek-v3/base");
    let pulled = gateway.cli(&["pull", &base.to_string_lossy(), "--name", "deepseek"]);
    assert!(pulled.ok(), "{pulled}");
    let admin = gateway.admin();
    let ask = async |model: &str| {
        let body = json!({"model": model, "prompt": "a b c", "max_tokens": 8, "temperature": 0});
        let answer = admin.post("/v1/completions", body).await.ok();
        let of = answer["attribution"]["adapter_generation"].as_str().unwrap_or_default().to_owned();
        (of, answer["choices"][0]["text"].as_str().expect("text").to_owned())
    };
    let mut alone = std::collections::BTreeMap::new();
    for size in [0.2_f32, 0.3, 0.4] {
        let adapter = scratch.path().join(format!("adapter-{size}"));
        deepseek_adapter(&adapter, size);
        let path = adapter.to_string_lossy().into_owned();
        let pushed = gateway.cli(&["adapters", "push", &path, "--base", "deepseek", "--name", "w", "--json"]);
        assert!(pushed.ok(), "{pushed}");
        let (of, text) = ask("deepseek:w").await;
        assert_eq!(pushed.json()["generation"], of.as_str());
        alone.insert(of, text);
    }
    let texts: BTreeSet<&String> = alone.values().collect();
    assert_eq!(texts.len(), 3, "the generations say different things: {alone:?}");
    let generations: Vec<String> = alone.keys().cloned().collect();
    let until = Instant::now() + Duration::from_secs(10);
    let client = || async {
        let mut answered = Vec::new();
        while Instant::now() < until {
            let (of, text) = ask("deepseek:w").await;
            assert_eq!(Some(&text), alone.get(&of), "of {of}");
            answered.push(of);
        }
        answered
    };
    let swapping = async {
        let mut turn = 0;
        while Instant::now() < until {
            let body = json!({"generation": generations[turn % 3]});
            admin.send(admin.request(Method::PUT, "/v1/adapters/deepseek/w").json(&body)).await.ok();
            turn += 1;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        turn
    };
    let (answered, swaps) = tokio::join!(join_all((0..4).map(|_| client())), swapping);
    let seen: BTreeSet<String> = answered.iter().flatten().cloned().collect();
    assert!(seen.len() == 3 && swaps > 10, "{} generations answered, {swaps} swaps", seen.len());
}

/// A change of one attention layer of the golden deepseek-v3.
fn deepseek_adapter(directory: &Path, size: f32) {
    std::fs::create_dir(directory).expect("a directory can be made");
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 16, "target_modules": r".*(0\.self_attn\.q_a_proj|1\.mlp\.shared_experts\.down_proj)",
        "bias": "none", "base_model_name_or_path": "x", "layers_to_transform": null, "task_type": "CAUSAL_LM"});
    std::fs::write(directory.join("adapter_config.json"), config.to_string()).expect("a file can be written");
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (module, outputs) in
        [("model.layers.0.self_attn.q_a_proj", 32), ("model.layers.1.mlp.shared_experts.down_proj", 64)]
    {
        for (part, shape, step) in [("lora_A", [1, 64], 0.37_f32), ("lora_B", [outputs, 1], 0.11)] {
            let start = data.len();
            let count = shape[0] * shape[1];
            data.extend((0..count).flat_map(|i| ((i as f32 * step).sin() * size).to_le_bytes()));
            let name = format!("base_model.model.{module}.{part}.weight");
            header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
        }
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::write(directory.join("adapter_model.safetensors"), bytes).expect("a file can be written");
}
