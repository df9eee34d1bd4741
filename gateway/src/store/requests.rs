//! Published terms, requests for access, votes and absences.

use cairn_database::{Row, Transaction, query};
use cairn_policy::{Absence, Application, Finding, Scope, Terms, Vote};
use cairn_proof::{Entry, Salt};

use super::{
    Store, StoreError,
    access::{ENTRIES, note},
    grants::{StoredGrant, insert_grant},
};

/// A version of a datanet's terms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredTerms {
    pub(crate) datanet: String,
    pub(crate) version: u64,
    pub(crate) terms: Terms,
    pub(crate) published_by: String,
    pub(crate) published_at: String,
    /// Leaf hash of its entry.
    pub(crate) leaf: String,
    pub(crate) log_index: Option<u64>,
}

/// A request for access.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredRequest {
    pub(crate) id: String,
    pub(crate) datanet: String,
    pub(crate) subject: String,
    pub(crate) application: Application,
    pub(crate) terms_version: u64,
    pub(crate) findings: Vec<Finding>,
    pub(crate) scope: Option<Scope>,
    /// `waiting`, `granted`, `denied` or `withdrawn`.
    pub(crate) status: String,
    /// `policy` or `review`, once it is decided.
    pub(crate) decided_by: Option<String>,
    pub(crate) created_at: String,
    pub(crate) decided_at: Option<String>,
    pub(crate) deadline: Option<String>,
    pub(crate) escalated_at: Option<String>,
    pub(crate) appeal_of: Option<String>,
    pub(crate) grant_id: Option<String>,
    pub(crate) log_index: Option<u64>,
}

/// Which requests are meant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Requests<'a> {
    /// All for a datanet.
    Of(&'a str),
    /// All by a subject.
    By(&'a str),
    /// All that wait for people.
    Waiting,
}

/// What a decision changes, with the entries that say so, in order.
pub(crate) struct Decided<'a> {
    pub(crate) request: &'a str,
    pub(crate) status: &'a str,
    pub(crate) by: &'a str,
    pub(crate) at: &'a str,
    pub(crate) decision: &'a Entry,
    pub(crate) grant: Option<(&'a StoredGrant, &'a Entry)>,
    pub(crate) salt: &'a Salt,
}

