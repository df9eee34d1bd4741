//! Published terms: who asks is decided at once or by the right people, and what was decided holds everywhere.
#![allow(clippy::unwrap_used)]

use cairn_proof::{Bundle, VerifyError, canonical::from_canonical, verify};
use cairn_tests::{Client, copy, shared, unique, verify_both};
use reqwest::Method;
use serde_json::{Value, json};

const ROWS: [(&str, &str, &str); 3] = [
    ("open-one", "The heron stands in the shallow water of the lake and waits for fish.", "open"),
    ("open-two", "A heron nests high in trees beside the water, together with others.", "open"),
    ("closed", "The secret heron colony of the lake is on the island named Quillmere.", "closed"),
];

/// A datanet of herons with terms.
async fn herons(client: &Client, terms: Value) -> String {
    let name = unique("herons");
    client.post("/v1/datanets", json!({"name": name})).await.ok();
    let lines: Vec<String> = ROWS
        .iter()
        .map(|(id, text, class)| {
            json!({"id": id, "text": text, "contributor": format!("{class} society"), "metadata": {"class": class}})
                .to_string()
        })
        .collect();
    let job = client.ingest_text(&name, &[("format", "jsonl")], "herons.jsonl", &lines.join("\n")).await;
    client.succeeded(&job).await;
    publish(client, &name, terms).await.ok();
    name
}

async fn publish(client: &Client, name: &str, terms: Value) -> cairn_tests::Reply {
    client.send(client.request(Method::PUT, &format!("/v1/datanets/{name}/terms")).json(&terms)).await
}

async fn ask(client: &Client, name: &str, application: Value) -> Value {
    client.post(&format!("/v1/datanets/{name}/requests"), application).await.ok()
}

