//! [`Error`]: why a database failed. None of its messages holds a value, an address or a password.

use std::path::PathBuf;

/// Why a database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite failed.
    #[error("SQLite failed")]
    Sqlite(#[from] sqlx::Error),
    /// PostgreSQL failed.
    #[error("PostgreSQL failed")]
    Postgres(#[from] tokio_postgres::Error),
    /// There is no connection to be had.
    #[error(
        "no connection to PostgreSQL is to be had; see that it runs, that it admits this user, and database.connections"
    )]
    Pool(#[from] deadpool_postgres::PoolError),
    /// A pool of connections could not be made.
    #[error("a pool of connections to PostgreSQL cannot be made")]
    Build(#[from] deadpool_postgres::BuildError),
    /// One row was expected.
    #[error("the database has no such row")]
    NoRow,
    /// No text may hold a NUL: PostgreSQL takes none.
    #[error("a text with the character NUL (U+0000) cannot be stored; take it out")]
    Nul,
    /// A query of ours is wrong.
    #[error("a query numbers some of its placeholders and not the others")]
    Placeholders,
    /// A transaction was to be committed of which a statement had failed.
    #[error("the transaction had failed and was not committed")]
    Aborted,
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A migration that was applied is not the one known here.
    #[error("the database was made by another version of cairn: its migration {0} is unknown here, or differs")]
    Migration(i64),
    /// Another process holds the database, and has it in another version's schema.
    #[error(
        "the database's schema is another version's: give the primary and its replicas the same version of cairn, the primary first"
    )]
    OtherSchema,
    /// A file is one process's.
    #[error("a database that several gateways share is on a PostgreSQL server; give its address in database.url")]
    NotShared,
    /// The address does not parse. Its parts are not repeated: one of them is a password.
    #[error(
        "database.url is no address as postgres://user@host:5432/database; special characters in it must be percent-encoded, and of the options behind ? only sslmode (disable, prefer, require), connect_timeout, options and a few more are known"
    )]
    Address,
    /// The database sorts texts by a language's rules.
    #[error(
        "the database sorts by a language's rules; make one that sorts by bytes, as SQLite does: CREATE DATABASE cairn TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    )]
    Collation,
    /// The database does not hold Unicode.
    #[error("the database's encoding is {0}; make one with ENCODING 'UTF8'")]
    Encoding(String),
    /// The file of certificates cannot be used.
    #[error("{path} cannot be used as a file of certificates (PEM)", path = .0.display())]
    Certificates(PathBuf, #[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS to PostgreSQL cannot be set up")]
    Tls(#[from] rustls::Error),
}
