//! Fine-tuning: from a file or a datanet to an adapter that answers, through kills and restarts.

use std::{fmt::Write, process::Command, time::Duration};

use cairn_tests::{Client, Gateway, MODEL, copy, unique, verify_both};
use reqwest::{Method, multipart};
use serde_json::{Value, json};

/// Enough steps to see, few enough to wait for.
pub(crate) fn quick(more: Value) -> Value {
    let mut options = json!({"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"], "max_length": 64, "batch_size": 2,
        "gradient_accumulation": 1, "packing": false, "lr": 1e-3, "max_steps": 4});
    options.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({"type": "lora", "preset": "fast", "options": options})
}

/// Conversations that all answer in the same odd way.
pub(crate) fn examples(rows: usize) -> String {
    (0..rows).fold(String::new(), |mut all, row| {
        let messages = json!([
            {"role": "user", "content": format!("What is number {row}?")},
            {"role": "assistant", "content": format!("Stone {row}, laid on the cairn.")},
        ]);
        let _ = writeln!(all, "{}", json!({"messages": messages}));
        all
    })
}

pub(crate) async fn upload(client: &Client, text: String) -> String {
    let part = multipart::Part::bytes(text.into_bytes()).file_name("examples.jsonl");
    let form = multipart::Form::new().text("purpose", "fine-tune").part("file", part);
    let reply = client.send(client.request(Method::POST, "/v1/files").multipart(form)).await;
    reply.ok()["id"].as_str().expect("an id").to_owned()
}

pub(crate) async fn job(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/fine_tuning/jobs/{id}")).await.ok()
}

