//! Erasures: what was asked for, how far it is, and the removal of every trace from this database.

use cairn_database::{Row, query};
use serde_json::Value;

use super::{Store, StoreError, now};

/// A datapoint whose erasure was asked for.
#[derive(Debug, Clone)]
pub(crate) struct StoredErasure {
    pub(crate) datanet: String,
    pub(crate) seq: u64,
    pub(crate) datapoint: String,
    pub(crate) leaf: String,
    pub(crate) requested_at: String,
    /// Where its tombstone stands in the log.
    pub(crate) log_index: Option<u64>,
}

impl Store {
    /// Notes what is to be erased, all or nothing; again is the same as once.
    pub(crate) async fn request_erasures(&self, wanted: &[StoredErasure], by: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for one in wanted {
            query(
                "INSERT INTO erasures (datanet, seq, datapoint, leaf, requested_by, requested_at) \
                 VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(&one.datanet)
            .bind(i64::try_from(one.seq).unwrap_or(i64::MAX))
            .bind(&one.datapoint)
            .bind(&one.leaf)
            .bind(by)
            .bind(&one.requested_at)
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Erasures that are not complete, of one datanet or of all.
    pub(crate) async fn pending_erasures(&self, datanet: Option<&str>) -> Result<Vec<StoredErasure>, StoreError> {
        let rows = query(
            "SELECT * FROM erasures WHERE erased_at IS NULL AND (?1 IS NULL OR datanet = ?1) ORDER BY datanet, seq",
        )
        .bind(datanet)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(erasure).collect())
    }

    /// The erasure of a datapoint by its leaf, once it is in the log.
    pub(crate) async fn erasure(&self, datanet: &str, leaf: &str) -> Result<Option<StoredErasure>, StoreError> {
        let row = query("SELECT * FROM erasures WHERE datanet = ? AND leaf = ? AND log_index IS NOT NULL")
            .bind(datanet)
            .bind(leaf)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(erasure))
    }

    /// Notes where a tombstone stands.
    pub(crate) async fn tombstoned(&self, erasure: &StoredErasure, index: u64) -> Result<(), StoreError> {
        query("UPDATE erasures SET log_index = ? WHERE datanet = ? AND seq = ?")
            .bind(i64::try_from(index).unwrap_or(i64::MAX))
            .bind(&erasure.datanet)
            .bind(i64::try_from(erasure.seq).unwrap_or(i64::MAX))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes that nothing is left of them.
    pub(crate) async fn erased(&self, datanet: &str) -> Result<(), StoreError> {
        query("UPDATE erasures SET erased_at = ? WHERE datanet = ? AND erased_at IS NULL AND log_index IS NOT NULL")
            .bind(now())
            .bind(datanet)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Empties an erased datapoint wherever it was kept with an answer. Returns with how many answers.
    pub(crate) async fn blank_datapoint(&self, leaf: &str) -> Result<u64, StoreError> {
        // Alone, so that of two erasures that touch the same answer neither writes back what the other emptied.
        let mut transaction = self.pool.begin_alone("erasures").await?;
        let rows = query("SELECT id, attribution FROM attributions WHERE attribution LIKE '%' || ? || '%'")
            .bind(leaf)
            .fetch_all(&mut transaction)
            .await?;
        for row in &rows {
            let mut attribution: Value = serde_json::from_str(row.get("attribution"))?;
            for list in ["datapoints", "candidates"] {
                for datapoint in attribution[list].as_array_mut().into_iter().flatten() {
                    if datapoint["leaf"] == leaf {
                        blank(datapoint);
                    }
                }
            }
            query("UPDATE attributions SET attribution = ? WHERE id = ?")
                .bind(attribution.to_string())
                .bind(row.get::<&str, _>("id"))
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(rows.len() as u64)
    }

    /// Empties in an answer what was erased while it was being written: an erasure is noted before it looks for answers, so
    /// either it finds this one or this finds it.
    pub(crate) async fn blank_erased(&self, answer: &str) -> Result<(), StoreError> {
        let rows = query(
            "SELECT leaf FROM erasures WHERE (SELECT attribution FROM attributions WHERE id = ?) LIKE '%' || leaf || '%'",
        )
        .bind(answer)
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            self.blank_datapoint(row.get("leaf")).await?;
        }
        Ok(())
    }

    /// Forgets a contributor of whom nothing is left: the salt of their pseudonym is destroyed, and the ledger names them by
    /// it from now on.
    pub(crate) async fn forget_contributor(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        query(
            "UPDATE uses SET contributor = (SELECT pseudonym FROM contributors WHERE name = ?1) \
             WHERE contributor = ?1 AND EXISTS (SELECT 1 FROM contributors WHERE name = ?1)",
        )
        .bind(name)
        .execute(&mut transaction)
        .await?;
        query(
            "UPDATE training_rows SET contributor = coalesce((SELECT pseudonym FROM contributors WHERE name = ?1), '') \
             WHERE contributor = ?1",
        )
        .bind(name)
        .execute(&mut transaction)
        .await?;
        query("DELETE FROM contributors WHERE name = ?").bind(name).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Takes what was blanked and forgotten out of the database's files too.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        Ok(self.pool.settle(&["attributions", "contributors", "training_rows", "uses"]).await?)
    }
}

/// What stays of a datapoint in an attribution: where it stood and why it was found.
fn blank(datapoint: &mut Value) {
    if let Some(fields) = datapoint.as_object_mut() {
        for (name, value) in
            [("contributor", ERASED.into()), ("source", Value::Null), ("metadata", Value::Object(Default::default()))]
        {
            fields.insert(name.to_owned(), value);
        }
        if fields.contains_key("text") {
            fields.insert("text".to_owned(), ERASED.into());
        }
        fields.insert("matched_terms".to_owned(), Value::Array(Vec::new()));
        if let Some(why) = fields.get_mut("why").and_then(Value::as_object_mut) {
            why.insert("matched_terms".to_owned(), Value::Array(Vec::new()));
        }
    }
}

/// Stands where something was erased.
const ERASED: &str = "(erased)";

fn erasure(row: &Row) -> StoredErasure {
    let number = |column: &str| row.get::<Option<i64>, _>(column).and_then(|number| u64::try_from(number).ok());
    StoredErasure {
        datanet: row.get("datanet"),
        seq: number("seq").unwrap_or_default(),
        datapoint: row.get("datapoint"),
        leaf: row.get("leaf"),
        requested_at: row.get("requested_at"),
        log_index: number("log_index"),
    }
}
