//! Who may do what: credentials, roles, grants.

use cairn_tests::{Client, MODEL, shared, unique};
use reqwest::Method;
use serde_json::{Value, json};

/// The only endpoints without a credential.
const PUBLIC: [&str; 6] = ["/auth/session", "/auth/login", "/auth/callback", "/auth/logout", "/healthz", "/readyz"];

#[tokio::test]
async fn everything_but_health_needs_a_credential() {
    let gateway = shared().await;
    let anonymous = gateway.anonymous();
    let description = anonymous.get("/openapi.json").await.ok();
    assert_eq!(description["security"], json!([{"bearer": []}]), "the rule is authentication");
    let mut public = Vec::new();
    let mut guarded = 0;
    for (path, operations) in description["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if operation.get("security") == Some(&json!([{}])) {
                public.push(path.as_str());
                continue;
            }
            guarded += 1;
            let concrete: Vec<&str> =
                path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
            let concrete = concrete.join("/");
            for credential in [None, Some("cairn_not-a-key"), Some("not.a.jwt"), Some("")] {
                let client = credential.map_or_else(|| gateway.anonymous(), |it| gateway.client(it));
                let reply = client.send(client.request(method.clone(), &concrete)).await;
                assert_eq!(reply.status, 401, "{method} {path} with {credential:?}: {reply}");
                reply.error(401, "invalid_api_key");
            }
        }
    }
    assert_eq!(public, PUBLIC, "endpoints without a credential");
    assert!(guarded > 25, "only {guarded} endpoints were found");
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs/"] {
        let reply = anonymous.get(path).await;
        assert_eq!(reply.status, 200, "{reply}");
    }
    // A path that does not exist tells strangers nothing either.
    anonymous.get("/v1/nothing").await.error(401, "invalid_api_key");
    let basic = anonymous.request(Method::GET, "/v1/me").header("authorization", "Basic YTpi");
    anonymous.send(basic).await.error(401, "invalid_api_key");
}

#[tokio::test]
async fn a_datanet_without_a_grant_does_not_exist() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let name = unique("secrets");
    admin.datanet(&name, &[("one", "The secret word is xylophone.")]).await;
    let (app, subject) = gateway.caller(&["app"]).await;

    let invisible = async || {
        let real = app.get(&format!("/v1/datanets/{name}")).await;
        let absent = app.get("/v1/datanets/secrets-none").await;
        let message = |reply: &cairn_tests::Reply, of: &str| {
            reply.error(404, "datanet_not_found")["message"].as_str().unwrap_or_default().replace(of, "…")
        };
        assert_eq!(message(&real, &name), message(&absent, "secrets-none"), "the answers do not tell the two apart");
        app.get(&format!("/v1/datanets/{name}/datapoints")).await.error(404, "datanet_not_found");
        app.get(&format!("/v1/datanets/{name}/datapoints/one")).await.error(404, "datanet_not_found");
        let search = json!({"query": "xylophone", "datanets": [name]});
        app.post("/v1/search", search).await.error(404, "datanet_not_found");
        let chat = json!({"model": MODEL, "messages": [{"role": "user", "content": "word?"}], "datanets": [name], "max_tokens": 1});
        app.post("/v1/chat/completions", chat.clone()).await.error(404, "datanet_not_found");
        let streamed = app.request(Method::POST, "/v1/chat/completions").json(&{
            let mut chat = chat.clone();
            chat["stream"] = json!(true);
            chat
        });
        app.send(streamed).await.error(404, "datanet_not_found");
        let all = app.post("/v1/search", json!({"query": "xylophone"})).await.ok();
        assert_eq!(all["data"], json!([]), "a search of everything finds nothing");
        assert!(!names(&app.get("/v1/datanets").await.ok()["data"]).contains(&name), "it is not listed");
        assert_eq!(app.get("/v1/me").await.ok()["datanets"], json!([]));
    };
    invisible().await;

    let granted = admin.put(&format!("/v1/datanets/{name}/grants/{subject}")).await.ok();
    assert_eq!((&granted["subject"], &granted["granted_by"]), (&json!(subject), &json!("admin")));
    assert_eq!(app.get("/v1/me").await.ok()["datanets"], json!([name]));
    let found = app.post("/v1/search", json!({"query": "xylophone"})).await.ok();
    assert_eq!(found["data"][0]["id"], "one");
    let answer = app.chat(json!({"ask": "What is the secret word?", "datanets": [name], "max_tokens": 2})).await;
    assert_eq!(answer["attribution"]["datapoints"][0]["id"], "one");
    // Reading is all that a grant allows.
    let ingest = app.request(Method::POST, &format!("/v1/datanets/{name}/ingest?format=jsonl"));
    app.send(ingest).await.error(403, "insufficient_scope");
    app.delete(&format!("/v1/datanets/{name}")).await.error(403, "insufficient_scope");
    app.get(&format!("/v1/datanets/{name}/grants")).await.error(403, "insufficient_scope");

    assert_eq!(admin.delete(&format!("/v1/datanets/{name}/grants/{subject}")).await.status, 204);
    admin.delete(&format!("/v1/datanets/{name}/grants/{subject}")).await.error(404, "not_found");
    invisible().await;
    // The answer that was given stays with the one who asked, text and all: it was seen.
    let id = answer["attribution"]["id"].as_str().expect("an id");
    app.get(&format!("/v1/attributions/{id}")).await.ok();
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_public_datanet_is_readable_by_everyone_with_a_credential() {
    let gateway = shared().await;
    let name = unique("open");
    gateway.admin().post("/v1/datanets", json!({"name": name, "visibility": "public"})).await.ok();
    let (app, _) = gateway.caller(&["app"]).await;
    assert_eq!(app.get(&format!("/v1/datanets/{name}")).await.ok()["visibility"], "public");
    gateway.anonymous().get(&format!("/v1/datanets/{name}")).await.error(401, "invalid_api_key");
    gateway.admin().delete(&format!("/v1/datanets/{name}")).await;
}

