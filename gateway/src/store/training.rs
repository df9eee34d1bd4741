//! Files to train on, and fine-tuning jobs.

use cairn_database::{Row, query};

use super::{Store, StoreError, now, plain};

/// A file as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredFile {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) filename: String,
    pub(crate) purpose: String,
    pub(crate) bytes: u64,
    pub(crate) created_at: String,
}

/// Which files to list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilePart<'a> {
    /// Those of one purpose.
    pub(crate) purpose: Option<&'a str>,
    /// The id after which to go on.
    pub(crate) after: Option<&'a str>,
    /// Otherwise the newest first.
    pub(crate) oldest_first: bool,
    /// How many at most.
    pub(crate) limit: usize,
}

/// Where a fine-tuning job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrainingStatus {
    Queued,
    Running,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl TrainingStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn read(name: &str) -> Self {
        match name {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "succeeded" => Self::Succeeded,
            "cancelled" => Self::Cancelled,
            _ => Self::Failed,
        }
    }

    /// Nothing will happen to it any more.
    pub(crate) fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A fine-tuning job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredTraining {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) base: String,
    pub(crate) alias: String,
    /// Asked for by an administrator, who may train on any datanet.
    pub(crate) unbounded: bool,
    /// As it was sent.
    pub(crate) request: serde_json::Value,
    pub(crate) status: TrainingStatus,
    pub(crate) error: Option<String>,
    pub(crate) generation: Option<String>,
    pub(crate) created_at: String,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
}

/// A datapoint that a job learnt, or was evaluated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTrainingRow {
    pub(crate) datanet: String,
    pub(crate) datapoint: String,
    pub(crate) contributor: String,
    pub(crate) held_out: bool,
}

/// A run that used datapoints of a datanet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainedOn {
    pub(crate) job: StoredTraining,
    /// How many of the datapoints asked for were learnt.
    pub(crate) learnt: u64,
    /// How many were held out.
    pub(crate) held_out: u64,
}

