//! Deleting a generation: at once for new requests, and from storage when the last request that uses it has ended.

use cairn_database::query;

use super::{Action, Caller, ChangeEntry, Store, StoreError, changes::CHANGES};
use crate::AdapterGeneration;

impl Store {
    /// Deletes the caller's generation (an administrator names the owner). No new request gets it; the files go with its
    /// last lease, or at the next open.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while an alias means it, [`StoreError::NotFound`], [`StoreError::NotOwner`].
    pub async fn delete(
        &self,
        base: &str,
        generation: &AdapterGeneration,
        owner: &str,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        if !caller.owns(owner) {
            return Err(StoreError::not_found(base, &generation.0));
        }
        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        let row = query(
            "SELECT id FROM adapter_generations WHERE owner = ? AND base = ? AND generation = ? AND state = 'ready'",
        )
        .bind(owner)
        .bind(base)
        .bind(&generation.0)
        .fetch_optional(&mut transaction)
        .await?;
        let Some(row) = row else { return Err(StoreError::not_found(base, &generation.0)) };
        let id: i64 = row.get(0);
        let used = query("SELECT name FROM adapter_aliases WHERE current = ?1 OR canary = ?1 ORDER BY name LIMIT 1")
            .bind(id)
            .fetch_optional(&mut transaction)
            .await?;
        if let Some(alias) = used {
            return Err(StoreError::InUse { generation: generation.0.clone(), alias: alias.get(0) });
        }
        query("UPDATE adapter_generations SET state = 'deleting' WHERE id = ?")
            .bind(id)
            .execute(&mut transaction)
            .await?;
        let mut entry = ChangeEntry::new(Action::Delete, base, owner, &caller.subject);
        entry.generation = Some(generation.0.clone());
        entry.record(&mut transaction).await?;
        transaction.commit().await?;
        self.inner.leases.doom(id);
        Ok(())
    }

    /// Removes a row marked as deleting, and its objects unless another row has the same content. Objects go first: a
    /// crash between leaves the row, and the next open does it again.
    pub(crate) async fn remove(&self, id: i64) -> Result<(), StoreError> {
        let _alone = self.inner.contents.write().await;
        let deleting = query(
            "SELECT generation, (SELECT COUNT(*) FROM adapter_generations o WHERE o.generation = g.generation)
             FROM adapter_generations g WHERE id = ? AND state = 'deleting'",
        );
        let Some(row) = deleting.bind(id).fetch_optional(&self.inner.pool).await? else { return Ok(()) };
        let generation = AdapterGeneration(row.get(0));
        if row.get::<i64, _>(1) == 1 {
            self.inner.objects.remove(&generation).await?;
            self.inner.verified.lock().remove(&generation);
        }
        query("DELETE FROM adapter_generations WHERE id = ?").bind(id).execute(&self.inner.pool).await?;
        Ok(())
    }
}
