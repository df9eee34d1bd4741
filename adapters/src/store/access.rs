//! Who may see an alias. To those who may not, it does not exist.

use cairn_database::{Row, Transaction, query};
use serde::{Deserialize, Serialize};

use super::{Action, AliasName, Caller, ChangeEntry, Store, StoreError, changes::CHANGES};

/// Who may use an alias, beside its owner and administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Nobody.
    Private,
    /// The subjects it is granted to.
    Granted,
    /// Everybody.
    Public,
}

impl Visibility {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Granted => "granted",
            Self::Public => "public",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "granted" => Self::Granted,
            "public" => Self::Public,
            _ => Self::Private, // the schema allows no other text; the strictest, should it ever
        }
    }
}

/// The condition under which alias `a` is visible to subject `?1` who is an administrator if `?2`.
pub(crate) const VISIBLE: &str = "(?2 OR a.owner = ?1 OR a.visibility = 'public' OR (a.visibility = 'granted'
    AND EXISTS (SELECT 1 FROM adapter_grants g WHERE g.alias = a.id AND g.subject = ?1)))";

/// An alias that the caller may change.
pub(crate) struct Owned {
    pub(crate) id: i64,
    pub(crate) owner: String,
    pub(crate) current: i64,
    pub(crate) canary: Option<i64>,
    pub(crate) history: i64,
}

/// Reads an alias for a change: what is not visible is not found, what is only visible is refused.
pub(crate) async fn owned(
    transaction: &mut Transaction,
    base: &str,
    name: &AliasName,
    caller: &Caller,
) -> Result<Owned, StoreError> {
    let sql = format!(
        "SELECT a.id, a.owner, a.current, a.canary, a.history FROM adapter_aliases a
         WHERE a.base = ?3 AND a.name = ?4 AND {VISIBLE}"
    );
    let row: Option<Row> = query(&sql)
        .bind(&caller.subject)
        .bind(caller.admin)
        .bind(base)
        .bind(name.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(row) = row else { return Err(StoreError::not_found(base, name.as_str())) };
    let owner: String = row.get(1);
    if !caller.owns(&owner) {
        return Err(StoreError::NotOwner { name: name.to_string(), owner });
    }
    Ok(Owned { id: row.get(0), owner, current: row.get(2), canary: row.get(3), history: row.get(4) })
}

impl Store {
    /// Changes who may see an alias. Requests that have begun are not affected. The same again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NotOwner`].
    pub async fn set_visibility(
        &self,
        base: &str,
        name: &AliasName,
        visibility: Visibility,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        let alias = owned(&mut transaction, base, name, caller).await?;
        let done = query("UPDATE adapter_aliases SET visibility = ?1 WHERE id = ?2 AND visibility <> ?1")
            .bind(visibility.as_str())
            .bind(alias.id)
            .execute(&mut transaction)
            .await?;
        if done.rows_affected() == 1 {
            let mut entry = ChangeEntry::new(Action::Visibility, base, &alias.owner, &caller.subject);
            (entry.alias, entry.visibility) = (Some(name.to_string()), Some(visibility));
            entry.record(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Grants an alias to a subject, or withdraws that. Grants take effect while the visibility is `Granted`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NotOwner`].
    pub async fn set_grant(
        &self,
        base: &str,
        name: &AliasName,
        subject: &str,
        granted: bool,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        let alias = owned(&mut transaction, base, name, caller).await?;
        let (sql, action) = if granted {
            ("INSERT INTO adapter_grants (alias, subject) VALUES (?, ?) ON CONFLICT DO NOTHING", Action::Grant)
        } else {
            ("DELETE FROM adapter_grants WHERE alias = ? AND subject = ?", Action::Revoke)
        };
        let done = query(sql).bind(alias.id).bind(subject).execute(&mut transaction).await?;
        if done.rows_affected() == 1 {
            let mut entry = ChangeEntry::new(action, base, &alias.owner, &caller.subject);
            (entry.alias, entry.subject) = (Some(name.to_string()), Some(subject.to_owned()));
            entry.record(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The subjects an alias is granted to, in order.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NotOwner`].
    pub async fn grants(&self, base: &str, name: &AliasName, caller: &Caller) -> Result<Vec<String>, StoreError> {
        let mut transaction = self.inner.pool.begin().await?;
        let alias = owned(&mut transaction, base, name, caller).await?;
        let rows = query("SELECT subject FROM adapter_grants WHERE alias = ? ORDER BY subject")
            .bind(alias.id)
            .fetch_all(&mut transaction)
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
