//! What serves models beside mistral.rs: an engine that attaches adapters, for the families that it knows.
//!
//! [`BaseModels`](crate::BaseModels) holds such engines as it holds mistral.rs': loaded on demand, once for all who wait,
//! under the same memory budget. Whoever assembles the program gives the engine, so that this crate need not know it.

use std::{path::Path, sync::Arc};

use cairn_adapters::{AdapterGeneration, EventStream, GenerateError, Generation, Generator, ScoredToken, peft};
use futures::StreamExt;
use tokio::runtime::Handle;

use crate::{
    budget::Reservation,
    engine::{InMemory, free},
    manifest::Manifest,
};

/// An engine beside mistral.rs, and where adapters come from.
#[async_trait::async_trait]
pub trait Beside: Send + Sync {
    /// Whether it can serve the model whose files are in `serving`. Reads headers only.
    fn serves(&self, serving: &Path) -> bool;

    /// Bytes that a model takes with it, weights and all: what the memory budget counts.
    fn memory_bytes(&self, manifest: &Manifest) -> u64;

    /// Loads a model, for as long as that takes.
    ///
    /// # Errors
    /// The reason, in words.
    fn open(&self, serving: &Path, manifest: &Manifest) -> Result<Arc<dyn BesideModel>, String>;

    /// The weights of a generation that the caller has pinned, to be merged into a model that this engine does not serve.
    ///
    /// # Errors
    /// They cannot be read.
    async fn adapter(&self, generation: &AdapterGeneration) -> Result<peft::Adapter, GenerateError>;
}

/// A model in such an engine. Its memory is free some time after the last handle is dropped.
#[async_trait::async_trait]
pub trait BesideModel: Generator {
    /// Tells, even after the model was dropped, whether its weights are still in memory.
    fn in_memory(&self) -> Box<dyn Fn() -> bool + Send + Sync>;

    /// How likely an answer is to a request, token by token. Sampling has no part in it.
    ///
    /// # Errors
    /// As [`Generator::generate`].
    async fn score(&self, request: Generation, answer: String) -> Result<Vec<ScoredToken>, GenerateError>;

    /// Brings adapters into memory before a request names them.
    ///
    /// # Errors
    /// One of them cannot be read or does not fit.
    async fn attach(&self, generations: &[AdapterGeneration]) -> Result<(), GenerateError>;

    /// Lets go of an adapter that was deleted; requests that use it keep it.
    async fn forget(&self, generation: &AdapterGeneration);

    /// What it does and did, by the names of Prometheus metrics.
    fn figures(&self) -> Vec<(&'static str, f64)>;
}

/// A loaded model of a [`Beside`] engine and its share of the memory budget.
pub(crate) struct BesideEngine {
    /// None only while it is being dropped.
    model: Option<Arc<dyn BesideModel>>,
    runtime: Handle,
    reservation: Option<Reservation>,
}

impl BesideEngine {
    pub(crate) fn new(model: Arc<dyn BesideModel>, runtime: Handle, reservation: Reservation) -> Self {
        Self { model: Some(model), runtime, reservation: Some(reservation) }
    }

    fn model(&self) -> &Arc<dyn BesideModel> {
        self.model.as_ref().expect("it is there until this is dropped")
    }

    pub(crate) fn figures(&self) -> Vec<(&'static str, f64)> {
        self.model().figures()
    }

    pub(crate) async fn attach(self: Arc<Self>, generations: Vec<AdapterGeneration>) -> Result<(), GenerateError> {
        self.model().attach(&generations).await
    }

    pub(crate) async fn forget(&self, generation: &AdapterGeneration) {
        self.model().forget(generation).await;
    }

    pub(crate) async fn score(
        self: Arc<Self>,
        request: Generation,
        answer: String,
    ) -> Result<Vec<ScoredToken>, GenerateError> {
        self.model().score(request, answer).await
    }

    /// Starts generating. The stream holds the engine and `held` until it ends or is dropped.
    pub(crate) async fn generate(
        self: Arc<Self>,
        request: Generation,
        held: impl Send + 'static,
    ) -> Result<EventStream, GenerateError> {
        let events = self.model().generate(request).await?;
        let mut held = Some((self, held));
        Ok(events
            .map(move |event| {
                // Whoever has read the last event may begin another request.
                if matches!(event, Ok(cairn_adapters::Event::Done(_)) | Err(_)) {
                    drop(held.take());
                }
                event
            })
            .boxed())
    }
}

impl Drop for BesideEngine {
    fn drop(&mut self) {
        if let Some(model) = self.model.take() {
            let in_memory: InMemory = model.in_memory().into();
            drop(model);
            free(&self.runtime, in_memory, self.reservation.take());
        }
    }
}
