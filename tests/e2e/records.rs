//! Records found by what they are about, taken away with their proofs; and contributors who see the uses of what is theirs.

use cairn_tests::{Client, Gateway, MODEL, copy, golden, unique};
use reqwest::{Method, multipart};
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().expect("a list").iter().filter_map(|it| it["id"].as_str()).collect()
}

async fn found(client: &Client, query: &str) -> Value {
    client.get(&format!("/v1/attributions?{query}")).await.ok()
}

#[tokio::test]
async fn a_record_is_found_by_model_adapter_subject_contributor_datanet_and_time() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let dir = golden("smollm2/adapter").to_string_lossy().into_owned();
    let pushed = gateway.cli(&["adapters", "push", &dir, "--base", MODEL, "--name", "style", "--json"]).json();
    let generation = pushed["generation"].as_str().expect("a generation").to_owned();
    let (app, subject) = gateway.caller(&["app"]).await;
    admin.put(&format!("/v1/datanets/foldoc/grants/{subject}")).await.ok();
    let id = |answer: Value| answer["id"].as_str().expect("an id").to_owned();
    let plain = id(admin.chat(json!({"ask": "Hello there.", "max_tokens": 2})).await);
    let styled = id(admin.chat(json!({"ask": "Hello.", "model": format!("{MODEL}:style"), "max_tokens": 2})).await);
    let cited = id(app.chat(json!({"ask": "What is a B-tree?", "datanets": ["foldoc"], "max_tokens": 2})).await);

    let all = found(&admin, "").await;
    assert_eq!(ids(&all), [&cited, &styled, &plain], "newest first: {all:#}");
    let newest = &all["data"][0];
    assert_eq!(newest["question"], "What is a B-tree?");
    assert_eq!((&newest["subject"], &newest["datanets"]), (&json!(subject), &json!(["foldoc"])));
    assert_eq!((&newest["base"], &newest["passages"]), (&json!(MODEL), &json!(4)));
    assert_eq!(ids(&found(&admin, &format!("model={MODEL}")).await).len(), 3);
    assert_eq!(ids(&found(&admin, &format!("model={MODEL}:style")).await), [&styled]);
    for adapter in ["style", &generation[..12]] {
        assert_eq!(ids(&found(&admin, &format!("adapter={adapter}")).await), [&styled], "{adapter}");
    }
    assert_eq!(ids(&found(&admin, &format!("subject={subject}")).await), [&cited]);
    assert_eq!(ids(&found(&admin, "datanet=foldoc").await), [&cited]);
    assert_eq!(ids(&found(&admin, "contributor=Denis%20Howe").await), [&cited]);
    let pseudonym = admin.get("/v1/contributors/Denis%20Howe/uses").await.ok()["pseudonym"].as_str().map(str::to_owned);
    let pseudonym = pseudonym.expect("a pseudonym");
    assert_eq!(ids(&found(&admin, &format!("contributor={pseudonym}")).await), [&cited]);
    assert!(ids(&found(&admin, "to=2020").await).is_empty());
    assert_eq!(ids(&found(&admin, "from=2020").await).len(), 3);
    admin.get("/v1/attributions?from=yesterday").await.error(400, "invalid_request");
    admin.get("/v1/attributions?limit=0").await.error(400, "invalid_request");
    admin.get("/v1/attributions?colour=red").await.error(400, "invalid_request");

    // Pages go on where the one before ended.
    let first = found(&admin, "limit=2").await;
    let second = found(&admin, &format!("limit=2&after={}", first["next"].as_str().expect("there is more"))).await;
    assert_eq!((ids(&first), ids(&second)), (vec![cited.as_str(), &styled], vec![plain.as_str()]));
    assert_eq!(second["next"], Value::Null);

    // An application finds its own answers; asking for another's finds none.
    assert_eq!(ids(&found(&app, "").await), [&cited]);
    assert!(ids(&found(&app, "subject=admin").await).is_empty());
    let (auditor, _) = gateway.caller(&["auditor"]).await;
    assert_eq!(ids(&found(&auditor, "").await).len(), 3);

    let listed = gateway.cli(&["records", "--model", &format!("{MODEL}:style")]);
    assert!(listed.ok() && listed.stdout.contains(&styled) && !listed.stdout.contains(&cited), "{listed}");

    // A period with its proofs: every line is a bundle, as it is fetched alone, and is checked offline.
    let export = auditor.get("/v1/attributions/export?limit=2").await;
    assert_eq!((export.status, export.header("x-cairn-next")), (200, styled.as_str()), "{export}");
    let text = export.text();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].as_bytes(), auditor.proof(&cited).await);
    assert_eq!(app.get("/v1/attributions/export").await.text().lines().count(), 1);
    let out = gateway.scratch().join("period");
    let exported = gateway.cli(&["export", "--from", "2020", "--output", &out.to_string_lossy()]);
    assert!(exported.ok() && exported.stdout.contains("3 records and 1 lines"), "{exported}");
    let ledger = std::fs::read_to_string(out.join("ledger.csv")).expect("the ledger's lines");
    assert!(ledger.contains(&cited) && ledger.lines().count() == 2, "{ledger}");
    let records = out.join("records.jsonl");
    let verify = |key: &str| gateway.cli(&["verify", &records.to_string_lossy(), "--key", key]);
    let proved = verify(&gateway.public_key().to_string_lossy());
    assert!(proved.ok() && proved.stdout.starts_with("3 proved, 0 not"), "{proved}");
    let spoiled = std::fs::read_to_string(&records).expect("an export").replacen("B-tree", "C-tree", 1);
    std::fs::write(&records, spoiled).expect("a file can be written");
    let failed = verify(&gateway.public_key().to_string_lossy());
    assert_eq!((failed.code(), failed.stdout.lines().next()), (1, Some("2 proved, 1 not")), "{failed}");

    // A record that nothing can prove any more is named, and the others are there all the same.
    assert_eq!(admin.delete("/v1/datanets/foldoc").await.status, 204);
    let rest = admin.get("/v1/attributions/export").await.text();
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&rest[0]["id"], rest.len()), (&json!(cited), 3));
    assert!(rest[0]["error"].as_str().is_some_and(|error| error.contains("was deleted")), "{}", rest[0]);
}

