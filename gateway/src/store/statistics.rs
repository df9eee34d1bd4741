//! How requests for a datanet were decided, over all of them: counted by the database, read in parts where it cannot count.

use cairn_database::query;
use cairn_policy::Finding;

use super::{Store, StoreError};

/// Requests with the same outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) status: String,
    pub(crate) decided_by: Option<String>,
    pub(crate) requests: u64,
}

impl Store {
    /// How many requests there are of each outcome.
    pub(crate) async fn request_counts(&self, datanet: &str) -> Result<Vec<Counted>, StoreError> {
        let rows = query(
            "SELECT status, decided_by, COUNT(*) AS requests FROM access_requests WHERE datanet = ?
             GROUP BY status, decided_by ORDER BY status, decided_by",
        )
        .bind(datanet)
        .fetch_all(&self.pool)
        .await?;
        let counted = |row: &cairn_database::Row| Counted {
            status: row.get("status"),
            decided_by: row.get("decided_by"),
            requests: u64::try_from(row.get::<i64, _>("requests")).unwrap_or_default(),
        };
        Ok(rows.iter().map(counted).collect())
    }

    /// When each request that was granted or denied was made, and when decided.
    pub(crate) async fn decision_times(&self, datanet: &str) -> Result<Vec<(String, String)>, StoreError> {
        let rows = query(
            "SELECT created_at, decided_at FROM access_requests
             WHERE datanet = ? AND status IN ('granted', 'denied') AND decided_at IS NOT NULL",
        )
        .bind(datanet)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(|row| (row.get("created_at"), row.get("decided_at"))).collect())
    }

    /// What the terms found of requests, so many after one; each with its request's id, by which to go on.
    pub(crate) async fn findings(
        &self,
        datanet: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<Finding>)>, StoreError> {
        let rows = query(
            "SELECT id, findings FROM access_requests WHERE datanet = ?1 AND (?2 IS NULL OR id > ?2) ORDER BY id LIMIT ?3",
        )
        .bind(datanet)
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((row.get("id"), serde_json::from_str(row.get("findings"))?))).collect()
    }
}
