//! Engines: the adapter lane, mistral.rs, and what each answers; tools and formats; vLLM's endpoints; adapters that are
//! swapped, evicted and reloaded under load.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use cairn_tests::{Client, MODEL, Setup, copy, copy_with, golden, shared, unique};
use reqwest::Method;
use serde_json::{Value, json};

fn said(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

/// The golden adapter with another alpha, which makes another generation of it.
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
async fn answers_follow_a_schema_and_functions_are_called() {
    let client = shared().await.admin();
    let schema = json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "year": {"type": "integer"}},
        "required": ["name", "year"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": true}});
    let answer =
        client.chat(json!({"ask": "Who wrote TeX, and when?", "max_tokens": 60, "response_format": format})).await;
    let object: Value = serde_json::from_str(&said(&answer)).unwrap_or_else(|error| panic!("{error}: {answer:#}"));
    assert!(object["name"].is_string() && object["year"].is_i64(), "{object}");

    let parameters =
        json!({"type": "object", "properties": {"city": {"enum": ["Paris", "Oslo"]}}, "required": ["city"]});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}]);
    let request =
        json!({"ask": "How is the weather in Oslo?", "max_tokens": 60, "tools": tools, "tool_choice": "required"});
    let answer = client.chat(request.clone()).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer:#}");
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!((&call["type"], &call["function"]["name"]), (&json!("function"), &json!("weather")));
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().expect("text")).expect("JSON");
    assert!(["Paris", "Oslo"].contains(&arguments["city"].as_str().unwrap_or_default()), "{arguments}");
    // The record has the call, or what was proved would not be what was sent.
    let record = client.get(&format!("/v1/attributions/{}", answer["id"].as_str().expect("an id"))).await.ok();
    assert_eq!(record["response"]["choices"][0]["message"]["tool_calls"][0]["id"], call["id"]);

    let streamed = client.chat_streamed(request).await;
    let deltas =
        streamed.chunks.iter().flat_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array().cloned());
    let calls: Vec<Value> = deltas.flatten().collect();
    assert_eq!((calls.len(), &calls[0]["index"]), (1, &json!(0)), "{calls:?}");
    assert_eq!(calls[0]["function"], call["function"]);

    let messages = json!([
        {"role": "user", "content": "How is the weather in Oslo?"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "Rain, 4 degrees"},
    ]);
    let after =
        client.chat(json!({"messages": messages, "max_tokens": 8, "tools": tools, "tool_choice": "none"})).await;
    assert!(!said(&after).is_empty());
    let post = async |body: Value| client.post("/v1/chat/completions", body).await;
    let with = |choice: Value| json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice});
    let named = with(json!({"type": "function", "function": {"name": "time"}}));
    assert_eq!(post(named).await.error(400, "invalid_request")["param"], "tool_choice");
    assert_eq!(post(with(json!("sometimes"))).await.error(400, "invalid_request")["param"], "tool_choice");
}

#[tokio::test]
async fn both_engines_say_the_same_and_the_list_tells_which_answers() {
    let engine = async |client: &Client| client.get(&format!("/v1/models/{MODEL}")).await.ok()["engine"].clone();
    let ask = json!({"ask": "What is a B-tree?", "max_tokens": 24});
    let lane = shared().await.admin();
    assert_eq!(engine(&lane).await, "lane");
    let metrics = lane.get("/metrics").await.text();
    assert!(metrics.contains(&format!("cairn_lane_generated_tokens{{model=\"{MODEL}\"}}")), "{metrics}");
    let gateway = Setup::new().set("models.engine", "mistralrs").start();
    let other = gateway.admin();
    assert_eq!(engine(&other).await, "mistralrs");
    assert_eq!(said(&lane.chat(ask.clone()).await), said(&other.chat(ask).await));
    // What only the lane can do is done there.
    let json =
        other.chat(json!({"ask": "A fact?", "max_tokens": 40, "response_format": {"type": "json_object"}})).await;
    assert!(said(&json).trim_start().starts_with('{'), "{json:#}");
}