impl Store {
    /// Publishes a version; false when another publisher was first with its number.
    pub(crate) async fn publish_terms(
        &self,
        terms: &StoredTerms,
        entry: &Entry,
        salt: &Salt,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let (number, _) = note(&mut transaction, entry, salt).await?;
        let done = query(
            "INSERT INTO terms (datanet, version, terms, published_by, published_at, entry) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(&terms.datanet)
        .bind(i64::try_from(terms.version).unwrap_or(i64::MAX))
        .bind(serde_json::to_string(&terms.terms)?)
        .bind(&terms.published_by)
        .bind(&terms.published_at)
        .bind(number)
        .execute(&mut transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Number and leaf hash of the last terms that were ever published under a datanet's name, also of one that was deleted:
    /// the log counts on.
    pub(crate) async fn last_terms(&self, datanet: &str) -> Result<Option<(u64, String)>, StoreError> {
        let row = query(
            "SELECT version, leaf FROM terms JOIN access_entries ON access_entries.id = terms.entry
             WHERE datanet = ? ORDER BY version DESC LIMIT 1",
        )
        .bind(datanet)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| (number(&row, "version").unwrap_or_default(), row.get("leaf"))))
    }

    /// Every version of a datanet's terms, newest first.
    pub(crate) async fn terms(&self, datanet: &str) -> Result<Vec<StoredTerms>, StoreError> {
        let rows = query(
            "SELECT terms.*, leaf, log_index FROM terms JOIN access_entries ON access_entries.id = terms.entry
             WHERE datanet = ? AND NOT retired ORDER BY version DESC",
        )
        .bind(datanet)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(stored_terms).collect()
    }

    /// Adds a request with its entries: the request's own, those that follow from it, and where the terms decided it the
    /// decision's and the grant's.
    pub(crate) async fn create_request(
        &self,
        request: &StoredRequest,
        entry: &Entry,
        also: &[&Entry],
        salt: &Salt,
        decided: Option<Decided<'_>>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let (number, _) = note(&mut transaction, entry, salt).await?;
        query(
            "INSERT INTO access_requests (id, datanet, subject, application, terms_version, findings, scope, status,
             created_at, deadline, appeal_of, entry) VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?, ?, ?)",
        )
        .bind(&request.id)
        .bind(&request.datanet)
        .bind(&request.subject)
        .bind(serde_json::to_string(&request.application)?)
        .bind(i64::try_from(request.terms_version).unwrap_or(i64::MAX))
        .bind(serde_json::to_string(&request.findings)?)
        .bind(request.scope.as_ref().map(serde_json::to_string).transpose()?)
        .bind(&request.created_at)
        .bind(&request.deadline)
        .bind(&request.appeal_of)
        .bind(number)
        .execute(&mut transaction)
        .await?;
        for entry in also {
            note(&mut transaction, entry, salt).await?;
        }
        if let Some(decided) = decided {
            decide(&mut transaction, decided).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Decides a request that waits; false when that was done already.
    pub(crate) async fn decide_request(&self, decided: Decided<'_>) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let done = decide(&mut transaction, decided).await?;
        if done {
            transaction.commit().await?;
        }
        Ok(done)
    }

    /// Notes that a request was passed on; false when it had been already, or is decided.
    pub(crate) async fn escalate_request(
        &self,
        id: &str,
        at: &str,
        entry: &Entry,
        salt: &Salt,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let done = query(
            "UPDATE access_requests SET escalated_at = ? WHERE id = ? AND status = 'waiting' AND escalated_at IS NULL",
        )
        .bind(at)
        .bind(id)
        .execute(&mut transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        note(&mut transaction, entry, salt).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// One request.
    pub(crate) async fn request(&self, id: &str) -> Result<Option<StoredRequest>, StoreError> {
        let row = query(selected("access_requests.id = ?")).bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(stored_request).transpose()
    }

    /// Requests, newest first, at most `limit` after `after`.
    pub(crate) async fn requests(
        &self,
        which: Requests<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredRequest>, StoreError> {
        let (condition, value) = match which {
            Requests::Of(datanet) => ("datanet = ?1", datanet),
            Requests::By(subject) => ("subject = ?1", subject),
            Requests::Waiting => ("status = ?1", "waiting"),
        };
        // Ids are UUIDs of version 7: their order is that of creation.
        let sql = selected(&format!(
            "{condition} AND (?2 IS NULL OR access_requests.id < ?2) ORDER BY access_requests.id DESC LIMIT ?3"
        ));
        let rows = query(&sql)
            .bind(value)
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(stored_request).collect()
    }

    /// Waiting requests of a subject for a datanet.
    pub(crate) async fn waiting_requests(
        &self,
        datanet: &str,
        subject: &str,
    ) -> Result<Vec<StoredRequest>, StoreError> {
        let sql = selected("status = 'waiting' AND datanet = ? AND subject = ? ORDER BY access_requests.id");
        let rows = query(&sql).bind(datanet).bind(subject).fetch_all(&self.pool).await?;
        rows.iter().map(stored_request).collect()
    }

    /// Waiting requests that may have come to an end by themselves, oldest first: those whose deadline is over, that somebody
    /// voted on, or that were made since a moment.
    pub(crate) async fn due_requests(
        &self,
        now: &str,
        since: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<StoredRequest>, StoreError> {
        let sql = selected(
            "status = 'waiting' AND (deadline <= ?1 OR created_at >= ?2
                 OR EXISTS (SELECT 1 FROM votes WHERE votes.request = access_requests.id))
             AND (?3 IS NULL OR access_requests.id > ?3) ORDER BY access_requests.id LIMIT ?4",
        );
        let rows = query(&sql)
            .bind(now)
            .bind(since)
            .bind(after)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(stored_request).collect()
    }

    /// Adds a vote with its entry; false when its reviewer has voted already, or the request is decided.
    pub(crate) async fn vote(
        &self,
        request: &str,
        vote: &Vote,
        entry: &Entry,
        salt: &Salt,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.pool.begin_alone(ENTRIES).await?;
        let done = query(
            "INSERT INTO votes (request, reviewer, on_behalf_of, approve, reason, at) SELECT ?1, ?2, ?3, ?4, ?5, ?6
             WHERE EXISTS (SELECT 1 FROM access_requests WHERE id = ?1 AND status = 'waiting') ON CONFLICT DO NOTHING",
        )
        .bind(request)
        .bind(&vote.reviewer)
        .bind(&vote.on_behalf_of)
        .bind(vote.approve)
        .bind(&vote.reason)
        .bind(vote.at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        .execute(&mut transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        note(&mut transaction, entry, salt).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Votes on a request, oldest first.
    pub(crate) async fn votes(&self, request: &str) -> Result<Vec<Vote>, StoreError> {
        let rows = query("SELECT * FROM votes WHERE request = ? ORDER BY at, reviewer")
            .bind(request)
            .fetch_all(&self.pool)
            .await?;
        let vote = |row: &Row| {
            Ok(Vote {
                reviewer: row.get("reviewer"),
                on_behalf_of: row.get("on_behalf_of"),
                approve: row.get("approve"),
                reason: row.get("reason"),
                at: moment(row.get("at"))?,
            })
        };
        rows.iter().map(vote).collect()
    }

    /// Says who votes for a reviewer meanwhile; none: the reviewer is back.
    pub(crate) async fn set_absence(&self, reviewer: &str, absence: Option<&Absence>) -> Result<(), StoreError> {
        let Some(absence) = absence else {
            query("DELETE FROM absences WHERE reviewer = ?").bind(reviewer).execute(&self.pool).await?;
            return Ok(());
        };
        let text = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        query(
            "INSERT INTO absences (reviewer, delegate, from_time, until_time) VALUES (?, ?, ?, ?) ON CONFLICT (reviewer)
             DO UPDATE SET delegate = excluded.delegate, from_time = excluded.from_time, until_time = excluded.until_time",
        )
            .bind(reviewer)
            .bind(&absence.delegate)
            .bind(text(absence.from))
            .bind(text(absence.until))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Who is away, and who votes for them.
    pub(crate) async fn absences(&self) -> Result<Vec<Absence>, StoreError> {
        let rows = query("SELECT * FROM absences ORDER BY reviewer").fetch_all(&self.pool).await?;
        let absence = |row: &Row| {
            Ok(Absence {
                reviewer: row.get("reviewer"),
                delegate: row.get("delegate"),
                from: moment(row.get("from_time"))?,
                until: moment(row.get("until_time"))?,
            })
        };
        rows.iter().map(absence).collect()
    }
}

async fn decide(transaction: &mut Transaction, decided: Decided<'_>) -> Result<bool, StoreError> {
    let done = query(
        "UPDATE access_requests SET status = ?, decided_by = ?, decided_at = ?, grant_id = ?
         WHERE id = ? AND status = 'waiting'",
    )
    .bind(decided.status)
    .bind(decided.by)
    .bind(decided.at)
    .bind(decided.grant.map(|(grant, _)| &grant.id))
    .bind(decided.request)
    .execute(&mut *transaction)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    note(transaction, decided.decision, decided.salt).await?;
    if let Some((grant, entry)) = decided.grant {
        insert_grant(transaction, grant, entry, decided.salt).await?;
    }
    Ok(true)
}

fn selected(condition: &str) -> String {
    format!(
        "SELECT access_requests.*, access_entries.log_index AS log_index
         FROM access_requests JOIN access_entries ON access_entries.id = access_requests.entry WHERE {condition}"
    )
}

fn moment(text: String) -> Result<chrono::DateTime<chrono::Utc>, StoreError> {
    text.parse().map_err(|_| StoreError::DamagedText("a moment"))
}

fn number(row: &Row, column: &str) -> Option<u64> {
    row.get::<Option<i64>, _>(column).and_then(|number| u64::try_from(number).ok())
}

fn stored_terms(row: &Row) -> Result<StoredTerms, StoreError> {
    Ok(StoredTerms {
        datanet: row.get("datanet"),
        version: number(row, "version").unwrap_or_default(),
        terms: serde_json::from_str(row.get("terms"))?,
        published_by: row.get("published_by"),
        published_at: row.get("published_at"),
        leaf: row.get("leaf"),
        log_index: number(row, "log_index"),
    })
}

fn stored_request(row: &Row) -> Result<StoredRequest, StoreError> {
    Ok(StoredRequest {
        id: row.get("id"),
        datanet: row.get("datanet"),
        subject: row.get("subject"),
        application: serde_json::from_str(row.get("application"))?,
        terms_version: number(row, "terms_version").unwrap_or_default(),
        findings: serde_json::from_str(row.get("findings"))?,
        scope: row.get::<Option<&str>, _>("scope").map(serde_json::from_str).transpose()?,
        status: row.get("status"),
        decided_by: row.get("decided_by"),
        created_at: row.get("created_at"),
        decided_at: row.get("decided_at"),
        deadline: row.get("deadline"),
        escalated_at: row.get("escalated_at"),
        appeal_of: row.get("appeal_of"),
        grant_id: row.get("grant_id"),
        log_index: number(row, "log_index"),
    })
}
