//! By what right a run learns: the rows of its grant and no others, for as long as the grant is in force; and what is left of
//! a run that was deleted.

use std::{fs, path::PathBuf, time::Duration};

use cairn_tests::{Client, Gateway, MODEL, copy, unique};
use reqwest::Method;
use serde_json::{Value, json};

use crate::training::{ended, examples, process, quick, stepped, upload};

/// A datanet in which every other row is about trees.
async fn woods(gateway: &Gateway) -> String {
    let (admin, name) = (gateway.admin(), unique("woods"));
    admin.post("/v1/datanets", json!({"name": name})).await.ok();
    let row = |n: usize| {
        let topic = if n.is_multiple_of(2) { "tree" } else { "sea" };
        json!({"id": format!("{topic}-{n}"), "text": format!("The {topic} of number {n}."),
            "contributor": "tests", "metadata": {"topic": topic}})
        .to_string()
    };
    let lines: Vec<String> = (0..24).map(row).collect();
    let job = admin.ingest_text(&name, &[("format", "jsonl")], "woods.jsonl", &lines.join("\n")).await;
    admin.succeeded(&job).await;
    name
}

async fn grant(gateway: &Gateway, datanet: &str, subject: &str, rows: Option<&str>) -> Value {
    let admin = gateway.admin();
    let mut query = vec![("training", "true")];
    query.extend(rows.map(|rows| ("rows", rows)));
    let path = format!("/v1/datanets/{datanet}/grants/{subject}");
    admin.send(admin.request(Method::PUT, &path).query(&query)).await.ok()
}

async fn begin(client: &Client, datanet: &str, steps: usize) -> String {
    let request = json!({"model": MODEL, "training_file": format!("datanet:{datanet}"), "suffix": unique("woods"),
        "template": {"user": "What of {metadata.topic}?", "assistant": "{text}"}, "evaluation_samples": 1, "held_out": 0.2,
        "method": quick(json!({"max_steps": steps, "checkpoint_every": 1}))});
    let made = client.post("/v1/fine_tuning/jobs", request).await.ok();
    made["id"].as_str().expect("an id").to_owned()
}

fn directory(gateway: &Gateway, id: &str) -> PathBuf {
    gateway.data().join("training").join(id)
}

/// The values of a field in a file of lines.
fn listed(path: PathBuf, field: &str) -> Vec<String> {
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let value = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        line[field].as_str().expect("a text").to_owned()
    };
    text.lines().map(value).collect()
}

#[tokio::test]
async fn a_run_under_a_grant_of_some_rows_learns_those_and_no_others() {
    let gateway = copy().await;
    let datanet = woods(&gateway).await;
    let (client, subject) = gateway.caller(&["trainer"]).await;
    grant(&gateway, &datanet, &subject, Some("metadata.topic = \"tree\"")).await;
    let id = begin(&client, &datanet, 6).await;
    let dir = directory(&gateway, &id);
    let copied = listed(dir.join("source.jsonl"), "id");
    assert_eq!(copied.len(), 12, "{copied:?}");
    let ours = |row: &String| row.starts_with(&format!("{datanet}/tree-"));
    assert!(copied.iter().all(ours), "{copied:?}");
    let done = ended(&client, &id).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    let rows = listed(dir.join("rows.jsonl"), "row");
    assert!(!rows.is_empty() && rows.iter().all(ours), "{rows:?}");
    let provenance = client.get(&format!("/v1/fine_tuning/jobs/{id}/provenance")).await.ok();
    let entry = &provenance["entry"];
    let counted = entry["rows"]["learnt"].as_u64().unwrap() + entry["rows"]["held_out"].as_u64().unwrap();
    assert_eq!((counted, &entry["sources"][0]["size"]), (rows.len() as u64, &json!(24)), "{entry:#}");
    let path = format!("/v1/fine_tuning/jobs/{id}/provenance/proof");
    let proof = async |row: String| client.send(client.request(Method::GET, &path).query(&[("row", row)])).await;
    proof(rows[0].clone()).await.ok();
    proof(format!("{datanet}/sea-1")).await.error(404, "not_found");
    // What was copied is not kept beyond its use.
    assert!(!dir.join("source.jsonl").exists());
}

#[tokio::test]
async fn a_grant_that_is_replaced_ends_the_run_that_rests_on_it() {
    let gateway = copy().await;
    let datanet = woods(&gateway).await;
    let (client, subject) = gateway.caller(&["trainer"]).await;
    grant(&gateway, &datanet, &subject, None).await;
    let id = begin(&client, &datanet, 300).await;
    stepped(&client, &id, 2).await;
    // Training is granted still, of fewer rows.
    grant(&gateway, &datanet, &subject, Some("metadata.topic = \"sea\"")).await;
    let failed = ended(&client, &id).await;
    let said = failed["error"]["message"].as_str().unwrap_or_default();
    assert!(failed["status"] == "failed" && said.contains("no longer granted"), "{failed:#}");
    assert!(said.contains("was revoked or replaced"), "{said}");
    assert_eq!(process(&id), None, "its process is gone");
    let dir = directory(&gateway, &id);
    for name in ["source.jsonl", "checkpoints", "adapter"] {
        assert!(!dir.join(name).exists(), "{name} is removed");
    }
    let samples = client.get(&format!("/v1/fine_tuning/jobs/{id}/validation")).await.ok();
    assert_eq!(samples["samples"], json!([]));
    // It cannot go on, and says why.
    client.post(&format!("/v1/fine_tuning/jobs/{id}/resume"), json!({})).await.ok();
    let failed = ended(&client, &id).await;
    assert!(failed["error"]["message"].as_str().is_some_and(|it| it.contains("no longer granted")), "{failed:#}");
}

