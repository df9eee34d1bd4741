//! What the queries of both databases rely on; on PostgreSQL under `scripts/with_postgres.py`.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::time::Duration;

use cairn_database::{Database, Dialect, Error, PostgresSettings, Settings, query, testing};
use tempfile::TempDir;

async fn database() -> (Database, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&testing::settings(&dir.path().join("db")).await.unwrap()).await.unwrap();
    let (text, number, real, flag) = match database.dialect() {
        Dialect::Sqlite => ("TEXT", "INTEGER", "REAL", "INTEGER"),
        Dialect::Postgres => ("TEXT", "BIGINT", "DOUBLE PRECISION", "BOOLEAN"),
    };
    let table = format!("CREATE TABLE t (name {text} PRIMARY KEY, n {number}, r {real}, f {flag})");
    query(table).execute(&database).await.unwrap();
    (database, dir)
}

#[tokio::test]
async fn every_kind_of_value_comes_back_as_it_was_bound() {
    let (database, _dir) = database().await;
    let insert = "INSERT INTO t (name, n, r, f) VALUES (?, ?, ?, ?)";
    query(insert).bind("a ?'\"").bind(i64::MIN).bind(0.1).bind(true).execute(&database).await.unwrap();
    let none = query(insert).bind(String::from("b")).bind(None::<i64>).bind(None::<f64>).bind(None::<bool>);
    assert_eq!(none.execute(&database).await.unwrap().rows_affected(), 1);
    let rows = query("SELECT * FROM t ORDER BY name").fetch_all(&database).await.unwrap();
    let [one, other] = &rows[..] else { panic!("{rows:?}") };
    let name: &str = one.get("name");
    assert_eq!((name, one.get::<i64, _>("n"), one.get::<f64, _>(2), one.get(3)), ("a ?'\"", i64::MIN, 0.1, true));
    let (n, r): (Option<i64>, Option<f64>) = (other.get("n"), other.get("r"));
    assert_eq!((other.get::<String, _>(0).as_str(), n, r, other.get::<Option<bool>, _>("f")), ("b", None, None, None));
    // One placeholder several times, of a type that nothing but the value tells.
    let found = query("SELECT name FROM t WHERE (?1 IS NULL OR name = ?1) AND (NOT f OR ?2) ORDER BY name LIMIT ?3");
    let found = found.bind(Some("a ?'\"")).bind(true).bind(7_u32).fetch_all(&database).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn texts_sort_by_their_bytes() {
    let (database, _dir) = database().await;
    for name in ["b", "ab", "B", "a-c", "é", "Z", "a c"] {
        query("INSERT INTO t (name) VALUES (?)").bind(name).execute(&database).await.unwrap();
    }
    let rows = query("SELECT name FROM t ORDER BY name").fetch_all(&database).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[tokio::test]
async fn nul_is_refused_with_words_and_not_stored() {
    let (database, _dir) = database().await;
    let refused = query("INSERT INTO t (name) VALUES (?)").bind("a\0b").execute(&database).await;
    assert!(matches!(refused, Err(Error::Nul)), "{refused:?}");
    let mixed = query("SELECT ?2, ?").bind("a").bind("b").fetch_all(&database).await;
    assert!(matches!(mixed, Err(Error::Placeholders)), "{mixed:?}");
}

#[tokio::test]
async fn what_is_not_committed_never_was() {
    let (database, _dir) = database().await;
    let mut transaction = database.begin().await.unwrap();
    query("INSERT INTO t (name) VALUES ('dropped')").execute(&mut transaction).await.unwrap();
    drop(transaction);
    let mut transaction = database.begin_alone("t").await.unwrap();
    query("INSERT INTO t (name) VALUES ('kept')").execute(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let rows = query("SELECT name FROM t").fetch_all(&database).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(), ["kept"]);

    // A connection on which something was given up is clean for its next user, however often.
    for _ in 0..40 {
        let begun = database.begin_alone("t");
        tokio::time::timeout(Duration::from_micros(300), async {
            let mut transaction = begun.await.unwrap();
            query("INSERT INTO t (name) VALUES ('cancelled')").execute(&mut transaction).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await
        .unwrap_err();
    }
    let rows = query("SELECT name FROM t").fetch_all(&database).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let mut transaction = database.begin_alone("t").await.unwrap();
    query("DELETE FROM t").execute(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_transaction_in_which_something_failed_is_not_taken_for_committed() {
    let (database, _dir) = database().await;
    if database.dialect() == Dialect::Sqlite {
        return; // there a statement that fails leaves the others as they are, and the commit is one
    }
    let mut transaction = database.begin().await.unwrap();
    query("INSERT INTO t (name) VALUES ('a')").execute(&mut transaction).await.unwrap();
    query("INSERT INTO t (name) VALUES ('a')").execute(&mut transaction).await.unwrap_err();
    assert!(matches!(transaction.commit().await, Err(Error::Aborted)));
}

#[tokio::test]
async fn transactions_that_run_alone_lose_no_update() {
    let (database, _dir) = database().await;
    query("INSERT INTO t (name, n) VALUES ('sum', 0)").execute(&database).await.unwrap();
    let add = async |database: Database| {
        let mut transaction = database.begin_alone("sum").await.unwrap();
        let row = query("SELECT n FROM t").fetch_one(&mut transaction).await.unwrap();
        tokio::task::yield_now().await;
        let update = query("UPDATE t SET n = ?").bind(row.get::<i64, _>(0) + 1);
        update.execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
    };
    let all: Vec<_> = (0..32).map(|_| tokio::spawn(add(database.clone()))).collect();
    for one in all {
        one.await.unwrap();
    }
    let row = query("SELECT n FROM t").fetch_one(&database).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 32);
}

#[tokio::test]
async fn only_one_process_holds_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let settings = testing::settings(&dir.path().join("db")).await.unwrap();
    let database = Database::open(&settings).await.unwrap();
    let held = database.hold().await.unwrap().unwrap();
    let Dialect::Postgres = database.dialect() else { return }; // a lock in the data directory does it
    let other = Database::open(&settings).await.unwrap();
    assert!(other.hold().await.unwrap().is_none());
    // Its server ends the connection: whoever held it learns, and another may have it.
    query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(&other)
    .await
    .unwrap();
    tokio::time::timeout(Duration::from_secs(10), held.lost()).await.unwrap();
    assert!(other.hold().await.unwrap().is_some());
}

#[tokio::test]
async fn tls_is_taken_from_a_server_with_a_certificate_that_holds_and_from_no_other() {
    let (Some(server), Some(authority)) = (testing::server(), std::env::var_os("CAIRN_TEST_POSTGRES_CA")) else {
        return;
    };
    let open = async |query: &str, authority: Option<std::path::PathBuf>| {
        let settings = PostgresSettings::new(&format!("{server}/postgres{query}"), 1, authority).unwrap();
        Database::open(&Settings::Postgres(Box::new(settings))).await
    };
    let database = open("?sslmode=require", Some(authority.into())).await.unwrap();
    let row = query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetch_one(&database).await.unwrap();
    assert!(row.get::<bool, _>(0), "the connection is encrypted");
    assert!(open("?sslmode=require", None).await.is_err(), "the system does not know who signed the certificate");
    assert!(open("?sslmode=disable", None).await.is_ok());
}

#[tokio::test]
async fn a_database_that_sorts_by_a_language_is_refused_with_the_way_out() {
    let Some(server) = testing::server() else { return };
    let open = async |name: &str| {
        let settings = PostgresSettings::new(&format!("{server}/{name}"), 1, None).unwrap();
        Database::open(&Settings::Postgres(Box::new(settings))).await
    };
    let admin = open("postgres").await.unwrap();
    let name = format!("by_language_{}", std::process::id());
    let made = query(format!(
        "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'"
    ));
    made.execute(&admin).await.unwrap();
    let error = open(&name).await.unwrap_err();
    assert!(error.to_string().contains("LC_COLLATE 'C'"), "{error}");
}
