//! Records found by what they are about, and who may see that a record is there.

use std::collections::HashMap;

use cairn_database::{Dialect, Query, query};
use cairn_openapi::{ledger::LedgerLine, records::AttributionQuery};

use super::{
    Store, StoreError,
    attributions::{StoredAttribution, attribution},
};

/// What served an answer, as its record alone does not say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Served {
    /// The base.
    pub(crate) base: String,
    /// The aliases that were asked for, and the generation that each meant.
    pub(crate) adapters: Vec<(String, String)>,
}

impl Served {
    /// The base, with the adapter where there is one; of several, the first.
    pub(crate) fn model(&self) -> String {
        match self.adapters.first() {
            Some((alias, _)) => format!("{}:{alias}", self.base),
            None => self.base.clone(),
        }
    }
}

impl Store {
    /// Records that a query asks for, newest first; `bound`: only those of this subject.
    pub(crate) async fn attributions(
        &self,
        wanted: &AttributionQuery,
        bound: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredAttribution>, StoreError> {
        let sql = found("SELECT a.*", wanted, bound).push(" ORDER BY a.created_at DESC, a.id DESC LIMIT ?").bind(limit);
        sql.fetch_all(&self.pool).await?.iter().map(attribution).collect()
    }

    /// As [`Store::attributions`], their ids alone.
    pub(crate) async fn attribution_ids(
        &self,
        wanted: &AttributionQuery,
        bound: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let sql =
            found("SELECT a.id", wanted, bound).push(" ORDER BY a.created_at DESC, a.id DESC LIMIT ?").bind(limit);
        Ok(sql.fetch_all(&self.pool).await?.iter().map(|row| row.get(0)).collect())
    }

    /// Numbers of the passages of an answer's prompt that a subject contributed, or that are of datanets it owns: to whom some
    /// are, the record's entry is shown.
    pub(crate) async fn own_passages(&self, answer: &str, subject: &str) -> Result<Vec<u64>, StoreError> {
        let sql = format!("SELECT DISTINCT n FROM used_rows u WHERE u.answer = ?1 AND {OWN} ORDER BY n");
        let rows = query(&sql).bind(answer).bind(subject).fetch_all(&self.pool).await?;
        Ok(rows.iter().filter_map(|row| u64::try_from(row.get::<i64, _>(0)).ok()).collect())
    }

    /// Whether every use that is counted for a contributor's name is of what a subject contributed: then, and only then, the
    /// count under that name is the subject's own.
    pub(crate) async fn sole_contributor(&self, name: &str, subject: &str) -> Result<bool, StoreError> {
        let each = self.pool.dialect().json_each("uses.passages");
        let sql = format!(
            "SELECT COUNT(*), COUNT(*) FILTER (WHERE EXISTS (SELECT 1 FROM used_rows u WHERE u.answer = uses.answer
                AND u.datanet = uses.datanet AND u.n = CAST(passage.value AS BIGINT) AND {CONTRIBUTED}))
             FROM uses, {each} AS passage WHERE uses.contributor = ?1"
        );
        let row = query(&sql).bind(name).bind(subject).fetch_one(&self.pool).await?;
        let (all, own): (i64, i64) = (row.get(0), row.get(1));
        Ok(all > 0 && all == own)
    }

    /// Leaves of a line only what the subject may see: its own passages, unless it owns the datanet. A share of help that
    /// others under the same name have a part in is nobody's alone, and left out.
    pub(crate) async fn narrow(&self, lines: &mut [LedgerLine], subject: &str) -> Result<(), StoreError> {
        let answers: Vec<&str> = lines.iter().map(|line| line.answer.as_str()).collect();
        let each = self.pool.dialect().json_each("?1");
        let sql = format!(
            "SELECT u.answer, u.datanet, u.n FROM used_rows u WHERE u.answer IN (SELECT value FROM {each}) AND {OWN}"
        );
        let query = query(&sql).bind(serde_json::to_string(&answers)?).bind(subject);
        let mut own: HashMap<(String, String), Vec<u64>> = HashMap::new();
        for row in query.fetch_all(&self.pool).await? {
            let n = u64::try_from(row.get::<i64, _>(2)).unwrap_or(0);
            own.entry((row.get(0), row.get(1))).or_default().push(n);
        }
        for line in lines {
            let own = own.get(&(line.answer.clone(), line.datanet.clone())).map_or(&[][..], Vec::as_slice);
            if line.passages.iter().any(|n| !own.contains(n)) {
                line.passages.retain(|n| own.contains(n));
                (line.share, line.nats) = (None, None);
            }
        }
        Ok(())
    }
}

