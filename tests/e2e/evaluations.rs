//! A published adapter beside its base, on demand: over HTTP, in a process of its own, by right of a grant.

use cairn_tests::{Client, MODEL, copy, unique};
use reqwest::Method;
use serde_json::{Value, json};

use crate::training::{ended as trained, examples, quick, upload};

async fn evaluation(client: &Client, id: &str) -> Value {
    client.get(&format!("/v1/evaluations/{id}")).await.ok()
}

/// Follows an evaluation's events to their end; what they said.
async fn followed(client: &Client, id: &str) -> Vec<Value> {
    let path = format!("/v1/evaluations/{id}/events?stream=true");
    let mut events = client.events(client.request(Method::GET, &path)).await;
    let mut all = Vec::new();
    while let Some(event) = events.next().await.expect("the stream holds") {
        all.extend(serde_json::from_str::<Value>(&event));
    }
    all
}

#[tokio::test]
async fn an_adapter_is_evaluated_again_on_other_rows() {
    let mut gateway = copy().await;
    let (client, subject) = gateway.caller(&["trainer"]).await;
    let (file, held) = (upload(&client, examples(24)).await, upload(&client, examples(48)).await);
    let name = unique("again");
    let request = json!({"model": MODEL, "training_file": file, "suffix": name, "method": quick(json!({"max_steps": 8})),
        "held_out": 0});
    let made = client.post("/v1/fine_tuning/jobs", request).await.ok();
    let done = trained(&client, made["id"].as_str().expect("an id")).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");

    // What cannot be evaluated is refused before anything starts, and leaves nothing.
    let model = format!("{MODEL}:{name}");
    let refused = async |fields: Value, status: u16, code: &str, words: &str| {
        let mut request = json!({"model": model, "evaluation_file": held});
        request.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let error = client.post("/v1/evaluations", request).await.error(status, code);
        assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{words}: {error}");
    };
    refused(json!({"model": format!("{MODEL}:nothing")}), 404, "model_not_found", "nothing").await;
    refused(json!({"evaluation_file": "file-none"}), 400, "invalid_request", "no file").await;
    refused(json!({"max_length": 1}), 400, "invalid_request", "max_length").await;
    refused(json!({"max_rows": 0}), 400, "invalid_request", "at least 1").await;
    refused(json!({"template": {"user": "a", "assistant": "b"}}), 400, "invalid_request", "datanets").await;
    refused(json!({"evaluation_file": "datanet:foldoc"}), 400, "invalid_request", "template").await;
    let broken = upload(&client, "{\"messages\": 3}\n".into()).await;
    refused(json!({"evaluation_file": broken}), 400, "invalid_request", "line").await;
    assert_eq!(client.get("/v1/evaluations").await.ok()["data"], json!([]));
    assert_eq!(std::fs::read_dir(gateway.data().join("evaluations")).map_or(0, Iterator::count), 0);

    let request = json!({"model": model, "evaluation_file": held, "max_rows": 12, "evaluation_samples": 2,
        "metadata": {"why": "a second look"}});
    let made = client.post("/v1/evaluations", request.clone()).await.ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((&made["object"], &made["rows"]), (&json!("evaluation"), &json!(12)), "{made:#}");
    assert_eq!(made["adapter_generation"], done["adapter_generation"], "{made:#}");
    let events = followed(&client, &id).await;
    assert!(events.iter().any(|event| event["data"]["event"] == "progress"), "{events:#?}");
    assert!(events.iter().all(|event| event["object"] == "evaluation.event"), "{events:#?}");
    let ended = evaluation(&client, &id).await;
    assert_eq!(
        (&ended["status"], &ended["metadata"]["why"]),
        (&json!("succeeded"), &json!("a second look")),
        "{ended:#}"
    );
    let result = client.get(&format!("/v1/evaluations/{id}/result")).await.ok();
    assert_eq!((&result["held_out"]["rows"], &result["held_out"]["generated"]), (&json!(12), &json!(2)), "{result:#}");
    let perplexity = &result["metrics"][0];
    assert!(perplexity["adapter"]["value"].as_f64() < perplexity["base"]["value"].as_f64(), "{perplexity:#}");
    assert!(result["memory"]["evaluation_peak"].as_u64() > Some(50 << 20), "{:#}", result["memory"]);
    let report = client.get(&format!("/v1/evaluations/{id}/report")).await.text();
    assert!(report.contains("<svg") && !report.contains("<script") && report.contains(&model), "{report}");

    // The base alone has one side of the same figures.
    let alone = json!({"model": MODEL, "evaluation_file": held, "max_rows": 12, "evaluation_samples": 1});
    let made = client.post("/v1/evaluations", alone).await.ok();
    let alone = made["id"].as_str().expect("an id").to_owned();
    assert!(made["adapter_generation"].is_null(), "{made:#}");
    followed(&client, &alone).await;
    let of_base = client.get(&format!("/v1/evaluations/{alone}/result")).await.ok();
    assert_eq!(of_base["metrics"][0]["base"]["value"], perplexity["base"]["value"], "{of_base:#}");
    assert!(of_base["metrics"][0]["adapter"].is_null() && of_base["samples"][0]["adapter"].is_null(), "{of_base:#}");

    // A restart forgets nothing, and another's evaluations do not exist.
    gateway.restart();
    let client = gateway.client(client.credential());
    assert_eq!(evaluation(&client, &id).await["status"], "succeeded");
    let (other, _) = gateway.caller(&["trainer"]).await;
    other.get(&format!("/v1/evaluations/{id}")).await.error(404, "not_found");
    other.get(&format!("/v1/evaluations/{id}/report")).await.error(404, "not_found");
    let (app, _) = gateway.caller(&["app"]).await;
    app.post("/v1/evaluations", request.clone()).await.error(403, "insufficient_scope");
    client.get("/v1/evaluations/eval-..%2F..%2Ftraining").await.error(404, "not_found");

    // On a datanet by a grant of evaluation alone; when it is taken back, what needs it ends.
    let admin = gateway.admin();
    let grant = format!("/v1/datanets/foldoc/grants/{subject}");
    let of_datanet = json!({"model": model, "evaluation_file": "datanet:foldoc",
        "template": {"user": "Define: {title}", "assistant": "{text}"}, "evaluation_samples": 1});
    admin.put(&format!("{grant}?training=true")).await.ok();
    client.post("/v1/evaluations", of_datanet.clone()).await.error(403, "insufficient_scope");
    admin.put(&format!("{grant}?evaluation=true")).await.ok();
    let made = client.post("/v1/evaluations", of_datanet.clone()).await.ok();
    let of_foldoc = made["id"].as_str().expect("an id").to_owned();
    // Another one waits behind it, and is cancelled there.
    let waiting = client.post("/v1/evaluations", request).await.ok();
    let waiting = waiting["id"].as_str().expect("an id").to_owned();
    client.delete(&format!("/v1/evaluations/{waiting}")).await.error(400, "invalid_request");
    let cancelled = client.post(&format!("/v1/evaluations/{waiting}/cancel"), json!({})).await.ok();
    assert_eq!(cancelled["status"], "cancelled", "{cancelled:#}");
    assert_eq!(admin.delete(&grant).await.status, 204);
    let said = followed(&client, &of_foldoc).await;
    let ended = evaluation(&client, &of_foldoc).await;
    assert_eq!(ended["status"], "failed", "{ended:#}: {said:#?}");
    assert!(ended["error"]["message"].as_str().is_some_and(|it| it.contains("no longer granted")), "{ended:#}");
    client.post(&format!("/v1/evaluations/{of_foldoc}/cancel"), json!({})).await.error(400, "invalid_request");

    let page = client.get("/v1/evaluations?limit=2").await.ok();
    let ids: Vec<&str> = page["data"].as_array().expect("a list").iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!((ids, &page["has_more"]), (vec![waiting.as_str(), &of_foldoc], &json!(true)));
    let rest = client.get(&format!("/v1/evaluations?after={of_foldoc}")).await.ok();
    assert_eq!((&rest["data"][0]["id"], &rest["data"][1]["id"]), (&json!(alone), &json!(id)), "{rest:#}");
    assert_eq!(client.delete(&format!("/v1/evaluations/{id}")).await.ok()["deleted"], true);
    client.get(&format!("/v1/evaluations/{id}")).await.error(404, "not_found");
}
