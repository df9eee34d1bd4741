//! Contributions: uploads by others than a datanet's owner, and what became of them.

use cairn_database::{Row, query};
use cairn_openapi::contributions::{ContributionState, Reputation};
use cairn_proof::{Entry, Salt};
use serde_json::Value;

use super::{
    Store, StoreError,
    access::{ENTRIES, note},
};
use crate::jobs::IngestSpec;

/// A contribution as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredContribution {
    pub(crate) id: String,
    pub(crate) datanet: String,
    pub(crate) subject: String,
    pub(crate) document: String,
    pub(crate) filename: String,
    pub(crate) spec: IngestSpec,
    pub(crate) note: String,
    pub(crate) state: ContributionState,
    /// Datapoints in it that are valid.
    pub(crate) rows: u64,
    pub(crate) added: Option<u64>,
    pub(crate) report: Value,
    pub(crate) reason: Option<String>,
    pub(crate) score: Option<u8>,
    pub(crate) reviewed_by: Option<String>,
    pub(crate) reviewed_at: Option<String>,
    pub(crate) supersedes: Option<String>,
    pub(crate) job: Option<String>,
    pub(crate) created_at: String,
    pub(crate) log_index: Option<u64>,
}

/// Which contributions are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Contributions<'a> {
    /// All to a datanet.
    To(&'a str),
    /// Those to a datanet by a subject.
    ToBy(&'a str, &'a str),
    /// All by a subject.
    By(&'a str),
}

impl Store {
    pub(crate) async fn create_contribution(&self, new: &StoredContribution) -> Result<(), StoreError> {
        query(
            "INSERT INTO contributions (id, datanet, subject, document, filename, spec, note, state, rows, report, supersedes,
             created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.id)
        .bind(&new.datanet)
        .bind(&new.subject)
        .bind(&new.document)
        .bind(&new.filename)
        .bind(serde_json::to_string(&new.spec)?)
        .bind(&new.note)
        .bind(state_name(new.state))
        .bind(i64::try_from(new.rows).unwrap_or(i64::MAX))
        .bind(new.report.to_string())
        .bind(&new.supersedes)
        .bind(&new.created_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn contribution(&self, id: &str) -> Result<Option<StoredContribution>, StoreError> {
        let row = query(selected("contributions.id = ?")).bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(contribution).transpose()
    }

    /// Contributions, newest first, at most `limit` after `after`.
    pub(crate) async fn contributions(
        &self,
        which: Contributions<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredContribution>, StoreError> {
        let (datanet, subject) = match which {
            Contributions::To(datanet) => (Some(datanet), None),
            Contributions::ToBy(datanet, subject) => (Some(datanet), Some(subject)),
            Contributions::By(subject) => (None, Some(subject)),
        };
        // Ids are UUIDs of version 7: their order is that of creation.
        let mut sql = query(selected("TRUE"));
        for (condition, value) in [
            (" AND contributions.datanet = ?", datanet),
            (" AND contributions.subject = ?", subject),
            (" AND contributions.id < ?", after),
        ] {
            if let Some(value) = value {
                sql = sql.push(condition).bind(value);
            }
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sql.push(" ORDER BY contributions.id DESC LIMIT ?").bind(limit).fetch_all(&self.pool).await?;
        rows.iter().map(contribution).collect()
    }

    /// Contributions to a datanet that wait for its owner, oldest first.
    pub(crate) async fn waiting_contributions(&self, datanet: &str) -> Result<Vec<StoredContribution>, StoreError> {
        let sql = selected("state = 'waiting' AND contributions.datanet = ? ORDER BY contributions.id");
        let rows = query(&sql).bind(datanet).fetch_all(&self.pool).await?;
        rows.iter().map(contribution).collect()
    }

    /// Contributions that were accepted and whose job has not ended.
    pub(crate) async fn ingesting_contributions(&self) -> Result<Vec<StoredContribution>, StoreError> {
        let rows = query(selected("state = 'ingesting'")).fetch_all(&self.pool).await?;
        rows.iter().map(contribution).collect()
    }

    /// Moves a contribution on; false when it is not where it was thought to be.
    pub(crate) async fn move_contribution(
        &self,
        changed: &StoredContribution,
        from: ContributionState,
        entry: Option<(&Entry, &Salt)>,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let done = query(
            "UPDATE contributions SET state = ?, report = ?, added = ?, reason = ?, score = ?, reviewed_by = ?, reviewed_at = ?, job = ?
             WHERE id = ? AND state = ?",
        )
        .bind(state_name(changed.state))
        .bind(changed.report.to_string())
        .bind(changed.added.map(|added| i64::try_from(added).unwrap_or(i64::MAX)))
        .bind(&changed.reason)
        .bind(changed.score.map(i64::from))
        .bind(&changed.reviewed_by)
        .bind(&changed.reviewed_at)
        .bind(&changed.job)
        .bind(&changed.id)
        .bind(state_name(from))
        .execute(&mut transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some((entry, salt)) = entry {
            let (number, _) = note(&mut transaction, entry, salt).await?;
            query("UPDATE contributions SET entry = ? WHERE id = ?")
                .bind(number)
                .bind(&changed.id)
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// What became of a subject's contributions, and how often answers drew on what is theirs.
    pub(crate) async fn reputation(&self, subject: &str) -> Result<Reputation, StoreError> {
        let row = query(
            "SELECT COUNT(*) FILTER (WHERE state = 'accepted') AS accepted,
             COUNT(*) FILTER (WHERE state = 'rejected') AS rejected, CAST(AVG(score) AS DOUBLE PRECISION) AS mean_score,
             (SELECT COUNT(DISTINCT answer) FROM uses WHERE contributor = ?1) AS answers
             FROM contributions WHERE subject = ?1",
        )
        .bind(subject)
        .fetch_one(&self.pool)
        .await?;
        let count = |column: &str| u64::try_from(row.get::<i64, _>(column)).unwrap_or_default();
        Ok(Reputation {
            accepted: count("accepted"),
            rejected: count("rejected"),
            mean_score: row.get("mean_score"),
            answers: count("answers"),
        })
    }
}

fn selected(condition: &str) -> String {
    format!(
        "SELECT contributions.*, access_entries.log_index AS log_index
         FROM contributions LEFT JOIN access_entries ON access_entries.id = contributions.entry WHERE {condition}"
    )
}

fn contribution(row: &Row) -> Result<StoredContribution, StoreError> {
    let number = |column: &str| row.get::<Option<i64>, _>(column).and_then(|number| u64::try_from(number).ok());
    Ok(StoredContribution {
        id: row.get("id"),
        datanet: row.get("datanet"),
        subject: row.get("subject"),
        document: row.get("document"),
        filename: row.get("filename"),
        spec: serde_json::from_str(row.get("spec"))?,
        note: row.get("note"),
        state: match row.get::<&str, _>("state") {
            "waiting" => ContributionState::Waiting,
            "ingesting" => ContributionState::Ingesting,
            "accepted" => ContributionState::Accepted,
            "rejected" => ContributionState::Rejected,
            "withdrawn" => ContributionState::Withdrawn,
            _ => ContributionState::Failed,
        },
        rows: number("rows").unwrap_or_default(),
        added: number("added"),
        report: serde_json::from_str(row.get::<Option<&str>, _>("report").unwrap_or("null"))?,
        reason: row.get("reason"),
        score: number("score").and_then(|score| u8::try_from(score).ok()),
        reviewed_by: row.get("reviewed_by"),
        reviewed_at: row.get("reviewed_at"),
        supersedes: row.get("supersedes"),
        job: row.get("job"),
        created_at: row.get("created_at"),
        log_index: number("log_index"),
    })
}

fn state_name(state: ContributionState) -> &'static str {
    match state {
        ContributionState::Waiting => "waiting",
        ContributionState::Ingesting => "ingesting",
        ContributionState::Accepted => "accepted",
        ContributionState::Rejected => "rejected",
        ContributionState::Withdrawn => "withdrawn",
        ContributionState::Failed => "failed",
    }
}