fn ids(found: &Value) -> Vec<String> {
    let mut ids: Vec<String> =
        found["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

async fn search(client: &Client, name: &str, more: Value) -> Value {
    let mut request = json!({"query": "heron lake", "datanets": [name]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/v1/search", request).await.ok()
}

#[tokio::test]
async fn terms_decide_at_once_and_the_grant_holds_on_every_way_to_a_row() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let terms = json!({"rows": "metadata.class = \"open\"", "affirmations": [{"id": "care", "text": "I take care."}]});
    let name = herons(&admin, terms).await;
    let (app, subject) = gateway.caller(&["app", "trainer"]).await;

    // Known, but not to be read.
    let listed = app.get("/v1/datanets?on_request=true").await.ok();
    let known = listed["data"].as_array().unwrap().iter().find(|it| it["name"] == name.as_str()).unwrap();
    assert_eq!((&known["access"], &known["terms_version"]), (&json!("on_request"), &json!(1)));
    assert!(!app.get("/v1/datanets").await.text().contains(&name), "it is listed only where asked for");
    for path in ["datapoints", "datapoints/open-one", "snapshots/1/export"] {
        app.get(&format!("/v1/datanets/{name}/{path}")).await.error(403, "insufficient_scope");
    }
    let request = json!({"query": "heron", "datanets": [name]});
    app.post("/v1/search", request).await.error(403, "insufficient_scope");
    assert_eq!(app.post("/v1/search", json!({"query": "Quillmere"})).await.ok()["data"], json!([]));

    let denied = ask(&app, &name, json!({"purposes": ["retrieval"], "actor": "individual"})).await;
    assert_eq!((&denied["status"], &denied["decided_by"]), (&json!("denied"), &json!("policy")));
    let against: Vec<&Value> = denied["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["answer"] == "deny")
        .map(|it| &it["clause"])
        .collect();
    assert_eq!(against, [&json!("affirmations")]);
    let application = json!({"purposes": ["retrieval"], "actor": "individual", "affirmed": ["care"]});
    let granted = ask(&app, &name, application.clone()).await;
    assert_eq!((&granted["status"], &granted["decided_by"]), (&json!("granted"), &json!("policy")), "{granted}");

    // The rows of the grant, whichever way.
    assert_eq!(ids(&search(&app, &name, json!({})).await), ["open-one", "open-two"]);
    for mode in ["vector", "full_text"] {
        assert_eq!(ids(&search(&app, &name, json!({"mode": mode})).await), ["open-one", "open-two"], "{mode}");
    }
    let wide = json!({"filter": "metadata.class = \"closed\" or not metadata.class = \"closed\""});
    assert_eq!(ids(&search(&app, &name, wide).await), ["open-one", "open-two"], "a filter narrows, and never widens");
    assert_eq!(ids(&app.get(&format!("/v1/datanets/{name}/datapoints")).await.ok()), ["open-one", "open-two"]);
    app.get(&format!("/v1/datanets/{name}/datapoints/closed")).await.error(404, "not_found");
    let export = app.get(&format!("/v1/datanets/{name}/snapshots/1/export")).await;
    assert!(export.text().contains("shallow water") && !export.text().contains("Quillmere"), "{}", export.text());
    // Training is another purpose.
    let job = json!({"model": cairn_tests::MODEL, "training_file": format!("datanet:{name}"),
        "template": {"user": "{id}", "assistant": "{text}"}});
    app.post("/v1/fine_tuning/jobs", job).await.error(403, "insufficient_scope");

    // The answer cites the grant, and the proof proves it.
    let answer = app.chat(json!({"ask": "Where is the heron?", "datanets": [name], "max_tokens": 4})).await;
    let bundle = app.proof(answer["attribution"]["id"].as_str().unwrap()).await;
    assert!(!String::from_utf8_lossy(&bundle).contains("Quillmere"));
    let verdict = verify_both(gateway, &bundle, &gateway.public_key());
    assert!(verdict.code == 0, "{}", verdict.text);
    let grant = granted["grant"].as_str().unwrap();
    assert!(verdict.text.contains(grant) && verdict.text.contains("terms version 1"), "{}", verdict.text);

    // Taken back: at once, for whatever was cached.
    assert_eq!(admin.delete(&format!("/v1/datanets/{name}/grants/{subject}?reason=over")).await.status, 204);
    let request = json!({"query": "heron lake", "datanets": [name]});
    app.post("/v1/search", request).await.error(403, "insufficient_scope");
    app.get(&format!("/v1/datanets/{name}/datapoints")).await.error(403, "insufficient_scope");
    let mine = app.get("/v1/grants").await.ok();
    assert_eq!((&mine["data"][0]["in_force"], &mine["data"][0]["revocation_reason"]), (&json!(false), &json!("over")));
    assert!(verify_both(gateway, &bundle, &gateway.public_key()).code == 0, "what was answered before stays proved");

    let again =
        app.post(&format!("/v1/access_requests/{}/renew", granted["id"].as_str().unwrap()), json!({})).await.ok();
    assert_eq!(again["status"], "granted");
    assert_eq!(ids(&search(&app, &name, json!({})).await), ["open-one", "open-two"]);
}

#[tokio::test]
async fn a_bundle_with_another_grant_is_refused() {
    let gateway = shared().await;
    let name = herons(&gateway.admin(), json!({})).await;
    let (app, _) = gateway.caller(&["app"]).await;
    let application = json!({"purposes": ["retrieval"], "actor": "academic"});
    ask(&app, &name, application).await;
    let answer = app.chat(json!({"ask": "Where is the heron?", "datanets": [name], "max_tokens": 4})).await;
    let bytes = app.proof(answer["attribution"]["id"].as_str().unwrap()).await;
    let key = cairn_proof::VerifyingKey::load(&gateway.public_key()).unwrap();
    let bundle: Bundle = from_canonical(bytes.strip_suffix(b"\n").unwrap()).unwrap();
    verify(&bytes, &key).unwrap();
    let refused = |change: &dyn Fn(&mut Bundle)| {
        let mut changed = bundle.clone();
        change(&mut changed);
        verify(&changed.to_bytes().unwrap(), &key).map(drop).unwrap_err()
    };
    let _: VerifyError = refused(&|bundle| bundle.grants[0].entry.expires = None);
    refused(&|bundle| bundle.grants.clear());
    refused(&|bundle| bundle.grants[0].entry.id = "grant-other".into());
    refused(&|bundle| bundle.record.retrieval.as_mut().unwrap().datanets[0].access = None);
}

#[tokio::test]
async fn what_is_referred_is_decided_by_the_right_people() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let people = [gateway.caller(&["app"]).await, gateway.caller(&["app"]).await, gateway.caller(&["app"]).await];
    let [(one, one_name), (two, two_name), (deputy, deputy_name)] = &people;
    let (app, app_name) = gateway.caller(&["app"]).await;
    let terms = json!({"sensitive": true, "statement_characters": 5,
        "review": {"reviewers": [one_name, two_name, app_name], "required": 2, "escalate_to": [deputy_name]}});
    let name = herons(&admin, terms).await;
    let application = json!({"purposes": ["retrieval"], "actor": "academic", "statement": "A census of herons"});
    let waiting = ask(&app, &name, application.clone()).await;
    assert_eq!((&waiting["status"], &waiting["required"]), (&json!("waiting"), &json!(2)), "{waiting}");
    let mut may: Vec<&str> = waiting["reviewers"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    may.sort_unstable();
    let mut expected = [one_name.as_str(), two_name];
    expected.sort_unstable();
    assert_eq!(may, expected, "the requester is not among them");
    let id = waiting["id"].as_str().unwrap().to_owned();
    let vote = async |client: &Client, approve: bool| {
        let vote = json!({"approve": approve, "reason": "as agreed"});
        client.post(&format!("/v1/access_requests/{id}/votes"), vote).await
    };
    app.post(&format!("/v1/datanets/{name}/requests"), application).await.error(409, "already_exists");
    vote(&app, true).await.error(403, "insufficient_scope");
    vote(deputy, true).await.error(403, "insufficient_scope");
    let (stranger, _) = gateway.caller(&["app"]).await;
    vote(&stranger, true).await.error(404, "not_found");
    assert_eq!(vote(one, true).await.ok()["status"], "waiting");
    vote(one, true).await.error(403, "insufficient_scope");
    app.post("/v1/search", json!({"query": "heron", "datanets": [name]})).await.error(403, "insufficient_scope");

    // Who is away has a deputy, for that time.
    let until = (chrono::Utc::now() + chrono::Duration::hours(1)).to_rfc3339();
    let away = json!({"delegate": deputy_name, "until": until});
    assert_eq!(two.get("/v1/absence").await.ok(), json!({"absence": null}));
    assert_eq!(two.send(two.request(Method::PUT, "/v1/absence").json(&away)).await.status, 204);
    assert_eq!(two.get("/v1/absence").await.ok()["absence"]["delegate"], deputy_name.as_str());
    assert_eq!(deputy.get("/v1/access_requests/inbox").await.ok()["data"][0]["id"], id.as_str());
    let granted = vote(deputy, true).await.ok();
    assert_eq!((&granted["status"], &granted["decided_by"]), (&json!("granted"), &json!("review")), "{granted}");
    assert_eq!(granted["votes"][1]["on_behalf_of"], two_name.as_str());
    assert_eq!(two.delete("/v1/absence").await.status, 204);
    assert_eq!(two.get("/v1/absence").await.ok(), json!({"absence": null}));
    assert_eq!(ids(&search(&app, &name, json!({})).await).len(), 3);
    vote(two, false).await.error(409, "already_exists");

    // A denial, and the appeal that goes to others.
    let (other, _) = gateway.caller(&["app"]).await;
    let denied =
        ask(&other, &name, json!({"purposes": ["retrieval"], "actor": "company", "statement": "For sale"})).await;
    let denied = denied["id"].as_str().unwrap().to_owned();
    for client in [one, two] {
        let vote = json!({"approve": false, "reason": "not for sale"});
        client.post(&format!("/v1/access_requests/{denied}/votes"), vote).await.ok();
    }
    let found = other.get(&format!("/v1/access_requests/{denied}")).await.ok();
    assert_eq!(found["status"], "denied");
    app.get(&format!("/v1/access_requests/{denied}")).await.ok(); // as a reviewer
    let appeal = json!({"statement": "It is for a museum after all"});
    let appeal = other.post(&format!("/v1/access_requests/{denied}/appeal"), appeal).await.ok();
    assert_eq!(appeal["appeal_of"], denied.as_str());
    let may = appeal["reviewers"].as_array().unwrap();
    assert!(!may.contains(&json!(one_name)) && !may.contains(&json!(two_name)), "{appeal}");
    let statistics = app.get(&format!("/v1/datanets/{name}/requests/statistics")).await.ok();
    assert_eq!((&statistics["requests"], &statistics["automatic"]), (&json!(3), &json!(0.0)), "{statistics}");
}

#[tokio::test]
async fn every_decision_is_in_the_log_and_the_log_is_found_sound() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let name = herons(&admin, json!({})).await;
    publish(&admin, &name, json!({"duration_days": 30})).await.ok();
    let versions = admin.get(&format!("/v1/datanets/{name}/terms/versions")).await.ok();
    assert_eq!(versions["data"].as_array().unwrap().len(), 2);
    assert!(versions["data"][0]["changes"][0].as_str().unwrap().contains("365"), "{versions}");
    let (app, subject) = gateway.caller(&["app"]).await;
    ask(&app, &name, json!({"purposes": ["retrieval"], "actor": "academic"})).await;
    app.chat(json!({"ask": "Where is the heron?", "datanets": [name], "max_tokens": 4})).await;
    assert_eq!(admin.delete(&format!("/v1/datanets/{name}/grants/{subject}")).await.status, 204);
    let audit = gateway.cli(&["audit"]);
    assert!(audit.ok(), "{}", audit.stdout);
    for (entries, kind) in [(2, "cairn/terms/v1"), (1, "cairn/grant/v1"), (3, "cairn/access/v1")] {
        let line = audit.stdout.lines().find(|line| line.contains(kind)).unwrap_or_else(|| panic!("{}", audit.stdout));
        assert!(line.trim().starts_with(&entries.to_string()), "{line}");
    }
}

#[tokio::test]
async fn a_steward_sees_what_terms_would_do_before_they_hold() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let name = herons(&admin, json!({})).await;
    let (app, subject) = gateway.caller(&["app"]).await;
    ask(&app, &name, json!({"purposes": ["retrieval"], "actor": "company", "commercial": false})).await;
    let stricter = json!({"terms": {"actors": {"company": "deny"}}});
    let path = format!("/v1/datanets/{name}/terms/simulate");
    let tried = admin.post(&path, stricter).await.ok();
    let expected = json!({"subject": subject, "now": "granted", "then": "denied"});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&tried["differently"][0][field], value, "{tried}");
    }
    assert_eq!(tried["applicants"]["denied"], 6, "a company for three purposes, commercially or not");
    assert_eq!(admin.get(&format!("/v1/datanets/{name}/terms")).await.ok()["version"], 1, "nothing was published");
    app.post(&path, json!({"terms": {}})).await.error(403, "insufficient_scope");
    let bad = json!({"review": {"reviewers": ["a"], "required": 2}, "sensitive": true});
    let error = publish(&admin, &name, bad).await.error(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("review.required"), "{error}");
    let error = publish(&admin, &name, json!({"rows": "colour = \"red\""})).await.error(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("metadata.colour"), "{error}");
    publish(&admin, &name, json!({"colour": "red"})).await.error(400, "invalid_request");
}

