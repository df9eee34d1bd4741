//! API keys. Only a hash of each secret is kept.

use cairn_database::{Row, query};
use cairn_openapi::keys::{CreatedKey, Key, NewKey, Role};
use rand::RngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Store, StoreError, now};

impl Store {
    /// Makes a key: `cairn_<id>_<256 random bits>`.
    pub(crate) async fn create_key(&self, new: &NewKey) -> Result<CreatedKey, StoreError> {
        let mut random = [0_u8; 38];
        rand::rng().fill_bytes(&mut random);
        let id = hex::encode(&random[..6]);
        let secret = format!("cairn_{id}_{}", hex::encode(&random[6..]));
        let created = chrono::Utc::now();
        let expires_at = new.expires_in_days.map(|days| {
            (created + chrono::Duration::days(days.into())).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
        });
        let key = Key {
            id,
            subject: new.subject.clone(),
            roles: new.roles.clone(),
            created_at: now(),
            expires_at,
            revoked_at: None,
        };
        query("INSERT INTO keys (id, subject, roles, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&key.id)
            .bind(&key.subject)
            .bind(serde_json::to_string(&key.roles)?)
            .bind(digest(&secret))
            .bind(&key.created_at)
            .bind(&key.expires_at)
            .execute(&self.pool)
            .await?;
        Ok(CreatedKey { secret, key })
    }

    /// The key that `secret` is, where it is one that is still valid.
    pub(crate) async fn key_of_secret(&self, secret: &str) -> Result<Option<Key>, StoreError> {
        let Some(("cairn", rest)) = secret.split_once('_') else { return Ok(None) };
        let Some((id, _)) = rest.split_once('_') else { return Ok(None) };
        let row = query("SELECT * FROM keys WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let same: bool = row.get::<String, _>("hash").as_bytes().ct_eq(digest(secret).as_bytes()).into();
        let key = key(&row)?;
        let valid = key.revoked_at.is_none() && key.expires_at.as_deref().is_none_or(|end| end > now().as_str());
        Ok((same && valid).then_some(key))
    }

    /// Every key, newest first.
    pub(crate) async fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let rows = query("SELECT * FROM keys ORDER BY created_at DESC, id").fetch_all(&self.pool).await?;
        rows.iter().map(key).collect()
    }

    /// Revokes a key; false when there is none of that id.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<bool, StoreError> {
        let done = query("UPDATE keys SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?")
            .bind(now())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn key(row: &Row) -> Result<Key, StoreError> {
    let roles: Vec<Role> = serde_json::from_str(row.get("roles"))?;
    Ok(Key {
        id: row.get("id"),
        subject: row.get("subject"),
        roles,
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        revoked_at: row.get("revoked_at"),
    })
}

/// Secrets hold 256 random bits, so a plain hash is as good as a slow one.
fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_whole_secret_of_a_live_key_opens() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let new = NewKey { subject: "app".into(), roles: vec![Role::App], expires_in_days: Some(1) };
        let made = store.create_key(&new).await.unwrap();
        assert_eq!(store.key_of_secret(&made.secret).await.unwrap().unwrap().subject, "app");
        let mut other = made.secret.clone();
        let last = if other.ends_with('0') { "1" } else { "0" };
        other.replace_range(other.len() - 1.., last);
        assert!(store.key_of_secret(&other).await.unwrap().is_none());
        let file = std::fs::read(dir.path().join("db")).unwrap();
        let secret = made.secret.rsplit('_').next().unwrap().as_bytes();
        assert!(!file.windows(secret.len()).any(|window| window == secret), "the secret is on disk");
        assert!(store.revoke_key(&made.key.id).await.unwrap());
        assert!(store.key_of_secret(&made.secret).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_expired_key_does_not_open() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let new = NewKey { subject: "app".into(), roles: vec![Role::App], expires_in_days: Some(0) };
        let made = store.create_key(&new).await.unwrap();
        assert!(store.key_of_secret(&made.secret).await.unwrap().is_none());
    }
}
