//! Adapters: uploaded, checked, published, rolled back, shared, and every change of them in the log.

use std::path::Path;

use cairn_tests::{Client, MODEL, Reply, copy, golden, pack, unique, verify_both};
use reqwest::{Method, multipart};
use serde_json::{Value, json};

/// An adapter's directory with some of its configuration changed, which makes another generation of it.
fn variant(of: &str, field: &str, value: Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let mut config: Value = serde_json::from_slice(&read(&golden(of).join("adapter_config.json"))).expect("JSON");
    config[field] = value;
    std::fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("a file can be written");
    std::fs::copy(golden(of).join("adapter_model.safetensors"), dir.path().join("adapter_model.safetensors"))
        .expect("a file can be copied");
    dir
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn change(client: &Client, name: &str, body: Value) -> Reply {
    client.send(client.request(Method::PUT, &format!("/v1/adapters/{MODEL}/{name}")).json(&body)).await
}

#[tokio::test]
async fn an_alias_is_published_tried_and_rolled_back_and_the_log_tells_of_it() {
    let gateway = copy().await;
    let log = || {
        let key = cairn_proof::VerifyingKey::load(&gateway.public_key()).expect("a key");
        cairn_proof::log::check(&gateway.data().join("log"), &key).expect("a sound log").adapters
    };
    let before = log();
    let push = |dir: &Path, rest: &[&str]| {
        let dir = dir.to_string_lossy().into_owned();
        gateway.cli(&[&["adapters", "push", &dir, "--base", MODEL, "--json"], rest].concat())
    };
    let dry = push(&golden("smollm2/adapter"), &["--dry-run"]).json();
    assert_eq!((&dry["generation"], &dry["report"]["accepted"]), (&Value::Null, &json!(true)), "{dry:#}");
    assert_eq!(log(), before, "a dry run changes nothing");

    let first = push(&golden("smollm2/adapter"), &["--name", "style"]).json();
    let second = push(variant("smollm2/adapter", "lora_alpha", json!(3)).path(), &[]).json();
    let (first, second) = (first["generation"].as_str().unwrap_or(""), second["generation"].as_str().unwrap_or(""));
    assert!(first.len() == 64 && second.len() == 64 && first != second, "{first} {second}");
    let again = push(&golden("smollm2/adapter"), &[]).json();
    assert_eq!((&again["generation"], &again["created"]), (&json!(first), &json!(false)));

    let admin = gateway.admin();
    let canary = change(&admin, "style", json!({"canary": {"generation": &second[..12], "percent": 10}})).await.ok();
    assert_eq!(canary["canary"], json!({"generation": second, "percent": 10}));
    let published = gateway.cli(&["adapters", "publish", MODEL, "style", &second[..12], "--json"]).json();
    assert_eq!((&published["generation"], &published["canary"]), (&json!(second), &Value::Null));
    let back = gateway.cli(&["adapters", "rollback", MODEL, "style", "--json"]).json();
    assert_eq!(back["generation"], first);
    let history = admin.get(&format!("/v1/adapters/{MODEL}/style/history")).await.ok();
    let steps: Vec<_> = history["data"].as_array().expect("steps").iter().map(|it| &it["generation"]).collect();
    assert_eq!(steps, [first, second, first]);
    // Two uploads, two publishes, a canary and a rollback.
    assert_eq!(log(), before + 6);

    let delete = async |generation: &str| admin.delete(&format!("/v1/adapters/{MODEL}/generations/{generation}")).await;
    delete(first).await.error(409, "already_exists");
    assert_eq!(delete(second).await.status, 204);
    change(&admin, "style", json!({"generation": second})).await.error(404, "adapter_not_found");
    change(&admin, "style", json!({"generation": first, "rollback": true})).await.error(400, "invalid_request");
    change(&admin, "none", json!({"rollback": true})).await.error(404, "adapter_not_found");
}

#[tokio::test]
async fn an_adapter_is_seen_only_by_those_it_is_shared_with() {
    let gateway = cairn_tests::shared().await;
    let (owner, _) = gateway.caller(&["trainer"]).await;
    let (app, subject) = gateway.caller(&["app"]).await;
    let (other, _) = gateway.caller(&["trainer"]).await;
    let name = unique("style");
    let upload = |client: &Client, bytes: Vec<u8>| {
        let form = multipart::Form::new().part("file", multipart::Part::bytes(bytes).file_name("adapter.tar"));
        client.request(Method::POST, "/v1/adapters").query(&[("base", MODEL), ("alias", &name)]).multipart(form)
    };
    let tar = pack(&golden("smollm2/adapter"));
    app.send(upload(&app, tar.clone())).await.error(403, "insufficient_scope");
    let made = owner.send(upload(&owner, tar.clone())).await;
    assert_eq!(made.status, 201, "{made}");
    let made = made.ok();
    assert_eq!(made["alias"]["visibility"], "private");

    let path = format!("/v1/adapters/{MODEL}/{name}");
    let seen = async |client: &Client| client.get(&path).await.status;
    assert_eq!((seen(&owner).await, seen(&app).await, seen(&other).await), (200, 404, 404));
    other.send(upload(&other, tar)).await.error(409, "already_exists");
    // What was refused was not stored either: the other has no such generation.
    let generation = made["generation"].as_str().expect("a generation");
    let path_of = format!("/v1/adapters/{MODEL}/generations/{generation}");
    other.delete(&path_of).await.error(404, "adapter_not_found");
    change(&other, &name, json!({"visibility": "public"})).await.error(404, "adapter_not_found");
    // What an administrator adds under the name is its owner's.
    let admin = gateway.admin();
    let next = variant("smollm2/adapter", "lora_alpha", json!(3));
    let added = admin.send(upload(&admin, pack(next.path()))).await.ok();
    assert_ne!(added["generation"], made["generation"]);
    assert_eq!(added["alias"]["owner"], made["alias"]["owner"], "{added}");
    assert_eq!(owner.delete(&path_of).await.status, 204, "the earlier one serves nobody any more");
    change(&owner, &name, json!({"visibility": "granted"})).await.ok();
    assert_eq!(owner.put(&format!("{path}/grants/{subject}")).await.status, 204);
    assert_eq!((seen(&app).await, seen(&other).await), (200, 404));
    let listed = app.get(&format!("/v1/adapters?base={MODEL}&limit=200")).await.ok();
    assert!(listed["data"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == name.as_str())), "{listed}");
    assert_eq!(owner.delete(&format!("{path}/grants/{subject}")).await.status, 204);
    assert_eq!(seen(&app).await, 404);
    change(&owner, &name, json!({"visibility": "public"})).await.ok();
    assert_eq!((seen(&app).await, seen(&other).await), (200, 200));
    change(&other, &name, json!({"visibility": "private"})).await.error(403, "insufficient_scope");
}