async fn offer(client: &Client, datanet: &str, contributor: &str, lines: &str) -> Value {
    let form =
        multipart::Form::new().part("file", multipart::Part::bytes(lines.as_bytes().to_vec()).file_name("it.jsonl"));
    let path = format!("/v1/datanets/{datanet}/contributions?format=jsonl&contributor={contributor}");
    client.send(client.request(Method::POST, &path).multipart(form)).await.ok()
}

async fn accepted(gateway: &Gateway, by: &Client, offered: &Value) {
    let admin = gateway.admin();
    let id = offered["id"].as_str().expect("an id");
    let review = json!({"accept": true, "reason": "fine"});
    admin.post(&format!("/v1/contributions/{id}/review"), review).await.ok();
    let job = admin.get(&format!("/v1/contributions/{id}")).await.ok()["job"].as_str().map(str::to_owned);
    admin.succeeded(&job.expect("a job adds it")).await;
    assert_eq!(by.get(&format!("/v1/contributions/{id}")).await.ok()["state"], "accepted");
}

#[tokio::test]
async fn a_contributor_sees_every_use_of_what_it_contributed_and_nothing_of_question_and_answer() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let name = unique("stones");
    admin.datanet(&name, &[("marble", "Marble is a rock of calcite crystals.")]).await;
    let terms = json!({"contributions": {"from_anyone": "refer"}});
    admin.send(admin.request(Method::PUT, &format!("/v1/datanets/{name}/terms")).json(&terms)).await.ok();
    let (ada, subject) = gateway.caller(&["contributor"]).await;
    let (eve, _) = gateway.caller(&["contributor"]).await;
    let zorbium = "{\"id\": \"zorbium\", \"text\": \"Zorbium is a blue metal that melts at 412 degrees.\"}\n";
    let offered = offer(&ada, &name, "tests", zorbium).await;
    accepted(&gateway, &ada, &offered).await;

    let (app, _) = gateway.caller(&["app"]).await;
    let answer =
        admin.chat(json!({"ask": "At how many degrees does zorbium melt?", "datanets": [name], "max_tokens": 8})).await;
    let id = answer["id"].as_str().expect("an id").to_owned();
    let passages = answer["attribution"]["datapoints"].as_array().expect("passages");
    assert_eq!(passages.len(), 2, "both rows were put before the model: {passages:#?}");
    let own = passages.iter().find(|it| it["id"] == "zorbium").expect("the contribution is among them")["n"].clone();

    // One line, of the passage that was contributed: the other has the same contributor's name, and is not its.
    let ledger = ada.get("/v1/ledger").await.ok();
    let lines = ledger["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 1, "{ledger:#}");
    assert_eq!((&lines[0]["answer"], &lines[0]["passages"]), (&json!(id), &json!([own])), "{ledger:#}");
    assert_eq!(admin.get(&format!("/v1/ledger?datanet={name}")).await.ok()["lines"][0]["passages"], json!([1, 2]));
    for other in [&eve, &app] {
        assert_eq!(other.get("/v1/ledger").await.ok()["lines"], json!([]));
        other.get(&format!("/v1/attributions/{id}/entry")).await.error(404, "not_found");
    }
    ada.get("/v1/contributors/tests/uses").await.error(404, "not_found");

    // The log's entry, with its proof, and neither question nor answer.
    ada.get(&format!("/v1/attributions/{id}")).await.error(404, "not_found");
    ada.get(&format!("/v1/attributions/{id}/proof")).await.error(404, "not_found");
    let public = ada.get(&format!("/v1/attributions/{id}/entry")).await.ok();
    assert_eq!((&public["own_passages"], &public["entry"]["id"]), (&json!([own]), &json!(id)));
    assert!(!public.to_string().contains("degrees"), "{public:#}");
    let record: cairn_proof::Record = serde_json::from_value(public["entry"].clone()).expect("a record");
    let keys = cairn_proof::KeyHistory::from(
        cairn_proof::VerifyingKey::load(&gateway.public_key()).expect("cairn.pub holds a key"),
    );
    let checkpoint = keys.open(public["log"]["checkpoint"].as_str().expect("a checkpoint")).expect("it is signed");
    let path: Vec<cairn_proof::Hash> = serde_json::from_value(public["log"]["path"].clone()).expect("a path");
    let index = public["log"]["index"].as_u64().expect("an index");
    let (size, root) = (checkpoint.signed().size(), checkpoint.signed().root());
    let leaf = record.leaf().expect("a leaf");
    cairn_proof::merkle::verify_inclusion(&leaf, index, size, &path, &root).expect("the entry is in the log");

    // Under a name that nobody else is counted by, the log's signed count is the contributor's to have.
    let quandt = "{\"id\": \"quandt\", \"text\": \"Quandtite is a green crystal found near Quandt.\"}\n";
    let offered = offer(&ada, &name, &subject, quandt).await;
    accepted(&gateway, &ada, &offered).await;
    admin.chat(json!({"ask": "Where is quandtite found?", "datanets": [name], "max_tokens": 8})).await;
    let uses = ada.get(&format!("/v1/contributors/{subject}/uses")).await.ok();
    assert_eq!(uses["statement"]["count"], 1, "{uses:#}");
    eve.get(&format!("/v1/contributors/{subject}/uses")).await.error(404, "not_found");
    assert_eq!(ada.get("/v1/ledger").await.ok()["lines"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_datanets_owner_sees_the_entries_of_answers_that_drew_on_it() {
    let gateway = copy().await;
    let (owner, _) = gateway.caller(&["steward"]).await;
    let name = unique("owned");
    owner.datanet(&name, &[("cairn", "A cairn is a heap of stones that marks a path.")]).await;
    let answer = gateway.admin().chat(json!({"ask": "What is a cairn?", "datanets": [name], "max_tokens": 4})).await;
    let id = answer["id"].as_str().expect("an id");
    let lines = owner.get("/v1/ledger").await.ok();
    assert_eq!(lines["lines"][0]["answer"], id, "{lines:#}");
    owner.get(&format!("/v1/attributions/{id}")).await.error(404, "not_found");
    assert_eq!(owner.get(&format!("/v1/attributions/{id}/entry")).await.ok()["own_passages"], json!([1]));
}