#[tokio::test]
async fn roles_bound_what_a_caller_may_do() {
    let gateway = shared().await;
    let may = async |roles: &[&str], allowed: &[&str]| {
        let (caller, _) = gateway.caller(roles).await;
        for (action, status) in try_everything(&caller).await {
            let refused = status == 403;
            assert_eq!(!refused, allowed.contains(&action), "{roles:?} {action}: {status}");
        }
    };
    may(&["app"], &["chat", "search", "embed"]).await;
    may(&["auditor"], &["metrics", "tile"]).await;
    may(&["contributor"], &["chat", "search", "embed", "ingest"]).await;
    may(&["trainer"], &["chat", "search", "embed"]).await;
    may(&["steward"], &["chat", "search", "embed", "ingest", "create"]).await;
    may(&["app", "auditor"], &["chat", "search", "embed", "metrics", "tile"]).await;
    may(&["admin"], &["chat", "search", "embed", "ingest", "create", "metrics", "tile", "keys", "load"]).await;
}

/// The status of each action. What is allowed may fail for another reason: the requests are invalid on purpose.
async fn try_everything(caller: &Client) -> Vec<(&'static str, u16)> {
    let nonsense = json!({"model": "none", "messages": [], "input": "x", "query": "", "name": "Not A Name", "subject": "", "roles": []});
    let mut statuses = Vec::new();
    for (action, path) in [
        ("chat", "/v1/chat/completions"),
        ("search", "/v1/search"),
        ("embed", "/v1/embeddings"),
        ("create", "/v1/datanets"),
        ("keys", "/v1/keys"),
        ("load", "/v1/models/none/load"),
        ("ingest", "/v1/datanets/none/ingest?format=jsonl"),
    ] {
        statuses.push((action, caller.post(path, nonsense.clone()).await.status));
    }
    statuses.push(("metrics", caller.get("/metrics").await.status));
    statuses.push(("tile", caller.get("/v1/log/tile/9/999").await.status));
    statuses
}