#[tokio::test]
async fn a_quota_is_counted_and_a_filter_and_a_cap_are_kept() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let name = herons(&admin, json!({"retrievals_per_day": 2})).await;
    let (app, _) = gateway.caller(&["app"]).await;
    ask(&app, &name, json!({"purposes": ["retrieval"], "actor": "academic"})).await;
    assert_eq!(ids(&search(&app, &name, json!({"filter": "metadata.class = \"closed\""})).await), ["closed"]);
    assert_eq!(ids(&search(&app, &name, json!({"per_contributor": 1})).await).len(), 2);
    let request = json!({"query": "heron", "datanets": [name]});
    let error = app.post("/v1/search", request).await.error(403, "quota_exceeded");
    assert!(error["message"].as_str().unwrap().contains("00:00 UTC"), "{error}");

    let best = search(&admin, &name, json!({})).await["data"][0]["why"]["fused_score"].as_f64().unwrap();
    assert_eq!(ids(&search(&admin, &name, json!({"minimum_score": best})).await).len(), 1);
    assert_eq!(ids(&search(&admin, &name, json!({"since": "2999-01-01"})).await), Vec::<String>::new());
    let wrong = json!({"query": "heron", "datanets": [name], "filter": "colour = \"red\""});
    let error = admin.post("/v1/search", wrong).await.error(400, "invalid_request");
    assert_eq!(error["param"], "filter");
    // In an answer the cap is seen, and why.
    let asked =
        json!({"ask": "Where is the heron?", "datanets": [name], "max_tokens": 4, "retrieval": {"per_contributor": 1}});
    let answer = admin.chat(asked).await;
    let candidates = answer["attribution"]["candidates"].as_array().unwrap();
    assert!(candidates.iter().any(|it| it["why"]["left_out"] == "contributor_cap"), "{answer}");
    assert_eq!(answer["attribution"]["datapoints"].as_array().unwrap().len(), 2);
    let bundle = admin.proof(answer["attribution"]["id"].as_str().unwrap()).await;
    assert!(verify_both(gateway, &bundle, &gateway.public_key()).code == 0);
}

