//! What the tables' queries promise when many use them at once; on PostgreSQL under `scripts/with_postgres.py`.

use cairn_database::{Database, query, testing};
use cairn_openapi::jobs::{Job, JobState};
use cairn_proof::{
    Entry, Salt,
    access::{AccessEntry, AccessKind, Appeal},
};

use super::{
    Store,
    access::note,
    attributions::{Private, StoredAttribution},
    contributors::UseLine,
    datanets::StoredSnapshot,
    erasures::StoredErasure,
    now,
    records::Served,
};

/// An empty store.
pub(super) async fn store() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let settings = testing::settings(&dir.path().join("db")).await.unwrap();
    (Store::open(&settings).await.unwrap(), dir)
}

fn entry(n: usize) -> Entry {
    Entry::Access(Box::new(AccessEntry::Appeal(Appeal {
        kind: AccessKind::V1,
        datanet: "net".into(),
        request: format!("access-{}", n + 1),
        of: "access-0".into(),
        time: now(),
    })))
}

async fn answer(store: &Store, id: &str, attribution: serde_json::Value) {
    let private = Private {
        salt: String::new(),
        request: serde_json::Value::Null,
        response: serde_json::Value::Null,
        query: None,
        filter: None,
    };
    let new = StoredAttribution {
        id: id.to_owned(),
        subject: "ada".into(),
        created_at: now(),
        record: "{}".into(),
        private,
        attribution,
        log_index: None,
        base: None,
    };
    store.create_attribution(&new, &Served::default()).await.unwrap();
}

async fn datanet(pool: &Database, name: &str) {
    query("INSERT INTO datanets (name, title, description, licence, visibility, owner, created_at) VALUES (?, '', '', '', 'private', 'ada', '')")
        .bind(name)
        .execute(pool)
        .await
        .unwrap();
}

