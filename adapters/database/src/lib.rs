//! Relational state: one way to write a query, and SQLite or PostgreSQL below it.
//!
//! ```text
//! query("SELECT name FROM datanets WHERE owner = ?").bind(owner).fetch_all(&database).await?
//! ```
//! Queries are written once, in the SQL that both understand, with SQLite's placeholders (`?`, `?2`); CONTRIBUTING.md has
//! the rules. What differs is here: connections, transactions that nobody else may run beside ([`Database::begin_alone`]),
//! migrations, and the few words that only one of the two knows. What a table means is its owner's business, not ours.

mod error;
mod hold;
mod migrate;
mod postgres;
mod query;
mod row;
mod settings;
pub mod testing;
mod tls;
mod transaction;

use std::path::Path;

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use error::Error;
pub use hold::Hold;
pub use query::{Done, On, Query, Value, query};
pub use row::{Read, Row};
pub use settings::{PostgresSettings, Settings};
pub use transaction::Transaction;

/// A database. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file of this machine.
    Sqlite(SqlitePool),
    /// A server.
    Postgres(postgres::Pool),
}

/// Whose SQL a database speaks, for the few places where that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

impl Dialect {
    /// What follows a `SELECT` that picks work to do, so that of two who pick at once each gets another row. SQLite, which
    /// has one writer at a time, needs nothing.
    pub fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "FOR UPDATE SKIP LOCKED",
        }
    }

    /// What a `FROM` reads the elements of a JSON list of texts or numbers from, as a column `value`. Numbers are
    /// `CAST(value AS BIGINT)`.
    pub fn json_each(self, list: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({list})"),
            Self::Postgres => format!("json_array_elements_text(CAST({list} AS JSON))"),
        }
    }
}

impl Database {
    /// Opens a database; SQLite's file is made where it is missing.
    ///
    /// # Errors
    /// [`Error`] when it cannot be reached, or is not as it must be.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        match settings {
            Settings::Sqlite(path) => Self::sqlite(path).await,
            Settings::Postgres(settings) => Ok(Self::Postgres(postgres::Pool::open(settings, false).await?)),
        }
    }

    /// Opens a server's database that another process holds ([`Database::hold`]) and lets this one use beside it.
    ///
    /// # Errors
    /// [`Error::NotShared`] for a file; [`Error`] when it cannot be reached, or is not as it must be.
    pub async fn open_shared(settings: &Settings) -> Result<Self, Error> {
        match settings {
            Settings::Sqlite(_) => Err(Error::NotShared),
            Settings::Postgres(settings) => Ok(Self::Postgres(postgres::Pool::open(settings, true).await?)),
        }
    }

    /// WAL with `synchronous = FULL`: what is acknowledged survives a power cut.
    async fn sqlite(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What is deleted is overwritten.
            .pragma("secure_delete", "ON")
            .busy_timeout(std::time::Duration::from_secs(10));
        Ok(Self::Sqlite(SqlitePoolOptions::new().max_connections(4).connect_with(options).await?))
    }

    /// Whose SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Begins a transaction; dropped without [`Transaction::commit`] it never was.
    ///
    /// # Errors
    /// [`Error`] when the database cannot be reached.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        Transaction::begin(self, None).await
    }

    /// Begins a transaction that runs beside no other of the same `name`: what it reads is true until it commits.
    ///
    /// # Errors
    /// [`Error`] when the database cannot be reached, or others take too long.
    pub async fn begin_alone(&self, name: &'static str) -> Result<Transaction, Error> {
        Transaction::begin(self, Some(name)).await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Error`] when it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        query("SELECT 1").execute(self).await?;
        Ok(())
    }

    /// Takes what was deleted or overwritten in `tables` out of the database's files: what `secure_delete` cleared reaches
    /// SQLite's main file and the write-ahead log is emptied; PostgreSQL writes the tables anew. Its own write-ahead log, and
    /// copies made of either, are the operator's.
    ///
    /// # Errors
    /// [`Error`] when the database fails.
    pub async fn settle(&self, tables: &[&'static str]) -> Result<(), Error> {
        match self {
            Self::Sqlite(_) => {
                query("PRAGMA wal_checkpoint(TRUNCATE)").execute(self).await?;
            }
            Self::Postgres(pool) => pool.batch(&format!("VACUUM (FULL) {}", tables.join(", "))).await?,
        }
        Ok(())
    }

    /// Closes every connection; for tests that look at the files.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close(),
        }
    }
}
