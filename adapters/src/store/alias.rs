//! Aliases: publish, roll back, canary, unpublish. Each is one transaction, so an alias always means something whole.

use cairn_database::{Transaction, query};

use super::{
    Action, AliasName, Caller, ChangeEntry, Store, StoreError,
    access::{Owned, owned},
    changes::CHANGES,
    names::prefix_of,
    schema,
};
use crate::AdapterGeneration;

/// A stored generation, by row and by name.
struct Stored {
    id: i64,
    generation: String,
}

impl Store {
    /// Whether `owner` could publish under a name: it is free, or its own. Asked before long work, to fail early; publishing asks
    /// again.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another owner has the name.
    pub async fn available(&self, base: &str, name: &AliasName, owner: &str) -> Result<(), StoreError> {
        let row = query("SELECT owner FROM adapter_aliases WHERE base = ? AND name = ?").bind(base).bind(name.as_str());
        match row.fetch_optional(&self.inner.pool).await? {
            Some(row) if row.get::<&str, _>(0) != owner => Err(taken(base, name)),
            _ => Ok(()),
        }
    }

    /// Points an alias at one of its owner's generations, creating it (private) where it is missing. Ends its canary.
    /// `generation` may be shortened to 12 digits. Publishing what is already published changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another owner has the name, [`StoreError::NotFound`] when there is no such generation,
    /// [`StoreError::Ambiguous`].
    pub async fn publish(
        &self,
        base: &str,
        name: &AliasName,
        generation: &str,
        caller: &Caller,
    ) -> Result<AdapterGeneration, StoreError> {
        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        let alias = match owned(&mut transaction, base, name, caller).await {
            Ok(alias) => Some(alias),
            Err(StoreError::NotFound { .. }) => None,
            Err(StoreError::NotOwner { .. }) => return Err(taken(base, name)),
            Err(error) => return Err(error),
        };
        // An administrator publishes a new alias for whoever owns the generation.
        let owner = alias.as_ref().map(|alias| alias.owner.as_str());
        let (stored, owner) = stored(&mut transaction, base, generation, owner, caller).await?;
        let Some(alias) = alias else {
            let history = remember(&mut transaction, (0, None), &stored.generation, Action::Publish, caller).await?;
            let created = query(
                "INSERT INTO adapter_aliases (base, name, owner, current, history, updated_at) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING RETURNING id",
            )
            .bind(base)
            .bind(name.as_str())
            .bind(&owner)
            .bind(stored.id)
            .bind(history)
            .bind(schema::now())
            .fetch_optional(&mut transaction)
            .await?;
            // Else it is taken by an owner whose alias this caller cannot see.
            let created: i64 = created.ok_or_else(|| taken(base, name))?.get("id");
            query("UPDATE adapter_history SET alias = ? WHERE id = ?")
                .bind(created)
                .bind(history)
                .execute(&mut transaction)
                .await?;
            let mut entry = ChangeEntry::new(Action::Publish, base, &owner, &caller.subject);
            (entry.alias, entry.generation) = (Some(name.to_string()), Some(stored.generation.clone()));
            entry.record(&mut transaction).await?;
            transaction.commit().await?;
            return Ok(AdapterGeneration(stored.generation));
        };
        if stored.id != alias.current || alias.canary.is_some() {
            // The same generation again, to end its canary, is not a step that a rollback should return to.
            let previous = if stored.id == alias.current {
                previous_of(&mut transaction, alias.history).await?
            } else {
                Some(alias.history)
            };
            let history =
                remember(&mut transaction, (alias.id, previous), &stored.generation, Action::Publish, caller).await?;
            point(&mut transaction, (base, name), &alias, (&stored, history), Action::Publish, caller).await?;
        }
        transaction.commit().await?;
        Ok(AdapterGeneration(stored.generation))
    }