#[tokio::test]
async fn a_decision_survives_a_kill_and_takes_effect_only_once_it_is_logged() {
    let mut gateway = copy().await;
    let admin = gateway.admin();
    let name = herons(&admin, json!({})).await;
    let (app, _) = gateway.caller(&["app"]).await;
    let granted = ask(&app, &name, json!({"purposes": ["retrieval"], "actor": "academic"})).await;
    gateway.kill9();
    // As if the crash had come between the decision and the log.
    gateway.sql("UPDATE access_entries SET log_index = NULL");
    gateway.start();
    let app = gateway.client(app.credential());
    assert_eq!(ids(&search(&app, &name, json!({})).await).len(), 3);
    let mine = app.get("/v1/grants").await.ok();
    assert_eq!((&mine["data"][0]["id"], &mine["data"][0]["in_force"]), (&granted["grant"], &json!(true)));
    assert!(gateway.cli(&["audit"]).ok(), "what was logged twice is no contradiction");
}

#[tokio::test]
async fn what_outsiders_offer_waits_for_the_owner() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let name = herons(&admin, json!({})).await;
    let (app, subject) = gateway.caller(&["contributor"]).await;
    let offer = async |client: &Client, text: &str, more: &str| {
        let part = reqwest::multipart::Part::text(text.to_owned()).file_name("more.jsonl");
        let form = reqwest::multipart::Form::new().part("file", part);
        let path = format!("/v1/datanets/{name}/contributions?format=jsonl{more}");
        client.send(client.request(Method::POST, &path).multipart(form)).await
    };
    let line = |id: &str, text: &str| json!({"id": id, "text": text}).to_string();
    // Not past the owner.
    let part = reqwest::multipart::Part::text(line("x", "y")).file_name("more.jsonl");
    let form = reqwest::multipart::Form::new().part("file", part);
    let ingest = app.request(Method::POST, &format!("/v1/datanets/{name}/ingest?format=jsonl")).multipart(form);
    app.send(ingest).await.error(403, "insufficient_scope");
    let error = offer(&app, "{\"id\": \"x\"}", "").await.error(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("line 1"), "{error}");

    let offered = offer(&app, &line("grey", "The grey heron is tall and grey."), "&note=seen+it").await.ok();
    assert_eq!((&offered["state"], &offered["report"]["new"]), (&json!("waiting"), &json!(1)), "{offered}");
    let id = offered["id"].as_str().unwrap();
    assert_eq!(offered["report"]["first"][0]["contributor"], subject.as_str());
    let review = |accept: bool| json!({"accept": accept, "reason": "well seen", "score": 90});
    app.post(&format!("/v1/contributions/{id}/review"), review(true)).await.error(403, "insufficient_scope");
    let accepted = admin.post(&format!("/v1/contributions/{id}/review"), review(true)).await.ok();
    admin.succeeded(accepted["job"].as_str().unwrap()).await;
    let accepted = app.get(&format!("/v1/contributions/{id}")).await.ok();
    assert_eq!((&accepted["state"], &accepted["added"]), (&json!("accepted"), &json!(1)), "{accepted}");
    assert!(accepted["report"]["first"].is_null(), "its texts are kept by the datanet alone: {accepted}");
    assert!(accepted["log_index"].is_u64() && accepted["reputation"]["mean_score"] == 90.0, "{accepted}");
    assert_eq!(ids(&search(&admin, &name, json!({"filter": format!("contributor = {subject:?}")})).await), ["grey"]);
    let snapshots = admin.get(&format!("/v1/datanets/{name}/snapshots")).await.ok();
    assert_eq!((&snapshots["data"][0]["number"], &snapshots["data"][0]["size"]), (&json!(2), &json!(4)), "{snapshots}");
    assert_eq!(admin.get(&format!("/v1/datanets/{name}/snapshots/1")).await.ok()["size"], 3);

    let rejected = offer(&app, &line("red", "A red heron."), &format!("&supersedes={id}")).await.ok();
    let path = format!("/v1/contributions/{}/review", rejected["id"].as_str().unwrap());
    admin.post(&path, json!({"accept": false})).await.error(400, "invalid_request");
    let rejected = admin.post(&path, json!({"accept": false, "reason": "there is none"})).await.ok();
    assert_eq!((&rejected["state"], &rejected["supersedes"]), (&json!("rejected"), &json!(id)));
    admin.post(&path, review(true)).await.error(409, "already_exists");

    // By terms, at once.
    publish(&admin, &name, json!({"contributions": {"trusted": [subject]}})).await.ok();
    let taken = offer(&app, &line("night", "The night heron hunts at night."), "").await.ok();
    admin.succeeded(taken["job"].as_str().unwrap()).await;
    publish(&admin, &name, json!({"contributions": {"from_anyone": "deny"}})).await.ok();
    offer(&app, &line("day", "A day heron."), "").await.error(403, "insufficient_scope");
}

#[tokio::test]
async fn an_owner_grants_without_terms() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let name = unique("old");
    admin.datanet(&name, &[("one", "The heron.")]).await;
    let (app, subject) = gateway.caller(&["app"]).await;
    let path = format!("/v1/datanets/{name}/grants/{subject}");
    let first = admin.put(&path).await.ok();
    assert_eq!((&first["in_force"], &first["training"]), (&json!(true), &json!(false)));
    assert_eq!(admin.put(&path).await.ok()["id"], first["id"], "granting twice changes nothing");
    let wider = admin.put(&format!("{path}?training=true")).await.ok();
    assert_eq!(wider["training"], true);
    let all = admin.get(&format!("/v1/datanets/{name}/grants")).await.ok();
    let in_force = all["data"].as_array().unwrap().iter().filter(|it| it["in_force"] == true).count();
    assert_eq!((all["data"].as_array().unwrap().len(), in_force), (2, 1), "the new one took its place");
    assert_eq!(ids(&search(&app, &name, json!({})).await), ["one"]);
}