#[tokio::test]
async fn what_does_not_fit_or_is_not_safe_is_refused_with_the_reason() {
    let gateway = cairn_tests::shared().await;
    let push = |dir: &Path| {
        let dir = dir.to_string_lossy().into_owned();
        gateway.cli(&["adapters", "push", &dir, "--base", MODEL])
    };
    let other = push(&golden("peft/llama/qv"));
    assert!(!other.ok() && other.stderr.contains("[64, 64] in the adapter and [576, 576] in the base"), "{other}");
    assert!(other.stderr.contains("more") && other.stderr.len() < 1500, "the reasons are summed up: {other}");
    let rank = variant("smollm2/adapter", "r", json!(4));
    let rank = push(rank.path());
    assert!(!rank.ok() && rank.stderr.contains("lora_A"), "{rank}");
    let pissa = variant("smollm2/adapter", "init_lora_weights", json!("pissa"));
    let pissa = push(pissa.path());
    assert!(!pissa.ok() && pissa.stderr.contains("pissa"), "{pissa}");
    let pickle = variant("smollm2/adapter", "r", json!(2));
    std::fs::rename(pickle.path().join("adapter_model.safetensors"), pickle.path().join("adapter_model.bin"))
        .expect("a file can be renamed");
    let pickle = push(pickle.path());
    assert!(!pickle.ok() && pickle.stderr.contains("safetensors"), "{pickle}");
    let unknown = gateway.cli(&["adapters", "push", "/", "--base", MODEL]);
    assert!(!unknown.ok() && unknown.stderr.contains("adapter_config.json is missing"), "{unknown}");
    let base = golden("smollm2/adapter");
    let base = gateway.cli(&["adapters", "push", &base.to_string_lossy(), "--base", "all-minilm-l6-v2"]);
    assert!(!base.ok() && base.stderr.contains("takes no adapters"), "{base}");
}

