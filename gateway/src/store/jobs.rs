//! Jobs, so that they survive a restart.

use cairn_database::{Row, query};
use cairn_openapi::jobs::{Job, JobState};

use super::{Store, StoreError, now, plain};

impl Store {
    /// Adds a queued job with what it needs to run.
    pub(crate) async fn create_job(&self, job: &Job, spec: &serde_json::Value) -> Result<(), StoreError> {
        query(
            "INSERT INTO jobs (id, kind, target, owner, spec, state, stage, done, total, created_at, updated_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&job.id)
        .bind(&job.kind)
        .bind(&job.target)
        .bind(&job.owner)
        .bind(spec.to_string())
        .bind(state_name(job.state))
        .bind(&job.stage)
        .bind(i64::try_from(job.done).unwrap_or(i64::MAX))
        .bind(i64::try_from(job.total).unwrap_or(i64::MAX))
        .bind(&job.created_at)
        .bind(&job.updated_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes where a job stands.
    pub(crate) async fn update_job(&self, job: &Job) -> Result<(), StoreError> {
        query(
            "UPDATE jobs SET state = ?, stage = ?, done = ?, total = ?, result = ?, error = ?, updated_at = ? WHERE id = ?",
        )
        .bind(state_name(job.state))
        .bind(&job.stage)
        .bind(i64::try_from(job.done).unwrap_or(i64::MAX))
        .bind(i64::try_from(job.total).unwrap_or(i64::MAX))
        .bind(job.result.as_ref().map(ToString::to_string))
        .bind(job.error.as_deref().map(plain))
        .bind(now())
        .bind(&job.id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// One job.
    pub(crate) async fn job(&self, id: &str) -> Result<Option<Job>, StoreError> {
        let row = query("SELECT * FROM jobs WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(job).transpose()
    }

    /// Jobs of `owner` (`None`: all), newest first, at most `limit` after `after`.
    pub(crate) async fn jobs(
        &self,
        owner: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Job>, StoreError> {
        // Ids are UUIDs of version 7: their order is that of creation.
        let rows = query(
            "SELECT * FROM jobs WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3",
        )
        .bind(owner)
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(job).collect()
    }

    /// Jobs that have not ended, oldest first, each with its spec.
    pub(crate) async fn unfinished_jobs(&self) -> Result<Vec<(Job, serde_json::Value)>, StoreError> {
        let rows = query("SELECT * FROM jobs WHERE state IN ('queued', 'running') ORDER BY created_at")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| Ok((job(row)?, serde_json::from_str(row.get("spec"))?))).collect()
    }
}

fn job(row: &Row) -> Result<Job, StoreError> {
    let result: Option<String> = row.get("result");
    Ok(Job {
        id: row.get("id"),
        kind: row.get("kind"),
        target: row.get("target"),
        owner: row.get("owner"),
        state: serde_json::from_value(serde_json::Value::String(row.get("state")))?,
        stage: row.get("stage"),
        done: u64::try_from(row.get::<i64, _>("done")).unwrap_or(0),
        total: u64::try_from(row.get::<i64, _>("total")).unwrap_or(0),
        result: result.as_deref().map(serde_json::from_str).transpose()?,
        error: row.get("error"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

fn state_name(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}