    /// Points an alias at what it meant before the last publish; again, at what it meant before that. Ends its canary.
    ///
    /// # Errors
    /// [`StoreError::NothingEarlier`] when no earlier generation still exists.
    pub async fn rollback(
        &self,
        base: &str,
        name: &AliasName,
        caller: &Caller,
    ) -> Result<AdapterGeneration, StoreError> {
        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        let alias = owned(&mut transaction, base, name, caller).await?;
        let Some((target, step)) = earlier(&mut transaction, base, &alias).await? else {
            return Err(StoreError::NothingEarlier { name: name.to_string() });
        };
        let history =
            remember(&mut transaction, (alias.id, step), &target.generation, Action::Rollback, caller).await?;
        point(&mut transaction, (base, name), &alias, (&target, history), Action::Rollback, caller).await?;
        transaction.commit().await?;
        Ok(AdapterGeneration(target.generation))
    }

    /// What [`Store::rollback`] would point an alias at; none where there is nothing, or the caller may not.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn earlier(
        &self,
        base: &str,
        name: &AliasName,
        caller: &Caller,
    ) -> Result<Option<AdapterGeneration>, StoreError> {
        let mut transaction = self.inner.pool.begin().await?;
        let alias = match owned(&mut transaction, base, name, caller).await {
            Err(StoreError::NotOwner { .. }) => return Ok(None),
            alias => alias?,
        };
        let found = earlier(&mut transaction, base, &alias).await?;
        Ok(found.map(|(target, _)| AdapterGeneration(target.generation)))
    }

    /// Gives 1 to 99 percent of an alias's traffic to a second generation, or with none ends that. Which one a request
    /// gets depends on its key alone (see [`Store::resolve`]).
    ///
    /// # Errors
    /// [`StoreError::Percent`], [`StoreError::NotFound`].
    pub async fn canary(
        &self,
        base: &str,
        name: &AliasName,
        canary: Option<(&str, u8)>,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        if let Some((_, percent)) = canary
            && !(1..=99).contains(&percent)
        {
            return Err(StoreError::Percent(percent));
        }
        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        let alias = owned(&mut transaction, base, name, caller).await?;
        let (stored, percent) = match canary {
            Some((generation, percent)) => {
                (Some(stored(&mut transaction, base, generation, Some(&alias.owner), caller).await?.0), Some(percent))
            }
            None => (None, None),
        };
        query("UPDATE adapter_aliases SET canary = ?, canary_percent = ?, updated_at = ? WHERE id = ?")
            .bind(stored.as_ref().map(|stored| stored.id))
            .bind(percent)
            .bind(schema::now())
            .bind(alias.id)
            .execute(&mut transaction)
            .await?;
        let mut entry = ChangeEntry::new(Action::Canary, base, &alias.owner, &caller.subject);
        entry.alias = Some(name.to_string());
        entry.generation = Some(name_of(&mut transaction, alias.current).await?);
        (entry.canary, entry.percent) = (stored.map(|stored| stored.generation), percent);
        entry.record(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Removes an alias with its history and grants; its generations stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NotOwner`].
    pub async fn unpublish(&self, base: &str, name: &AliasName, caller: &Caller) -> Result<(), StoreError> {
        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        let alias = owned(&mut transaction, base, name, caller).await?;
        let previous = name_of(&mut transaction, alias.current).await?;
        for sql in [
            "DELETE FROM adapter_grants WHERE alias = ?",
            "DELETE FROM adapter_history WHERE alias = ?",
            "DELETE FROM adapter_aliases WHERE id = ?",
        ] {
            query(sql).bind(alias.id).execute(&mut transaction).await?;
        }
        let mut entry = ChangeEntry::new(Action::Unpublish, base, &alias.owner, &caller.subject);
        (entry.alias, entry.previous) = (Some(name.to_string()), Some(previous));
        entry.record(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// The latest generation before the one that an alias means that still exists, and the step before it.
async fn earlier(
    transaction: &mut Transaction,
    base: &str,
    alias: &Owned,
) -> Result<Option<(Stored, Option<i64>)>, StoreError> {
    let mut step = previous_of(transaction, alias.history).await?;
    while let Some(history) = step {
        let row = query(
            "SELECT h.generation, h.previous, g.id FROM adapter_history h LEFT JOIN adapter_generations g
             ON g.owner = ? AND g.base = ? AND g.generation = h.generation AND g.state = 'ready' WHERE h.id = ?",
        )
        .bind(&alias.owner)
        .bind(base)
        .bind(history)
        .fetch_one(&mut *transaction)
        .await?;
        step = row.get(1);
        if let Some(id) = row.get::<Option<i64>, _>(2).filter(|id| *id != alias.current) {
            return Ok(Some((Stored { id, generation: row.get(0) }, step)));
        }
    }
    Ok(None)
}

fn taken(base: &str, name: &AliasName) -> StoreError {
    StoreError::Taken { base: base.to_owned(), name: name.to_string() }
}

/// Points an existing alias elsewhere and records it.
async fn point(
    transaction: &mut Transaction,
    (base, name): (&str, &AliasName),
    alias: &Owned,
    (target, history): (&Stored, i64),
    action: Action,
    caller: &Caller,
) -> Result<(), StoreError> {
    let mut entry = ChangeEntry::new(action, base, &alias.owner, &caller.subject);
    entry.alias = Some(name.to_string());
    entry.generation = Some(target.generation.clone());
    entry.previous = Some(name_of(transaction, alias.current).await?);
    query(
        "UPDATE adapter_aliases SET current = ?, canary = NULL, canary_percent = NULL, history = ?, updated_at = ?
         WHERE id = ?",
    )
    .bind(target.id)
    .bind(history)
    .bind(schema::now())
    .bind(alias.id)
    .execute(&mut *transaction)
    .await?;
    entry.record(transaction).await
}

/// Adds a step to an alias's history.
async fn remember(
    transaction: &mut Transaction,
    (alias, previous): (i64, Option<i64>),
    generation: &str,
    action: Action,
    caller: &Caller,
) -> Result<i64, StoreError> {
    let sql = "INSERT INTO adapter_history (alias, generation, action, previous, actor, at) VALUES (?, ?, ?, ?, ?, ?)
               RETURNING id";
    let row = query(sql)
        .bind(alias)
        .bind(generation)
        .bind(action.as_str())
        .bind(previous)
        .bind(&caller.subject)
        .bind(schema::now())
        .fetch_one(transaction)
        .await?;
    Ok(row.get("id"))
}

async fn previous_of(transaction: &mut Transaction, history: i64) -> Result<Option<i64>, StoreError> {
    let row = query("SELECT previous FROM adapter_history WHERE id = ?").bind(history);
    Ok(row.fetch_one(&mut *transaction).await?.get(0))
}

async fn name_of(transaction: &mut Transaction, row: i64) -> Result<String, StoreError> {
    let query = query("SELECT generation FROM adapter_generations WHERE id = ?").bind(row);
    Ok(query.fetch_one(&mut *transaction).await?.get(0))
}

/// The ready generation that begins with `prefix` and belongs to `owner`, or to any owner the caller may act for.
async fn stored(
    transaction: &mut Transaction,
    base: &str,
    prefix: &str,
    owner: Option<&str>,
    caller: &Caller,
) -> Result<(Stored, String), StoreError> {
    let prefix = prefix_of(prefix)?;
    let owner = owner.or((!caller.admin).then_some(caller.subject.as_str()));
    let rows = query(
        "SELECT id, generation, owner FROM adapter_generations
         WHERE generation >= ?1 AND generation < ?1 || 'g' AND base = ?2 AND (?3 IS NULL OR owner = ?3)
         AND state = 'ready' LIMIT 2",
    )
    .bind(&prefix)
    .bind(base)
    .bind(owner)
    .fetch_all(&mut *transaction)
    .await?;
    match rows.as_slice() {
        [] => Err(StoreError::not_found(base, prefix)),
        [row] => Ok((Stored { id: row.get(0), generation: row.get(1) }, row.get(2))),
        _ => Err(StoreError::Ambiguous { prefix }),
    }
}