#[tokio::test]
async fn an_adapter_answers_as_the_reference_does_and_the_record_names_its_generation() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let dir = golden("smollm2/adapter").to_string_lossy().into_owned();
    let pushed = gateway.cli(&["adapters", "push", &dir, "--base", MODEL, "--name", "style", "--json"]).json();
    let generation = pushed["generation"].as_str().expect("a generation");
    let ask = |fields: Value| {
        let mut body = json!({"messages": [{"role": "user", "content": "What is a B-tree?"}], "max_tokens": 24});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        admin.chat(body)
    };
    let said = |answer: &Value| answer["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
    let base = ask(json!({"model": MODEL})).await;
    assert_eq!(base["attribution"].get("adapter_generation"), None);
    let named = ask(json!({"model": format!("{MODEL}:style")})).await;
    assert_eq!(named["attribution"]["adapter_generation"], generation, "{named:#}");
    let pinned = ask(json!({"model": MODEL, "adapter": format!("style@{}", &generation[..12])})).await;
    assert_eq!(said(&named), said(&pinned));
    let weighted = ask(json!({"model": MODEL, "adapters": [{"name": "style", "weight": 1.0}]})).await;
    assert_eq!(said(&named), said(&weighted));
    assert_ne!(said(&base), said(&named), "the adapter changes what is said");
    // An adapter without effect says what the base says.
    let none = ask(json!({"model": MODEL, "adapters": [{"name": "style", "weight": 0.0}]})).await;
    assert_eq!(said(&base), said(&none));
    // One generation at weight 1 is all there is to say; anything else is on record with its weights.
    assert_eq!(weighted["attribution"].get("adapters"), None);
    assert_eq!(none["attribution"]["adapters"], json!([{"generation": generation, "weight": 0.0}]));
    let proof = admin.proof(none["id"].as_str().expect("an id")).await;
    let verdict = verify_both(&gateway, &proof, &gateway.public_key());
    assert!(
        verdict.code == 0 && verdict.text.contains(&format!("{generation} at weight 0.000000")),
        "{}",
        verdict.text
    );

    let id = named["id"].as_str().expect("an id");
    let record = admin.get(&format!("/v1/attributions/{id}")).await.ok();
    assert!(record.to_string().contains(generation), "{record:#}");
    let bundle = gateway.scratch().join("adapter.cairn.json");
    std::fs::write(&bundle, admin.proof(id).await).expect("a file can be written");
    let proved = gateway.cli(&["verify", &bundle.to_string_lossy()]);
    assert!(proved.ok() && proved.stdout.contains(generation), "{proved}");

    // Republished while they are asked: each answer is what the generation that it names says.
    let other = variant("smollm2/adapter", "lora_alpha", json!(40));
    let other = other.path().to_string_lossy().into_owned();
    let other = gateway.cli(&["adapters", "push", &other, "--base", MODEL, "--json"]).json();
    let other = other["generation"].as_str().expect("a generation");
    change(&admin, "style", json!({"generation": other})).await.ok();
    let changed = said(&ask(json!({"model": format!("{MODEL}:style")})).await);
    assert_ne!(changed, said(&named));
    let switch = async {
        for turn in 0..6 {
            change(&admin, "style", json!({"generation": if turn % 2 == 0 { generation } else { other }})).await.ok();
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
    };
    let model = format!("{MODEL}:style");
    let asks = futures::future::join_all((0..8).map(|_| ask(json!({"model": model}))));
    let (answers, ()) = tokio::join!(asks, switch);
    for answer in answers {
        let of = answer["attribution"]["adapter_generation"].as_str().expect("a generation");
        assert_eq!(said(&answer), if of == generation { said(&named) } else { changed.clone() }, "of {of}");
    }

    for unknown in [format!("{MODEL}:nobody"), format!("{MODEL}:style@ffffffffffff"), "nobody:style".to_owned()] {
        let body = json!({"model": unknown, "messages": [{"role": "user", "content": "x"}]});
        admin.post("/v1/chat/completions", body).await.error(404, "model_not_found");
    }
    let both = json!({"model": model, "adapter": "style", "messages": [{"role": "user", "content": "x"}]});
    admin.post("/v1/chat/completions", both).await.error(400, "invalid_request");
    let asked = gateway.cli(&["ask", "--adapter", "style", "--model", MODEL, "--max-tokens", "4", "B-tree?"]);
    assert!(asked.ok(), "{asked}");
}
