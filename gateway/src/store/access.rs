//! What the log is told of access and contributions: an outbox, in the order in which it became true.

use cairn_database::{Row, Transaction, query};
use cairn_proof::{Entry, Hash, Salt};

use super::{Store, StoreError};

/// An entry on its way to the log, or there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredEntry {
    pub(crate) id: i64,
    pub(crate) leaf: Hash,
    /// Canonical JSON.
    pub(crate) entry: String,
    /// Of its commitments.
    pub(crate) salt: Salt,
    /// Its place in the log, once it has one.
    pub(crate) log_index: Option<u64>,
}

impl Store {
    /// Entries that the log does not have yet, oldest first.
    pub(crate) async fn pending_entries(&self) -> Result<Vec<StoredEntry>, StoreError> {
        let rows =
            query("SELECT * FROM access_entries WHERE log_index IS NULL ORDER BY id").fetch_all(&self.pool).await?;
        rows.iter().map(stored_entry).collect()
    }

    /// Notes where the log has an entry.
    pub(crate) async fn entry_logged(&self, id: i64, index: u64) -> Result<(), StoreError> {
        query("UPDATE access_entries SET log_index = ? WHERE id = ?")
            .bind(i64::try_from(index).unwrap_or(i64::MAX))
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The entry with this leaf hash that the log has.
    pub(crate) async fn entry_of_leaf(&self, leaf: &Hash) -> Result<Option<StoredEntry>, StoreError> {
        let row = query("SELECT * FROM access_entries WHERE leaf = ? AND log_index IS NOT NULL LIMIT 1")
            .bind(leaf.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(stored_entry).transpose()
    }
}

/// Adds an entry in the transaction that makes it true; says its number and its leaf hash.
pub(crate) async fn note(transaction: &mut Transaction, entry: &Entry, salt: &Salt) -> Result<(i64, Hash), StoreError> {
    let bytes = entry.to_bytes()?;
    let leaf = cairn_proof::leaf_hash(&bytes);
    let text = String::from_utf8(bytes).map_err(|_| StoreError::DamagedText("an entry of the log"))?;
    // Until the commit, so that numbers become visible in their order: the log is written in the order of the numbers.
    transaction.lock(ENTRIES).await?;
    let row = query("INSERT INTO access_entries (leaf, entry, salt) VALUES (?, ?, ?) RETURNING id")
        .bind(leaf.to_string())
        .bind(text)
        .bind(hex::encode(salt.as_bytes()))
        .fetch_one(transaction)
        .await?;
    Ok((row.get("id"), leaf))
}

/// Whose turn it is to add entries. A transaction that changes rows before it adds its entry begins with it
/// ([`begin_alone`](cairn_database::Database::begin_alone)), so that no two wait for each other.
pub(super) const ENTRIES: &str = "entries";

fn stored_entry(row: &Row) -> Result<StoredEntry, StoreError> {
    let damaged = || StoreError::DamagedText("an entry's salt or hash");
    let salt: String = row.get("salt");
    let salt = hex::decode(salt).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(damaged)?;
    let leaf: String = row.get("leaf");
    Ok(StoredEntry {
        id: row.get("id"),
        leaf: leaf.parse().map_err(|_| damaged())?,
        entry: row.get("entry"),
        salt: Salt::new(salt),
        log_index: row.get::<Option<i64>, _>("log_index").and_then(|index| u64::try_from(index).ok()),
    })
}