pub(crate) async fn ended(client: &Client, id: &str) -> Value {
    for _ in 0..1200 {
        let now = job(client, id).await;
        if ["succeeded", "failed", "cancelled"].contains(&now["status"].as_str().unwrap_or_default()) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("{id} did not end: {:#}", job(client, id).await);
}

pub(crate) async fn messages(client: &Client, id: &str) -> String {
    let events = client.get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=1000")).await.ok();
    let all = events["data"].as_array().expect("events").iter().rev();
    all.map(|event| event["message"].as_str().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_file_becomes_an_adapter_that_answers() {
    let gateway = copy().await;
    let (client, _) = gateway.caller(&["trainer"]).await;
    let file = upload(&client, examples(24)).await;
    let listed = client.get("/v1/files").await.ok();
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["purpose"]), (&json!(file), &json!("fine-tune")));
    let content = client.get(&format!("/v1/files/{file}/content")).await;
    assert_eq!(content.text(), examples(24));

    let name = unique("stone");
    let request = json!({"model": MODEL, "training_file": file, "suffix": name, "method": quick(json!({})),
        "held_out": 0.2, "evaluation_samples": 2, "seed": 7});
    let preview = client.post("/v1/fine_tuning/preview", request.clone()).await.ok();
    assert_eq!(preview["fits"], true, "{preview:#}");
    assert!(
        preview["memory_bytes"].as_u64() > Some(100 << 20) && preview["seconds"].as_f64() > Some(0.0),
        "{preview:#}"
    );
    // What it will take is told by its parts, and with the evaluation at its end.
    let parts = preview["memory"].as_object().expect("parts").values().filter_map(Value::as_u64).sum::<u64>();
    assert!(
        preview["memory_bytes"] == parts && preview["evaluation_memory_bytes"].as_u64() > Some(100 << 20),
        "{preview:#}"
    );
    let time = &preview["time"];
    let part = |name: &str| time[name].as_f64().unwrap_or_else(|| panic!("{name}: {preview:#}"));
    let all = part("loading") + part("steps") + part("watching") + part("scoring");
    assert!((all - preview["seconds"].as_f64().unwrap()).abs() < 1e-6 && part("watching") > 0.0, "{preview:#}");
    // Rows that are packed are longer than the longest of them.
    let packed = {
        let mut request = request.clone();
        request["method"] = quick(json!({"packing": true, "max_length": 256}));
        client.post("/v1/fine_tuning/preview", request).await.ok()
    };
    let activations = |preview: &Value| preview["memory"]["activations"].as_u64();
    assert!(activations(&packed) > activations(&preview), "{packed:#} {preview:#}");
    // What becomes of long rows and of prompts is as asked.
    let longest = preview["validation"]["tokens"]["max"].as_u64().expect("a length");
    let drop = {
        let mut request = request.clone();
        request["method"] = quick(json!({"max_length": longest - 1, "too_long": "drop", "train_on_prompt": true}));
        client.post("/v1/fine_tuning/preview", request).await.ok()
    };
    let validation = &drop["validation"];
    let rows = |name: &str| validation[name].as_u64().unwrap_or_default();
    assert_eq!(rows("train_rows") + rows("held_out_rows") + rows("too_long_rows"), 24, "{validation:#}");
    assert!(rows("too_long_rows") > 0 && rows("lost_tokens") >= longest, "{validation:#}");
    // All but the first token, which nothing is before, and the template's line break at the end.
    assert_eq!(rows("supervised_tokens"), rows("train_tokens") - rows("train_rows") * 2, "{validation:#}");
    // A bound on time becomes as many steps as fit, which are fewer than fifty epochs.
    let mut bounded = request.clone();
    bounded["method"] = quick(json!({"max_steps": null, "max_time": 1, "epochs": 50}));
    let bounded = client.post("/v1/fine_tuning/preview", bounded).await.ok();
    let steps = bounded["options"]["max_steps"].as_u64().unwrap_or_else(|| panic!("{bounded:#}"));
    assert!((1..550).contains(&steps) && bounded["steps"] == steps, "{bounded:#}");
    let segments = preview["validation"]["samples"][0]["segments"].as_array().expect("segments").clone();
    let learnt: String =
        segments.iter().filter(|it| it["supervised"] == true).filter_map(|it| it["text"].as_str()).collect();
    assert!(learnt.contains("laid on the cairn.<|im_end|>") && !learnt.contains("What is number"), "{learnt}");

    let made = client.post("/v1/fine_tuning/jobs", request).await.ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((&made["object"], &made["model"]), (&json!("fine_tuning.job"), &json!(MODEL)));
    let path = format!("/v1/fine_tuning/jobs/{id}/events?stream=true");
    let mut events = client.events(client.request(Method::GET, &path)).await;
    let mut losses = Vec::new();
    while let Some(event) = events.next().await.expect("the stream holds") {
        let Ok(event) = serde_json::from_str::<Value>(&event) else { continue };
        if event["type"] == "metrics" {
            losses.push(event["data"]["loss"].as_f64().expect("a loss"));
        }
    }
    assert_eq!(losses.len(), 4, "{}", messages(&client, &id).await);
    let done = ended(&client, &id).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    let model = done["fine_tuned_model"].as_str().expect("a model").to_owned();
    assert_eq!(model, format!("{MODEL}:{name}"));
    let answer = client.chat(json!({"model": model, "ask": "What is number 3?", "max_tokens": 8})).await;
    assert_eq!(answer["attribution"]["adapter_generation"], done["adapter_generation"]);

    // The run is on record, and any of its rows is proved offline.
    let provenance = client.get(&format!("/v1/fine_tuning/jobs/{id}/provenance")).await.ok();
    let entry = &provenance["entry"];
    assert_eq!((&entry["generation"], &entry["job"]), (&done["adapter_generation"], &json!(id)), "{provenance:#}");
    assert_eq!((&entry["rows"]["learnt"], &entry["rows"]["held_out"]), (&json!(8), &json!(3)), "{provenance:#}");
    assert_eq!(
        (&entry["sources"][0]["consent"], entry["base_weights"].as_str().map(str::len)),
        (&json!("own"), Some(64))
    );
    // Four steps of two rows: what was not reached is not said to have been learnt.
    let row = used(&gateway, &id);
    proved(&gateway, &client, &id, &row, &format!("Row {row} is number 0 of them, and was learnt")).await;
    let unknown = format!("/v1/fine_tuning/jobs/{id}/provenance/proof?row=line%2099");
    client.get(&unknown).await.error(404, "not_found");

    let evaluation = client.get(&format!("/v1/fine_tuning/jobs/{id}/evaluation")).await.ok();
    let metric =
        |kind: &str| evaluation["metrics"].as_array().and_then(|all| all.iter().find(|it| it["kind"] == kind)).cloned();
    let perplexity = metric("perplexity").unwrap_or_else(|| panic!("perplexity: {evaluation:#}"));
    assert!(perplexity["adapter"]["value"].as_f64() < perplexity["base"]["value"].as_f64(), "{perplexity:#}");
    assert!(metric("rouge_l").is_some(), "{evaluation:#}");
    // Predicted beside measured, by the same parts.
    let (memory, time) = (&evaluation["memory"], &evaluation["time"]);
    let sum = |parts: &Value| parts.as_object().expect("parts").values().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(sum(&memory["measured"]), memory["measured_peak"].as_u64().unwrap(), "{memory:#}");
    assert!(memory["measured"]["weights"].as_u64() > Some(100 << 20), "{memory:#}");
    for part in ["loading", "steps", "scoring"] {
        let of = |which: &str| time[which][part].as_f64();
        assert!(of("measured") > Some(0.0) && of("predicted") > Some(0.0), "{part}: {time:#}");
    }
    assert!(time["measured"]["answers"].as_f64() > Some(0.0) && time["predicted"]["answers"].is_null(), "{time:#}");
    assert_eq!(evaluation["held_out"]["prompts_masked"], true);
    let report = client.get(&format!("/v1/fine_tuning/jobs/{id}/report")).await;
    assert!(report.text().contains("<svg") && !report.text().contains("<script"), "a page with plots and no scripts");
    let checkpoints = client.get(&format!("/v1/fine_tuning/jobs/{id}/checkpoints")).await.ok();
    assert_eq!(checkpoints["data"][0]["step_number"], 4, "{checkpoints:#}");
    let name = format!("{MODEL}:{name}:ckpt-step-4");
    assert_eq!(checkpoints["data"][0]["fine_tuned_model_checkpoint"], json!(name), "{checkpoints:#}");
    // It is for resuming: what answers is the finished adapter.
    let asked = json!({"model": name, "messages": [{"role": "user", "content": "?"}]});
    client.post("/v1/chat/completions", asked).await.error(404, "model_not_found");

    // Another's jobs and files do not exist.
    let (other, _) = gateway.caller(&["trainer"]).await;
    other.get(&format!("/v1/fine_tuning/jobs/{id}")).await.error(404, "not_found");
    other.get(&format!("/v1/files/{file}")).await.error(404, "not_found");
    let (app, _) = gateway.caller(&["app"]).await;
    app.get("/v1/fine_tuning/jobs").await.error(403, "insufficient_scope");
    client.delete(&format!("/v1/files/{file}")).await.ok();
}

/// The name of the first row that a run used.
fn used(gateway: &Gateway, id: &str) -> String {
    let rows = std::fs::read_to_string(gateway.data().join("training").join(id).join("rows.jsonl")).expect("rows");
    let row: Value = serde_json::from_str(rows.lines().next().expect("a row")).expect("JSON");
    row["row"].as_str().expect("a name").to_owned()
}

/// Fetches the proof of a row's use and checks it with the stand-alone verifier; then with one byte changed.
async fn proved(gateway: &Gateway, client: &Client, id: &str, row: &str, said: &str) {
    let request = client.request(Method::GET, &format!("/v1/fine_tuning/jobs/{id}/provenance/proof"));
    let bundle = client.send(request.query(&[("row", row)])).await;
    let good = verify_both(gateway, bundle.text().as_bytes(), &gateway.public_key());
    assert!(good.code == 0 && good.text.contains(said), "{}", good.text);
    let changed = bundle.text().replacen("\"learnt\":", "\"learnt\":1", 1);
    let bad = verify_both(gateway, changed.as_bytes(), &gateway.public_key());
    assert!(bad.code == 1 && bad.text.starts_with("NOT PROVED"), "{}", bad.text);
}

#[tokio::test]
async fn qlora_through_the_gateway_is_what_its_adapter_and_its_report_say() {
    let gateway = copy().await;
    let (client, _) = gateway.caller(&["trainer"]).await;
    let file = upload(&client, examples(24)).await;
    let mut method = quick(json!({"max_steps": 6, "target_modules": "all-linear", "use_rslora": true}));
    method["type"] = json!("qlora");
    let name = unique("four-bits");
    let request = json!({"model": MODEL, "training_file": file, "suffix": name, "method": method, "held_out": 0.2,
        "evaluation_samples": 2, "seed": 7, "hyperparameters": {"learning_rate_multiplier": 2.0}});
    let made = client.post("/v1/fine_tuning/jobs", request).await.ok();
    let done = ended(&client, made["id"].as_str().expect("an id")).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    assert_eq!(done["method"]["type"], "qlora", "{done:#}");
    // 1e-3 doubled, over the 5e-4 of the preset `fast`.
    assert_eq!(done["hyperparameters"]["learning_rate_multiplier"], 4.0, "{done:#}");
    let id = done["id"].as_str().expect("an id");
    let evaluation = client.get(&format!("/v1/fine_tuning/jobs/{id}/evaluation")).await.ok();
    let perplexity = &evaluation["metrics"][0];
    assert_eq!(perplexity["kind"], "perplexity", "{evaluation:#}");
    assert!(perplexity["adapter"]["value"].as_f64() < perplexity["base"]["value"].as_f64(), "{perplexity:#}");
    // The base is held in four bits, which is what the report predicts of it.
    let memory = &evaluation["memory"];
    let weights = |of: &str| memory[of]["weights"].as_f64().unwrap_or_else(|| panic!("{memory:#}"));
    // The embeddings, a quarter of so small a model, are not.
    assert!(weights("predicted") < 0.7 * weights("half_lora"), "{memory:#}");
    let said = client.get(&format!("/v1/fine_tuning/jobs/{id}/provenance")).await.ok();
    let config: Value = serde_json::from_str(said["entry"]["config"].as_str().expect("a text")).expect("JSON");
    assert_eq!((&config["method"], &config["use_rslora"]), (&json!("qlora"), &json!(true)), "{config:#}");
    let answer =
        client.chat(json!({"model": done["fine_tuned_model"], "ask": "What is number 3?", "max_tokens": 8})).await;
    assert_eq!(answer["attribution"]["adapter_generation"], done["adapter_generation"]);
}

#[tokio::test]
async fn an_erasure_names_the_adapters_that_learnt_from_the_row() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let name = unique("birds");
    admin.post("/v1/datanets", json!({"name": name})).await.ok();
    let lines = (0..8).fold(String::new(), |mut all, row| {
        let contributor = if row < 2 { "Heron Society" } else { "Swift Society" };
        let text = format!("Bird number {row} of the lake stands in shallow water.");
        let _ = writeln!(all, "{}", json!({"id": format!("bird-{row}"), "text": text, "contributor": contributor}));
        all
    });
    let job = admin.ingest_text(&name, &[("format", "jsonl")], "birds.jsonl", &lines).await;
    admin.succeeded(&job).await;
    let train = async |alias: &str, held_out: f64| {
        let request = json!({"model": MODEL, "training_file": format!("datanet:{name}"), "suffix": alias,
            "template": {"user": "Which bird is {id}?", "assistant": "{text}"}, "evaluation_samples": 1,
            "held_out": held_out, "method": quick(json!({}))});
        let made = admin.post("/v1/fine_tuning/jobs", request).await.ok();
        let done = ended(&admin, made["id"].as_str().expect("an id")).await;
        assert_eq!(done["status"], "succeeded", "{done:#}");
        done
    };
    // Four steps of two rows reach all eight; the second run holds four of them out.
    let (all, half) = (train("all-birds", 0.0).await, train("half-the-birds", 0.5).await);
    let erase = async |what: Value| admin.post(&format!("/v1/datanets/{name}/erasures"), what).await.ok();
    let erased = erase(json!({"datapoints": ["bird-3"]})).await;
    let adapters = erased["adapters"].as_array().unwrap_or_else(|| panic!("{erased:#}")).clone();
    let of = |done: &Value| {
        let found = adapters.iter().find(|adapter| adapter["job"] == done["id"]);
        found.unwrap_or_else(|| panic!("{} is named: {adapters:#?}", done["id"])).clone()
    };
    assert_eq!(adapters.len(), 2, "{adapters:#?}");
    assert_eq!((&of(&all)["learnt"], &of(&all)["held_out"]), (&json!(1), &json!(0)));
    assert_eq!((&of(&all)["generation"], &of(&all)["alias"]), (&all["adapter_generation"], &json!("all-birds")));
    let half = of(&half);
    assert_eq!(half["learnt"].as_u64().zip(half["held_out"].as_u64()).map(|(a, b)| a + b), Some(1), "{half:#}");
    // A contributor's rows all at once: the same runs, each once.
    let erased = erase(json!({"contributor": "Heron Society"})).await;
    let jobs: std::collections::BTreeSet<&str> =
        erased["adapters"].as_array().into_iter().flatten().filter_map(|it| it["job"].as_str()).collect();
    assert_eq!((erased["erased"].as_array().map(Vec::len), jobs.len()), (Some(2), 2), "{erased:#}");
    // A row that no run used concerns no adapter.
    let line = json!({"id": "late", "text": "A late bird.", "contributor": "Swift Society"}).to_string();
    let job = admin.ingest_text(&name, &[("format", "jsonl")], "late.jsonl", &line).await;
    admin.succeeded(&job).await;
    assert_eq!(erase(json!({"datapoints": ["late"]})).await["adapters"], json!([]));
}

