//! Relational state on a PostgreSQL server: whose it is, and what is told of it. Run under `scripts/with_postgres.py`; with
//! SQLite there is nothing to see.
#![allow(clippy::unwrap_used)]

use cairn_tests::{Setup, unique};
use serde_json::json;

#[tokio::test]
async fn a_database_serves_one_gateway_and_one_data_directory() {
    if std::env::var_os("CAIRN_TEST_POSTGRES").is_none() {
        return;
    }
    let first = Setup::new().start();
    assert!(first.on_postgres() && !first.data().join("cairn.db").exists(), "nothing is in SQLite");
    let url = first.database_url().unwrap();

    // Another data directory with the same database is refused, whether the first gateway runs or not.
    let mut other = Setup::new().prepare();
    other.set("database.url", &url);
    assert!(other.try_start().is_err());
    assert!(other.log_tail().contains("does not belong to"), "{}", other.log_tail());
    // A copy of the first one's directory is refused for as long as it runs.
    let mut twin = Setup::new().prepare();
    twin.set("database.url", &url);
    std::fs::copy(first.data().join("database-id"), twin.data().join("database-id")).unwrap();
    assert!(twin.try_start().is_err());
    assert!(twin.log_tail().contains("another cairn uses the database"), "{}", twin.log_tail());
    // Keys are made beside the running gateway, which sees them.
    let key = first.cli(&["keys", "create", "beside"]);
    assert!(key.ok(), "{key}");
    let me = first.client(key.stdout.trim()).get("/v1/me").await.ok();
    assert_eq!(me["subject"], "beside");
    // The password is told to nobody.
    let password = url.split(':').nth(2).unwrap().split('@').next().unwrap().to_owned();
    for text in [std::fs::read_to_string(first.scratch().join("serve.log")).unwrap(), other.log_tail(), twin.log_tail()]
    {
        assert!(!text.contains(&password));
    }
}

#[tokio::test]
async fn a_gateway_that_lost_its_database_ends_and_the_next_goes_on() {
    if std::env::var_os("CAIRN_TEST_POSTGRES").is_none() {
        return;
    }
    let mut gateway = Setup::new().start();
    let name = unique("kept");
    gateway.admin().post("/v1/datanets", json!({"name": name})).await.ok();
    gateway.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    gateway.wait_failed();
    assert!(gateway.log_tail().contains("the database is held no more"), "{}", gateway.log_tail());
    gateway.start();
    gateway.admin().get(&format!("/v1/datanets/{name}")).await.ok();
}

#[tokio::test]
async fn a_nul_is_refused_with_words() {
    let gateway = Setup::new().start();
    let admin = gateway.admin();
    let named = json!({"name": unique("nul"), "title": "a\u{0}b"});
    let error = admin.post("/v1/datanets", named).await.error(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("U+0000"), "{error}");
}
