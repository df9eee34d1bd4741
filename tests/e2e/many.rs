//! More than one page of anything: lists go on to their end, and nothing that is decided rests on the first page.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cairn_tests::{Client, copy, unique};
use reqwest::Method;
use serde_json::{Value, json};

/// Requests beside the one that was really made; more than any list gives at once.
const COPIES: usize = 1200;
/// The oldest of them, whose deadline is long over.
const OVERDUE: usize = 5;

/// Every id of a list, page by page.
async fn all(client: &Client, path: &str, limit: usize) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let after = ids.last().map(|last| format!("&after={last}")).unwrap_or_default();
        let page = client.get(&format!("{path}?limit={limit}{after}")).await.ok();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() == limit || page["has_more"] == false, "{} of {limit}: {}", data.len(), page["has_more"]);
        ids.extend(data.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        if page["has_more"] == false {
            return ids;
        }
    }
}

#[tokio::test]
async fn of_more_than_a_thousand_waiting_requests_the_oldest_are_passed_on_and_all_are_counted() {
    let mut gateway = copy().await;
    let admin = gateway.admin();
    let (one, one_name) = gateway.caller(&["app"]).await;
    let (chief, chief_name) = gateway.caller(&["app"]).await;
    let (app, _) = gateway.caller(&["app"]).await;
    let name = unique("asked");
    admin.datanet(&name, &[("only", "A heron stands in the lake.")]).await;
    let terms = json!({"sensitive": true, "review": {"reviewers": [one_name], "escalate_to": [chief_name]}});
    admin.send(admin.request(Method::PUT, &format!("/v1/datanets/{name}/terms")).json(&terms)).await.ok();
    let application = json!({"purposes": ["retrieval"], "actor": "academic"});
    let made = app.post(&format!("/v1/datanets/{name}/requests"), application).await.ok();
    assert_eq!(made["status"], "waiting", "{made}");
    let id = made["id"].as_str().unwrap();
    gateway.stop();
    // As they would stand there; made one by one they would be as many entries of the log.
    gateway.sql(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {COPIES})
         INSERT INTO access_requests (id, datanet, subject, application, terms_version, findings, scope, status, created_at,
             deadline, entry)
         SELECT 'access-' || substr(CAST(100000 + i AS TEXT), 2), datanet, 'asker-' || CAST(i AS TEXT), application,
             terms_version, findings, scope, status,
             CASE WHEN i <= {OVERDUE} THEN '2026-01-01T00:00:00.000Z' ELSE created_at END,
             CASE WHEN i <= {OVERDUE} THEN '2026-01-04T00:00:00.000Z' ELSE deadline END, entry
         FROM access_requests, n WHERE id = '{id}'"
    ));
    gateway.start();
    let [admin, one, chief] = [admin, one, chief].map(|client| gateway.client(client.credential()));

    // The oldest is passed on, though a thousand newer ones wait.
    let end = Instant::now() + Duration::from_secs(60);
    let escalated = async || admin.get("/v1/access_requests/access-00001").await.ok()["escalated_at"].is_string();
    while !escalated().await {
        assert!(Instant::now() < end, "the oldest request was not passed on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let inbox = all(&chief, "/v1/access_requests/inbox", 3).await;
    assert_eq!(inbox, ["access-00005", "access-00004", "access-00003", "access-00002", "access-00001"]);
    let inbox = all(&one, "/v1/access_requests/inbox", 500).await;
    assert_eq!((inbox.len(), inbox.iter().collect::<BTreeSet<_>>().len()), (COPIES + 1, COPIES + 1));
    assert_eq!(inbox[0], id, "the newest first");
    let of_datanet = all(&admin, &format!("/v1/datanets/{name}/requests"), 1000).await;
    assert_eq!(of_datanet, inbox);
    let printed = gateway.cli_with(&["access", "inbox", "--json"], &[("CAIRN_API_KEY", one.credential())]).json();
    assert_eq!(printed.as_array().unwrap().len(), COPIES + 1, "the command line reads on to the end");
    for limit in ["0", "1001", "x"] {
        one.get(&format!("/v1/access_requests/inbox?limit={limit}")).await.error(400, "invalid_request");
    }

    let statistics = async || admin.get(&format!("/v1/datanets/{name}/requests/statistics")).await.ok();
    let found = statistics().await;
    assert_eq!((&found["requests"], &found["waiting"]), (&json!(COPIES + 1), &json!(COPIES + 1)), "{found}");
    let sensitive = found["clauses"].as_array().unwrap().iter().find(|it| it["clause"] == "sensitivity").unwrap();
    assert_eq!(sensitive["referred"], json!(COPIES + 1), "{found}");
    gateway.sql(
        "UPDATE access_requests SET status = 'granted', decided_by = 'policy', created_at = '2026-01-01T00:00:00.000Z',
             decided_at = '2026-01-01T00:00:02.000Z' WHERE id < 'access-01101'",
    );
    gateway.sql(
        "UPDATE access_requests SET status = 'denied', decided_by = 'review', created_at = '2026-01-01T00:00:00.000Z',
             decided_at = '2026-01-01T00:00:10.000Z' WHERE id = 'access-01101'",
    );
    let found = statistics().await;
    let expected = json!({"requests": COPIES + 1, "granted": 1100, "denied": 1, "waiting": 100, "median_seconds": 2.0});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&found[field], value, "{field}: {found}");
    }
    assert_eq!(found["automatic"].as_f64().unwrap(), 1100.0 / 1101.0);
}