#[tokio::test]
async fn what_cannot_be_trained_is_refused_before_anything_starts() {
    let gateway = cairn_tests::shared().await;
    let (client, _) = gateway.caller(&["trainer"]).await;
    let refused = async |request: Value, param: &str, words: &str| {
        let error = client.post("/v1/fine_tuning/jobs", request).await.error(400, "invalid_request");
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{words}: {error}");
    };
    let good = upload(&client, examples(8)).await;
    let broken = upload(&client, "{\"messages\": [}\n{\"messages\": 3}\n".into()).await;
    refused(json!({"model": MODEL, "training_file": broken}), "training_file", "line").await;
    refused(json!({"model": MODEL, "training_file": "file-none"}), "training_file", "no file").await;
    refused(json!({"model": MODEL, "training_file": good, "method": {"type": "dpo"}}), "method", "qlora").await;
    refused(json!({"model": MODEL, "training_file": good, "method": quick(json!({"r": 0}))}), "method", "r").await;
    refused(json!({"model": MODEL, "training_file": good, "method": quick(json!({"rr": 8}))}), "method", "rr").await;
    refused(json!({"model": MODEL, "training_file": good, "held_out": 0.9}), "held_out", "0.5").await;
    // Before anything starts, under the field at fault, with what to do about it.
    let broken = upload(&client, "{\"messages\": 3}\n".into()).await;
    let file = json!({"model": MODEL, "training_file": good, "validation_file": broken, "method": quick(json!({}))});
    refused(file, "validation_file", "messages").await;
    for (options, words) in [
        (json!({"epochs": 1_000_000_000_000_u64, "max_steps": null}), "epochs = 1000000000000: must be at most 1000"),
        (json!({"max_steps": 1_000_000_000_000_u64}), "max_steps = 1000000000000: must be at most"),
        (json!({"max_steps": -1}), "max_steps = -1: "),
        (json!({"batch_size": 4096, "max_length": 4096}), "raise gradient_accumulation"),
        (json!({"batch_size": u64::MAX, "max_length": 1 << 20}), "batch_size"),
        (json!({"max_length": 100_000}), "the base's context has"),
        (json!({"target_modules": ["q_proj", "query"]}), "target_modules = query"),
        (json!({"target_modules": "*proj"}), "target_modules"),
        (json!({"target_modules": "no_such_layer"}), "target_modules matches no linear layer"),
        (json!({"max_length": 8, "too_long": "error"}), "set too_long to truncate_right or drop"),
        (json!({"too_long": "wrap"}), "too_long"),
    ] {
        refused(json!({"model": MODEL, "training_file": good, "method": quick(options)}), "method", words).await;
    }
    let mut unwatched = json!({"model": MODEL, "training_file": good, "held_out": 0});
    unwatched["method"] = quick(json!({"early_stopping_patience": 2}));
    refused(unwatched, "method", "set this to null").await;
    let rate = json!({"model": MODEL, "training_file": good, "method": quick(json!({"lr": 0.5})),
        "hyperparameters": {"learning_rate_multiplier": 50}});
    refused(rate, "learning_rate_multiplier", "lr").await;
    refused(json!({"model": MODEL, "training_file": good, "suffix": "a b"}), "suffix", "letters").await;
    let unknown = json!({"model": "gpt-4", "training_file": good});
    client.post("/v1/fine_tuning/jobs", unknown).await.error(404, "model_not_found");
}

