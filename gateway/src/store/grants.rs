//! Grants: who may use a datanet for what, which of its rows, how often and until when.

use cairn_database::{Row, Transaction, query};
use cairn_policy::Purpose;
use cairn_proof::{Entry, Salt};

use super::{
    Store, StoreError,
    access::{ENTRIES, note},
    now,
};

/// A grant as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredGrant {
    pub(crate) id: String,
    pub(crate) datanet: String,
    pub(crate) subject: String,
    pub(crate) purposes: Vec<Purpose>,
    /// A filter; none: all rows.
    pub(crate) rows: Option<String>,
    pub(crate) retrievals_per_day: Option<u64>,
    pub(crate) terms_version: Option<u64>,
    pub(crate) request: Option<String>,
    pub(crate) granted_by: String,
    /// `policy`, `review` or `owner`.
    pub(crate) decided_by: String,
    pub(crate) granted_at: String,
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked_at: Option<String>,
    pub(crate) revoked_by: Option<String>,
    pub(crate) revocation_reason: Option<String>,
    /// Leaf hash of its entry, once that was written.
    pub(crate) leaf: Option<String>,
    /// Of its entry; the grant is in force once the log has it.
    pub(crate) log_index: Option<u64>,
}

impl StoredGrant {
    /// Whether it has ended by itself or was taken back.
    pub(crate) fn ended(&self, now: &str) -> bool {
        self.revoked_at.is_some() || self.expires_at.as_deref().is_some_and(|end| end <= now)
    }
}

impl Store {
    /// Grants of a subject on a datanet that are in force now: in the log, not revoked, not over.
    pub(crate) async fn grants_in_force(&self, datanet: &str, subject: &str) -> Result<Vec<StoredGrant>, StoreError> {
        let rows = query(selected(
            "grants.datanet = ? AND grants.subject = ? AND revoked_at IS NULL AND log_index IS NOT NULL
             AND (expires_at IS NULL OR expires_at > ?) ORDER BY granted_at DESC, grants.id",
        ))
        .bind(datanet)
        .bind(subject)
        .bind(now())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(stored_grant).collect()
    }

    /// Grants on a datanet, those that have ended as well, oldest first.
    pub(crate) async fn grants(&self, datanet: &str) -> Result<Vec<StoredGrant>, StoreError> {
        let rows = query(selected("grants.datanet = ? ORDER BY granted_at, grants.id"))
            .bind(datanet)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(stored_grant).collect()
    }

    /// Grants to a subject, those that have ended as well, newest first.
    pub(crate) async fn grants_to(&self, subject: &str) -> Result<Vec<StoredGrant>, StoreError> {
        let rows = query(selected("grants.subject = ? ORDER BY granted_at DESC, grants.id"))
            .bind(subject)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(stored_grant).collect()
    }

    /// One grant.
    pub(crate) async fn grant(&self, id: &str) -> Result<Option<StoredGrant>, StoreError> {
        let row = query(selected("grants.id = ?")).bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(stored_grant).transpose()
    }

    /// Grants from before there were terms, which have no entry yet.
    pub(crate) async fn grants_without_entry(&self) -> Result<Vec<StoredGrant>, StoreError> {
        let rows = query(selected("grants.entry IS NULL ORDER BY granted_at")).fetch_all(&self.pool).await?;
        rows.iter().map(stored_grant).collect()
    }

    /// Gives such a grant its entry.
    pub(crate) async fn note_grant(&self, id: &str, entry: &Entry, salt: &Salt) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let (number, _) = note(&mut transaction, entry, salt).await?;
        query("UPDATE grants SET entry = ? WHERE id = ? AND entry IS NULL")
            .bind(number)
            .bind(id)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Issues a grant with its entry.
    pub(crate) async fn issue_grant(&self, grant: &StoredGrant, entry: &Entry, salt: &Salt) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        insert_grant(&mut transaction, grant, entry, salt).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes a grant back, at once; false when it had been already.
    pub(crate) async fn revoke_grant(
        &self,
        id: &str,
        by: &str,
        reason: &str,
        at: &str,
        entry: &Entry,
        salt: &Salt,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let done = query(
            "UPDATE grants SET revoked_at = ?, revoked_by = ?, revocation_reason = ? WHERE id = ? AND revoked_at IS NULL",
        )
        .bind(at)
        .bind(by)
        .bind(reason)
        .bind(id)
        .execute(&mut transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        note(&mut transaction, entry, salt).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Counts a retrieval under a grant on a day; false, and nothing counted, where `most` are used up.
    pub(crate) async fn use_grant(&self, id: &str, day: &str, most: u64) -> Result<bool, StoreError> {
        let done = query(
            "INSERT INTO grant_uses (grant_id, day, uses) SELECT ?1, ?2, 1 WHERE ?3 > 0
             ON CONFLICT (grant_id, day) DO UPDATE SET uses = grant_uses.uses + 1 WHERE grant_uses.uses < ?3",
        )
        .bind(id)
        .bind(day)
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Inserts a grant and its entry.
pub(super) async fn insert_grant(
    transaction: &mut Transaction,
    grant: &StoredGrant,
    entry: &Entry,
    salt: &Salt,
) -> Result<(), StoreError> {
    let (number, _) = note(transaction, entry, salt).await?;
    query(
        "INSERT INTO grants (id, datanet, subject, purposes, rows, retrievals_per_day, terms_version, request, granted_by,
         decided_by, granted_at, expires_at, entry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&grant.id)
    .bind(&grant.datanet)
    .bind(&grant.subject)
    .bind(serde_json::to_string(&grant.purposes)?)
    .bind(&grant.rows)
    .bind(grant.retrievals_per_day.map(|most| i64::try_from(most).unwrap_or(i64::MAX)))
    .bind(grant.terms_version.map(|version| i64::try_from(version).unwrap_or(i64::MAX)))
    .bind(&grant.request)
    .bind(&grant.granted_by)
    .bind(&grant.decided_by)
    .bind(&grant.granted_at)
    .bind(&grant.expires_at)
    .bind(number)
    .execute(&mut *transaction)
    .await?;
    Ok(())
}

/// Grants with what the log says of them.
fn selected(condition: &str) -> String {
    format!(
        "SELECT grants.*, access_entries.leaf AS leaf, access_entries.log_index AS log_index
         FROM grants LEFT JOIN access_entries ON access_entries.id = grants.entry WHERE {condition}"
    )
}

fn stored_grant(row: &Row) -> Result<StoredGrant, StoreError> {
    let number = |column: &str| row.get::<Option<i64>, _>(column).and_then(|number| u64::try_from(number).ok());
    Ok(StoredGrant {
        id: row.get("id"),
        datanet: row.get("datanet"),
        subject: row.get("subject"),
        purposes: serde_json::from_str(row.get("purposes"))?,
        rows: row.get("rows"),
        retrievals_per_day: number("retrievals_per_day"),
        terms_version: number("terms_version"),
        request: row.get("request"),
        granted_by: row.get("granted_by"),
        decided_by: row.get("decided_by"),
        granted_at: row.get("granted_at"),
        expires_at: row.get("expires_at"),
        revoked_at: row.get("revoked_at"),
        revoked_by: row.get("revoked_by"),
        revocation_reason: row.get("revocation_reason"),
        leaf: row.get("leaf"),
        log_index: number("log_index"),
    })
}
