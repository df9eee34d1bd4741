//! [`Query`]: SQL with the values of its placeholders.

use std::borrow::Cow;

use crate::{Database, Error, Row, Transaction, postgres};

/// A query, with SQLite's placeholders: `?` for the next value, `?2` for the second.
pub fn query<'q>(sql: impl Into<Cow<'q, str>>) -> Query<'q> {
    Query { sql: sql.into(), values: Vec::new() }
}

/// SQL with the values of its placeholders.
#[derive(Debug, Clone)]
pub struct Query<'q> {
    pub(crate) sql: Cow<'q, str>,
    pub(crate) values: Vec<Value<'q>>,
}

/// A value of a placeholder: each kind is one type of column, in SQLite and in PostgreSQL.
#[derive(Debug, Clone)]
pub enum Value<'q> {
    /// INTEGER that is 0 or 1; BOOLEAN.
    Flag(Option<bool>),
    /// INTEGER; BIGINT.
    Number(Option<i64>),
    /// REAL; DOUBLE PRECISION.
    Real(Option<f64>),
    /// TEXT.
    Text(Option<Cow<'q, str>>),
}

/// What a query did that returns no rows.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    rows: u64,
}

impl Done {
    /// How many rows it inserted, changed or deleted.
    pub fn rows_affected(&self) -> u64 {
        self.rows
    }
}

/// Where a query runs: on any connection of the database, or in a transaction.
#[derive(Debug)]
pub enum On<'e> {
    /// Any connection.
    Database(&'e Database),
    /// A transaction's.
    Transaction(&'e mut Transaction),
}

impl<'q> Query<'q> {
    /// The next placeholder's value.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds to the SQL.
    #[must_use]
    pub fn push(mut self, sql: &str) -> Self {
        self.sql.to_mut().push_str(sql);
        self
    }

    /// Runs it for what it does.
    ///
    /// # Errors
    /// [`Error`] when the database refuses or fails.
    pub async fn execute<'e>(self, on: impl Into<On<'e>>) -> Result<Done, Error> {
        self.check()?;
        let rows = match on.into() {
            On::Database(Database::Sqlite(pool)) => self.sqlite().execute(pool).await?.rows_affected(),
            On::Database(Database::Postgres(pool)) => postgres::execute(&pool.client().await?, &self).await?,
            On::Transaction(Transaction::Sqlite(transaction)) => {
                self.sqlite().execute(&mut **transaction).await?.rows_affected()
            }
            On::Transaction(Transaction::Postgres(transaction)) => {
                let done = postgres::execute(transaction.client(), &self).await;
                transaction.note(done)?
            }
        };
        Ok(Done { rows })
    }

    /// Its rows.
    ///
    /// # Errors
    /// [`Error`] when the database refuses or fails.
    pub async fn fetch_all<'e>(self, on: impl Into<On<'e>>) -> Result<Vec<Row>, Error> {
        self.check()?;
        let rows = match on.into() {
            On::Database(Database::Sqlite(pool)) => {
                return Ok(self.sqlite().fetch_all(pool).await?.into_iter().map(Row::Sqlite).collect());
            }
            On::Transaction(Transaction::Sqlite(transaction)) => {
                let rows = self.sqlite().fetch_all(&mut **transaction).await?;
                return Ok(rows.into_iter().map(Row::Sqlite).collect());
            }
            On::Database(Database::Postgres(pool)) => postgres::fetch(&pool.client().await?, &self).await?,
            On::Transaction(Transaction::Postgres(transaction)) => {
                let rows = postgres::fetch(transaction.client(), &self).await;
                transaction.note(rows)?
            }
        };
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    /// Its first row, where it has one.
    ///
    /// # Errors
    /// [`Error`] when the database refuses or fails.
    pub async fn fetch_optional<'e>(self, on: impl Into<On<'e>>) -> Result<Option<Row>, Error> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// Its first row.
    ///
    /// # Errors
    /// [`Error::NoRow`], and when the database refuses or fails.
    pub async fn fetch_one<'e>(self, on: impl Into<On<'e>>) -> Result<Row, Error> {
        self.fetch_optional(on).await?.ok_or(Error::NoRow)
    }

    /// No text has a NUL, which PostgreSQL does not take: then none is in SQLite either that could not be moved there. And
    /// placeholders are numbered, all or none: sqlx counts those that are not from 1, whatever the others say.
    fn check(&self) -> Result<(), Error> {
        let nul = |value: &Value<'_>| matches!(value, Value::Text(Some(text)) if text.contains('\0'));
        if self.values.iter().any(nul) {
            return Err(Error::Nul);
        }
        let after = self.sql.match_indices('?').map(|(at, _)| self.sql.as_bytes().get(at + 1));
        let (numbered, plain) = after.fold((false, false), |(numbered, plain), next| {
            let number = next.is_some_and(u8::is_ascii_digit);
            (numbered | number, plain | !number)
        });
        if numbered && plain { Err(Error::Placeholders) } else { Ok(()) }
    }

    /// As sqlx takes it.
    fn sqlite(&self) -> sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments<'_>> {
        let mut query = sqlx::query(&self.sql);
        for value in &self.values {
            query = match value {
                Value::Flag(flag) => query.bind(*flag),
                Value::Number(number) => query.bind(*number),
                Value::Real(real) => query.bind(*real),
                Value::Text(text) => query.bind(text.as_deref()),
            };
        }
        query
    }
}

impl<'e> From<&'e Database> for On<'e> {
    fn from(database: &'e Database) -> Self {
        Self::Database(database)
    }
}

impl<'e> From<&'e mut Transaction> for On<'e> {
    fn from(transaction: &'e mut Transaction) -> Self {
        Self::Transaction(transaction)
    }
}

/// A type, its optional form, and what either becomes.
macro_rules! value {
    ($($of:ty => $kind:ident $convert:expr;)*) => {$(
        impl<'q> From<$of> for Value<'q> {
            fn from(value: $of) -> Self {
                Self::$kind(Some($convert(value)))
            }
        }

        impl<'q> From<Option<$of>> for Value<'q> {
            fn from(value: Option<$of>) -> Self {
                Self::$kind(value.map($convert))
            }
        }
    )*};
}

value! {
    bool => Flag std::convert::identity;
    u8 => Number i64::from;
    u32 => Number i64::from;
    i64 => Number std::convert::identity;
    f64 => Real std::convert::identity;
    &f64 => Real |value: &f64| *value;
    String => Text Cow::Owned;
    &'q str => Text Cow::Borrowed;
    &'q String => Text |value: &'q String| Cow::Borrowed(value.as_str());
    Cow<'q, str> => Text std::convert::identity;
}

impl<'q> From<&'q Option<String>> for Value<'q> {
    fn from(value: &'q Option<String>) -> Self {
        Self::Text(value.as_deref().map(Cow::Borrowed))
    }
}