/// The condition under which row `u` of a prompt was contributed by subject `?2`. A datanet made anew under an old name has
/// other rows: what was used before a contribution was made is not of it.
const CONTRIBUTED: &str = "EXISTS (SELECT 1 FROM contributed_rows c WHERE c.subject = ?2 AND c.datanet = u.datanet
    AND u.seq >= c.first AND u.seq < c.after
    AND c.created_at <= (SELECT created_at FROM attributions WHERE id = u.answer))";

/// The condition under which row `u` of a prompt is subject `?2`'s: contributed, or of a datanet it owns.
const OWN: &str =
    "(EXISTS (SELECT 1 FROM datanets d WHERE d.name = u.datanet AND d.owner = ?2
    AND d.created_at <= (SELECT created_at FROM attributions WHERE id = u.answer)) OR EXISTS (SELECT 1 FROM contributed_rows c
    WHERE c.subject = ?2 AND c.datanet = u.datanet AND u.seq >= c.first AND u.seq < c.after
    AND c.created_at <= (SELECT created_at FROM attributions WHERE id = u.answer)))";

/// The ledger's lines that concern a subject, as table `uses`: of datanets it owns, or with passages that it contributed. Driven
/// from what is the subject's, so that its cost is that of its own lines.
pub(super) fn concerning<'q>(sql: Query<'q>, dialect: Dialect, subject: &str) -> Query<'q> {
    let each = dialect.json_each("own.passages");
    // In this order: SQLite would begin with every use there is.
    let join = match dialect {
        Dialect::Sqlite => "CROSS JOIN",
        Dialect::Postgres => "JOIN",
    };
    sql.push(&format!(
        "(SELECT own.answer, own.datanet, own.contributor FROM datanets JOIN uses AS own ON own.datanet = datanets.name
            AND own.at >= datanets.created_at WHERE datanets.owner = ?
          UNION SELECT own.answer, own.datanet, own.contributor FROM contributed_rows c
            JOIN used_rows u ON u.datanet = c.datanet AND u.seq >= c.first AND u.seq < c.after
            JOIN uses AS own ON own.answer = u.answer AND own.datanet = u.datanet AND own.at >= c.created_at
            WHERE EXISTS (SELECT 1 FROM {each} WHERE CAST(value AS BIGINT) = u.n) AND c.subject = ?
         ) AS concern {join} uses ON uses.answer = concern.answer AND uses.datanet = concern.datanet
         AND uses.contributor = concern.contributor",
    ))
    .bind(subject.to_owned())
    .bind(subject.to_owned())
}

fn found<'q>(select: &'q str, wanted: &'q AttributionQuery, bound: Option<&'q str>) -> Query<'q> {
    let mut sql = query(select).push(" FROM attributions a WHERE a.log_index IS NOT NULL");
    // A base's name has no colon, so that either is one index in the order of time.
    let named = wanted.model.as_deref().is_some_and(|model| model.contains(':'));
    let of_model = if named { " AND a.model = ?" } else { " AND a.base = ?" };
    let conditions = [
        (" AND a.subject = ?", bound),
        (" AND a.subject = ?", wanted.subject.as_deref()),
        (of_model, wanted.model.as_deref()),
        (" AND a.created_at >= ?", wanted.from.as_deref()),
        (" AND a.created_at < ?", wanted.to.as_deref()),
        (" AND (a.created_at, a.id) < (SELECT created_at, id FROM attributions WHERE id = ?)", wanted.after.as_deref()),
    ];
    for (condition, value) in conditions {
        if let Some(value) = value {
            sql = sql.push(condition).bind(value);
        }
    }
    if let Some(adapter) = &wanted.adapter {
        sql = sql.push(" AND (a.id IN (SELECT answer FROM adapter_uses WHERE alias = ?)").bind(adapter);
        if adapter.len() >= GENERATION_DIGITS && adapter.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let beginning = adapter.to_ascii_lowercase();
            let end = format!("{beginning}g");
            sql = sql.push(" OR (a.generation >= ? AND a.generation < ?)").bind(beginning).bind(end);
        }
        sql = sql.push(")");
    }
    if wanted.datanet.is_some() || wanted.contributor.is_some() {
        sql = sql.push(" AND a.id IN (SELECT answer FROM uses WHERE true");
        for (condition, value) in [(" AND datanet = ?", &wanted.datanet), (" AND contributor = ?", &wanted.contributor)]
        {
            if let Some(value) = value {
                sql = sql.push(condition).bind(value);
            }
        }
        sql = sql.push(")");
    }
    sql
}

