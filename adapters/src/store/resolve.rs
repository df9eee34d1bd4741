//! From what a request names to weights that will not go away: [`Store::resolve`], [`Store::load`] and
//! [`Store::prepare`].

use cairn_database::{Row, query};
use sha2::{Digest, Sha256};

use super::{Caller, Lease, Reference, Store, StoreError, access::VISIBLE, generation::generation};
use crate::{AdapterGeneration, peft::Adapter};

impl Store {
    /// Pins the generation that `reference` means for this request. `alias` follows the alias, and its canary by
    /// `request_key`: the same key gets the same generation as long as the alias is not changed. `alias@generation`
    /// means one that the alias has pointed to (its owner: any of its own), canary or not.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none or the caller may not see it, [`StoreError::Ambiguous`].
    pub async fn resolve(
        &self,
        base: &str,
        reference: &Reference,
        request_key: &str,
        caller: &Caller,
    ) -> Result<Lease, StoreError> {
        loop {
            let deletions = self.inner.leases.deletions();
            let (row, generation, canary) = self.read(base, reference, request_key, caller).await?;
            if let Some(pin) = self.inner.leases.pin(row, deletions) {
                let generation = AdapterGeneration(generation);
                let (base, alias) = (base.to_owned(), reference.alias.clone());
                return Ok(Lease { generation, base, alias, canary, _pin: pin });
            }
        }
    }

    /// Row, name, and whether it is the canary.
    async fn read(
        &self,
        base: &str,
        reference: &Reference,
        request_key: &str,
        caller: &Caller,
    ) -> Result<(i64, String, bool), StoreError> {
        let not_found = || StoreError::not_found(base, reference.to_string());
        let name = reference.alias.as_str();
        let Some(prefix) = &reference.generation else {
            let sql = by_alias();
            let query = query(&sql).bind(&caller.subject).bind(caller.admin).bind(base).bind(name);
            let row: Row = query.fetch_optional(&self.inner.pool).await?.ok_or_else(not_found)?;
            if let (Some(id), Some(generation), Some(percent)) = (row.get(3), row.get(4), row.get::<Option<i64>, _>(5))
                && bucket(row.get(0), request_key) < percent.unsigned_abs()
            {
                return Ok((id, generation, true));
            }
            return Ok((row.get(1), row.get(2), false));
        };
        let sql = by_generation();
        let query = query(&sql).bind(&caller.subject).bind(caller.admin).bind(base).bind(name).bind(prefix);
        match query.fetch_all(&self.inner.pool).await?.as_slice() {
            [] => Err(not_found()),
            [row] => Ok((row.get(0), row.get(1), row.get(2))),
            _ => Err(StoreError::Ambiguous { prefix: prefix.clone() }),
        }
    }

    /// Reads a generation, which the caller has pinned, from the object store.
    ///
    /// # Errors
    /// As [`Store::prepare`].
    pub async fn load(&self, pinned: &AdapterGeneration) -> Result<Adapter, StoreError> {
        self.prepare(pinned, |adapter| adapter).await
    }

    /// Reads a generation, which the caller has pinned, from the object store and makes of it what an engine needs. The
    /// first time in a process its bytes are compared with its name, so that weights altered in storage are never served:
    /// the hash takes as long as all the rest, so `prepare` runs beside it, and what it made is given out only where the
    /// two agree.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Objects`].
    pub async fn prepare<T: Send + 'static>(
        &self,
        pinned: &AdapterGeneration,
        prepare: impl FnOnce(Adapter) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let files = self.inner.objects.get(pinned).await?;
        let (expected, limits) = (pinned.clone(), self.inner.options.limits);
        let verify = !self.inner.verified.lock().contains(&expected);
        let prepared = tokio::task::spawn_blocking(move || {
            let (prepared, genuine) = std::thread::scope(|scope| {
                let hash = verify.then(|| scope.spawn(|| generation(&files).is_ok_and(|actual| actual == expected)));
                let prepared = Adapter::parse(&files.config, &files.weights, &limits).map(prepare);
                let joined = hash.map(|hash| hash.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                (prepared, joined.unwrap_or(true))
            });
            if genuine { Ok(prepared?) } else { Err(StoreError::Corrupt { generation: expected.0 }) }
        })
        .await??;
        self.inner.verified.lock().insert(pinned.clone());
        Ok(prepared)
    }
}

/// What an alias means now.
fn by_alias() -> String {
    format!(
        "SELECT a.id, c.id, c.generation, k.id, k.generation, a.canary_percent FROM adapter_aliases a
         JOIN adapter_generations c ON c.id = a.current LEFT JOIN adapter_generations k ON k.id = a.canary
         WHERE a.base = ?3 AND a.name = ?4 AND {VISIBLE}"
    )
}

/// A generation by its first digits, where the caller may name it under the alias.
fn by_generation() -> String {
    format!(
        "SELECT g.id, g.generation, g.id IS NOT DISTINCT FROM a.canary FROM adapter_aliases a JOIN adapter_generations g
         ON g.generation >= ?5 AND g.generation < ?5 || 'g' AND g.base = ?3 AND g.owner = a.owner
         WHERE a.base = ?3 AND a.name = ?4 AND {VISIBLE} AND g.state = 'ready'
         AND (?2 OR a.owner = ?1 OR g.id IS NOT DISTINCT FROM a.canary OR EXISTS
              (SELECT 1 FROM adapter_history h WHERE h.alias = a.id AND h.generation = g.generation)) LIMIT 2"
    )
}

/// A number from 0 to 99 that depends on the alias and the key alone, so that the keys in a canary of 5 % stay in it when
/// it grows to 20 %, and differ from alias to alias.
fn bucket(alias: i64, request_key: &str) -> u64 {
    let hash = Sha256::new_with_prefix(alias.to_le_bytes()).chain_update(request_key).finalize();
    let head = hash.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
    head % 100
}

#[cfg(test)]
mod tests {
    use cairn_database::{Database, Settings};

    use super::*;
    use crate::store::schema;

    /// However many adapters there are, a request looks its own up. By SQLite's plan, which does not depend on what the
    /// tables hold.
    #[tokio::test]
    async fn no_request_scans_a_table() {
        let dir = tempfile::tempdir().unwrap();
        let pool = Database::open(&Settings::Sqlite(dir.path().join("db"))).await.unwrap();
        schema::create(&pool).await.unwrap();
        for sql in [by_alias(), by_generation()] {
            let plan = format!("EXPLAIN QUERY PLAN {sql}");
            let steps = query(&plan).fetch_all(&pool).await.unwrap();
            assert!(steps.len() >= 3, "{sql}");
            for step in steps {
                let step: String = step.get("detail");
                assert!(!step.contains("SCAN"), "{step} in {sql}");
            }
        }
    }
}
