//! Migrations: SQLite's by sqlx, PostgreSQL's from the same kind of directory.

use sqlx::migrate::Migrator;

use crate::{Database, Error};

impl Database {
    /// Brings the schema up to date with the migrations of this database's kind. PostgreSQL's are applied all or none.
    ///
    /// # Errors
    /// [`Error::Migration`] where the database was made by a later version; [`Error`] when it fails.
    pub async fn migrate(&self, sqlite: &Migrator, postgres: &Migrator) -> Result<(), Error> {
        let Self::Postgres(pool) = self else {
            let Self::Sqlite(pool) = self else { return Ok(()) };
            return Ok(sqlite.run(pool).await?);
        };
        let mut client = pool.client().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute("SELECT pg_advisory_xact_lock(hashtextextended('cairn migrations', 0))").await?;
        transaction.batch_execute(TABLE).await?;
        let applied = transaction.query("SELECT version, checksum FROM cairn_migrations", &[]).await?;
        let applied: Vec<(i64, Vec<u8>)> = applied.iter().map(|row| (row.get(0), row.get(1))).collect();
        for (version, checksum) in &applied {
            let known = postgres.iter().find(|migration| migration.version == *version);
            if known.is_none_or(|migration| *migration.checksum != **checksum) {
                return Err(Error::Migration(*version));
            }
        }
        for migration in postgres.iter().filter(|it| applied.iter().all(|(version, _)| *version != it.version)) {
            transaction.batch_execute(&migration.sql).await?;
            transaction
                .execute(
                    "INSERT INTO cairn_migrations (version, description, checksum) VALUES ($1, $2, $3)",
                    &[&migration.version, &&*migration.description, &&*migration.checksum],
                )
                .await?;
        }
        Ok(transaction.commit().await?)
    }
}

impl Database {
    /// Whether whoever holds the database has applied just these migrations.
    ///
    /// # Errors
    /// [`Error::OtherSchema`] where it has others; [`Error`] when it fails.
    pub async fn migrated(&self, postgres: &Migrator) -> Result<(), Error> {
        let Self::Postgres(pool) = self else { return Err(Error::NotShared) };
        let applied = pool.client().await?.query("SELECT version, checksum FROM cairn_migrations", &[]).await?;
        let ours = |row: &tokio_postgres::Row| {
            postgres
                .iter()
                .any(|known| known.version == row.get::<_, i64>(0) && *known.checksum == *row.get::<_, &[u8]>(1))
        };
        let same = applied.len() == postgres.iter().count() && applied.iter().all(ours);
        if same { Ok(()) } else { Err(Error::OtherSchema) }
    }
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS cairn_migrations (
    version     BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    checksum    BYTEA NOT NULL,
    applied_at  TIMESTAMPTZ NOT NULL DEFAULT now()
)";