#[tokio::test]
async fn a_grant_that_runs_out_while_the_gateway_is_down_publishes_nothing() {
    let mut gateway = copy().await;
    let datanet = woods(&gateway).await;
    let (client, subject) = gateway.caller(&["trainer"]).await;
    let granted = grant(&gateway, &datanet, &subject, None).await;
    let id = begin(&client, &datanet, 12).await;
    stepped(&client, &id, 1).await;
    gateway.kill9();
    // The process goes on without a gateway, to its end.
    let outcome = directory(&gateway, &id).join("outcome.json");
    for _ in 0..2400 {
        if outcome.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said: Value = serde_json::from_slice(&fs::read(&outcome).unwrap()).unwrap();
    assert_eq!((&said["end"], &said["adapter"]), (&json!("finished"), &json!(true)), "{said}");
    let id_of_grant = granted["id"].as_str().unwrap();
    gateway.sql(&format!("UPDATE grants SET expires_at = '2020-01-01T00:00:00.000Z' WHERE id = '{id_of_grant}'"));
    gateway.start();
    let client = gateway.client(client.credential());
    let failed = ended(&client, &id).await;
    let said = failed["error"]["message"].as_str().unwrap_or_default();
    assert!(failed["status"] == "failed" && said.contains("is over"), "{failed:#}");
    assert!(failed["fine_tuned_model"].is_null() && failed["adapter_generation"].is_null(), "{failed:#}");
    let dir = directory(&gateway, &id);
    assert!(
        !dir.join("adapter").exists() && !dir.join("source.jsonl").exists() && !dir.join("provenance.json").exists()
    );
}

#[tokio::test]
async fn a_deleted_run_is_gone_but_for_what_is_on_record() {
    let gateway = copy().await;
    let datanet = woods(&gateway).await;
    let (client, subject) = gateway.caller(&["trainer"]).await;
    grant(&gateway, &datanet, &subject, None).await;
    let id = begin(&client, &datanet, 2).await;
    let done = ended(&client, &id).await;
    assert_eq!(done["status"], "succeeded", "{done:#}");
    let (dir, path) = (directory(&gateway, &id), format!("/v1/fine_tuning/jobs/{id}"));
    let row = listed(dir.join("rows.jsonl"), "row").remove(0);
    let deleted = client.delete(&path).await.ok();
    assert_eq!((&deleted["id"], &deleted["deleted"]), (&json!(id), &json!(true)));
    client.get(&path).await.error(404, "not_found");
    client.delete(&path).await.error(404, "not_found");
    client.get(&format!("{path}/report")).await.error(404, "not_found");
    assert_eq!(client.get("/v1/fine_tuning/jobs").await.ok()["data"], json!([]));
    let mut left: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["provenance.json", "rows.jsonl"]);
    // Those whose data it learnt can ask still, and the adapter answers.
    let proof = client.request(Method::GET, &format!("{path}/provenance/proof")).query(&[("row", &row)]);
    client.send(proof).await.ok();
    let trainings = gateway.admin().get(&format!("/v1/datanets/{datanet}/trainings")).await.ok();
    assert_eq!(trainings["data"][0]["generation"], done["adapter_generation"], "{trainings:#}");
    let model = done["fine_tuned_model"].as_str().unwrap();
    client.chat(json!({"model": model, "ask": "What of tree?", "max_tokens": 4})).await;

    // One that came to nothing is gone altogether.
    let file = upload(&client, examples(24)).await;
    let request = json!({"model": MODEL, "training_file": file, "suffix": unique("none"), "held_out": 0,
        "method": quick(json!({"max_steps": 300}))});
    let made = client.post("/v1/fine_tuning/jobs", request).await.ok();
    let id = made["id"].as_str().unwrap().to_owned();
    stepped(&client, &id, 1).await;
    client.post(&format!("/v1/fine_tuning/jobs/{id}/cancel"), json!({})).await.ok();
    assert_eq!(ended(&client, &id).await["status"], "cancelled");
    client.delete(&format!("/v1/fine_tuning/jobs/{id}")).await.ok();
    assert!(!directory(&gateway, &id).exists());
    client.get(&format!("/v1/fine_tuning/jobs/{id}")).await.error(404, "not_found");
}