/// Digits from which on a text is taken for the beginning of a generation's name.
const GENERATION_DIGITS: usize = 12;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::{attributions::Private, contributors::UseLine, tests::store};

    /// An answer to `subject` at a second of a minute, with the rows of datanet `net` that were its passages 1, 2, …
    async fn answer(store: &Store, (id, subject, second): (&str, &str, u8), model: &str, rows: &[(&str, u64)]) {
        let candidates: Vec<Value> = rows
            .iter()
            .enumerate()
            .map(|(n, (_, seq))| json!({"datanet": "net", "seq": seq, "in_prompt": n + 1}))
            .collect();
        let record =
            json!({"model": model, "adapter_generation": "ab".repeat(32), "retrieval": {"candidates": candidates}});
        let new = StoredAttribution {
            id: id.into(),
            subject: subject.into(),
            created_at: format!("2026-11-23T10:00:{second:02}.000Z"),
            record: record.to_string(),
            private: Private {
                salt: String::new(),
                request: Value::Null,
                response: Value::Null,
                query: None,
                filter: None,
            },
            attribution: Value::Null,
            log_index: None,
            base: None,
        };
        let served = Served { base: "base".into(), adapters: vec![("style".into(), "ab".repeat(32))] };
        store.create_attribution(&new, &served).await.unwrap();
        let mut lines: Vec<UseLine> = Vec::new();
        for (n, (contributor, _)) in (1..).zip(rows) {
            match lines.iter_mut().find(|line| line.contributor == *contributor) {
                Some(line) => line.passages.push(n),
                None => {
                    lines.push(UseLine { datanet: "net".into(), contributor: (*contributor).into(), passages: vec![n] })
                }
            }
        }
        store.note_uses(id, &new.created_at, &lines).await.unwrap();
        store.attribution_logged(id, u64::from(second), &new.record).await.unwrap();
    }

    async fn ids(store: &Store, query: AttributionQuery, bound: Option<&str>) -> Vec<String> {
        store.attribution_ids(&query, bound, 10).await.unwrap()
    }

    #[tokio::test]
    async fn records_are_found_by_each_filter_and_by_all_of_them() {
        let (store, _dir) = store().await;
        answer(&store, ("one", "app", 1), "base", &[("Ada", 0)]).await;
        answer(&store, ("two", "other", 2), "base:style", &[("Eve", 1)]).await;
        answer(&store, ("three", "app", 3), "style", &[]).await;
        let some = |text: &str| Some(text.to_owned());
        let all = AttributionQuery::default;
        assert_eq!(ids(&store, all(), None).await, ["three", "two", "one"]);
        assert_eq!(ids(&store, all(), Some("app")).await, ["three", "one"]);
        let query = AttributionQuery { subject: some("other"), ..all() };
        assert_eq!(ids(&store, query.clone(), None).await, ["two"]);
        assert!(ids(&store, query, Some("app")).await.is_empty(), "a bound is not lifted by asking for another");
        assert_eq!(ids(&store, AttributionQuery { model: some("base"), ..all() }, None).await.len(), 3);
        assert_eq!(ids(&store, AttributionQuery { model: some("base:style"), ..all() }, None).await, ["two"]);
        assert_eq!(ids(&store, AttributionQuery { contributor: some("Ada"), ..all() }, None).await, ["one"]);
        assert_eq!(ids(&store, AttributionQuery { datanet: some("net"), ..all() }, None).await, ["two", "one"]);
        assert_eq!(ids(&store, AttributionQuery { adapter: some("style"), ..all() }, None).await.len(), 3);
        assert_eq!(ids(&store, AttributionQuery { adapter: some("ABABABABABAB"), ..all() }, None).await.len(), 3);
        assert!(ids(&store, AttributionQuery { adapter: some("abababababac"), ..all() }, None).await.is_empty());
        let period = AttributionQuery { from: some("2026-11-23T10:00:02"), to: some("2026-11-23T10:00:03"), ..all() };
        assert_eq!(ids(&store, period, None).await, ["two"]);
        assert_eq!(ids(&store, AttributionQuery { after: some("three"), ..all() }, None).await, ["two", "one"]);
        let both = AttributionQuery { contributor: some("Eve"), datanet: some("net"), model: some("base"), ..all() };
        assert_eq!(ids(&store, both, None).await, ["two"]);
    }

    #[tokio::test]
    async fn a_contributor_sees_uses_of_what_it_contributed_and_not_of_its_name() {
        let (store, _dir) = store().await;
        for sql in [
            "INSERT INTO datanets VALUES ('net', '', '', '', 'private', 'owner', '2026-11-01')",
            "INSERT INTO jobs VALUES ('job', 'ingest', 'net', 'ada', '{}', 'succeeded', 'done', 0, 0,
             '{\"added\": 2, \"snapshot\": {\"size\": 4}}', NULL, '', '')",
            "INSERT INTO contributions (id, datanet, subject, document, filename, spec, note, state, job, created_at)
             VALUES ('c', 'net', 'ada', '', '', '{}', '', 'accepted', 'job', '2026-11-02')",
            "INSERT INTO contributions (id, datanet, subject, document, filename, spec, note, state, job, created_at)
             VALUES ('d', 'net', 'eve', '', '', '{}', '', 'rejected', 'job', '2026-11-02')",
        ] {
            query(sql).execute(&store.pool).await.unwrap();
        }
        // Rows 2 and 3 are ada's contribution, under the name that others use as well.
        answer(&store, ("one", "app", 1), "base", &[("Ada", 0), ("Ada", 2)]).await;
        answer(&store, ("two", "app", 2), "base", &[("Ada", 1)]).await;
        answer(&store, ("three", "app", 3), "base", &[("Pen name", 3)]).await;
        let lines = async |subject: &str| {
            let mut lines = store.ledger(&Default::default(), Some(subject), 10).await.unwrap();
            store.narrow(&mut lines, subject).await.unwrap();
            lines.into_iter().map(|line| (line.answer, line.passages)).collect::<Vec<_>>()
        };
        assert_eq!(lines("ada").await, [("one".to_owned(), vec![2]), ("three".to_owned(), vec![1])]);
        assert_eq!(lines("owner").await.len(), 3);
        assert!(lines("eve").await.is_empty(), "what was rejected is in no datanet");
        assert!(lines("app").await.is_empty(), "who asked is not who contributed");
        assert_eq!(store.own_passages("one", "ada").await.unwrap(), [2]);
        assert_eq!(store.own_passages("one", "owner").await.unwrap(), [1, 2]);
        assert!(store.own_passages("two", "ada").await.unwrap().is_empty());
        assert!(store.sole_contributor("Pen name", "ada").await.unwrap());
        assert!(!store.sole_contributor("Ada", "ada").await.unwrap(), "others are counted under that name");
        assert!(!store.sole_contributor("Nobody", "ada").await.unwrap());
    }

    #[tokio::test]
    async fn what_was_used_before_a_contribution_is_not_of_it() {
        let (store, _dir) = store().await;
        answer(&store, ("one", "app", 1), "base", &[("Ada", 0)]).await;
        for sql in [
            "INSERT INTO datanets VALUES ('net', '', '', '', 'private', 'owner', '2026-12-01')",
            "INSERT INTO jobs VALUES ('job', 'ingest', 'net', 'ada', '{}', 'succeeded', 'done', 0, 0,
             '{\"added\": 1, \"snapshot\": {\"size\": 1}}', NULL, '', '')",
            "INSERT INTO contributions (id, datanet, subject, document, filename, spec, note, state, job, created_at)
             VALUES ('c', 'net', 'ada', '', '', '{}', '', 'accepted', 'job', '2026-12-02')",
        ] {
            query(sql).execute(&store.pool).await.unwrap();
        }
        assert!(store.own_passages("one", "ada").await.unwrap().is_empty());
        assert!(store.ledger(&Default::default(), Some("ada"), 10).await.unwrap().is_empty());
        assert!(store.own_passages("one", "owner").await.unwrap().is_empty(), "nor of the datanet made anew");
        assert!(store.ledger(&Default::default(), Some("owner"), 10).await.unwrap().is_empty());
    }
}
