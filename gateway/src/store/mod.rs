//! Everything relational, in SQLite or PostgreSQL: keys, datanets and grants, jobs, attribution records.
//!
//! One file a table. What is acknowledged survives a power cut, because a record that is in the transparency log must have
//! its openings here. Queries are written once for both (`cairn-database`); CONTRIBUTING.md has the rules.

use cairn_database::{Database, Hold, Settings};

pub(crate) mod access;
pub(crate) mod attributions;
pub(crate) mod contributions;
pub(crate) mod contributors;
pub(crate) mod datanets;
pub(crate) mod erasures;
pub(crate) mod grants;
pub(crate) mod influence;
mod instance;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod records;
pub(crate) mod requests;
pub(crate) mod sessions;
pub(crate) mod statistics;
#[cfg(test)]
mod tests;
pub(crate) mod training;
pub(crate) mod usage;

/// The relational store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: Database,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// SQLite or PostgreSQL failed.
    #[error("the database failed")]
    Database(#[from] cairn_database::Error),
    /// The database belongs to another data directory.
    #[error(
        "the database that database.url names does not belong to {path}: use the data directory that it was made with (its file database-id), or an empty database",
        path = .0.display()
    )]
    OtherInstance(std::path::PathBuf),
    /// The file that says which database belongs to the data directory cannot be used.
    #[error("{path} cannot be used", path = .0.display())]
    Instance(std::path::PathBuf, #[source] std::io::Error),
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
    /// Opens the database and brings its schema up to date; SQLite's file is made where it is missing.
    pub(crate) async fn open(settings: impl Into<Settings>) -> Result<Self, StoreError> {
        let pool = Database::open(&settings.into()).await?;
        pool.migrate(&sqlx::migrate!("./migrations"), &sqlx::migrate!("./migrations-postgres")).await?;
        Ok(Self { pool })
    }

    /// Opens a database that another process keeps, whose schema it must have brought up to ours.
    pub(crate) async fn open_shared(settings: impl Into<Settings>) -> Result<Self, StoreError> {
        let pool = Database::open_shared(&settings.into()).await?;
        pool.migrated(&sqlx::migrate!("./migrations-postgres")).await?;
        Ok(Self { pool })
    }

    /// Takes the database for this process; none where another has it.
    pub(crate) async fn hold(&self) -> Result<Option<Hold>, StoreError> {
        Ok(self.pool.hold().await?)
    }

    /// The database itself, for the adapter store, which keeps its own tables in it.
    pub(crate) fn pool(&self) -> Database {
        self.pool.clone()
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.pool.ping().await?)
    }
}

/// A text that nobody sent, such as a job's error, without the one character that no database here takes.
pub(crate) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The present moment as every table keeps it: RFC 3339, UTC, milliseconds.
pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