/// Waits for all of them.
async fn all<T: Send + 'static>(tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn entries_become_visible_in_the_order_of_their_numbers() {
    let (store, _dir) = store().await;
    let writers = all((0..40).map(|n| {
        let store = store.clone();
        async move {
            let mut transaction = store.pool.begin().await.unwrap();
            let (number, _) = note(&mut transaction, &entry(n), &Salt::new([0; 32])).await.unwrap();
            // Long enough for others to overtake, if they could.
            for _ in 0..n % 5 {
                tokio::task::yield_now().await;
            }
            transaction.commit().await.unwrap();
            number
        }
    }));
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            let mut seen: Vec<i64> = Vec::new();
            while seen.len() < 40 {
                let numbers: Vec<i64> = store.pending_entries().await.unwrap().iter().map(|entry| entry.id).collect();
                assert!(numbers.starts_with(&seen), "{numbers:?} after {seen:?}: one came later, and stands before");
                seen = numbers;
            }
            seen
        }
    });
    let mut numbers = writers.await;
    numbers.sort_unstable();
    assert_eq!(reader.await.unwrap(), numbers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_snapshot_gets_a_number_of_its_own() {
    let (store, _dir) = store().await;
    datanet(&store.pool, "net").await;
    let snapshot = StoredSnapshot {
        datanet: "net".into(),
        number: 0,
        lance_version: 1,
        size: 1,
        root: "r".into(),
        at: now(),
        log_index: 1,
    };
    let mut numbers = all((0..30).map(|_| {
        let (store, snapshot) = (store.clone(), snapshot.clone());
        async move { store.note_snapshot(&snapshot).await.unwrap() }
    }))
    .await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=30).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_measurement_is_queued_within_the_bound_and_claimed_once() {
    let (store, _dir) = store().await;
    for n in 0..30 {
        answer(&store, &format!("a-{n:02}"), serde_json::json!({})).await;
    }
    let queued = all((0..30).map(|n| {
        let store = store.clone();
        async move { store.queue_influence(&format!("a-{n:02}"), "shapley", 20).await.unwrap() }
    }))
    .await;
    assert_eq!(queued.iter().filter(|queued| **queued).count(), 20, "so many may wait");
    let claimed = all((0..40).map(|_| {
        let store = store.clone();
        async move { store.claim_influence(None).await.unwrap().map(|claimed| claimed.id) }
    }))
    .await;
    let mut claimed: Vec<String> = claimed.into_iter().flatten().collect();
    claimed.sort();
    let before = claimed.len();
    claimed.dedup();
    assert_eq!((before, claimed.len()), (20, 20), "each to one, and all of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quota_is_used_up_exactly() {
    let (store, _dir) = store().await;
    datanet(&store.pool, "net").await;
    query("INSERT INTO grants (id, datanet, subject, purposes, granted_by, decided_by, granted_at) VALUES ('g', 'net', 'bob', '[]', 'ada', 'owner', '')")
        .execute(&store.pool)
        .await
        .unwrap();
    let used = all((0..40).map(|_| {
        let store = store.clone();
        async move { store.use_grant("g", "2026-01-01", 25).await.unwrap() }
    }))
    .await;
    assert_eq!(used.iter().filter(|used| **used).count(), 25);
    assert!(!store.use_grant("g", "2026-01-02", 0).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn erasures_at_once_each_leave_their_mark_in_the_same_answer() {
    let (store, _dir) = store().await;
    let leaves: Vec<String> = (0..12).map(|n| format!("{n:064x}")).collect();
    let datapoints: Vec<_> =
        leaves.iter().map(|leaf| serde_json::json!({"leaf": leaf, "text": "words", "contributor": "bob"})).collect();
    answer(&store, "a", serde_json::json!({"datapoints": datapoints, "candidates": []})).await;
    store.attribution_logged("a", 0, "{}").await.unwrap();
    let blanked = all(leaves.clone().into_iter().map(|leaf| {
        let store = store.clone();
        async move { store.blank_datapoint(&leaf).await.unwrap() }
    }))
    .await;
    assert_eq!(blanked, vec![1; 12]);
    let left = store.attribution("a", None).await.unwrap().unwrap().attribution.to_string();
    assert!(!left.contains("words") && !left.contains("bob"), "{left}");

    let erasure = StoredErasure {
        datanet: "net".into(),
        seq: 7,
        datapoint: "d".into(),
        leaf: leaves[0].clone(),
        requested_at: now(),
        log_index: None,
    };
    for _ in 0..2 {
        store.request_erasures(std::slice::from_ref(&erasure), "ada").await.unwrap();
    }
    assert_eq!(store.pending_erasures(None).await.unwrap().len(), 1, "again is the same as once");
    store.settle().await.unwrap();
}

#[tokio::test]
async fn lists_go_on_where_a_page_ended() {
    let (store, _dir) = store().await;
    let job = |n: usize| Job {
        id: format!("job_{n:04}"),
        kind: "ingest".into(),
        target: "net".into(),
        owner: if n.is_multiple_of(2) { "ada".into() } else { "bob".into() },
        state: JobState::Queued,
        stage: String::new(),
        done: 0,
        total: 0,
        result: None,
        error: None,
        created_at: now(),
        updated_at: now(),
    };
    for n in 0..7 {
        store.create_job(&job(n), &serde_json::json!({})).await.unwrap();
    }
    let ids = async |owner: Option<&str>, after: Option<&str>| -> Vec<String> {
        store.jobs(owner, after, 3).await.unwrap().into_iter().map(|job| job.id).collect()
    };
    assert_eq!(ids(None, None).await, ["job_0006", "job_0005", "job_0004"]);
    assert_eq!(ids(None, Some("job_0004")).await, ["job_0003", "job_0002", "job_0001"]);
    assert_eq!(ids(Some("ada"), Some("job_0004")).await, ["job_0002", "job_0000"]);
    let mut failed = job(3);
    (failed.state, failed.error) = (JobState::Failed, Some("what it said: \0".into()));
    store.update_job(&failed).await.unwrap();
    let error = store.job("job_0003").await.unwrap().unwrap().error;
    assert_eq!(error.as_deref(), Some("what it said: \u{fffd}"), "what nobody sent is stored all the same");
}

#[tokio::test]
async fn a_contributor_is_one_pseudonym_and_is_forgotten() {
    let (store, _dir) = store().await;
    let (first, new) = store.pseudonym("bob").await.unwrap();
    assert!(new);
    assert_eq!(store.pseudonym("bob").await.unwrap(), (first, false));
    answer(&store, "a", serde_json::json!({})).await;
    let line = UseLine { datanet: "net".into(), contributor: "bob".into(), passages: vec![1, 2] };
    for _ in 0..2 {
        store.note_uses("a", &now(), std::slice::from_ref(&line)).await.unwrap();
    }
    store.share_uses("a", &[(line.clone(), 0.25, -1.5)]).await.unwrap();
    store.attribution_logged("a", 3, "{}").await.unwrap();
    assert_eq!(store.last_logged().await.unwrap(), 3);
    let lines = store.ledger(&Default::default(), None, 10).await.unwrap();
    assert_eq!((lines.len(), lines[0].share, lines[0].nats, lines[0].record_index), (1, Some(0.25), Some(-1.5), 3));
    assert!(store.ledger(&Default::default(), Some("eve"), 10).await.unwrap().is_empty(), "she owns no datanet");
    store.forget_contributor("bob").await.unwrap();
    let uses = store.uses_of("a").await.unwrap();
    assert_eq!(uses[0].contributor, first.to_string());
    assert!(store.contributor("bob").await.unwrap().is_none());
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |migrator: sqlx::migrate::Migrator| -> Vec<(i64, String)> {
        let named = migrator.iter().map(|it| (it.version, it.description.to_string()));
        named.filter(|(version, _)| *version > 5).collect()
    };
    let (sqlite, postgres) = (sqlx::migrate!("./migrations"), sqlx::migrate!("./migrations-postgres"));
    assert_eq!(names(sqlite), names(postgres), "each directory has a file for each version from 0006 on");
}
