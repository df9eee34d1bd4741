//! [`Transaction`]: all of it, or none.

use futures::FutureExt;

use crate::{Database, Dialect, Error, postgres, query};

/// A transaction; dropped, it is rolled back.
#[derive(Debug)]
pub enum Transaction {
    /// Of SQLite.
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    /// Of PostgreSQL.
    Postgres(PostgresTransaction),
}

/// A transaction on a connection of the pool, which goes back there with it.
#[derive(Debug)]
pub struct PostgresTransaction {
    client: deadpool_postgres::Client,
    /// A statement failed: the server will commit nothing, and would say so to nobody who does not look.
    failed: bool,
    /// Committed: there is nothing to roll back.
    done: bool,
}

impl Transaction {
    pub(crate) async fn begin(database: &Database, alone: Option<&'static str>) -> Result<Self, Error> {
        match (database, alone) {
            (Database::Sqlite(pool), None) => Ok(Self::Sqlite(pool.begin().await?)),
            // One writer at a time, whatever the name. In a task of its own, which a caller who gives up does not break off:
            // after BEGIN sqlx looks whether it worked, and given up there leaves the connection in the transaction.
            (Database::Sqlite(pool), Some(_)) => {
                let pool = pool.clone();
                let begun = tokio::spawn(async move { pool.begin_with("BEGIN IMMEDIATE").await }).await;
                match begun {
                    Ok(begun) => Ok(Self::Sqlite(begun?)),
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => std::future::pending().await, // the runtime is shutting down
                }
            }
            (Database::Postgres(pool), alone) => {
                // Made before the server is asked, so that a caller who gives up in between leaves nothing open.
                let begun = PostgresTransaction { client: pool.client().await?, failed: false, done: false };
                begun.client.batch_execute("BEGIN").await?;
                let mut transaction = Self::Postgres(begun);
                if let Some(name) = alone {
                    transaction.lock(name).await?;
                }
                Ok(transaction)
            }
        }
    }

    /// Waits until no other transaction has locked `name`, and locks it until this one ends. SQLite's single writer needs
    /// none, from the first change on.
    ///
    /// # Errors
    /// [`Error`] when the database fails, or two transactions wait for each other.
    pub async fn lock(&mut self, name: &'static str) -> Result<(), Error> {
        if self.dialect() == Dialect::Postgres {
            let lock = query("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))");
            lock.bind(format!("cairn {name}")).execute(self).await?;
        }
        Ok(())
    }

    /// Whose SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Makes it true. When this returns, it is on disk.
    ///
    /// # Errors
    /// [`Error::Aborted`] where a statement of it had failed, and when the database fails.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(transaction) => Ok(transaction.commit().await?),
            Self::Postgres(transaction) if transaction.failed => Err(Error::Aborted),
            Self::Postgres(mut transaction) => {
                transaction.client.batch_execute("COMMIT").await?;
                transaction.done = true;
                Ok(())
            }
        }
    }
}

impl PostgresTransaction {
    pub(crate) fn client(&self) -> &deadpool_postgres::Client {
        &self.client
    }

    /// Remembers a failure.
    pub(crate) fn note<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.failed |= outcome.is_err();
        outcome
    }
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        if !self.done {
            // The first poll puts the message in the connection's queue, before anything the pool's next user sends; the
            // answer interests nobody. Where the connection is gone, so is the transaction.
            self.client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

impl postgres::Pool {
    /// Statements that return nothing and may not run in a transaction.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        Ok(self.client().await?.batch_execute(sql).await?)
    }
}