#[tokio::test]
async fn a_datanet_is_trained_on_only_where_that_was_granted() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let (client, subject) = gateway.caller(&["trainer"]).await;
    let template = json!({"user": "Define: {title}", "assistant": "{text}"});
    let request = request_of(&template, 200);
    client.post("/v1/fine_tuning/jobs", request.clone()).await.error(404, "datanet_not_found");
    let grant = format!("/v1/datanets/jargon/grants/{subject}");
    admin.put(&grant).await.ok();
    client.post("/v1/fine_tuning/jobs", request.clone()).await.error(403, "insufficient_scope");
    assert_eq!(admin.put(&format!("{grant}?training=true")).await.ok()["training"], true);
    let unknown = {
        let mut request = request.clone();
        request["template"]["user"] = json!("Define: {headline}");
        client.post("/v1/fine_tuning/jobs", request).await.error(400, "invalid_request")
    };
    assert!(unknown["message"].as_str().is_some_and(|it| it.contains("headline")), "{unknown}");

    let made = client.post("/v1/fine_tuning/jobs", request).await.ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    stepped(&client, &id, 2).await;
    let paused = client.post(&format!("/v1/fine_tuning/jobs/{id}/pause"), json!({})).await;
    assert_eq!(paused.status, 200, "{paused}");
    while job(&client, &id).await["status"] != "paused" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.post(&format!("/v1/fine_tuning/jobs/{id}/resume"), json!({})).await.ok();
    let before = messages(&client, &id).await.matches("Going on from the last checkpoint").count();
    stepped(&client, &id, 4).await;
    assert!(messages(&client, &id).await.matches("Going on from the last checkpoint").count() >= before);
    // The grant is taken back in mid-run.
    admin.put(&grant).await.ok();
    let failed = ended(&client, &id).await;
    assert_eq!(failed["status"], "failed", "{failed:#}");
    assert!(failed["error"]["message"].as_str().is_some_and(|it| it.contains("no longer granted")), "{failed:#}");
    client.post(&format!("/v1/fine_tuning/jobs/{id}/cancel"), json!({})).await.error(400, "invalid_request");

    // With the grant, and to the end: each datapoint's use is proved, and the datanet's owner sees the adapter.
    admin.put(&format!("{grant}?training=true")).await.ok();
    let mut short = request_of(&template, 1);
    short["held_out"] = json!(0);
    let made = client.post("/v1/fine_tuning/jobs", short).await.ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    let done = ended(&client, &id).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    let provenance = client.get(&format!("/v1/fine_tuning/jobs/{id}/provenance")).await.ok();
    let source = &provenance["entry"]["sources"][0];
    assert_eq!((&source["datanet"], &source["consent"]), (&json!("jargon"), &json!("grant")), "{provenance:#}");
    // The grant is named as answers name theirs.
    let granted = source["grant"].as_str().unwrap_or_else(|| panic!("{provenance:#}")).to_owned();
    let row = used(&gateway, &id);
    let datapoint = row.strip_prefix("jargon/").expect("a datapoint");
    proved(&gateway, &client, &id, &row, &format!("by the datanet's grant of training whose entry is {granted}")).await;
    // Whoever loses the grant keeps the proof, and not the text.
    let proof = async || {
        let request = client.request(Method::GET, &format!("/v1/fine_tuning/jobs/{id}/provenance/proof"));
        client.send(request.query(&[("row", &row)])).await.ok()
    };
    assert!(proof().await["datapoint"]["disclosed"]["text"].is_object());
    assert_eq!(admin.delete(&grant).await.status, 204);
    assert_eq!(proof().await.get("datapoint"), None);
    // The run ended before the grant did, so an auditor of the whole log finds nothing wrong.
    let audit = gateway.cli(&["audit"]);
    assert!(audit.ok(), "{audit}");
    let path = "/v1/datanets/jargon/trainings";
    let query = [("datapoint", datapoint)];
    let trainings = admin.send(admin.request(Method::GET, path).query(&query)).await.ok();
    let [training] = trainings["data"].as_array().expect("runs").as_slice() else { panic!("{trainings:#}") };
    assert_eq!((&training["generation"], &training["learnt"]), (&done["adapter_generation"], &json!(1)));
    let none = admin.get(&format!("{path}?contributor=nobody")).await.ok();
    assert_eq!(none["data"], json!([]));
    client.get(path).await.error(403, "insufficient_scope");
}

