//! Descriptions of datanets, and the states that the log has of them. Their datapoints are in LanceDB (`cairn-index`).

use cairn_database::{Row, query};
use cairn_openapi::datanets::{NewDatanet, Visibility};

use super::{Store, StoreError, now};

/// What is kept of a datanet beside its datapoints.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) licence: String,
    pub(crate) visibility: Visibility,
    pub(crate) owner: String,
    pub(crate) created_at: String,
}

/// A state of a datanet that the log has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredSnapshot {
    pub(crate) datanet: String,
    /// From 1; 0 before it is stored.
    pub(crate) number: u64,
    pub(crate) lance_version: u64,
    pub(crate) size: u64,
    pub(crate) root: String,
    pub(crate) at: String,
    pub(crate) log_index: u64,
}

impl Store {
    /// Adds a description; false when the name is taken.
    pub(crate) async fn create_datanet(&self, new: &NewDatanet, owner: &str) -> Result<bool, StoreError> {
        let done = query(
            "INSERT INTO datanets (name, title, description, licence, visibility, owner, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&new.name)
        .bind(if new.title.is_empty() { &new.name } else { &new.title })
        .bind(&new.description)
        .bind(&new.licence)
        .bind(if new.visibility == Visibility::Public { "public" } else { "private" })
        .bind(owner)
        .bind(now())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// The datanet, where `subject` may see it (`None`: an administrator, who sees all).
    pub(crate) async fn datanet(&self, name: &str, subject: Option<&str>) -> Result<Option<Description>, StoreError> {
        Ok(self.datanets(subject).await?.into_iter().find(|datanet| datanet.name == name))
    }

    /// Datanets that `subject` may use: its own, public ones, and those granted to it (`None`: all).
    pub(crate) async fn datanets(&self, subject: Option<&str>) -> Result<Vec<Description>, StoreError> {
        let rows = query(
            "SELECT * FROM datanets WHERE ?1 IS NULL OR owner = ?1 OR visibility = 'public'
             OR name IN (SELECT grants.datanet FROM grants JOIN access_entries ON access_entries.id = grants.entry
                 WHERE subject = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)
                 AND log_index IS NOT NULL)
             ORDER BY name",
        )
        .bind(subject)
        .bind(now())
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(description).collect())
    }

    /// Datanets that have published terms: anyone may know of them, and ask.
    pub(crate) async fn published_datanets(&self) -> Result<Vec<Description>, StoreError> {
        let rows =
            query("SELECT * FROM datanets WHERE name IN (SELECT datanet FROM terms WHERE NOT retired) ORDER BY name")
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.iter().map(description).collect())
    }

    /// Notes a state of a datanet that the log has; says its number.
    pub(crate) async fn note_snapshot(&self, snapshot: &StoredSnapshot) -> Result<u64, StoreError> {
        let mut transaction = self.pool.begin_alone("snapshots").await?;
        let row = query(
            "INSERT INTO snapshots (datanet, number, lance_version, size, root, at, log_index)
             SELECT ?1, COALESCE(MAX(number), 0) + 1, ?2, ?3, ?4, ?5, ?6 FROM snapshots WHERE datanet = ?1 RETURNING number",
        )
        .bind(&snapshot.datanet)
        .bind(i64::try_from(snapshot.lance_version).unwrap_or(i64::MAX))
        .bind(i64::try_from(snapshot.size).unwrap_or(i64::MAX))
        .bind(&snapshot.root)
        .bind(&snapshot.at)
        .bind(i64::try_from(snapshot.log_index).unwrap_or(i64::MAX))
        .fetch_one(&mut transaction)
        .await?;
        transaction.commit().await?;
        Ok(u64::try_from(row.get::<i64, _>("number")).unwrap_or_default())
    }

    /// The states of a datanet that the log has, newest first.
    pub(crate) async fn snapshots(&self, datanet: &str) -> Result<Vec<StoredSnapshot>, StoreError> {
        let rows = query("SELECT * FROM snapshots WHERE datanet = ? ORDER BY number DESC")
            .bind(datanet)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(snapshot).collect())
    }

    /// The last of these states.
    pub(crate) async fn last_snapshot(&self, datanet: &str) -> Result<Option<StoredSnapshot>, StoreError> {
        let row = query("SELECT * FROM snapshots WHERE datanet = ? ORDER BY number DESC LIMIT 1")
            .bind(datanet)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.as_ref().map(snapshot))
    }

    /// Removes the description, the grants and the requests; the terms are in force no more.
    pub(crate) async fn delete_datanet(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        query("UPDATE terms SET retired = TRUE WHERE datanet = ?").bind(name).execute(&mut transaction).await?;
        query("DELETE FROM datanets WHERE name = ?").bind(name).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

fn description(row: &Row) -> Description {
    Description {
        name: row.get("name"),
        title: row.get("title"),
        description: row.get("description"),
        licence: row.get("licence"),
        visibility: match row.get("visibility") {
            "public" => Visibility::Public,
            _ => Visibility::Private,
        },
        owner: row.get("owner"),
        created_at: row.get("created_at"),
    }
}

fn snapshot(row: &Row) -> StoredSnapshot {
    let number = |column: &str| u64::try_from(row.get::<i64, _>(column)).unwrap_or_default();
    StoredSnapshot {
        datanet: row.get("datanet"),
        number: number("number"),
        lance_version: number("lance_version"),
        size: number("size"),
        root: row.get("root"),
        at: row.get("at"),
        log_index: number("log_index"),
    }
}
