//! What stands beside each record of the transparency log: the plain values that it commits to, with their salts.

use cairn_database::{Row, query};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, records::Served};

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
    /// The base that answered; none until it is stored.
    pub(crate) base: Option<String>,
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
    pub(crate) async fn create_attribution(&self, new: &StoredAttribution, served: &Served) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        query(
            "INSERT INTO attributions (id, subject, created_at, record, private, attribution, base)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.subject)
        .bind(&new.created_at)
        .bind(&new.record)
        .bind(serde_json::to_string(&new.private)?)
        .bind(new.attribution.to_string())
        .bind(&served.base)
        .execute(&mut transaction)
        .await?;
        let record = serde_json::from_str(&new.record)?;
        for (datanet, seq, n) in in_prompt(&record) {
            query("INSERT INTO used_rows (datanet, seq, answer, n) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(datanet)
                .bind(seq)
                .bind(&new.id)
                .bind(n)
                .execute(&mut transaction)
                .await?;
        }
        for (alias, generation) in &served.adapters {
            query(
                "INSERT INTO adapter_uses (answer, base, alias, generation, subject, at) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&new.id)
            .bind(&served.base)
            .bind(alias)
            .bind(generation)
            .bind(&new.subject)
            .bind(&new.created_at)
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await?;
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

    /// Whether an answer has everything but its place in the log.
    pub(crate) async fn awaits_record(&self, id: &str) -> Result<bool, StoreError> {
        let row = query("SELECT 1 FROM attributions WHERE id = ? AND log_index IS NULL").bind(id);
        Ok(row.fetch_optional(&self.pool).await?.is_some())
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

/// Which rows of which datanets a record has in the prompt, and as which passage.
fn in_prompt(record: &serde_json::Value) -> Vec<(&str, i64, i64)> {
    let mut rows = Vec::new();
    for candidate in record["retrieval"]["candidates"].as_array().into_iter().flatten() {
        let (datanet, seq) = (candidate["datanet"].as_str(), candidate["seq"].as_i64());
        if let (Some(datanet), Some(seq), Some(n)) = (datanet, seq, candidate["in_prompt"].as_i64()) {
            rows.push((datanet, seq, n));
        }
    }
    rows
}

pub(super) fn attribution(row: &Row) -> Result<StoredAttribution, StoreError> {
    Ok(StoredAttribution {
        id: row.get("id"),
        subject: row.get("subject"),
        created_at: row.get("created_at"),
        record: row.get("record"),
        private: serde_json::from_str(row.get("private"))?,
        attribution: serde_json::from_str(row.get("attribution"))?,
        log_index: row.get::<Option<i64>, _>("log_index").and_then(|index| u64::try_from(index).ok()),
        base: row.get("base"),
    })
}
