//! Connections to PostgreSQL, and how our queries read there.

use std::{error::Error as StdError, fmt::Write as _, time::Duration};

use bytes::BytesMut;
use deadpool_postgres::{Client, Connect, Manager, ManagerConfig, RecyclingMethod, Runtime};
use futures::future::{BoxFuture, pending};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::{
    Error, Query, Value,
    settings::PostgresSettings,
    tls::{self, Tls},
};

/// Connections to a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
    settings: Box<PostgresSettings>,
}

impl Pool {
    /// `shared`: beside the process that holds the database.
    pub(crate) async fn open(settings: &PostgresSettings, shared: bool) -> Result<Self, Error> {
        let mut settings = settings.clone();
        settings.name_connections(shared);
        let connect = Connector { tls: tls::tls(&settings)?, runtime: Handle::current() };
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = deadpool_postgres::Pool::builder(Manager::from_connect(settings.config.clone(), connect, manager))
            .max_size(settings.connections)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(WAIT))
            .runtime(Runtime::Tokio1)
            .build()?;
        let pool = Self { pool, settings: Box::new(settings) };
        let client = pool.client().await?;
        let row = client.query_one("SELECT current_setting('server_encoding'), 'a' < 'B'", &[]).await?;
        match (row.get::<_, &str>(0), row.get::<_, bool>(1)) {
            ("UTF8", false) => Ok(pool),
            ("UTF8", true) => Err(Error::Collation),
            (encoding, _) => Err(Error::Encoding(encoding.to_owned())),
        }
    }

    pub(crate) async fn client(&self) -> Result<Client, Error> {
        Ok(self.pool.get().await?)
    }

    pub(crate) fn settings(&self) -> &PostgresSettings {
        &self.settings
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

/// Makes connections on the runtime that opened the pool: whoever asks for the first one may be a worker of a runtime that
/// serves other things, and ends sooner.
struct Connector {
    tls: Tls,
    runtime: Handle,
}

impl Connect for Connector {
    fn connect(
        &self,
        config: &tokio_postgres::Config,
    ) -> BoxFuture<'_, Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>> {
        let (config, tls, runtime) = (config.clone(), self.tls.clone(), self.runtime.clone());
        Box::pin(async move {
            let connected = runtime.spawn(async move { config.connect(tls).await }).await;
            let (client, connection) = match connected {
                Ok(connected) => connected?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => pending().await, // the runtime is shutting down; the wait has a limit
            };
            let task = runtime.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(%error, "a connection to PostgreSQL ended");
                }
            });
            Ok((client, task))
        })
    }
}

pub(crate) async fn execute(client: &Client, query: &Query<'_>) -> Result<u64, Error> {
    let (sql, types) = prepared(query);
    let statement = client.prepare_typed_cached(&sql, &types).await?;
    Ok(client.execute(&statement, &parameters(query)).await?)
}

pub(crate) async fn fetch(client: &Client, query: &Query<'_>) -> Result<Vec<tokio_postgres::Row>, Error> {
    let (sql, types) = prepared(query);
    let statement = client.prepare_typed_cached(&sql, &types).await?;
    Ok(client.query(&statement, &parameters(query)).await?)
}

/// The SQL with PostgreSQL's placeholders, and their types: said, not inferred, since `? IS NULL` tells nothing.
fn prepared(query: &Query<'_>) -> (String, Vec<Type>) {
    let types = query.values.iter().map(|value| match value {
        Value::Flag(_) => Type::BOOL,
        Value::Number(_) => Type::INT8,
        Value::Real(_) => Type::FLOAT8,
        Value::Text(_) => Type::TEXT,
    });
    (numbered(&query.sql), types.collect())
}

fn parameters<'a>(query: &'a Query<'_>) -> Vec<&'a (dyn ToSql + Sync)> {
    query.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

/// `?` and `?3` as `$1` and `$3`; what stands in quotes stays.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 16);
    let (mut quote, mut last) = (None, 0_usize);
    let mut characters = sql.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '?') => {
                let mut number = 0;
                while let Some(digit) = characters.peek().and_then(|next| next.to_digit(10)) {
                    number = number * 10 + digit as usize;
                    characters.next();
                }
                let number = if number == 0 { last + 1 } else { number };
                last = last.max(number);
                write!(out, "${number}").ok(); // a String takes all
                continue;
            }
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
        out.push(character);
    }
    out
}

impl ToSql for Value<'_> {
    fn to_sql(&self, as_type: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Flag(value) => value.to_sql(as_type, out),
            Self::Number(value) => value.to_sql(as_type, out),
            Self::Real(value) => value.to_sql(as_type, out),
            Self::Text(value) => value.as_deref().to_sql(as_type, out),
        }
    }

    fn accepts(as_type: &Type) -> bool {
        [Type::BOOL, Type::INT8, Type::FLOAT8, Type::TEXT].contains(as_type)
    }

    to_sql_checked!();
}

/// Longest wait for a connection that others use, or that is being made.
const WAIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_as_sqlite_numbers_them() {
        for (given, expected) in [
            ("a = ? AND b = ?", "a = $1 AND b = $2"),
            ("?2 IS NULL OR a = ?2 AND b = ?1", "$2 IS NULL OR a = $2 AND b = $1"),
            ("?3, ?", "$3, $4"),
            (
                "a = '?' AND \"b?\" = ? AND c = 'it''s ?' AND d = ?12",
                "a = '?' AND \"b?\" = $1 AND c = 'it''s ?' AND d = $12",
            ),
        ] {
            assert_eq!(numbered(given), expected);
        }
    }
}
