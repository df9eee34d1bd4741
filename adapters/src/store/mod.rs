//! The adapter store: immutable generations, the aliases that point to them, and who may use them.
//!
//! ```text
//! upload ──► generation (SHA-256 of configuration and weights; never changes)
//! publish, rollback, canary ──► alias, unique by name on a base ──► one generation, or two by percentage
//! resolve ──► Lease: one generation, pinned until the last clone is dropped
//! ```
//! State is in SQLite or PostgreSQL (tables `adapter_*`) and in an object store. Each change is one transaction, which also
//! holds its entry for the transparency log ([`Change`]). Weights are written before the transaction that makes them
//! visible, so that a crash at any moment leaves all of a generation or none; what a crash left half-written is removed
//! by [`Store::open`].
//!
//! One process at a time may use a database and its objects, because leases are kept in memory.

mod access;
mod alias;
mod archive;
mod changes;
mod delete;
mod error;
mod generation;
mod lease;
mod list;
mod names;
mod objects;
mod quota;
mod resident;
mod resolve;
mod schema;
mod upload;

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use cairn_database::{Database, query};
use parking_lot::Mutex;
use tokio::sync::{RwLock, mpsc};

pub use access::Visibility;
pub use changes::{Action, Change, ChangeEntry};
pub use error::StoreError;
pub use generation::generation;
pub use lease::Lease;
pub use list::{AliasInfo, GenerationInfo, HistoryEntry, Page};
pub use names::{AliasName, Caller, Reference};
pub use objects::Objects;
pub use quota::{Quota, QuotaInfo};
pub use resident::{Held, Prepared, Resident};
pub use upload::{Source, Upload, Uploaded};

use crate::{AdapterGeneration, peft};

/// What is fixed when a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// A directory of its own for archives while they are checked. What is in it is deleted at open.
    pub staging: PathBuf,
    /// How large an adapter may be.
    pub limits: peft::Limits,
    /// What an owner may store, unless [`Store::set_quota`] says otherwise.
    pub quota: Quota,
    /// Another process keeps the store, and this one only resolves and loads: nothing is created, and nothing mended.
    pub shared: bool,
}

impl StoreOptions {
    /// The default limits, with archives checked in `staging`.
    pub fn new(staging: impl Into<PathBuf>) -> Self {
        Self { staging: staging.into(), limits: peft::Limits::default(), quota: Quota::default(), shared: false }
    }
}

/// The adapter store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Database,
    objects: Objects,
    options: StoreOptions,
    leases: Arc<lease::Leases>,
    /// Uploads hold it shared from the first object to the commit, removals alone: so that no removal takes the objects
    /// of an upload of the same content.
    contents: RwLock<()>,
    /// Generations whose stored bytes were compared with their name since the process began. Written by `load`.
    verified: Mutex<HashSet<AdapterGeneration>>,
}

impl Store {
    /// Opens the store: creates tables that are missing, removes what a crash left behind, completes deletions; none of it
    /// where the store is [shared](StoreOptions::shared).
    ///
    /// # Errors
    /// [`StoreError`] when the database, the objects or the staging directory cannot be used.
    pub async fn open(pool: Database, objects: Objects, options: StoreOptions) -> Result<Self, StoreError> {
        if !options.shared {
            schema::create(&pool).await?;
        }
        let staging = options.staging.clone();
        tokio::task::spawn_blocking(move || upload::sweep(&staging)).await??;
        let (removals, mut removed) = mpsc::unbounded_channel();
        let leases = Arc::new(lease::Leases::new(removals));
        let (contents, verified) = (RwLock::default(), Mutex::default());
        let store = Self { inner: Arc::new(Inner { pool, objects, options, leases, contents, verified }) };
        if !store.inner.options.shared {
            store.finish_interrupted().await?;
        }

        // Removes rows that lost their last lease. It must not keep the store alive, or neither would ever end.
        let weak = Arc::downgrade(&store.inner);
        tokio::spawn(async move {
            while let Some(row) = removed.recv().await {
                let Some(inner) = weak.upgrade() else { break };
                if let Err(error) = (Store { inner }).remove(row).await {
                    tracing::error!(row, %error, "a deleted adapter could not be removed; the next start tries again");
                }
            }
        });
        Ok(store)
    }

    /// Removes objects of uploads that were never committed, and rows whose deletion was.
    async fn finish_interrupted(&self) -> Result<(), StoreError> {
        let unfinished = query(
            "SELECT generation FROM adapter_intents
             WHERE generation NOT IN (SELECT generation FROM adapter_generations)",
        );
        for row in unfinished.fetch_all(&self.inner.pool).await? {
            self.inner.objects.remove(&AdapterGeneration(row.get(0))).await?;
        }
        query("DELETE FROM adapter_intents").execute(&self.inner.pool).await?;
        let deleting = query("SELECT id FROM adapter_generations WHERE state = 'deleting'");
        for row in deleting.fetch_all(&self.inner.pool).await? {
            self.remove(row.get(0)).await?;
        }
        Ok(())
    }
}