#[tokio::test]
async fn vllms_clients_load_name_and_unload_adapters() {
    let import = tempfile::tempdir().expect("a temporary directory");
    let gateway =
        copy_with(Setup::new().set("adapters.import_dir", import.path().to_string_lossy().into_owned())).await;
    let admin = gateway.admin();
    let name = unique("style");
    std::fs::create_dir(import.path().join("style")).expect("a directory can be made");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(golden("smollm2/adapter").join(file), import.path().join("style").join(file)).expect("a copy");
    }
    let load =
        async |path: &str| admin.post("/v1/load_lora_adapter", json!({"lora_name": name, "lora_path": path})).await;
    for outside in ["../", "/etc", "none", "style/../.."] {
        assert_eq!(load(outside).await.error(400, "invalid_request")["param"], "lora_path", "{outside}");
    }
    assert_eq!(load("style").await.status, 200);
    assert_eq!(load("style").await.error(400, "invalid_request")["param"], "lora_name");

    let list = admin.get("/v1/models").await.ok();
    let id = format!("{MODEL}:{name}");
    let listed = list["data"].as_array().and_then(|all| all.iter().find(|it| it["id"] == id.as_str())).cloned();
    let listed = listed.unwrap_or_else(|| panic!("{id} is listed: {list:#}"));
    assert_eq!((&listed["parent"], &listed["kind"]), (&json!(MODEL), &json!("adapter")));
    assert_eq!(admin.get(&format!("/v1/models/{id}")).await.ok(), listed);
    // vLLM's clients name the adapter alone.
    let ask = async |model: &str| admin.chat(json!({"model": model, "ask": "Hello!", "max_tokens": 6})).await;
    let (alone, full) = (ask(&name).await, ask(&id).await);
    assert_eq!(said(&alone), said(&full));
    assert_eq!(alone["attribution"]["adapter_generation"], listed["weights"]);
    let (stranger, _) = gateway.caller(&["app"]).await;
    let body = json!({"model": name, "messages": [{"role": "user", "content": "x"}]});
    stranger.post("/v1/chat/completions", body.clone()).await.error(404, "model_not_found");

    assert_eq!(admin.post("/v1/unload_lora_adapter", json!({"lora_name": name})).await.status, 200);
    admin.post("/v1/unload_lora_adapter", json!({"lora_name": name})).await.error(404, "adapter_not_found");
    admin.post("/v1/chat/completions", body).await.error(404, "model_not_found");
}

