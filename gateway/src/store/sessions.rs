//! Sessions of people who signed in to the studio. Only a hash of each cookie is kept, as of an API key's secret.

use cairn_database::{Row, query};
use cairn_openapi::keys::Role;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Store, StoreError, now};

/// Who a session is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// The provider that named the subject.
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) roles: Vec<Role>,
}

/// A session that has not ended, as operators see it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lasting {
    pub(crate) subject: String,
    pub(crate) roles: Vec<Role>,
    pub(crate) issuer: String,
    pub(crate) created_at: String,
    pub(crate) expires_at: String,
}

impl Store {
    /// Begins a session that `cookie` opens, and forgets those that have ended.
    pub(crate) async fn begin_session(&self, cookie: &str, session: &Session, hours: u32) -> Result<(), StoreError> {
        let (begin, end) = (now(), chrono::Utc::now() + chrono::Duration::hours(hours.into()));
        query("DELETE FROM sessions WHERE expires_at <= ?").bind(&begin).execute(&self.pool).await?;
        query("INSERT INTO sessions (hash, issuer, subject, roles, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(digest(cookie))
            .bind(&session.issuer)
            .bind(&session.subject)
            .bind(serde_json::to_string(&session.roles)?)
            .bind(&begin)
            .bind(end.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The session that `cookie` opens, where it has not ended.
    pub(crate) async fn session(&self, cookie: &str) -> Result<Option<Session>, StoreError> {
        let row = query("SELECT * FROM sessions WHERE hash = ? AND expires_at > ?")
            .bind(digest(cookie))
            .bind(now())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let roles = serde_json::from_str(row.get("roles"))?;
        Ok(Some(Session { issuer: row.get("issuer"), subject: row.get("subject"), roles }))
    }

    /// Ends a session; false when there is none.
    pub(crate) async fn end_session(&self, cookie: &str) -> Result<bool, StoreError> {
        let done = query("DELETE FROM sessions WHERE hash = ?").bind(digest(cookie)).execute(&self.pool).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Every session that has not ended, newest first.
    pub(crate) async fn sessions(&self) -> Result<Vec<Lasting>, StoreError> {
        let rows = query("SELECT * FROM sessions WHERE expires_at > ? ORDER BY created_at DESC, hash")
            .bind(now())
            .fetch_all(&self.pool)
            .await?;
        let lasting = |row: &Row| {
            Ok(Lasting {
                subject: row.get("subject"),
                roles: serde_json::from_str(row.get("roles"))?,
                issuer: row.get("issuer"),
                created_at: row.get("created_at"),
                expires_at: row.get("expires_at"),
            })
        };
        rows.iter().map(lasting).collect()
    }

    /// Ends every session of somebody; how many there were.
    pub(crate) async fn end_sessions_of(&self, subject: &str) -> Result<u64, StoreError> {
        let done = query("DELETE FROM sessions WHERE subject = ? AND expires_at > ?")
            .bind(subject)
            .bind(now())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected())
    }
}

/// Cookies hold 256 random bits, so a plain hash is as good as a slow one, and looking one up by it tells nothing of others.
fn digest(cookie: &str) -> String {
    hex::encode(Sha256::digest(cookie.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::store;

    fn ada() -> Session {
        Session { issuer: "https://id.example".into(), subject: "oidc:ada".into(), roles: vec![Role::Trainer] }
    }

    #[tokio::test]
    async fn a_session_lasts_until_it_ends_and_its_cookie_is_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let (cookie, other) = ("the-cookie-of-ada", "the-cookie-of-ada-elsewhere");
        store.begin_session(cookie, &ada(), 1).await.unwrap();
        store.begin_session(other, &ada(), 1).await.unwrap();
        assert_eq!(store.session(cookie).await.unwrap(), Some(ada()));
        assert_eq!(store.session("the-cookie-of-ad").await.unwrap(), None);
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(cookie.len()).any(|window| window == cookie.as_bytes()), "the cookie is on disk");
        }
        assert!(store.end_session(cookie).await.unwrap());
        assert!(!store.end_session(cookie).await.unwrap());
        assert_eq!(store.session(cookie).await.unwrap(), None);
        assert_eq!(store.session(other).await.unwrap(), Some(ada()));
        assert_eq!(store.sessions().await.unwrap().len(), 1);
        assert_eq!(store.end_sessions_of("oidc:grace").await.unwrap(), 0);
        assert_eq!(store.end_sessions_of("oidc:ada").await.unwrap(), 1);
        assert_eq!(store.session(other).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_session_that_is_over_opens_nothing_and_is_forgotten() {
        let (store, _dir) = store().await;
        store.begin_session("over", &ada(), 0).await.unwrap();
        assert_eq!(store.session("over").await.unwrap(), None);
        store.begin_session("new", &ada(), 1).await.unwrap();
        assert!(!store.end_session("over").await.unwrap());
        assert!(store.session("new").await.unwrap().is_some());
    }
}
