//! kill -9 at random moments: an alias is the old or the new generation, a generation is there whole or not at all.
//!
//! The test runs itself again as a child process that works in a loop, kills it, and looks at what is left.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use cairn_adapters::store::{Action, Caller, ChangeEntry};
use cairn_database::query;
use common::{database, name, open, stored_objects, upload};

/// Names the directory that a child process works in.
const CHILD: &str = "CAIRN_CRASH_TEST_DIR";
/// How often the child is killed.
const ROUNDS: u64 = 25;

/// Starts the test `name` again as a child; returns when it works.
fn start(name: &str, dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("at work")), "the child did not start");
    // Keeps the pipe open, so that the child ends only by the kill.
    std::thread::spawn(move || lines.count());
    child
}

fn kill(mut child: Child, round: u64) {
    // Different moments: the spread covers several of the child's operations.
    std::thread::sleep(Duration::from_micros(round * 7_919 % 60_000));
    assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
}

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

#[tokio::test]
async fn an_alias_is_the_old_or_the_new_generation() {
    let alice = Caller::new("alice");
    let style = name("style");
    if let Some(dir) = child_dir() {
        let store = open(&dir).await;
        let page = store.generations("base", "alice", (None, 9), &alice).await.unwrap();
        println!("at work");
        for item in page.items.iter().cycle() {
            store.publish("base", &style, &item.generation.0, &alice).await.unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = upload(&store, 0.0, "alice").await.generation;
    upload(&store, 1.0, "alice").await;
    store.publish("base", &style, &first.0, &alice).await.unwrap();
    drop(store);
    let mut published = 0;
    for round in 0..ROUNDS {
        kill(start("an_alias_is_the_old_or_the_new_generation", dir.path()), round);
        let store = open(dir.path()).await;
        let lease = store.resolve("base", &"style".parse().unwrap(), "k", &alice).await.unwrap();
        store.load(&lease.generation).await.unwrap();
        let history = store.history("base", &style, 1, &alice).await.unwrap();
        assert_eq!(history[0].generation, lease.generation, "history and alias agree");
        let changes = store.pending_changes(u32::MAX).await.unwrap();
        let last: ChangeEntry = serde_json::from_str(&changes.last().unwrap().entry).unwrap();
        assert_eq!(last.generation, Some(lease.generation.0.clone()), "the log's entry and the alias agree");
        published = changes.len();
    }
    assert!(published > 2 * ROUNDS as usize, "the child was killed before it did anything: {published}");
}

#[tokio::test]
async fn an_upload_is_there_whole_or_not_at_all() {
    let alice = Caller::new("alice");
    if let Some(dir) = child_dir() {
        let store = open(&dir).await;
        let from = store.pending_changes(u32::MAX).await.unwrap().len();
        println!("at work");
        for index in from.. {
            let generation = upload(&store, index as f32, "alice").await.generation;
            if index % 3 == 0 {
                store.delete("base", &generation, "alice", &alice).await.unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        kill(start("an_upload_is_there_whole_or_not_at_all", dir.path()), round);
        let store = open(dir.path()).await;
        let page = store.generations("base", "alice", (None, 10_000), &alice).await.unwrap();
        assert!(page.items.iter().all(|item| !item.deleting), "deletions are completed at open");
        let rows: Vec<_> = page.items.iter().map(|item| item.generation.0.clone()).collect();
        assert_eq!(stored_objects(dir.path()), rows, "objects of exactly the rows");
        for generation in &rows {
            store.publish("base", &name("check"), generation, &alice).await.unwrap();
            let lease = store.resolve("base", &"check".parse().unwrap(), "k", &alice).await.unwrap();
            store.load(&lease.generation).await.unwrap(); // compares the bytes with the name
        }
        if !rows.is_empty() {
            store.unpublish("base", &name("check"), &alice).await.unwrap();
        }
        let changes = store.pending_changes(u32::MAX).await.unwrap();
        let entries: Vec<ChangeEntry> = changes.iter().map(|c| serde_json::from_str(&c.entry).unwrap()).collect();
        let of = |action| entries.iter().filter(move |e| e.action == action).filter_map(|e| e.generation.clone());
        let deleted: BTreeSet<_> = of(Action::Delete).collect();
        let expected: BTreeSet<_> = of(Action::Upload).filter(|generation| !deleted.contains(generation)).collect();
        assert_eq!(rows.iter().cloned().collect::<BTreeSet<_>>(), expected, "the log tells what there is");
        seen.extend(rows);
        let pool = database(dir.path()).await;
        let intents = query("SELECT COUNT(*) FROM adapter_intents").fetch_one(&pool).await.unwrap();
        assert_eq!(intents.get::<i64, _>(0), 0);
        pool.close().await;
    }
    assert!(seen.len() >= 5, "too little happened between the kills: {}", seen.len());
}
