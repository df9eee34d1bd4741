//! [`Quota`]: how much an owner may store.

use cairn_database::{Transaction, query};

use super::{Store, StoreError};

/// How much an owner may store, over all bases. The same content on two bases counts twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Generations.
    pub max_count: u64,
    /// Bytes of their files.
    pub max_bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { max_count: 1_000, max_bytes: 64 << 30 }
    }
}

impl Store {
    /// Gives an owner a quota of its own, or the default again.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn set_quota(&self, owner: &str, quota: Option<Quota>) -> Result<(), StoreError> {
        let query = match quota {
            None => query("DELETE FROM adapter_quotas WHERE owner = ?").bind(owner),
            Some(quota) => query(
                "INSERT INTO adapter_quotas (owner, max_count, max_bytes) VALUES (?, ?, ?) ON CONFLICT (owner)
                 DO UPDATE SET max_count = excluded.max_count, max_bytes = excluded.max_bytes",
            )
            .bind(owner)
            .bind(signed(quota.max_count))
            .bind(signed(quota.max_bytes)),
        };
        query.execute(&self.inner.pool).await?;
        Ok(())
    }

    /// Refuses `bytes` more for `owner` where that exceeds the quota. Within the transaction that adds them, so that two
    /// uploads at once cannot both take the last place.
    pub(crate) async fn check_quota(
        &self,
        transaction: &mut Transaction,
        owner: &str,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let used =
            query("SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM adapter_generations WHERE owner = ?")
                .bind(owner)
                .fetch_one(&mut *transaction)
                .await?;
        let own = query("SELECT max_count, max_bytes FROM adapter_quotas WHERE owner = ?")
            .bind(owner)
            .fetch_optional(&mut *transaction)
            .await?;
        let Quota { max_count, max_bytes } = own.map_or(self.inner.options.quota, |row| Quota {
            max_count: row.get::<i64, _>(0).unsigned_abs(),
            max_bytes: row.get::<i64, _>(1).unsigned_abs(),
        });
        let count = used.get::<i64, _>(0).unsigned_abs() + 1;
        let bytes = used.get::<i64, _>(1).unsigned_abs().saturating_add(bytes);
        if count > max_count || bytes > max_bytes {
            return Err(StoreError::OverQuota { owner: owner.to_owned(), count, bytes, max_count, max_bytes });
        }
        Ok(())
    }
}

/// The database's integers are signed.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
