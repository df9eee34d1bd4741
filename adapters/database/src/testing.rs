//! For tests of whoever keeps state in a database: the same test runs on SQLite, and on PostgreSQL where
//! `scripts/with_postgres.py` started a server and put its address into `CAIRN_TEST_POSTGRES`.

use std::path::Path;

use crate::{Database, Error, PostgresSettings, Settings, query};

/// The database that stands for a file: the file itself, or one of the server's, which is made where it is missing.
///
/// # Errors
/// [`Error`] when the server cannot be reached.
pub async fn settings(file: &Path) -> Result<Settings, Error> {
    let Some(server) = server() else { return Ok(Settings::Sqlite(file.to_owned())) };
    let name: String =
        file.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(63).collect();
    let postgres = |database: &str| {
        let settings = PostgresSettings::new(&format!("{server}/{database}"), CONNECTIONS, None)?;
        Ok::<_, Error>(Settings::Postgres(Box::new(settings)))
    };
    let admin = Database::open(&postgres("postgres")?).await?;
    let known = query("SELECT 1 FROM pg_database WHERE datname = ?").bind(&name).fetch_optional(&admin).await?;
    if known.is_none() {
        query(format!("CREATE DATABASE \"{name}\"")).execute(&admin).await?;
    }
    admin.close().await;
    postgres(&name)
}

/// The address of the server that was started for tests, without a database; none: tests use SQLite.
pub fn server() -> Option<String> {
    std::env::var("CAIRN_TEST_POSTGRES").ok().filter(|server| !server.is_empty())
}

/// Connections of one test's database.
const CONNECTIONS: usize = 8;