/// Sixteen clients for a minute: aliases change under them, and memory holds one adapter, so that each is evicted and read
/// again all the time. Every answer is what the generation that it names says alone.
#[tokio::test]
async fn answers_are_those_of_their_generation_while_everything_changes() {
    let gateway = copy_with(Setup::new().set("adapters.resident_mib", "1")).await;
    let admin = gateway.admin();
    let questions = ["What is a B-tree?", "Name three colours."];
    let mut alone: BTreeMap<(String, usize), String> = BTreeMap::new();
    let mut generations = Vec::new();
    for alpha in [2, 8, 16, 24, 40, 64] {
        let dir = variant(alpha);
        let pushed =
            gateway.cli(&["adapters", "push", &dir.path().to_string_lossy(), "--base", MODEL, "--json"]).json();
        let generation = pushed["generation"].as_str().expect("a generation").to_owned();
        publish(&admin, "probe", &generation).await;
        for (which, question) in questions.iter().enumerate() {
            let body = json!({"model": format!("{MODEL}:probe"), "ask": question, "max_tokens": 12});
            alone.insert((generation.clone(), which), said(&admin.chat(body).await));
        }
        generations.push(generation);
    }
    let different: std::collections::BTreeSet<&String> = alone.values().collect();
    assert!(different.len() > 4, "the generations say different things: {different:?}");
    for (alias, generation) in generations.iter().take(3).enumerate() {
        publish(&admin, &format!("a{alias}"), generation).await;
    }
    let until = Instant::now() + MINUTE;
    let client = |number: usize| {
        let (admin, alone) = (&admin, &alone);
        async move {
            let mut answered = 0;
            while Instant::now() < until {
                let which = (number + answered) % 2;
                let model = format!("{MODEL}:a{}", (number * 7 + answered) % 3);
                let answer = admin.chat(json!({"model": model, "ask": questions[which], "max_tokens": 12})).await;
                let of = answer["attribution"]["adapter_generation"].as_str().expect("a generation").to_owned();
                assert_eq!(Some(&said(&answer)), alone.get(&(of.clone(), which)), "of {of}");
                answered += 1;
            }
            answered
        }
    };
    let changing = async {
        let mut changes = 0;
        while Instant::now() < until {
            publish(&admin, &format!("a{}", changes % 3), &generations[(changes * 5 + 1) % 6]).await;
            changes += 1;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        changes
    };
    let (answered, changes) = tokio::join!(futures::future::join_all((0..16).map(client)), changing);
    let attached = admin.get("/metrics").await.text();
    let attached = attached.lines().find_map(|line| line.strip_prefix("cairn_adapter_attach_seconds_count "));
    let attached: usize = attached.expect("a count").parse().expect("a number");
    let total: usize = answered.iter().sum();
    assert!(
        total > 100 && changes > 50 && answered.iter().all(|of_one| *of_one > 2),
        "{answered:?}, {changes} changes"
    );
    assert!(attached > 4 * generations.len(), "adapters were evicted and read again: {attached} times");
}

async fn publish(admin: &Client, alias: &str, generation: &str) {
    let request = admin.request(Method::PUT, &format!("/v1/adapters/{MODEL}/{alias}"));
    admin.send(request.json(&json!({"generation": generation}))).await.ok();
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_alias_is_old_or_new_after_a_kill() {
    let mut gateway = copy().await;
    let mut generations = Vec::new();
    for alpha in [4, 32] {
        let dir = variant(alpha);
        let pushed =
            gateway.cli(&["adapters", "push", &dir.path().to_string_lossy(), "--base", MODEL, "--json"]).json();
        generations.push(pushed["generation"].as_str().expect("a generation").to_owned());
    }
    publish(&gateway.admin(), "style", &generations[0]).await;
    for round in 0..4_u64 {
        let admin = gateway.admin();
        let publishing = async {
            for turn in 0.. {
                let body = json!({"generation": generations[turn % 2]});
                let request = admin.request(Method::PUT, &format!("/v1/adapters/{MODEL}/style")).json(&body);
                if request.send().await.is_err() {
                    return;
                }
            }
        };
        let kill = async {
            tokio::time::sleep(Duration::from_millis(40 + 37 * round)).await;
            gateway.kill9();
        };
        tokio::join!(publishing, kill);
        gateway.start();
        let now = gateway.admin().get(&format!("/v1/adapters/{MODEL}/style")).await.ok();
        let now = now["generation"].as_str().expect("a generation").to_owned();
        assert!(generations.contains(&now), "round {round}: {now}");
        let answer =
            gateway.admin().chat(json!({"model": format!("{MODEL}:style"), "ask": "Hello!", "max_tokens": 2})).await;
        assert_eq!(answer["attribution"]["adapter_generation"], now.as_str(), "round {round}");
        let key = cairn_proof::VerifyingKey::load(&gateway.public_key()).expect("a key");
        cairn_proof::log::check(&gateway.data().join("log"), &key).expect("a sound log");
    }
}

/// DeepSeek's family is outside the lane: the adapter is merged into an instance of its own.
#[tokio::test]
async fn a_family_outside_the_lane_answers_with_its_adapter_merged() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let base = golden("peft/deepseek-v3/base");
    let (a, b): (Vec<f32>, Vec<f32>) = (wave(64, 0.37), wave(64, 0.11));
    // B A, times alpha / r = 16.
    let modules = [("model.layers.0.self_attn.q_a_proj", 32), ("model.layers.1.mlp.shared_experts.down_proj", 64)];
    let merged = scratch.path().join("merged");
    std::fs::create_dir(&merged).expect("a directory can be made");
    for entry in std::fs::read_dir(&base).expect("golden files") {
        let path = entry.expect("a file").path();
        std::fs::copy(&path, merged.join(path.file_name().expect("a name"))).expect("a copy");
    }
    let change = |module: &str, weights: &mut [f32]| {
        if modules.iter().any(|(name, _)| *name == module) {
            for (row, b) in weights.chunks_mut(64).zip(&b) {
                row.iter_mut().zip(&a).for_each(|(w, a)| *w += 16.0 * b * a);
            }
        }
    };
    rewrite(&merged.join("model.safetensors"), change);
    let adapter = scratch.path().join("adapter");
    std::fs::create_dir(&adapter).expect("a directory can be made");
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 16, "target_modules": r".*(0\.self_attn\.q_a_proj|1\.mlp\.shared_experts\.down_proj)",
        "bias": "none", "base_model_name_or_path": "x",
        "layers_to_transform": null, "task_type": "CAUSAL_LM"});
    std::fs::write(adapter.join("adapter_config.json"), config.to_string()).expect("a file can be written");
    let tensors = modules.iter().flat_map(|(module, outputs)| {
        let name = |part: &str| format!("base_model.model.{module}.{part}.weight");
        [(name("lora_A"), vec![1, 64], a.clone()), (name("lora_B"), vec![*outputs, 1], b[..*outputs].to_vec())]
    });
    write_safetensors(&adapter.join("adapter_model.safetensors"), tensors.collect());

    let gateway = copy_with(Setup::new().set("models.dir", models_with_minilm(scratch.path()))).await;
    for (dir, name) in [(&base, "deepseek"), (&merged, "whole")] {
        let pulled = gateway.cli(&["pull", &dir.to_string_lossy(), "--name", name]);
        assert!(pulled.ok(), "{pulled}");
    }
    let admin = gateway.admin();
    let pushed = gateway.cli(&["adapters", "push", &adapter.to_string_lossy(), "--base", "deepseek", "--name", "w"]);
    assert!(pushed.ok(), "{pushed}");
    let ask = async |model: &str| {
        let body = json!({"model": model, "prompt": "a b c", "max_tokens": 12, "temperature": 0});
        let answer = admin.post("/v1/completions", body).await.ok();
        (answer["choices"][0]["text"].clone(), answer["attribution"]["adapter_generation"].clone())
    };
    let (plain, with, whole) = (ask("deepseek").await, ask("deepseek:w").await, ask("whole").await);
    assert_ne!(plain.0, with.0, "the adapter changes what is said");
    assert_eq!(with.0, whole.0, "attached is merged");
    assert!(with.1.is_string() && plain.1.is_null(), "{with:?} {plain:?}");
    let tools = json!({"model": "deepseek", "messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_object"}});
    admin.post("/v1/chat/completions", tools).await.error(400, "unsupported_parameter");
}

