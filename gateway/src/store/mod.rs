//! Everything relational, in SQLite: keys, datanets and grants, jobs, attribution records.
//!
//! One file a table. WAL with `synchronous = FULL`: what is acknowledged survives a power cut, because a record that is
//! in the transparency log must have its openings here.

use std::path::Path;

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub(crate) mod access;
pub(crate) mod attributions;
pub(crate) mod contributions;
pub(crate) mod contributors;
pub(crate) mod datanets;
pub(crate) mod erasures;
pub(crate) mod grants;
pub(crate) mod influence;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod records;
pub(crate) mod requests;
pub(crate) mod sessions;
pub(crate) mod training;
pub(crate) mod usage;

/// The relational store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: SqlitePool,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// SQLite failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A stored value does not read back.
    #[error("a stored value is damaged")]
    Damaged(#[from] serde_json::Error),
    /// A stored value is not of its form.
    #[error("{0} is damaged")]
    DamagedText(&'static str),
    /// A commitment cannot be made.
    #[error(transparent)]
    Commitment(#[from] cairn_proof::Error),
}

impl Store {
    /// Opens the database, creating it and bringing its schema up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What is deleted is overwritten.
            .pragma("secure_delete", "ON")
            .busy_timeout(std::time::Duration::from_secs(10));
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self { pool })
    }

    /// The database itself, for the adapter store, which keeps its own tables in it.
    pub(crate) fn pool(&self) -> SqlitePool {
        self.pool.clone()
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }
}

/// The present moment as every table keeps it: RFC 3339, UTC, milliseconds.
pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
