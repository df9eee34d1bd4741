//! [`Row`]: what a query found.

use std::fmt::{self, Display};

use sqlx::{ColumnIndex, Row as _, Sqlite, sqlite::SqliteRow};
use tokio_postgres::{row::RowIndex, types::FromSql};

/// A row.
pub enum Row {
    /// Of SQLite.
    Sqlite(SqliteRow),
    /// Of PostgreSQL.
    Postgres(tokio_postgres::Row),
}

/// What a column reads as: `bool`, `i64`, `f64`, `String`, `&str`, and each as an `Option`. Narrower integers do not: in
/// PostgreSQL a column is BIGINT, or an expression cast to it.
pub trait Read<'r>: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + FromSql<'r> {}

impl<'r, T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + FromSql<'r>> Read<'r> for T {}

/// Without what is in it: a row may hold what nobody should read in a log.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").finish_non_exhaustive()
    }
}

impl Row {
    /// A column, by place or by name.
    ///
    /// # Panics
    /// Where there is no such column, or it is of another type: the query and its reader disagree.
    pub fn get<'r, T: Read<'r>, I>(&'r self, column: I) -> T
    where
        I: ColumnIndex<SqliteRow> + RowIndex + Display,
    {
        match self {
            Self::Sqlite(row) => row.get(column),
            Self::Postgres(row) => row.get(column),
        }
    }
}
