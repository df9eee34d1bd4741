//! [`Hold`]: a database for one process alone.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::{Database, Error, tls};

/// Held for as long as a process uses a database that no other may use. SQLite's file lies in a data directory, which has
/// a lock of its own; PostgreSQL keeps this one for as long as the connection lasts.
#[derive(Debug)]
pub struct Hold {
    connection: Option<(tokio_postgres::Client, JoinHandle<()>)>,
}

impl Database {
    /// Takes the database; none where another process has it.
    ///
    /// # Errors
    /// [`Error`] when the server cannot be reached.
    pub async fn hold(&self) -> Result<Option<Hold>, Error> {
        let Self::Postgres(pool) = self else { return Ok(Some(Hold { connection: None })) };
        let settings = pool.settings();
        let (client, connection) = settings.config.connect(tls::tls(settings)?).await?;
        let ended = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::error!(%error, "the connection that holds the database ended");
            }
        });
        // A process that was killed has it for as long as the server takes to notice.
        for _ in 0..TRIES {
            let row =
                client.query_one("SELECT pg_try_advisory_lock(hashtextextended('cairn gateway', 0))", &[]).await?;
            if row.get::<_, bool>(0) {
                outlive_others(&client).await?;
                return Ok(Some(Hold { connection: Some((client, ended)) }));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(None)
    }
}

/// Waits for the connections of whoever had the database before, and in the end has them closed: what a killed process
/// had sent may still be carried out, and must not be while this one mends what it left.
async fn outlive_others(client: &tokio_postgres::Client) -> Result<(), Error> {
    const OTHERS: &str = "FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user
        AND application_name LIKE 'cairn %' AND application_name <> current_setting('application_name')";
    for _ in 0..TRIES {
        if client.query(format!("SELECT pid {OTHERS}").as_str(), &[]).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    client.query(format!("SELECT pg_terminate_backend(pid, 5000) {OTHERS}").as_str(), &[]).await?;
    Ok(())
}

/// How often, and with what pause, it is tried: five seconds in all.
const TRIES: usize = 25;
const PAUSE: Duration = Duration::from_millis(200);

impl Hold {
    /// Returns when the database is held no more, because the server or the way to it failed.
    pub async fn lost(mut self) {
        match &mut self.connection {
            // However it ended, it ended.
            Some((_client, ended)) => drop(ended.await),
            None => std::future::pending().await,
        }
    }
}
