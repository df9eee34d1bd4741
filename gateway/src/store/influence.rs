//! Answers whose passages' influence is to be measured, or was.

use cairn_database::{Row, query};

use super::{Store, StoreError, now, plain};

/// How far one measurement is.
#[derive(Debug, Clone)]
pub(crate) struct StoredInfluence {
    /// The answer.
    pub(crate) id: String,
    /// `leave_one_out` or `shapley`, as it was asked for.
    pub(crate) method: String,
    /// `waiting`, `measuring`, `measured` or `failed`.
    pub(crate) state: String,
    /// The log entry, canonical JSON.
    pub(crate) entry: Option<String>,
    pub(crate) log_index: Option<u64>,
    pub(crate) error: Option<String>,
}

impl Store {
    /// Queues a measurement, unless so many wait already; says whether it did.
    pub(crate) async fn queue_influence(&self, id: &str, method: &str, most: u32) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_alone("influence").await?;
        let done = query(
            "INSERT INTO influence (id, method, state, created_at) SELECT ?, ?, 'waiting', ? \
             WHERE (SELECT count(*) FROM influence WHERE state IN ('waiting', 'measuring')) < ?",
        )
        .bind(id)
        .bind(method)
        .bind(now())
        .bind(most)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a measurement that nobody works on: this one, or the one that waits longest.
    pub(crate) async fn claim_influence(&self, id: Option<&str>) -> Result<Option<StoredInfluence>, StoreError> {
        let row = query(format!(
            "UPDATE influence SET state = 'measuring' WHERE state = 'waiting' AND id = (SELECT id FROM influence \
             WHERE state = 'waiting' AND (?1 IS NULL OR id = ?1) ORDER BY created_at LIMIT 1 {}) RETURNING *",
            self.pool.dialect().skip_locked()
        ))
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.as_ref().map(influence))
    }

    /// Makes room for another measurement of an answer; false where one is under way.
    pub(crate) async fn forget_influence(&self, id: &str) -> Result<bool, StoreError> {
        query("DELETE FROM influence WHERE id = ? AND state IN ('measured', 'failed')")
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(self.influence(id).await?.is_none())
    }

    /// After a restart nobody works on any.
    pub(crate) async fn release_influence(&self) -> Result<(), StoreError> {
        query("UPDATE influence SET state = 'waiting' WHERE state = 'measuring'").execute(&self.pool).await?;
        Ok(())
    }

    /// Notes the entry of a measurement, or why there is none.
    pub(crate) async fn finish_influence(
        &self,
        id: &str,
        outcome: Result<(&str, u64), &str>,
    ) -> Result<(), StoreError> {
        let (state, entry, index, error) = match outcome {
            Ok((entry, index)) => ("measured", Some(entry), i64::try_from(index).ok(), None),
            Err(error) => ("failed", None, None, Some(error)),
        };
        query("UPDATE influence SET state = ?, entry = ?, log_index = ?, error = ?, finished_at = ? WHERE id = ?")
            .bind(state)
            .bind(entry)
            .bind(index)
            .bind(error.map(plain))
            .bind(now())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The measurement of an answer.
    pub(crate) async fn influence(&self, id: &str) -> Result<Option<StoredInfluence>, StoreError> {
        let row = query("SELECT * FROM influence WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        Ok(row.as_ref().map(influence))
    }
}

fn influence(row: &Row) -> StoredInfluence {
    StoredInfluence {
        id: row.get("id"),
        method: row.get("method"),
        state: row.get("state"),
        entry: row.get("entry"),
        log_index: row.get::<Option<i64>, _>("log_index").and_then(|index| u64::try_from(index).ok()),
        error: row.get("error"),
    }
}
