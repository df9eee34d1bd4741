//! Contributors' pseudonyms, and the ledger of what was drawn from whom.

use cairn_database::{Row, query};
use cairn_openapi::ledger::{LedgerLine, LedgerQuery};
use cairn_proof::{Hash, Salt, uses};

use super::{Store, StoreError, now, records::concerning};

/// A contributor as the log knows them.
#[derive(Debug, Clone)]
pub(crate) struct Contributor {
    pub(crate) name: String,
    pub(crate) salt: Salt,
    pub(crate) pseudonym: Hash,
}

/// A contributor's part in one answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UseLine {
    pub(crate) datanet: String,
    pub(crate) contributor: String,
    pub(crate) passages: Vec<u64>,
}

impl Store {
    /// The pseudonym of a contributor, and whether it was made now, when they first appear.
    pub(crate) async fn pseudonym(&self, name: &str) -> Result<(Hash, bool), StoreError> {
        if let Some(known) = self.contributor(name).await? {
            return Ok((known.pseudonym, false));
        }
        let salt = Salt::random()?;
        let pseudonym = uses::pseudonym(&salt, name)?;
        query(
            "INSERT INTO contributors (name, salt, pseudonym, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(name)
        .bind(hex::encode(salt.as_bytes()))
        .bind(pseudonym.to_string())
        .bind(now())
        .execute(&self.pool)
        .await?;
        // Another answer may have been first.
        let kept = self.contributor(name).await?.map_or(pseudonym, |known| known.pseudonym);
        Ok((kept, kept == pseudonym))
    }

    /// A contributor who has appeared in an answer.
    pub(crate) async fn contributor(&self, name: &str) -> Result<Option<Contributor>, StoreError> {
        let row = query("SELECT * FROM contributors WHERE name = ?").bind(name).fetch_optional(&self.pool).await?;
        row.as_ref().map(contributor).transpose()
    }

    /// The contributor behind a pseudonym.
    pub(crate) async fn contributor_of(&self, pseudonym: &Hash) -> Result<Option<Contributor>, StoreError> {
        let row = query("SELECT * FROM contributors WHERE pseudonym = ?")
            .bind(pseudonym.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(contributor).transpose()
    }

    /// Notes whose passages an answer was given.
    pub(crate) async fn note_uses(&self, answer: &str, at: &str, lines: &[UseLine]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for line in lines {
            query(
                "INSERT INTO uses (answer, datanet, contributor, at, passages) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(answer)
            .bind(&line.datanet)
            .bind(&line.contributor)
            .bind(at)
            .bind(serde_json::to_string(&line.passages)?)
            .execute(&mut transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The lines of one answer.
    pub(crate) async fn uses_of(&self, answer: &str) -> Result<Vec<UseLine>, StoreError> {
        let rows = query("SELECT datanet, contributor, passages FROM uses WHERE answer = ?")
            .bind(answer)
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(UseLine {
                    datanet: row.get("datanet"),
                    contributor: row.get("contributor"),
                    passages: serde_json::from_str(row.get("passages"))?,
                })
            })
            .collect()
    }

    /// Fills in what was measured: of each line its share and the influence it stands for.
    pub(crate) async fn share_uses(&self, answer: &str, shares: &[(UseLine, f64, f64)]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for (line, share, nats) in shares {
            query("UPDATE uses SET share = ?, nats = ? WHERE answer = ? AND datanet = ? AND contributor = ?")
                .bind(share)
                .bind(nats)
                .bind(answer)
                .bind(&line.datanet)
                .bind(&line.contributor)
                .execute(&mut transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The lines of the ledger that a query asks for, oldest first; `concerns`: only those of datanets that they
    /// own, and with passages that they contributed.
    pub(crate) async fn ledger(
        &self,
        wanted: &LedgerQuery,
        concerns: Option<&str>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError> {
        let sql = query(
            "SELECT uses.*, attributions.log_index AS record_index, influence.log_index AS influence_index, \
             influence.method AS method FROM ",
        );
        let sql = match concerns {
            Some(subject) => concerning(sql, self.pool.dialect(), subject),
            None => sql.push("uses"),
        };
        let mut sql = sql.push(
            " JOIN attributions ON attributions.id = uses.answer \
             LEFT JOIN influence ON influence.id = uses.answer AND influence.state = 'measured' \
             WHERE attributions.log_index IS NOT NULL",
        );
        let conditions = [
            (" AND uses.datanet = ?", wanted.datanet.as_deref()),
            (" AND uses.contributor = ?", wanted.contributor.as_deref()),
            (" AND uses.at >= ?", wanted.from.as_deref()),
            (" AND uses.at < ?", wanted.to.as_deref()),
            (
                " AND (uses.at, uses.answer) > (SELECT created_at, id FROM attributions WHERE id = ?)",
                wanted.after.as_deref(),
            ),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                sql = sql.push(condition).bind(value);
            }
        }
        let sql = sql.push(" ORDER BY uses.at, uses.answer, uses.datanet, uses.contributor LIMIT ?").bind(limit);
        let rows = sql.fetch_all(&self.pool).await?;
        rows.iter().map(line).collect()
    }
}

fn contributor(row: &Row) -> Result<Contributor, StoreError> {
    let damaged = || StoreError::DamagedText("a contributor's salt or pseudonym");
    let salt: String = row.get("salt");
    let salt = hex::decode(salt).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(damaged)?;
    let pseudonym: String = row.get("pseudonym");
    let pseudonym = pseudonym.parse().map_err(|_| damaged())?;
    Ok(Contributor { name: row.get("name"), salt: Salt::new(salt), pseudonym })
}

fn line(row: &Row) -> Result<LedgerLine, StoreError> {
    let index = |column: &str| row.get::<Option<i64>, _>(column).and_then(|index| u64::try_from(index).ok());
    Ok(LedgerLine {
        at: row.get("at"),
        answer: row.get("answer"),
        datanet: row.get("datanet"),
        contributor: row.get("contributor"),
        passages: serde_json::from_str(row.get("passages"))?,
        share: row.get("share"),
        nats: row.get("nats"),
        method: row.get("method"),
        record_index: index("record_index").unwrap_or_default(),
        influence_index: index("influence_index"),
    })
}
