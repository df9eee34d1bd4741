//! What was used: by day, subject, key and model; and by adapter.

use cairn_database::{Dialect, Row, query};
use cairn_openapi::{
    adapters::AdapterUse,
    usage::{UsageLine, UsageQuery},
};

use super::{Store, StoreError, now};

/// Something that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent<'a> {
    pub(crate) subject: &'a str,
    /// The API key, where it was asked with one.
    pub(crate) key: Option<&'a str>,
    pub(crate) model: &'a str,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Store {
    /// Counts a request that was answered.
    pub(crate) async fn count_usage(&self, spent: Spent<'_>) -> Result<(), StoreError> {
        query(
            "INSERT INTO usage (day, subject, key, model, requests, prompt_tokens, completion_tokens)
             VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT (day, subject, key, model)
             DO UPDATE SET requests = usage.requests + 1,
             prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens,
             completion_tokens = usage.completion_tokens + excluded.completion_tokens",
        )
        .bind(today())
        .bind(spent.subject)
        .bind(spent.key.unwrap_or(""))
        .bind(spent.model)
        .bind(signed(spent.prompt_tokens))
        .bind(signed(spent.completion_tokens))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Tokens that a key has used today.
    pub(crate) async fn tokens_today(&self, key: &str) -> Result<u64, StoreError> {
        // SQLite would go by the table's own key, through everything of the day.
        let by_key = match self.pool.dialect() {
            Dialect::Sqlite => "INDEXED BY usage_by_key",
            Dialect::Postgres => "",
        };
        let row = query(format!(
            "SELECT CAST(COALESCE(SUM(prompt_tokens + completion_tokens), 0) AS BIGINT) FROM usage {by_key}
             WHERE key = ? AND day = ?",
        ));
        let row = row.bind(key).bind(today()).fetch_one(&self.pool).await?;
        Ok(unsigned(row.get(0)))
    }

    /// Usage, latest day first; `bound`: only this subject's.
    pub(crate) async fn usage(
        &self,
        wanted: &UsageQuery,
        bound: Option<&str>,
        limit: u32,
    ) -> Result<Vec<UsageLine>, StoreError> {
        let mut sql = query("SELECT * FROM usage WHERE true");
        let conditions = [
            (" AND subject = ?", bound),
            (" AND subject = ?", wanted.subject.as_deref()),
            (" AND day >= ?", wanted.from.as_deref()),
            (" AND day <= ?", wanted.to.as_deref()),
            (" AND model = ?", wanted.model.as_deref()),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                sql = sql.push(condition).bind(value);
            }
        }
        let sql = sql.push(" ORDER BY day DESC, subject, model, key LIMIT ?").bind(limit);
        Ok(sql.fetch_all(&self.pool).await?.iter().map(line).collect())
    }

    /// Who used an alias since it means what its owner made of it, most answers first.
    pub(crate) async fn adapter_uses(
        &self,
        base: &str,
        alias: &str,
        since: &str,
    ) -> Result<Vec<AdapterUse>, StoreError> {
        let rows = query(
            "SELECT subject, generation, COUNT(*) AS answers, MAX(at) AS last_at FROM adapter_uses
             WHERE base = ? AND alias = ? AND at >= ? GROUP BY subject, generation
             ORDER BY answers DESC, subject, generation LIMIT 1000",
        )
        .bind(base)
        .bind(alias)
        .bind(since)
        .fetch_all(&self.pool)
        .await?;
        let used = |row: &Row| AdapterUse {
            subject: row.get("subject"),
            generation: row.get("generation"),
            answers: unsigned(row.get("answers")),
            last_at: row.get("last_at"),
        };
        Ok(rows.iter().map(used).collect())
    }
}

fn line(row: &Row) -> UsageLine {
    UsageLine {
        day: row.get("day"),
        subject: row.get("subject"),
        key: Some(row.get::<String, _>("key")).filter(|key| !key.is_empty()),
        model: row.get("model"),
        requests: unsigned(row.get("requests")),
        prompt_tokens: unsigned(row.get("prompt_tokens")),
        completion_tokens: unsigned(row.get("completion_tokens")),
    }
}

/// The present day, UTC.
fn today() -> String {
    now().chars().take(10).collect()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::store;

    #[tokio::test]
    async fn usage_adds_up_by_day_subject_key_and_model() {
        let (store, _dir) = store().await;
        let spent = Spent { subject: "app", key: Some("k1"), model: "base", prompt_tokens: 10, completion_tokens: 2 };
        store.count_usage(spent).await.unwrap();
        store.count_usage(spent).await.unwrap();
        store.count_usage(Spent { key: Some("k2"), ..spent }).await.unwrap();
        store.count_usage(Spent { subject: "other", key: None, model: "base:style", ..spent }).await.unwrap();
        assert_eq!(store.tokens_today("k1").await.unwrap(), 24);
        assert_eq!(store.tokens_today("none").await.unwrap(), 0);
        let all = store.usage(&UsageQuery::default(), None, 10).await.unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].requests, all[0].prompt_tokens, all[0].completion_tokens), (2, 20, 4));
        assert_eq!(all[2].key, None);
        assert_eq!(store.usage(&UsageQuery::default(), Some("app"), 10).await.unwrap().len(), 2);
        let other = UsageQuery { subject: Some("other".into()), ..UsageQuery::default() };
        assert!(store.usage(&other, Some("app"), 10).await.unwrap().is_empty());
        let before = UsageQuery { to: Some("2000-01-01".into()), ..UsageQuery::default() };
        assert!(store.usage(&before, None, 10).await.unwrap().is_empty());
    }
}
