//! Listings, a page at a time, of what the caller may see.

use cairn_database::{Row, query};

use super::{AliasName, Caller, Store, StoreError, Visibility, access::VISIBLE};
use crate::{AdapterGeneration, compatibility::Report};

/// Some rows, and where the next ones begin.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// To be given as `after` for the next page; none = this was the last.
    pub next: Option<String>,
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasInfo {
    /// The base.
    pub base: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Who may use it.
    pub visibility: Visibility,
    /// The generation it means.
    pub current: AdapterGeneration,
    /// The generation that takes part of its traffic, and the percentage.
    pub canary: Option<(AdapterGeneration, u8)>,
    /// When it was last changed.
    pub updated_at: String,
}

/// A generation of one owner on one base.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationInfo {
    /// Its name.
    pub generation: AdapterGeneration,
    /// The base.
    pub base: String,
    /// Its owner.
    pub owner: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Aliases that mean it now, or try it out, in order.
    pub aliases: Vec<String>,
    /// Deleted, and waiting for its last lease.
    pub deleting: bool,
    /// How it fitted the base when it was uploaded.
    pub report: Report,
    /// When it was uploaded.
    pub created_at: String,
    /// Who uploaded it.
    pub created_by: String,
}

/// One step of an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// What the alias meant from then on.
    pub generation: AdapterGeneration,
    /// `publish` or `rollback`.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// When.
    pub at: String,
}

const ALIAS: &str = "SELECT a.base, a.name, a.owner, a.visibility, c.generation, k.generation, a.canary_percent,
    a.updated_at FROM adapter_aliases a JOIN adapter_generations c ON c.id = a.current
    LEFT JOIN adapter_generations k ON k.id = a.canary";

impl Store {
    /// Aliases that the caller may use, by name, at most `limit` after `after`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn aliases(
        &self,
        base: &str,
        after: Option<&str>,
        limit: u32,
        caller: &Caller,
    ) -> Result<Page<AliasInfo>, StoreError> {
        let sql = format!("{ALIAS} WHERE a.base = ?3 AND a.name > ?4 AND {VISIBLE} ORDER BY a.name LIMIT ?5");
        let query = query(&sql).bind(&caller.subject).bind(caller.admin).bind(base).bind(after.unwrap_or(""));
        let rows = query.bind(i64::from(limit) + 1).fetch_all(&self.inner.pool).await?;
        Ok(page(rows.iter().map(alias_info).collect(), limit, |alias| alias.name.clone()))
    }

    /// One alias.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none or the caller may not see it.
    pub async fn alias(&self, base: &str, name: &AliasName, caller: &Caller) -> Result<AliasInfo, StoreError> {
        let sql = format!("{ALIAS} WHERE a.base = ?3 AND a.name = ?4 AND {VISIBLE}");
        let query = query(&sql).bind(&caller.subject).bind(caller.admin).bind(base).bind(name.as_str());
        let row = query.fetch_optional(&self.inner.pool).await?;
        row.as_ref().map(alias_info).ok_or_else(|| StoreError::not_found(base, name.as_str()))
    }

    /// An owner's generations on a base, in ascending order of their names, at most `limit` after `after`; nothing to
    /// callers who are neither that owner nor an administrator.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Damaged`].
    pub async fn generations(
        &self,
        base: &str,
        owner: &str,
        (after, limit): (Option<&str>, u32),
        caller: &Caller,
    ) -> Result<Page<GenerationInfo>, StoreError> {
        if !caller.owns(owner) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let rows = query(
            "SELECT generation, bytes, state = 'deleting', report, created_at, created_by,
             (SELECT string_agg(name, ',' ORDER BY name) FROM adapter_aliases a WHERE a.current = g.id OR a.canary = g.id)
             FROM adapter_generations g WHERE owner = ? AND base = ? AND generation > ? ORDER BY generation LIMIT ?",
        )
        .bind(owner)
        .bind(base)
        .bind(after.unwrap_or(""))
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.inner.pool)
        .await?;
        let items = rows
            .iter()
            .map(|row| {
                Ok(GenerationInfo {
                    generation: AdapterGeneration(row.get(0)),
                    base: base.to_owned(),
                    owner: owner.to_owned(),
                    bytes: row.get::<i64, _>(1).unsigned_abs(),
                    deleting: row.get(2),
                    report: serde_json::from_str(row.get(3))?,
                    created_at: row.get(4),
                    created_by: row.get(5),
                    // No name has a comma.
                    aliases: row
                        .get::<Option<&str>, _>(6)
                        .into_iter()
                        .flat_map(|all| all.split(','))
                        .map(Into::into)
                        .collect(),
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(page(items, limit, |item| item.generation.0.clone()))
    }

    /// What an alias has meant, latest first, at most `limit` steps.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none or the caller may not see it.
    pub async fn history(
        &self,
        base: &str,
        name: &AliasName,
        limit: u32,
        caller: &Caller,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let sql = format!(
            "SELECT h.generation, h.action, h.actor, h.at FROM adapter_aliases a JOIN adapter_history h ON h.alias = a.id
             WHERE a.base = ?3 AND a.name = ?4 AND {VISIBLE} ORDER BY h.id DESC LIMIT ?5"
        );
        let query = query(&sql).bind(&caller.subject).bind(caller.admin).bind(base).bind(name.as_str());
        let rows = query.bind(limit.max(1)).fetch_all(&self.inner.pool).await?;
        if rows.is_empty() {
            return Err(StoreError::not_found(base, name.as_str())); // an alias that exists has at least one step
        }
        Ok(rows
            .iter()
            .map(|row| HistoryEntry {
                generation: AdapterGeneration(row.get(0)),
                action: row.get(1),
                actor: row.get(2),
                at: row.get(3),
            })
            .collect())
    }
}

/// Cuts off the one row more that was read to learn whether there is a next page.
fn page<T>(mut items: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    Page { next: items.last().filter(|_| more).map(key), items }
}

fn alias_info(row: &Row) -> AliasInfo {
    let percent = row.get::<Option<i64>, _>(6).and_then(|percent| u8::try_from(percent).ok());
    AliasInfo {
        base: row.get(0),
        name: row.get(1),
        owner: row.get(2),
        visibility: Visibility::parse(row.get(3)),
        current: AdapterGeneration(row.get(4)),
        canary: row.get::<Option<String>, _>(5).map(AdapterGeneration).zip(percent),
        updated_at: row.get(7),
    }
}
