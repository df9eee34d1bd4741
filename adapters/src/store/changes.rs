//! The outbox: every change of an adapter, as an entry for a transparency log.
//!
//! An entry is written in the transaction that makes the change, so there is never one without the other. The caller
//! appends [`Store::pending_changes`] to its log, in order, and reports each with [`Store::mark_logged`]. After a crash
//! between the two, the same entry is offered again: its `key` tells a log (or its reader) that it is the same one.

use cairn_database::{Transaction, query};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, Visibility, schema};

/// What happened, as canonical JSON (RFC 8785) in [`Change::entry`]; absent fields do not apply to the action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeEntry {
    /// Always `cairn/adapter/v1`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Names this change for ever: the same key is the same change.
    pub key: String,
    /// What was done.
    pub action: Action,
    /// The base.
    pub base: String,
    /// The alias it was done to; none for upload and delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The owner of the alias or generation.
    pub owner: String,
    /// The generation uploaded or deleted, or which the alias means from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// The generation the alias meant before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The generation that takes part of the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// Its part, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Who may see the alias from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Who was granted or denied the alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who did it.
    pub actor: String,
    /// When: RFC 3339, UTC, milliseconds.
    pub at: String,
}

/// What was done to an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A generation was accepted.
    Upload,
    /// An alias was pointed at a generation, and its canary ended.
    Publish,
    /// An alias was pointed at the generation it meant before, and its canary ended.
    Rollback,
    /// A second generation takes part of the traffic; without `canary`, that ended.
    Canary,
    /// An alias was removed.
    Unpublish,
    /// A generation was deleted; requests that had begun with it finish with it.
    Delete,
    /// The alias's visibility changed.
    Visibility,
    /// A subject was granted the alias.
    Grant,
    /// A subject's grant was withdrawn.
    Revoke,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Publish => "publish",
            Self::Rollback => "rollback",
            Self::Canary => "canary",
            Self::Unpublish => "unpublish",
            Self::Delete => "delete",
            Self::Visibility => "visibility",
            Self::Grant => "grant",
            Self::Revoke => "revoke",
        }
    }
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number, ascending in the order of the changes.
    pub id: i64,
    /// [`ChangeEntry::key`].
    pub key: String,
    /// The entry's bytes for the log: a [`ChangeEntry`] as canonical JSON.
    pub entry: String,
}

/// Whose turn it is to change an alias or a generation: one transaction at a time, so that what it read stays true (the
/// quota's sum, who owns a name) and entries get their numbers in the order in which they become visible.
pub(crate) const CHANGES: &str = "adapters";

impl ChangeEntry {
    pub(crate) fn new(action: Action, base: &str, owner: &str, actor: &str) -> Self {
        Self {
            kind: "cairn/adapter/v1".into(),
            key: uuid::Uuid::now_v7().to_string(),
            action,
            base: base.to_owned(),
            alias: None,
            owner: owner.to_owned(),
            generation: None,
            previous: None,
            canary: None,
            percent: None,
            visibility: None,
            subject: None,
            actor: actor.to_owned(),
            at: schema::now(),
        }
    }

    /// Writes the entry within the transaction that makes the change.
    pub(crate) async fn record(&self, transaction: &mut Transaction) -> Result<(), StoreError> {
        let entry = serde_json_canonicalizer::to_string(self)?;
        query("INSERT INTO adapter_changes (key, entry) VALUES (?, ?)")
            .bind(&self.key)
            .bind(entry)
            .execute(&mut *transaction)
            .await?;
        Ok(())
    }
}

impl Store {
    /// The oldest changes that are not in the log yet, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn pending_changes(&self, limit: u32) -> Result<Vec<Change>, StoreError> {
        let rows = query("SELECT id, key, entry FROM adapter_changes WHERE log_index IS NULL ORDER BY id LIMIT ?")
            .bind(limit)
            .fetch_all(&self.inner.pool)
            .await?;
        Ok(rows.iter().map(|row| Change { id: row.get(0), key: row.get(1), entry: row.get(2) }).collect())
    }

    /// Notes where in the log a change is. Doing it again changes nothing; the first place stays.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn mark_logged(&self, id: i64, log_index: i64) -> Result<(), StoreError> {
        query("UPDATE adapter_changes SET log_index = ? WHERE id = ? AND log_index IS NULL")
            .bind(log_index)
            .bind(id)
            .execute(&self.inner.pool)
            .await?;
        Ok(())
    }
}