#[tokio::test]
async fn jobs_files_and_contributions_are_listed_page_by_page() {
    let gateway = copy().await;
    let admin = gateway.admin();
    let name = unique("pages");
    admin.datanet(&name, &[("only", "A heron stands in the lake.")]).await;
    let (giver, subject) = gateway.caller(&["contributor", "trainer"]).await;
    let (other, _) = gateway.caller(&["contributor"]).await;
    let form = |name: &str, text: String| {
        reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::text(text).file_name(name.to_owned()))
    };
    admin.send(admin.request(Method::PUT, &format!("/v1/datanets/{name}/terms")).json(&json!({}))).await.ok();
    let (mut files, mut offers) = (Vec::new(), Vec::new());
    for n in 0..5 {
        let upload =
            form("rows.jsonl", json!({"prompt": "a", "completion": n}).to_string()).text("purpose", "fine-tune");
        let made = giver.send(giver.request(Method::POST, "/v1/files").multipart(upload)).await.ok();
        files.push(made["id"].as_str().unwrap().to_owned());
        let line = json!({"id": format!("offer-{n}"), "text": format!("Heron number {n} flies.")}).to_string();
        let path = format!("/v1/datanets/{name}/contributions?format=jsonl");
        let made = giver.send(giver.request(Method::POST, &path).multipart(form("more.jsonl", line))).await.ok();
        offers.push(made["id"].as_str().unwrap().to_owned());
        admin
            .ingest_text(
                &name,
                &[("format", "jsonl")],
                "n.jsonl",
                &json!({"text": format!("{n}"), "contributor": "a"}).to_string(),
            )
            .await;
    }
    files.reverse();
    offers.reverse();
    assert_eq!(all(&giver, "/v1/files", 2).await, files);
    assert_eq!(all(&giver, "/v1/contributions", 2).await, offers);
    let of_datanet = format!("/v1/datanets/{name}/contributions");
    assert_eq!(all(&admin, &of_datanet, 3).await, offers);
    assert_eq!(all(&giver, &of_datanet, 5).await, offers);
    assert_eq!(all(&other, &of_datanet, 2).await, Vec::<String>::new(), "to others than the owner, their own");
    let jobs = all(&admin, "/v1/jobs", 2).await;
    let whole: Value = admin.get("/v1/jobs?limit=1000").await.ok();
    let ids: Vec<&str> = whole["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert!(jobs.len() >= 6 && jobs == ids && jobs.is_sorted_by(|a, b| a > b), "{jobs:?}");
    assert!(!subject.is_empty());
}