/// A models directory with the embedding model and the small one, for models to be added.
fn models_with_minilm(scratch: &Path) -> String {
    let dir = scratch.join("models");
    std::fs::create_dir(&dir).expect("a directory can be made");
    for model in [MODEL, cairn_tests::EMBEDDING] {
        std::os::unix::fs::symlink(cairn_tests::models_dir().join(model), dir.join(model)).expect("a link");
    }
    dir.to_string_lossy().into_owned()
}

fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step).sin() * 0.2).collect()
}

/// Changes the float32 tensors of a file in place; the header stays as it is.
fn rewrite(path: &Path, change: impl Fn(&str, &mut [f32])) {
    let mut bytes = std::fs::read(path).expect("a file");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    for (name, tensor) in header {
        let (Some(module), Some(at)) = (name.strip_suffix(".weight"), tensor["data_offsets"].as_array()) else {
            continue;
        };
        let at = |i: usize| 8 + length + at[i].as_u64().expect("an offset") as usize;
        let range = at(0)..at(1);
        let mut weights: Vec<f32> = bytes[range.clone()]
            .chunks(4)
            .map(|four| f32::from_le_bytes(four.try_into().expect("four bytes")))
            .collect();
        change(module, &mut weights);
        bytes[range].copy_from_slice(&weights.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>());
    }
    std::fs::write(path, bytes).expect("a file can be written");
}

fn write_safetensors(path: &Path, tensors: Vec<(String, Vec<usize>, Vec<f32>)>) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    std::fs::write(path, bytes).expect("a file can be written");
}
