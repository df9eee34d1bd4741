//! [`Quota`]: how much an owner may store.

use cairn_database::{Row, Transaction, query};

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

/// What an owner stores, and may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaInfo {
    /// The owner.
    pub owner: String,
    /// Generations that are stored.
    pub count: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// How much may be.
    pub quota: Quota,
    /// Whether that is a quota of its own.
    pub own: bool,
}

impl Store {
    /// The quota of whoever has none of its own.
    pub fn default_quota(&self) -> Quota {
        self.inner.options.quota
    }

    /// Everyone who stores something or has a quota of its own, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn quotas(&self) -> Result<Vec<QuotaInfo>, StoreError> {
        let rows = query(
            "SELECT known.owner, CAST(SUM(known.count) AS BIGINT), CAST(SUM(known.bytes) AS BIGINT), q.max_count, q.max_bytes FROM
                 (SELECT owner, COUNT(*) AS count, SUM(bytes) AS bytes FROM adapter_generations GROUP BY owner
                  UNION ALL SELECT owner, 0, 0 FROM adapter_quotas) AS known
             LEFT JOIN adapter_quotas q ON q.owner = known.owner
             GROUP BY known.owner, q.max_count, q.max_bytes ORDER BY known.owner",
        );
        let info = |row: &Row| {
            let number = |column: usize| row.get::<Option<i64>, _>(column).map(i64::unsigned_abs);
            let own = number(3).zip(number(4)).map(|(max_count, max_bytes)| Quota { max_count, max_bytes });
            QuotaInfo {
                owner: row.get(0),
                count: number(1).unwrap_or(0),
                bytes: number(2).unwrap_or(0),
                quota: own.unwrap_or(self.inner.options.quota),
                own: own.is_some(),
            }
        };
        Ok(rows.fetch_all(&self.inner.pool).await?.iter().map(info).collect())
    }

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
