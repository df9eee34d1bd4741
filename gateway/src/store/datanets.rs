//! Descriptions of datanets, and grants on them. Their datapoints are in LanceDB (`cairn-index`).

use cairn_openapi::datanets::{Grant, NewDatanet, Visibility};
use sqlx::{Row, sqlite::SqliteRow};

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

impl Store {
    /// Adds a description; false when the name is taken.
    pub(crate) async fn create_datanet(&self, new: &NewDatanet, owner: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
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

    /// Datanets that `subject` may see: its own, public ones, and those granted to it (`None`: all).
    pub(crate) async fn datanets(&self, subject: Option<&str>) -> Result<Vec<Description>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM datanets WHERE ?1 IS NULL OR owner = ?1 OR visibility = 'public'
             OR name IN (SELECT datanet FROM grants WHERE subject = ?1) ORDER BY name",
        )
        .bind(subject)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(description).collect())
    }

    /// Removes the description and the grants.
    pub(crate) async fn delete_datanet(&self, name: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM datanets WHERE name = ?").bind(name).execute(&self.pool).await?;
        Ok(())
    }

    /// Lets `subject` retrieve from a datanet, and train on it where `training` says so; granting twice changes nothing but
    /// that.
    pub(crate) async fn grant(
        &self,
        datanet: &str,
        subject: &str,
        by: &str,
        training: bool,
    ) -> Result<Grant, StoreError> {
        sqlx::query(
            "INSERT INTO grants (datanet, subject, granted_by, granted_at, training) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET training = excluded.training",
        )
        .bind(datanet)
        .bind(subject)
        .bind(by)
        .bind(now())
        .bind(training)
        .execute(&self.pool)
        .await?;
        let row = sqlx::query("SELECT * FROM grants WHERE datanet = ? AND subject = ?")
            .bind(datanet)
            .bind(subject)
            .fetch_one(&self.pool)
            .await?;
        Ok(grant(&row))
    }

    /// Takes a grant back; false when there was none.
    pub(crate) async fn revoke_grant(&self, datanet: &str, subject: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM grants WHERE datanet = ? AND subject = ?")
            .bind(datanet)
            .bind(subject)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Grants on a datanet, oldest first.
    pub(crate) async fn grants(&self, datanet: &str) -> Result<Vec<Grant>, StoreError> {
        let rows = sqlx::query("SELECT * FROM grants WHERE datanet = ? ORDER BY granted_at, subject")
            .bind(datanet)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(grant).collect())
    }
}

fn description(row: &SqliteRow) -> Description {
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

fn grant(row: &SqliteRow) -> Grant {
    Grant {
        datanet: row.get("datanet"),
        subject: row.get("subject"),
        granted_by: row.get("granted_by"),
        granted_at: row.get("granted_at"),
        training: row.get("training"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_datanet_is_visible_to_its_owner_its_grantees_and_administrators_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let new = NewDatanet { name: "n".into(), ..NewDatanet::default() };
        assert!(store.create_datanet(&new, "owner").await.unwrap());
        assert!(!store.create_datanet(&new, "other").await.unwrap());
        assert!(store.datanet("n", Some("owner")).await.unwrap().is_some());
        assert!(store.datanet("n", None).await.unwrap().is_some());
        assert!(store.datanet("n", Some("app")).await.unwrap().is_none());
        store.grant("n", "app", "owner", false).await.unwrap();
        assert!(store.datanet("n", Some("app")).await.unwrap().is_some());
        assert!(store.revoke_grant("n", "app").await.unwrap());
        assert!(store.datanet("n", Some("app")).await.unwrap().is_none());
    }
}