#[tokio::test]
async fn a_steward_governs_its_own_datanets_only() {
    let gateway = shared().await;
    let (steward, subject) = gateway.caller(&["steward"]).await;
    let (_, friend) = gateway.caller(&["app"]).await;
    let (own, other) = (unique("own"), unique("other"));
    assert_eq!(steward.post("/v1/datanets", json!({"name": own})).await.ok()["owner"], subject);
    gateway.admin().post("/v1/datanets", json!({"name": other})).await.ok();
    steward.put(&format!("/v1/datanets/{own}/grants/{friend}")).await.ok();
    let grants = steward.get(&format!("/v1/datanets/{own}/grants")).await.ok();
    assert_eq!(grants["data"][0]["subject"], friend);
    steward.put(&format!("/v1/datanets/{other}/grants/{friend}")).await.error(404, "datanet_not_found");
    // With a grant it may read, and still not govern.
    gateway.admin().put(&format!("/v1/datanets/{other}/grants/{subject}")).await.ok();
    steward.get(&format!("/v1/datanets/{other}")).await.ok();
    steward.put(&format!("/v1/datanets/{other}/grants/{friend}")).await.error(403, "insufficient_scope");
    steward.delete(&format!("/v1/datanets/{other}")).await.error(403, "insufficient_scope");
    assert_eq!(steward.delete(&format!("/v1/datanets/{own}")).await.status, 204);
}

#[tokio::test]
async fn jobs_are_seen_by_their_owner() {
    let gateway = shared().await;
    let (steward, _) = gateway.caller(&["steward"]).await;
    let (other, _) = gateway.caller(&["steward"]).await;
    let name = unique("jobs");
    steward.post("/v1/datanets", json!({"name": name})).await.ok();
    let line = "{\"text\": \"a text\", \"contributor\": \"x\"}\n";
    let job = steward.ingest_text(&name, &[("format", "jsonl")], "it.jsonl", line).await;
    steward.succeeded(&job).await;
    let path = format!("/v1/jobs/{job}");
    assert_eq!(steward.get(&path).await.ok()["state"], "succeeded");
    assert_eq!(gateway.admin().get(&path).await.ok()["id"], job);
    other.get(&path).await.error(404, "not_found");
    other.get(&format!("{path}/events")).await.error(404, "not_found");
    other.delete(&path).await.error(404, "not_found");
    assert_eq!(other.get("/v1/jobs").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() {
    let gateway = shared().await;
    let admin = gateway.admin();
    let subject = unique("short");
    let made = admin.post("/v1/keys", json!({"subject": subject, "roles": ["app"]})).await;
    assert_eq!(made.status, 201, "{made}");
    let made = made.ok();
    let secret = made["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("cairn_"), "{secret}");
    let client = gateway.client(secret);
    let me = client.get("/v1/me").await.ok();
    assert_eq!(
        (&me["subject"], &me["roles"], &me["credential"]),
        (&json!(subject), &json!(["app"]), &json!("api_key"))
    );
    let id = made["id"].as_str().expect("an id");
    let listed = admin.get("/v1/keys").await;
    assert!(!listed.text().contains(secret), "secrets are shown once");
    assert_eq!(admin.delete(&format!("/v1/keys/{id}")).await.status, 204);
    client.get("/v1/me").await.error(401, "invalid_api_key");
    admin.delete("/v1/keys/key_none").await.error(404, "not_found");
    for bad in [
        json!({"subject": "a b", "roles": ["app"]}),
        json!({"subject": "ab", "roles": []}),
        json!({"subject": "ab", "roles": ["king"]}),
    ] {
        admin.post("/v1/keys", bad).await.error(400, "invalid_request");
    }
    // Hashed at rest: the secret is in no file of the data directory.
    for entry in std::fs::read_dir(gateway.data()).expect("the data directory can be read").flatten() {
        if entry.file_name().to_string_lossy().starts_with("cairn.db") {
            let bytes = std::fs::read(entry.path()).expect("a database file can be read");
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds the secret", entry.path().display());
        }
    }
}
