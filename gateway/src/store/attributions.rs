//! What stands beside each record of the transparency log: the plain values that it commits to, with their salts.

use cairn_database::{Row, query};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};

/// One record with its openings.
#[derive(Debug, Clone)]
pub(crate) struct StoredAttribution {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) created_at: String,
    /// The log entry, canonical JSON.
    pub(crate) record: String,
    pub(crate) private: Private,
    /// As returned, with a receipt that is filled in when read.
    pub(crate) attribution: serde_json::Value,
    pub(crate) log_index: Option<u64>,
}

/// What a record commits to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Private {
    pub(crate) salt: String,
    pub(crate) request: serde_json::Value,
    pub(crate) response: serde_json::Value,
    pub(crate) query: Option<String>,
    /// The filter that narrowed the search, where there was one.
    #[serde(default)]
    pub(crate) filter: Option<String>,
}

impl Store {
    /// Writes a record that the log does not have yet.
    pub(crate) async fn create_attribution(&self, new: &StoredAttribution) -> Result<(), StoreError> {
        query(
            "INSERT INTO attributions (id, subject, created_at, record, private, attribution) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.subject)
        .bind(&new.created_at)
        .bind(&new.record)
        .bind(serde_json::to_string(&new.private)?)
        .bind(new.attribution.to_string())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes where the log has a record, and the record as it stands there.
    pub(crate) async fn attribution_logged(&self, id: &str, index: u64, record: &str) -> Result<(), StoreError> {
        query("UPDATE attributions SET log_index = ?, record = ? WHERE id = ?")
            .bind(i64::try_from(index).unwrap_or(i64::MAX))
            .bind(record)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets a record that never reached the log, and so was never answered.
    pub(crate) async fn delete_attribution(&self, id: &str) -> Result<(), StoreError> {
        query("DELETE FROM attributions WHERE id = ? AND log_index IS NULL").bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// A record that `subject` may see (`None`: an auditor, who sees all).
    pub(crate) async fn attribution(
        &self,
        id: &str,
        subject: Option<&str>,
    ) -> Result<Option<StoredAttribution>, StoreError> {
        let row = query(
            "SELECT * FROM attributions WHERE id = ?1 AND log_index IS NOT NULL AND (?2 IS NULL OR subject = ?2)",
        )
        .bind(id)
        .bind(subject)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(attribution).transpose()
    }

    /// The largest index that was noted.
    pub(crate) async fn last_logged(&self) -> Result<u64, StoreError> {
        let row = query("SELECT max(log_index) AS last FROM attributions").fetch_one(&self.pool).await?;
        let last: Option<i64> = row.get("last");
        Ok(last.and_then(|last| u64::try_from(last).ok()).unwrap_or(0))
    }

    /// Records that a crash left without a place in the log.
    pub(crate) async fn pending_attributions(&self) -> Result<Vec<StoredAttribution>, StoreError> {
        let rows = query("SELECT * FROM attributions WHERE log_index IS NULL").fetch_all(&self.pool).await?;
        rows.iter().map(attribution).collect()
    }
}

fn attribution(row: &Row) -> Result<StoredAttribution, StoreError> {
    Ok(StoredAttribution {
        id: row.get("id"),
        subject: row.get("subject"),
        created_at: row.get("created_at"),
        record: row.get("record"),
        private: serde_json::from_str(row.get("private"))?,
        attribution: serde_json::from_str(row.get("attribution"))?,
        log_index: row.get::<Option<i64>, _>("log_index").and_then(|index| u64::try_from(index).ok()),
    })
}