impl Store {
    pub(crate) async fn create_file(&self, file: &StoredFile) -> Result<(), StoreError> {
        query("INSERT INTO files (id, owner, filename, purpose, bytes, created_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&file.id)
            .bind(&file.owner)
            .bind(&file.filename)
            .bind(&file.purpose)
            .bind(i64::try_from(file.bytes).unwrap_or(i64::MAX))
            .bind(&file.created_at)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// One file of `owner` (`None`: anyone's).
    pub(crate) async fn file(&self, id: &str, owner: Option<&str>) -> Result<Option<StoredFile>, StoreError> {
        let row = query("SELECT * FROM files WHERE id = ?1 AND (?2 IS NULL OR owner = ?2)")
            .bind(id)
            .bind(owner)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(file))
    }

    /// Some of the files of `owner` (`None`: everyone's).
    pub(crate) async fn files(&self, owner: Option<&str>, part: FilePart<'_>) -> Result<Vec<StoredFile>, StoreError> {
        // Ids are UUIDs of version 7: their order is that of creation.
        let (beyond, order) = if part.oldest_first { (">", "ASC") } else { ("<", "DESC") };
        let rows = query(format!(
            "SELECT * FROM files WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR purpose = ?2)
             AND (?3 IS NULL OR id {beyond} ?3) ORDER BY id {order} LIMIT ?4",
        ))
        .bind(owner)
        .bind(part.purpose)
        .bind(part.after)
        .bind(i64::try_from(part.limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(file).collect())
    }

    pub(crate) async fn delete_file(&self, id: &str) -> Result<(), StoreError> {
        query("DELETE FROM files WHERE id = ?").bind(id).execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn create_training(&self, job: &StoredTraining) -> Result<(), StoreError> {
        query(
            "INSERT INTO fine_tuning_jobs (id, owner, base, alias, unbounded, request, status, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&job.id)
        .bind(&job.owner)
        .bind(&job.base)
        .bind(&job.alias)
        .bind(job.unbounded)
        .bind(job.request.to_string())
        .bind(job.status.name())
        .bind(&job.created_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// One job of `owner` (`None`: anyone's).
    pub(crate) async fn training(&self, id: &str, owner: Option<&str>) -> Result<Option<StoredTraining>, StoreError> {
        let row =
            query("SELECT * FROM fine_tuning_jobs WHERE id = ?1 AND (?2 IS NULL OR owner = ?2) AND deleted_at IS NULL")
                .bind(id)
                .bind(owner)
                .fetch_optional(&self.pool)
                .await?;
        row.as_ref().map(training).transpose()
    }

    /// As [`Self::training`], those that were deleted as well.
    pub(crate) async fn training_on_record(
        &self,
        id: &str,
        owner: Option<&str>,
    ) -> Result<Option<StoredTraining>, StoreError> {
        let row = query("SELECT * FROM fine_tuning_jobs WHERE id = ?1 AND (?2 IS NULL OR owner = ?2)")
            .bind(id)
            .bind(owner)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(training).transpose()
    }

    /// The job of an owner that a generation on a base came of.
    pub(crate) async fn training_of(
        &self,
        generation: &str,
        base: &str,
        owner: &str,
    ) -> Result<Option<StoredTraining>, StoreError> {
        let row = query("SELECT * FROM fine_tuning_jobs WHERE generation = ? AND base = ? AND owner = ? LIMIT 1")
            .bind(generation)
            .bind(base)
            .bind(owner)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(training).transpose()
    }

    /// Jobs of `owner` (`None`: everyone's), newest first, at most `limit` after `after`.
    pub(crate) async fn trainings(
        &self,
        owner: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredTraining>, StoreError> {
        // Ids are UUIDs of version 7: their order is that of creation.
        let rows = query(
            "SELECT * FROM fine_tuning_jobs WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR id < ?2)
             AND deleted_at IS NULL ORDER BY id DESC LIMIT ?3",
        )
        .bind(owner)
        .bind(after)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(training).collect()
    }

    /// Jobs that wait or run, oldest first.
    pub(crate) async fn live_trainings(&self) -> Result<Vec<StoredTraining>, StoreError> {
        let rows = query("SELECT * FROM fine_tuning_jobs WHERE status IN ('queued', 'running') ORDER BY id")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(training).collect()
    }

    /// Moves a job; `from` are the states in which it may be. False where it is in none of them.
    pub(crate) async fn move_training(
        &self,
        id: &str,
        from: &[TrainingStatus],
        to: TrainingStatus,
        error: Option<&str>,
    ) -> Result<bool, StoreError> {
        let now = now();
        let places: Vec<String> = (6..6 + from.len()).map(|place| format!("?{place}")).collect();
        let places = places.join(", ");
        let mut update = query(format!(
            "UPDATE fine_tuning_jobs SET status = ?2, error = ?3,
             started_at = CASE WHEN ?2 = 'running' THEN coalesce(started_at, ?4) ELSE started_at END,
             finished_at = CASE WHEN ?5 THEN ?4 ELSE NULL END
             WHERE id = ?1 AND status IN ({places})",
        ))
        .bind(id)
        .bind(to.name())
        .bind(error.map(plain))
        .bind(&now)
        .bind(to.ended());
        for status in from {
            update = update.bind(status.name());
        }
        Ok(update.execute(&self.pool).await?.rows_affected() > 0)
    }

    pub(crate) async fn training_generation(&self, id: &str, generation: &str) -> Result<(), StoreError> {
        query("UPDATE fine_tuning_jobs SET generation = ? WHERE id = ?")
            .bind(generation)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Deletes a job that used no datapoints on record; false where it did.
    pub(crate) async fn delete_training(&self, id: &str) -> Result<bool, StoreError> {
        let done = query(
            "DELETE FROM fine_tuning_jobs WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM training_rows WHERE job = ?1)",
        )
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes a job off the lists, and keeps what those need whose datapoints it used.
    pub(crate) async fn retire_training(&self, id: &str) -> Result<(), StoreError> {
        query("UPDATE fine_tuning_jobs SET deleted_at = ? WHERE id = ?")
            .bind(now())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether a job was taken off the lists; none where there is no such job.
    pub(crate) async fn training_is_retired(&self, id: &str) -> Result<Option<bool>, StoreError> {
        let row =
            query("SELECT deleted_at FROM fine_tuning_jobs WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.get::<Option<String>, _>("deleted_at").is_some()))
    }

    /// Writes down which datapoints a job used; again is the same as once.
    pub(crate) async fn add_training_rows(&self, job: &str, rows: &[StoredTrainingRow]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for row in rows {
            query(
                "INSERT INTO training_rows (datanet, datapoint, contributor, job, held_out) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&row.datanet)
            .bind(&row.datapoint)
            .bind(&row.contributor)
            .bind(job)
            .bind(row.held_out)
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Runs that used datapoints of a datanet, oldest first: all of them, or those of one datapoint or contributor.
    pub(crate) async fn trained_on(
        &self,
        datanet: &str,
        datapoint: Option<&str>,
        contributor: Option<&str>,
    ) -> Result<Vec<TrainedOn>, StoreError> {
        let rows = query(
            "SELECT jobs.*, used.learnt, used.held FROM
                 (SELECT job, COUNT(*) FILTER (WHERE NOT held_out) AS learnt, COUNT(*) FILTER (WHERE held_out) AS held
                  FROM training_rows
                  WHERE datanet = ?1 AND (?2 IS NULL OR datapoint = ?2) AND (?3 IS NULL OR contributor = ?3)
                  GROUP BY job) AS used
             JOIN fine_tuning_jobs AS jobs ON jobs.id = used.job ORDER BY jobs.id",
        )
        .bind(datanet)
        .bind(datapoint)
        .bind(contributor)
        .fetch_all(&self.pool)
        .await?;
        let count = |row: &Row, name: &str| u64::try_from(row.get::<i64, _>(name)).unwrap_or(0);
        let used = |row: &Row| {
            Ok(TrainedOn { job: training(row)?, learnt: count(row, "learnt"), held_out: count(row, "held") })
        };
        rows.iter().map(used).collect()
    }
}

fn file(row: &Row) -> StoredFile {
    StoredFile {
        id: row.get("id"),
        owner: row.get("owner"),
        filename: row.get("filename"),
        purpose: row.get("purpose"),
        bytes: u64::try_from(row.get::<i64, _>("bytes")).unwrap_or(0),
        created_at: row.get("created_at"),
    }
}

fn training(row: &Row) -> Result<StoredTraining, StoreError> {
    Ok(StoredTraining {
        id: row.get("id"),
        owner: row.get("owner"),
        base: row.get("base"),
        alias: row.get("alias"),
        unbounded: row.get("unbounded"),
        request: serde_json::from_str(row.get("request"))?,
        status: TrainingStatus::read(row.get("status")),
        error: row.get("error"),
        generation: row.get("generation"),
        created_at: row.get("created_at"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
    })
}
