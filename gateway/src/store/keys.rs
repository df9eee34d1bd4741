//! API keys. Only a hash of each secret is kept.

use cairn_database::{Row, Transaction, query};
use cairn_openapi::keys::{CreatedKey, Key, KeyChange, KeyLimits, NewKey, Role};
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
            limits: new.limits,
        };
        query(
            "INSERT INTO keys (id, subject, roles, hash, created_at, expires_at, requests_per_minute, tokens_per_day)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&key.id)
        .bind(&key.subject)
        .bind(serde_json::to_string(&key.roles)?)
        .bind(digest(&secret))
        .bind(&key.created_at)
        .bind(&key.expires_at)
        .bind(key.limits.requests_per_minute)
        .bind(key.limits.tokens_per_day.map(signed))
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

    /// Changes what a key may do, and how much.
    pub(crate) async fn change_key(&self, id: &str, change: &KeyChange) -> Result<KeyChanged, StoreError> {
        let mut transaction = self.pool.begin_alone(KEYS).await?;
        let before = administrators(&mut transaction).await?;
        if let Some(roles) = &change.roles {
            query("UPDATE keys SET roles = ? WHERE id = ? AND revoked_at IS NULL")
                .bind(serde_json::to_string(roles)?)
                .bind(id)
                .execute(&mut transaction)
                .await?;
        }
        if let Some(limits) = change.limits {
            query("UPDATE keys SET requests_per_minute = ?, tokens_per_day = ? WHERE id = ? AND revoked_at IS NULL")
                .bind(limits.requests_per_minute)
                .bind(limits.tokens_per_day.map(signed))
                .bind(id)
                .execute(&mut transaction)
                .await?;
        }
        if before > 0 && administrators(&mut transaction).await? == 0 {
            return Ok(KeyChanged::LastAdministrator);
        }
        let row = query("SELECT * FROM keys WHERE id = ? AND revoked_at IS NULL").bind(id);
        let Some(row) = row.fetch_optional(&mut transaction).await? else { return Ok(KeyChanged::Missing) };
        let key = key(&row)?;
        transaction.commit().await?;
        Ok(KeyChanged::Done(key))
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

/// Whose turn it is to change a key, so that of two administrators who give up the role at once one stays.
const KEYS: &str = "keys";

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyChanged {
    Done(Key),
    /// There is no key of that id, or it is revoked.
    Missing,
    /// Nobody would be left who may change it back.
    LastAdministrator,
}

/// Valid keys of administrators.
async fn administrators(transaction: &mut Transaction) -> Result<i64, StoreError> {
    let each = transaction.dialect().json_each("roles");
    let row = query(format!(
        "SELECT COUNT(*) FROM keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)
         AND EXISTS (SELECT 1 FROM {each} WHERE value = 'admin')",
    ));
    Ok(row.bind(now()).fetch_one(&mut *transaction).await?.get(0))
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
        limits: KeyLimits {
            requests_per_minute: row
                .get::<Option<i64>, _>("requests_per_minute")
                .and_then(|most| u32::try_from(most).ok()),
            tokens_per_day: row.get::<Option<i64>, _>("tokens_per_day").and_then(|tokens| u64::try_from(tokens).ok()),
        },
    })
}

/// The database's integers are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Secrets hold 256 random bits, so a plain hash is as good as a slow one.
fn digest(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::store;

    fn new_key(roles: Vec<Role>, expires_in_days: Option<u32>) -> NewKey {
        NewKey { subject: "app".into(), roles, expires_in_days, limits: KeyLimits::default() }
    }

    #[tokio::test]
    async fn roles_and_limits_change_but_the_last_administrator_stays_one() {
        let (store, _dir) = store().await;
        let admin = store.create_key(&new_key(vec![Role::Admin], None)).await.unwrap().key;
        let app = store.create_key(&new_key(vec![Role::App], None)).await.unwrap();
        let limits = KeyLimits { requests_per_minute: Some(3), tokens_per_day: Some(u64::MAX) };
        let change = KeyChange { roles: Some(vec![Role::Auditor]), limits: Some(limits) };
        let done = async |id: &str, change: &KeyChange| match store.change_key(id, change).await.unwrap() {
            KeyChanged::Done(key) => key,
            other => panic!("{other:?}"),
        };
        let changed = done(&app.key.id, &change).await;
        assert_eq!(changed.roles, [Role::Auditor]);
        assert_eq!(changed.limits.requests_per_minute, Some(3));
        assert_eq!(store.key_of_secret(&app.secret).await.unwrap().unwrap(), changed);
        let only_roles = KeyChange { roles: Some(vec![Role::App]), limits: None };
        assert_eq!(done(&app.key.id, &only_roles).await.limits, changed.limits);
        let refused = store.change_key(&admin.id, &only_roles).await.unwrap();
        assert_eq!(refused, KeyChanged::LastAdministrator);
        assert_eq!(store.keys().await.unwrap().iter().find(|key| key.id == admin.id).unwrap().roles, [Role::Admin]);
        done(&app.key.id, &KeyChange { roles: Some(vec![Role::Admin]), limits: None }).await;
        done(&admin.id, &only_roles).await;
        store.revoke_key(&admin.id).await.unwrap();
        assert_eq!(store.change_key(&admin.id, &only_roles).await.unwrap(), KeyChanged::Missing);
    }

    #[tokio::test]
    async fn only_the_whole_secret_of_a_live_key_opens() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("db")).await.unwrap();
        let new = new_key(vec![Role::App], Some(1));
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
        let (store, _dir) = store().await;
        let new = new_key(vec![Role::App], Some(0));
        let made = store.create_key(&new).await.unwrap();
        assert!(store.key_of_secret(&made.secret).await.unwrap().is_none());
    }
}
