//! [`Resident`]: adapters prepared by an engine and kept in memory, least recently used out first.
//!
//! How "never evicted while in use, and never twice in memory" holds: whoever serves a request holds the `Arc` that
//! [`Resident::get`] gave it, beside its lease. Eviction only drops the cache's own `Arc`, so the weights stay as long as
//! a request uses them; and because a weak reference is kept to every one given out, the next `get` finds the same
//! weights and puts them back into the cache instead of loading them again. The price is that memory may exceed the
//! capacity by what is in use but was evicted; [`Resident::bytes`] counts that too. The engine bounds it by the number of
//! requests it runs at once.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, Weak},
};

use moka::{future::Cache, policy::EvictionPolicy};
use parking_lot::Mutex;

use crate::AdapterGeneration;

/// Adapters in memory, by generation. `T` is what an engine prepared for one base, so there is one of these for each
/// engine and base. Cheap to clone.
pub struct Resident<T> {
    cache: Cache<AdapterGeneration, Slot<T>>,
    /// Everything that may still be in memory, in the cache or in use. Written by `get`, which also sweeps it.
    known: Arc<Mutex<HashMap<AdapterGeneration, Weak<Held<T>>>>>,
    weigh: fn(&T) -> u64,
}

/// The cache's own reference, emptied at eviction: moka may destroy an evicted entry much later than it evicts it.
type Slot<T> = Arc<Mutex<Option<Prepared<T>>>>;

/// What [`Resident::get`] gives: the prepared adapter, for as long as it is held.
pub type Prepared<T> = Arc<Held<T>>;

/// A prepared adapter and its weight.
#[derive(Debug)]
pub struct Held<T> {
    value: T,
    bytes: u64,
}

impl<T> std::ops::Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Send + Sync + 'static> Resident<T> {
    /// Keeps at most about `capacity` bytes, as `weigh` counts them.
    #[must_use]
    pub fn new(capacity: u64, weigh: fn(&T) -> u64) -> Self {
        // moka's weights are 32 bits wide: count KiB, so that one entry may have up to 4 TiB.
        let weight = |held: &Prepared<T>| u32::try_from(held.bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let cache = Cache::builder()
            .max_capacity(capacity / 1024)
            .weigher(move |_, slot: &Slot<T>| slot.lock().as_ref().map_or(0, weight))
            .eviction_policy(EvictionPolicy::lru()) // the default, TinyLFU, may refuse a newcomer
            .eviction_listener(|_, slot, _| drop(slot.lock().take()))
            .build();
        Self { cache, known: Arc::default(), weigh }
    }

    /// The prepared adapter; `load` prepares it where it is not in memory. Of many that wait for the same generation one
    /// loads, and all get its error if it fails; the next `get` tries again.
    ///
    /// # Errors
    /// What `load` returned.
    pub async fn get<L, F, E>(&self, generation: &AdapterGeneration, load: L) -> Result<Prepared<T>, Arc<E>>
    where
        L: Fn() -> F,
        F: Future<Output = Result<T, E>>,
        E: Send + Sync + 'static,
    {
        loop {
            let mut loaded = None;
            let prepare = async {
                let held = match self.in_use(generation) {
                    Some(held) => held, // evicted while in use: the cache takes it back
                    None => self.remember(generation, load().await?),
                };
                loaded = Some(Arc::clone(&held));
                Ok(Arc::new(Mutex::new(Some(held))))
            };
            let slot = self.cache.try_get_with(generation.clone(), prepare).await?;
            let cached = slot.lock().clone();
            // Empty when it was evicted since, as at once when it alone exceeds the capacity.
            if let Some(held) = loaded.or(cached).or_else(|| self.in_use(generation)) {
                return Ok(held);
            }
        }
    }

    fn in_use(&self, generation: &AdapterGeneration) -> Option<Prepared<T>> {
        self.known.lock().get(generation).and_then(Weak::upgrade)
    }

    fn remember(&self, generation: &AdapterGeneration, value: T) -> Prepared<T> {
        let bytes = (self.weigh)(&value);
        let held = Arc::new(Held { value, bytes });
        let mut known = self.known.lock();
        known.insert(generation.clone(), Arc::downgrade(&held));
        // Amortised: swept when half of it could be dead.
        if known.len() > 64 && known.len() as u64 > 2 * self.cache.entry_count() {
            known.retain(|_, held| held.strong_count() > 0);
        }
        held
    }

    /// Begins to load an adapter that a request will soon need. A failure is left to that request to report.
    pub fn prefetch<L, F, E>(&self, generation: AdapterGeneration, load: L)
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let resident = self.clone();
        tokio::spawn(async move { resident.get(&generation, load).await.map(drop).ok() });
    }

    /// Lets go of a generation that was deleted; requests that use it keep it.
    pub async fn forget(&self, generation: &AdapterGeneration) {
        self.cache.invalidate(generation).await;
        self.settle().await;
    }

    /// Bytes in memory, cached or in use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.known.lock().values().filter_map(Weak::upgrade).map(|held| held.bytes).sum()
    }

    /// Adapters in memory, cached or in use.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.lock().values().filter(|held| held.strong_count() > 0).count()
    }

    /// Completes evictions that are due; moka otherwise does so in passing, with later calls.
    pub async fn settle(&self) {
        self.cache.run_pending_tasks().await;
    }
}

impl<T> Clone for Resident<T> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), known: Arc::clone(&self.known), weigh: self.weigh }
    }
}

impl<T> fmt::Debug for Resident<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident").field("entries", &self.cache.entry_count()).finish_non_exhaustive()
    }
}
