//! The cache of prepared adapters: one load for many, least recently used out, never twice in memory.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use cairn_adapters::{
    AdapterGeneration,
    store::{Prepared, Resident},
};

/// Stands for prepared weights; counts how many of its kind exist.
struct Weights {
    bytes: u64,
    alive: Arc<AtomicUsize>,
}

impl Drop for Weights {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, SeqCst);
    }
}

struct Loader {
    resident: Resident<Weights>,
    loads: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

impl Loader {
    fn new(capacity: u64) -> Self {
        let resident = Resident::new(capacity, |weights: &Weights| weights.bytes);
        Self { resident, loads: Arc::default(), alive: Arc::default() }
    }

    /// What an engine would do: read, prepare.
    fn load(&self, bytes: u64) -> impl Future<Output = Result<Weights, Infallible>> + Send + use<> {
        let (loads, alive) = (Arc::clone(&self.loads), Arc::clone(&self.alive));
        async move {
            tokio::task::yield_now().await;
            loads.fetch_add(1, SeqCst);
            alive.fetch_add(1, SeqCst);
            Ok(Weights { bytes, alive })
        }
    }

    async fn get(&self, key: &str) -> Prepared<Weights> {
        let held = self.resident.get(&AdapterGeneration(key.into()), || self.load(1 << 20)).await.unwrap();
        self.resident.settle().await;
        held
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_waiters_share_one_load() {
    let loader = Arc::new(Loader::new(64 << 20));
    let waiters: Vec<_> = (0..64)
        .map(|_| {
            let loader = Arc::clone(&loader);
            tokio::spawn(async move { loader.get("a").await })
        })
        .collect();
    let mut held = Vec::new();
    for waiter in waiters {
        held.push(waiter.await.unwrap());
    }
    assert_eq!(loader.loads.load(SeqCst), 1);
    assert!(held.iter().all(|one| Arc::ptr_eq(one, &held[0])));
}

#[tokio::test]
async fn the_least_recently_used_leaves_and_memory_is_given_back() {
    let loader = Loader::new(3 << 20);
    for key in ["a", "b", "c", "a", "d"] {
        loader.get(key).await;
    }
    assert_eq!((loader.loads.load(SeqCst), loader.alive.load(SeqCst)), (4, 3));
    assert_eq!((loader.resident.count(), loader.resident.bytes()), (3, 3 << 20));
    loader.get("a").await;
    assert_eq!(loader.loads.load(SeqCst), 4, "a was used after b, so b left");
    loader.get("b").await;
    assert_eq!(loader.loads.load(SeqCst), 5);
    loader.resident.forget(&AdapterGeneration("b".into())).await;
    loader.resident.settle().await;
    assert_eq!(loader.alive.load(SeqCst), 2);
}

#[tokio::test]
async fn what_is_in_use_stays_and_is_never_loaded_twice() {
    let loader = Loader::new(2 << 20);
    let held = loader.get("a").await;
    for key in ["b", "c", "d", "e"] {
        loader.get(key).await;
    }
    assert_eq!(loader.resident.bytes(), 3 << 20, "what is in use counts although it was evicted");
    let again = loader.get("a").await;
    assert!(Arc::ptr_eq(&held, &again), "the same weights, not a second copy");
    assert_eq!(loader.loads.load(SeqCst), 5);
    drop((held, again));
    loader.get("a").await;
    assert_eq!(loader.loads.load(SeqCst), 5, "it went back into the cache");
    assert_eq!(loader.alive.load(SeqCst), 2);
}

#[tokio::test]
async fn churn_leaves_no_trace_of_what_is_gone() {
    let loader = Loader::new(4 << 20);
    for index in 0..2000 {
        loader.get(&index.to_string()).await;
    }
    assert_eq!((loader.alive.load(SeqCst), loader.resident.count()), (4, 4));
}

#[tokio::test]
async fn a_failed_load_is_tried_again_and_prefetch_loads_ahead() {
    let loader = Arc::new(Loader::new(4 << 20));
    let key = AdapterGeneration("a".into());
    let failed = loader.resident.get(&key, || async { Err::<Weights, _>("no such object") }).await;
    assert_eq!(*failed.err().unwrap(), "no such object");
    let ahead = Arc::clone(&loader);
    loader.resident.prefetch(key.clone(), move || ahead.load(1 << 20));
    while loader.resident.count() == 0 {
        tokio::task::yield_now().await;
    }
    loader.get("a").await;
    assert_eq!(loader.loads.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_larger_than_the_capacity_is_served_and_shared_while_it_is_held() {
    let loader = Arc::new(Loader::new(1 << 19));
    let held = loader.get("a").await;
    let again = loader.get("a").await;
    assert!(Arc::ptr_eq(&held, &again));
    drop((held, again));
    loader.resident.settle().await;
    assert_eq!((loader.alive.load(SeqCst), loader.resident.bytes()), (0, 0));
}
