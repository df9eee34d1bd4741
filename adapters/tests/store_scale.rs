//! Ten thousand registered adapters: listing, resolving, and what they cost.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod common;

use std::time::Instant;

use cairn_adapters::store::{Caller, Reference};
use cairn_database::query;
use common::{database, name, open, upload};

#[tokio::test]
async fn ten_thousand_aliases_are_listed_by_page_and_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let alice = Caller::new("alice");
    let generation = upload(&store, 0.0, "alice").await.generation;
    store.publish("base", &name("a00000"), &generation.0, &alice).await.unwrap();
    // Copies of the published row: publishing each would be 10,000 transactions, each of them synced to disk.
    let pool = database(dir.path()).await;
    query(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
         INSERT INTO adapter_aliases (base, name, owner, visibility, current, history, updated_at)
         SELECT base, 'a' || substr(CAST(100000 + i AS TEXT), 2), CASE WHEN i % 2 = 1 THEN 'alice' ELSE 'bob' END,
                CASE WHEN i % 4 = 0 THEN 'public' ELSE 'private' END, current, history, updated_at
         FROM adapter_aliases, n WHERE name = 'a00000'",
    )
    .execute(&pool)
    .await
    .unwrap();

    let mut names = Vec::new();
    let mut after = None;
    let mut pages = 0;
    loop {
        let page = store.aliases("base", after.as_deref(), 100, &alice).await.unwrap();
        names.extend(page.items.into_iter().map(|alias| alias.name));
        pages += 1;
        let Some(next) = page.next else { break };
        after = Some(next);
    }
    // Alice's own odd ones and the first, and every fourth, which is public.
    assert_eq!((names.len(), pages), (5000 + 2500, 75));
    assert!(names.is_sorted());
    let all = store.aliases("base", None, 20_000, &Caller { subject: "root".into(), admin: true }).await.unwrap();
    assert_eq!((all.items.len(), all.next), (10_000, None));

    let references: Vec<Reference> = (0..1000).map(|i| format!("a{:05}", i * 10 + 1).parse().unwrap()).collect();
    let begin = Instant::now();
    for reference in &references {
        store.resolve("base", reference, "key", &alice).await.unwrap();
    }
    println!("resolve among 10,000 aliases: {:?} each", begin.elapsed() / 1000);
}