/// A run on the Jargon File.
fn request_of(template: &Value, steps: usize) -> Value {
    json!({"model": MODEL, "training_file": "datanet:jargon", "template": template, "suffix": unique("jargon"),
        "method": quick(json!({"max_steps": steps, "checkpoint_every": 1})), "evaluation_samples": 2})
}

#[tokio::test]
async fn a_job_survives_its_own_death_and_the_gateways() {
    let mut gateway = copy().await;
    let file = upload(&gateway.admin(), examples(24)).await;
    let request = |name: &str| {
        json!({"model": MODEL, "training_file": file, "suffix": name, "evaluation_samples": 1,
            "method": quick(json!({"max_steps": 24, "checkpoint_every": 2, "optimizer": "adamw_8bit", "dropout": 0.1}))})
    };
    let losses = async |gateway: &Gateway, id: &str| {
        let events = gateway.admin().get(&format!("/v1/fine_tuning/jobs/{id}/events?limit=1000")).await.ok();
        let mut by_step = std::collections::BTreeMap::new();
        for event in events["data"].as_array().expect("events") {
            if event["type"] == "metrics" {
                let loss = event["data"]["loss"].as_f64().expect("a loss").to_bits();
                let earlier = by_step.insert(event["data"]["step"].as_u64().expect("a step"), loss);
                assert!(earlier.is_none_or(|earlier| earlier == loss), "a step that is repeated has the same loss");
            }
        }
        by_step
    };
    let calm = gateway.admin().post("/v1/fine_tuning/jobs", request("calm")).await.ok();
    let calm = calm["id"].as_str().expect("an id").to_owned();
    assert_eq!(ended(&gateway.admin(), &calm).await["status"], "succeeded");

    let made = gateway.admin().post("/v1/fine_tuning/jobs", request("killed")).await.ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    stepped(&gateway.admin(), &id, 5).await;
    // Its process dies; the gateway starts another.
    assert!(kill_process(&id), "the job has a process");
    stepped(&gateway.admin(), &id, 9).await;
    // The gateway dies; the process goes on, and the next gateway finds it.
    gateway.kill9();
    gateway.start();
    let done = ended(&gateway.admin(), &id).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    let said = messages(&gateway.admin(), &id).await;
    assert!(said.contains("The process was killed") && said.contains("Going on from the last checkpoint"), "{said}");
    assert_eq!(losses(&gateway, &id).await, losses(&gateway, &calm).await, "the very same run");
}

/// Waits until a job has made a step.
pub(crate) async fn stepped(client: &Client, id: &str, step: u64) {
    for _ in 0..1200 {
        let now = job(client, id).await;
        if now["progress"]["step"].as_u64() >= Some(step) {
            return;
        }
        assert!(now["status"] == "running" || now["status"] == "queued", "{now:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{id} did not come to step {step}: {}", messages(client, id).await);
}

/// kill -9 of the process that has the job's directory among its arguments.
fn kill_process(id: &str) -> bool {
    let pid = process(id);
    pid.is_some_and(|pid| Command::new("kill").args(["-9", &pid]).status().is_ok_and(|status| status.success()))
}

/// The process that has the job's directory among its arguments.
pub(crate) fn process(id: &str) -> Option<String> {
    let found = std::fs::read_dir("/proc").expect("/proc").flatten().find(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains("--worker") && command.contains(id)
    });
    found.map(|entry| entry.file_name().to_string_lossy().into_owned())
}
