//! The store's tables, created when they are missing.

use sqlx::SqlitePool;

use super::StoreError;

/// Each statement can run again without effect.
const STATEMENTS: [&str; 12] = [
    // One row for each owner, base and content. `state`: 'ready', or 'deleting' until the last lease has gone.
    // Ids are never used again, so a lease cannot come to mean another row.
    "CREATE TABLE IF NOT EXISTS adapter_generations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        generation TEXT NOT NULL,
        owner TEXT NOT NULL,
        base TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        state TEXT NOT NULL DEFAULT 'ready' CHECK (state IN ('ready', 'deleting')),
        report TEXT NOT NULL,
        created_at TEXT NOT NULL,
        created_by TEXT NOT NULL,
        UNIQUE (owner, base, generation)) STRICT",
    "CREATE INDEX IF NOT EXISTS adapter_generations_content ON adapter_generations (generation)",
    // Content whose objects may be only partly there: written before the first object, removed with the commit.
    "CREATE TABLE IF NOT EXISTS adapter_intents (generation TEXT PRIMARY KEY) STRICT",
    "CREATE TABLE IF NOT EXISTS adapter_aliases (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        base TEXT NOT NULL,
        name TEXT NOT NULL,
        owner TEXT NOT NULL,
        visibility TEXT NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'granted', 'public')),
        current INTEGER NOT NULL REFERENCES adapter_generations (id),
        canary INTEGER REFERENCES adapter_generations (id),
        canary_percent INTEGER,
        history INTEGER NOT NULL,
        updated_at TEXT NOT NULL,
        UNIQUE (base, name)) STRICT",
    "CREATE INDEX IF NOT EXISTS adapter_aliases_current ON adapter_aliases (current)",
    "CREATE INDEX IF NOT EXISTS adapter_aliases_canary ON adapter_aliases (canary) WHERE canary IS NOT NULL",
    // What an alias has meant. `previous` is the row a rollback returns to.
    "CREATE TABLE IF NOT EXISTS adapter_history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        alias INTEGER NOT NULL,
        generation TEXT NOT NULL,
        action TEXT NOT NULL,
        previous INTEGER,
        actor TEXT NOT NULL,
        at TEXT NOT NULL) STRICT",
    "CREATE INDEX IF NOT EXISTS adapter_history_alias ON adapter_history (alias, generation)",
    "CREATE TABLE IF NOT EXISTS adapter_grants (
        alias INTEGER NOT NULL,
        subject TEXT NOT NULL,
        PRIMARY KEY (alias, subject)) STRICT, WITHOUT ROWID",
    // The outbox of the transparency log.
    "CREATE TABLE IF NOT EXISTS adapter_changes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        entry TEXT NOT NULL,
        log_index INTEGER) STRICT",
    "CREATE INDEX IF NOT EXISTS adapter_changes_pending ON adapter_changes (id) WHERE log_index IS NULL",
    "CREATE TABLE IF NOT EXISTS adapter_quotas (
        owner TEXT PRIMARY KEY,
        max_count INTEGER NOT NULL,
        max_bytes INTEGER NOT NULL) STRICT",
];

/// Creates what is missing.
pub(crate) async fn create(pool: &SqlitePool) -> Result<(), StoreError> {
    for statement in STATEMENTS {
        sqlx::query(statement).execute(pool).await?;
    }
    Ok(())
}

/// The present moment as every table keeps it: RFC 3339, UTC, milliseconds.
pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
