//! Generations, aliases, leases, quotas, visibility and the outbox, on a real database and a real directory.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod common;

use std::{collections::BTreeSet, sync::Arc};

use cairn_adapters::{
    AdapterGeneration,
    compatibility::Outcome,
    peft::{Adapter, Limits},
    store::{Action, Caller, ChangeEntry, Objects, Quota, Source, StoreError, StoreOptions, Upload, Visibility},
};
use common::{
    golden_adapters, golden_base, name, open, open_on, open_with, options, small, small_base, stored_objects, upload,
    write,
};
use futures::StreamExt;
use object_store::{ObjectStore, memory::InMemory};
use serde_json::json;

#[tokio::test]
async fn every_golden_adapter_is_stored_once_and_loads_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let caller = Caller::new("alice");
    let (mut generations, mut contents) = (BTreeSet::new(), BTreeSet::new());
    let adapters = golden_adapters();
    let peft: Vec<_> =
        adapters.iter().filter(|path| path.components().any(|part| part.as_os_str() == "peft")).collect();
    for (index, path) in peft.iter().enumerate() {
        let family = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let source = Source::Directory((*path).clone());
        let request = Upload { source, base: golden_base(family), owner: "alice".into() };
        let first = store.upload(request.clone(), &caller).await.unwrap();
        let again = store.upload(request, &caller).await.unwrap();
        assert!(first.created && !again.created && first.generation == again.generation);
        generations.insert(first.generation.0.clone());
        contents.insert(std::fs::read(path.join("adapter_model.safetensors")).unwrap());
        let alias = name(&format!("a{index}"));
        store.publish(family, &alias, &first.generation.0[..12], &caller).await.unwrap();
        let lease = store.resolve(family, &alias.as_str().parse().unwrap(), "", &caller).await.unwrap();
        assert_eq!(lease.generation, first.generation);
        let loaded = store.load(&lease.generation).await.unwrap();
        let original = Adapter::read(path, &Limits::default()).unwrap();
        assert_eq!((loaded.layers, loaded.saved), (original.layers, original.saved));
    }
    // Some families were given the same random adapters: equal files are one generation, different ones are several.
    assert_eq!(generations.len(), contents.len());
    assert_eq!(stored_objects(dir.path()), generations.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_generation_is_its_meaning_not_its_formatting() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let put = async |config: serde_json::Value, pretty: bool| {
        let files = tempfile::tempdir().unwrap();
        write(files.path(), &config, &small(0.0).1);
        if pretty {
            let text = serde_json::to_string_pretty(&config).unwrap();
            std::fs::write(files.path().join("adapter_config.json"), text).unwrap();
        }
        let source = Source::Directory(files.path().to_owned());
        let request = Upload { source, base: small_base(), owner: "alice".into() };
        store.upload(request, &Caller::new("alice")).await.unwrap().generation
    };
    let (mut config, _) = small(0.0);
    let plain = put(config.clone(), false).await;
    assert_eq!(plain, put(config.clone(), true).await);
    config["lora_alpha"] = json!(8);
    assert_ne!(plain, put(config.clone(), false).await);
    // The first pattern that matches decides, so their order is part of the name, although RFC 8785 sorts keys.
    config["alpha_pattern"] = json!({"q_proj": 2, ".*q_proj": 6});
    let one = put(config.clone(), false).await;
    config["alpha_pattern"] = json!({".*q_proj": 6, "q_proj": 2});
    assert_ne!(one, put(config, false).await);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_a_report_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let files = tempfile::tempdir().unwrap();
    let (config, tensors) = small(0.0);
    write(files.path(), &config, &tensors);
    let mut base = small_base();
    base.linears.insert("model.layers.0.self_attn.q_proj".into(), [128, 64]);
    let source = Source::Directory(files.path().to_owned());
    let report = store.inspect(source.clone(), base.clone()).await.unwrap();
    assert!(!report.accepted && report.tensors[0].outcome == Outcome::WrongShape);
    let request = Upload { source, base, owner: "alice".into() };
    let refused = store.upload(request.clone(), &Caller::new("alice")).await;
    assert!(matches!(refused, Err(StoreError::Incompatible(inner)) if *inner == report));
    assert!(matches!(store.upload(request, &Caller::new("mallory")).await, Err(StoreError::NotOwner { .. })));
    assert!(stored_objects(dir.path()).is_empty());
    assert!(store.pending_changes(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn publish_rollback_and_canary_move_an_alias() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let alice = Caller::new("alice");
    let style = name("style");
    let reference = "style".parse().unwrap();
    let mut generations = Vec::new();
    for first in [0.0, 1.0, 2.0] {
        generations.push(upload(&store, first, "alice").await.generation);
    }
    let current = async || store.resolve("base", &reference, "k", &alice).await.unwrap().generation;
    for generation in &generations {
        store.publish("base", &style, &generation.0, &alice).await.unwrap();
        store.publish("base", &style, &generation.0, &alice).await.unwrap(); // again: no step of its own
        assert_eq!(current().await, *generation);
    }
    assert_eq!(store.rollback("base", &style, &alice).await.unwrap(), generations[1]);
    assert_eq!(store.rollback("base", &style, &alice).await.unwrap(), generations[0]);
    assert_eq!(current().await, generations[0]);
    assert!(matches!(store.rollback("base", &style, &alice).await, Err(StoreError::NothingEarlier { .. })));
    let history = store.history("base", &style, 100, &alice).await.unwrap();
    let steps: Vec<_> = history.iter().map(|step| (step.action.as_str(), &step.generation)).collect();
    let [g0, g1, g2] = &generations[..] else { panic!() };
    assert_eq!(steps, [("rollback", g0), ("rollback", g1), ("publish", g2), ("publish", g1), ("publish", g0)]);

    // A quarter of the keys, always the same ones, and still those when it grows.
    let split = async |percent: u8| {
        store.canary("base", &style, Some((&g2.0, percent)), &alice).await.unwrap();
        let mut chosen = BTreeSet::new();
        for key in 0..1000 {
            let lease = store.resolve("base", &reference, &key.to_string(), &alice).await.unwrap();
            assert_eq!(lease.generation, if lease.canary { g2.clone() } else { g0.clone() });
            if lease.canary {
                chosen.insert(key);
            }
        }
        chosen
    };
    let quarter = split(25).await;
    assert!((200..300).contains(&quarter.len()), "{}", quarter.len());
    assert_eq!(quarter, split(25).await);
    assert!(split(60).await.is_superset(&quarter));
    assert!(matches!(store.canary("base", &style, Some((&g2.0, 100)), &alice).await, Err(StoreError::Percent(100))));
    store.publish("base", &style, &g0.0, &alice).await.unwrap();
    assert!(store.alias("base", &style, &alice).await.unwrap().canary.is_none(), "publishing ends the canary");

    // By generation: only beginnings of 12 digits and more, and only what exists.
    let pinned = format!("style@{}", &g1.0[..12]).parse().unwrap();
    assert_eq!(store.resolve("base", &pinned, "k", &alice).await.unwrap().generation, *g1);
    let unknown = "style@000000000000".parse().unwrap();
    assert!(matches!(store.resolve("base", &unknown, "k", &alice).await, Err(StoreError::NotFound { .. })));
    store.unpublish("base", &style, &alice).await.unwrap();
    assert!(matches!(store.resolve("base", &reference, "k", &alice).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn what_is_not_visible_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let [alice, bob] = ["alice", "bob"].map(Caller::new);
    let admin = Caller { subject: "root".into(), admin: true };
    let style = name("style");
    let reference = "style".parse().unwrap();
    let published = upload(&store, 0.0, "alice").await.generation;
    let hidden = upload(&store, 1.0, "alice").await.generation;
    store.publish("base", &style, &published.0, &alice).await.unwrap();

    let sees = async |caller: &Caller| {
        let resolved = store.resolve("base", &reference, "k", caller).await.is_ok();
        assert_eq!(store.alias("base", &style, caller).await.is_ok(), resolved);
        assert_eq!(store.history("base", &style, 1, caller).await.is_ok(), resolved);
        assert_eq!(store.aliases("base", None, 10, caller).await.unwrap().items.len(), usize::from(resolved));
        resolved
    };
    assert!(sees(&alice).await && sees(&admin).await && !sees(&bob).await);
    let not_found = store.set_visibility("base", &style, Visibility::Public, &bob).await.unwrap_err();
    assert_eq!(
        not_found.to_string(),
        store
            .set_visibility("base", &name("none"), Visibility::Public, &bob)
            .await
            .unwrap_err()
            .to_string()
            .replace("none", "style"),
        "an alias that is hidden looks like one that does not exist"
    );
    store.set_grant("base", &style, "bob", true, &alice).await.unwrap();
    assert!(!sees(&bob).await, "a grant counts only when the alias is shared by grants");
    store.set_visibility("base", &style, Visibility::Granted, &alice).await.unwrap();
    assert!(sees(&bob).await);
    assert_eq!(store.grants("base", &style, &alice).await.unwrap(), ["bob"]);
    assert!(matches!(store.rollback("base", &style, &bob).await, Err(StoreError::NotOwner { .. })));
    let digits = |generation: &AdapterGeneration| format!("style@{}", &generation.0[..16]).parse().unwrap();
    assert!(store.resolve("base", &digits(&published), "k", &bob).await.is_ok());
    assert!(store.resolve("base", &digits(&hidden), "k", &bob).await.is_err(), "never published under this alias");
    assert!(store.resolve("base", &digits(&hidden), "k", &alice).await.is_ok());
    store.set_grant("base", &style, "bob", false, &alice).await.unwrap();
    assert!(!sees(&bob).await);
    store.set_visibility("base", &style, Visibility::Public, &alice).await.unwrap();
    assert!(sees(&bob).await);

    // Names are unique on a base; the same name on another base is another alias.
    let own = upload(&store, 2.0, "bob").await.generation;
    assert!(matches!(store.publish("base", &style, &own.0, &bob).await, Err(StoreError::Taken { .. })));
    store.set_visibility("base", &style, Visibility::Private, &alice).await.unwrap();
    assert!(matches!(store.publish("base", &style, &own.0, &bob).await, Err(StoreError::Taken { .. })));
    let stolen = store.publish("base", &name("mine"), &published.0, &bob).await;
    assert!(matches!(stolen, Err(StoreError::NotFound { .. })), "another's generation");
    assert!(store.generations("base", "alice", (None, 10), &bob).await.unwrap().items.is_empty());
    assert_eq!(store.generations("base", "alice", (None, 10), &admin).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn deletion_waits_for_leases() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let alice = Caller::new("alice");
    let style = name("style");
    let reference = "style".parse().unwrap();
    let old = upload(&store, 0.0, "alice").await.generation;
    let new = upload(&store, 1.0, "alice").await.generation;
    store.publish("base", &style, &old.0, &alice).await.unwrap();
    let lease = store.resolve("base", &reference, "k", &alice).await.unwrap();
    let in_use = store.delete("base", &old, "alice", &alice).await;
    assert!(matches!(in_use, Err(StoreError::InUse { alias, .. }) if alias == "style"));
    store.publish("base", &style, &new.0, &alice).await.unwrap();
    let second = lease.clone();
    assert!(matches!(store.delete("base", &old, "alice", &Caller::new("bob")).await, Err(StoreError::NotFound { .. })));
    store.delete("base", &old, "alice", &alice).await.unwrap();

    // Gone for new requests, there for the old one.
    let pinned = format!("style@{}", old.0).parse().unwrap();
    assert!(matches!(store.resolve("base", &pinned, "k", &alice).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.publish("base", &style, &old.0, &alice).await, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.rollback("base", &style, &alice).await, Err(StoreError::NothingEarlier { .. })));
    drop(lease);
    assert!(store.load(&second.generation).await.is_ok());
    assert!(store.generations("base", "alice", (None, 9), &alice).await.unwrap().items.iter().any(|g| g.deleting));
    drop(second);
    until(async || store.generations("base", "alice", (None, 9), &alice).await.unwrap().items.len() == 1).await;
    assert_eq!(stored_objects(dir.path()), std::slice::from_ref(&new.0));

    // A lease that outlives the process does not exist: the next open completes the deletion.
    let lease = store.resolve("base", &reference, "k", &alice).await.unwrap();
    store.unpublish("base", &style, &alice).await.unwrap();
    store.delete("base", &new, "alice", &alice).await.unwrap();
    assert_eq!(stored_objects(dir.path()).len(), 1);
    std::mem::forget(lease);
    drop(store);
    let store = open(dir.path()).await;
    assert!(stored_objects(dir.path()).is_empty());
    assert!(store.generations("base", "alice", (None, 9), &alice).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_same_content_of_two_owners_is_kept_until_both_delete_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let [a, b] = [upload(&store, 0.0, "alice").await, upload(&store, 0.0, "bob").await];
    assert!(a.created && b.created && a.generation == b.generation);
    store.delete("base", &a.generation, "alice", &Caller::new("alice")).await.unwrap();
    let bob = Caller::new("bob");
    until(async || {
        store.generations("base", "alice", (None, 9), &Caller::new("alice")).await.unwrap().items.is_empty()
    })
    .await;
    store.publish("base", &name("b"), &b.generation.0, &bob).await.unwrap();
    let lease = store.resolve("base", &"b".parse().unwrap(), "k", &bob).await.unwrap();
    store.load(&lease.generation).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leases_and_deletions_at_once_never_lose_weights() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let alice = Caller::new("alice");
    let style = name("style");
    for round in 0..20 {
        let old = upload(&store, round as f32, "alice").await.generation;
        store.publish("base", &style, &old.0, &alice).await.unwrap();
        let new = upload(&store, round as f32 + 0.5, "alice").await.generation;
        let pinned: cairn_adapters::store::Reference = format!("style@{}", old.0).parse().unwrap();
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (store, alice, pinned) = (store.clone(), alice.clone(), pinned.clone());
                tokio::spawn(async move {
                    match store.resolve("base", &pinned, "k", &alice).await {
                        Ok(lease) => drop(store.load(&lease.generation).await.unwrap()), // a lease always has its weights
                        Err(error) => assert!(matches!(error, StoreError::NotFound { .. }), "{error}"),
                    }
                })
            })
            .collect();
        store.publish("base", &style, &new.0, &alice).await.unwrap();
        store.delete("base", &old, "alice", &alice).await.unwrap();
        for reader in readers {
            reader.await.unwrap();
        }
    }
}

#[tokio::test]
async fn quotas_hold_even_for_uploads_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let quota = Quota { max_count: 3, max_bytes: 1 << 20 };
    let store = open_with(dir.path(), StoreOptions { quota, ..options(dir.path()) }).await;
    let files: Vec<_> = (0..6)
        .map(|index| {
            let files = tempfile::tempdir().unwrap();
            let (config, tensors) = small(index as f32);
            write(files.path(), &config, &tensors);
            files
        })
        .collect();
    let attempts = files.iter().map(|files| {
        let source = Source::Directory(files.path().to_owned());
        let request = Upload { source, base: small_base(), owner: "alice".into() };
        let store = store.clone();
        async move { store.upload(request, &Caller::new("alice")).await }
    });
    let outcomes = futures::future::join_all(attempts).await;
    let refused = outcomes.iter().filter(|o| matches!(o, Err(StoreError::OverQuota { max_count: 3, .. }))).count();
    assert_eq!((outcomes.iter().filter(|o| o.is_ok()).count(), refused), (3, 3));
    // Another owner has its own; bytes count too; what is over is swept at the next open.
    upload(&store, 9.0, "bob").await;
    store.set_quota("carol", Some(Quota { max_count: 9, max_bytes: 100 })).await.unwrap();
    let source = Source::Directory(files[0].path().to_owned());
    let request = Upload { source, base: small_base(), owner: "carol".into() };
    let over = store.upload(request.clone(), &Caller::new("carol")).await;
    assert!(matches!(over, Err(StoreError::OverQuota { max_bytes: 100, .. })));
    store.set_quota("carol", None).await.unwrap();
    store.upload(request, &Caller::new("carol")).await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    let mut rows = BTreeSet::new();
    for owner in ["alice", "bob", "carol"] {
        let page = store.generations("base", owner, (None, 9), &Caller::new(owner)).await.unwrap();
        rows.extend(page.items.into_iter().map(|item| item.generation.0));
    }
    assert_eq!(stored_objects(dir.path()), rows.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn every_change_is_in_the_outbox_once_and_in_canonical_form() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let alice = Caller::new("alice");
    let style = name("style");
    let g0 = upload(&store, 0.0, "alice").await.generation;
    let g1 = upload(&store, 1.0, "alice").await.generation;
    upload(&store, 1.0, "alice").await; // the same again is no change
    store.publish("base", &style, &g0.0, &alice).await.unwrap();
    store.publish("base", &style, &g1.0, &alice).await.unwrap();
    store.publish("base", &style, &g1.0, &alice).await.unwrap();
    store.rollback("base", &style, &alice).await.unwrap();
    store.canary("base", &style, Some((&g1.0, 10)), &alice).await.unwrap();
    store.canary("base", &style, None, &alice).await.unwrap();
    for _ in 0..2 {
        store.set_visibility("base", &style, Visibility::Granted, &alice).await.unwrap();
        store.set_grant("base", &style, "bob", true, &alice).await.unwrap();
    }
    store.set_grant("base", &style, "bob", false, &alice).await.unwrap();
    store.delete("base", &g1, "alice", &alice).await.unwrap();
    store.unpublish("base", &style, &alice).await.unwrap();

    let changes = store.pending_changes(100).await.unwrap();
    let entries: Vec<ChangeEntry> = changes.iter().map(|c| serde_json::from_str(&c.entry).unwrap()).collect();
    let actions: Vec<_> = entries.iter().map(|entry| entry.action).collect();
    let expected = [
        (Action::Upload, 2),
        (Action::Publish, 2),
        (Action::Rollback, 1),
        (Action::Canary, 2),
        (Action::Visibility, 1),
        (Action::Grant, 1),
        (Action::Revoke, 1),
        (Action::Delete, 1),
        (Action::Unpublish, 1),
    ];
    assert_eq!(actions, expected.map(|(action, times)| vec![action; times]).concat());
    for (change, entry) in changes.iter().zip(&entries) {
        assert_eq!(change.entry, serde_json_canonicalizer::to_string(entry).unwrap());
        assert_eq!((&entry.key, entry.actor.as_str(), entry.base.as_str()), (&change.key, "alice", "base"));
    }
    let [.., second, back, canary, ended, _, grant, _, deleted, _] = &entries[..] else { panic!() };
    assert_eq!((&second.generation, &second.previous), (&Some(g1.0.clone()), &Some(g0.0.clone())));
    assert_eq!((&back.generation, &back.previous), (&Some(g0.0.clone()), &Some(g1.0.clone())));
    assert_eq!((&canary.canary, canary.percent), (&Some(g1.0.clone()), Some(10)));
    assert_eq!((&ended.canary, ended.percent, &ended.generation), (&None, None, &Some(g0.0.clone())));
    assert_eq!(grant.subject.as_deref(), Some("bob"));
    assert_eq!((&deleted.generation, &deleted.alias), (&Some(g1.0.clone()), &None));

    // At least once: what was appended but not marked is offered again, with the same key.
    store.mark_logged(changes[0].id, 40).await.unwrap();
    store.mark_logged(changes[0].id, 41).await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(store.pending_changes(100).await.unwrap(), changes[1..]);
    assert_eq!(store.pending_changes(3).await.unwrap(), changes[1..4]);
    let pool = common::database(dir.path()).await;
    let row = cairn_database::query("SELECT log_index FROM adapter_changes WHERE id = ?").bind(changes[0].id);
    assert_eq!(row.fetch_one(&pool).await.unwrap().get::<i64, _>(0), 40);
}

#[tokio::test]
async fn a_bucket_holds_generations_below_its_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Arc::new(InMemory::new());
    let store = open_on(dir.path(), Objects::bucket(bucket.clone(), "cairn/adapters"), options(dir.path())).await;
    let alice = Caller::new("alice");
    let generation = upload(&store, 0.0, "alice").await.generation;
    let listed = async || -> Vec<String> {
        let objects = bucket.list(None).map(|object| object.unwrap().location.to_string());
        objects.collect::<BTreeSet<_>>().await.into_iter().collect()
    };
    let expected = ["adapter_config.json", "adapter_model.safetensors"];
    assert_eq!(listed().await, expected.map(|file| format!("cairn/adapters/{}/{file}", generation.0)));
    store.publish("base", &name("style"), &generation.0, &alice).await.unwrap();
    let lease = store.resolve("base", &"style".parse().unwrap(), "k", &alice).await.unwrap();
    store.load(&lease.generation).await.unwrap();
    store.unpublish("base", &name("style"), &alice).await.unwrap();
    store.delete("base", &generation, "alice", &alice).await.unwrap();
    drop(lease);
    until(async || listed().await.is_empty()).await;
}

#[tokio::test]
async fn altered_weights_are_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let alice = Caller::new("alice");
    let generation = upload(&store, 0.0, "alice").await.generation;
    store.publish("base", &name("style"), &generation.0, &alice).await.unwrap();
    let file = dir.path().join("objects").join(&generation.0).join("adapter_model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let lease = store.resolve("base", &"style".parse().unwrap(), "k", &alice).await.unwrap();
    assert!(matches!(store.load(&lease.generation).await, Err(StoreError::Corrupt { .. })));
}

/// Waits for work in the background, without a fixed sleep.
async fn until(mut done: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !done().await {
        assert!(std::time::Instant::now() < deadline, "it never came about");
        tokio::task::yield_now().await;
    }
}
