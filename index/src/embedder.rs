//! The embedding threads: MiniLM off the asynchronous threads, behind bounded queues.
//!
//! Two lanes, so that a search never waits behind an ingest: the interactive lane has a thread of its own and refuses
//! work when its queue is full; the bulk lane has a thread a core and makes its callers wait. The operating system shares
//! the cores between them.

use std::sync::Arc;
use std::thread;

use cairn_proof::Hash;
use futures::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::minilm::{Batches, Embeddings, MiniLm, TokenVectors};
use crate::{CrossEncoder, DatanetName, IndexError};

/// How the embedding threads are set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmbedderOptions {
    /// Threads for bulk work; 0: one for every core.
    pub threads: usize,
    /// Searches that may wait for the interactive thread before further ones are refused; 0: 64.
    pub queue: usize,
}

/// A handle to the embedding threads. They end when the last handle is dropped.
#[derive(Clone)]
pub struct Embedder {
    interactive: mpsc::Sender<Job>,
    bulk: mpsc::Sender<Job>,
    dimensions: usize,
    weights_hash: Hash,
}

type Job = Box<dyn FnOnce(&MiniLm) + Send>;

impl Embedder {
    /// Starts the threads.
    pub fn start(model: MiniLm, options: &EmbedderOptions) -> Result<Self, IndexError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores } else { options.threads };
        let queue = if options.queue == 0 { 64 } else { options.queue };
        let (dimensions, weights_hash) = (model.dimensions(), model.weights_hash());
        let model = Arc::new(model);
        let (interactive, searches) = mpsc::channel(queue);
        let (bulk, batches) = mpsc::channel(threads * 4);
        spawn("embed-search".to_owned(), &model, &Arc::new(Mutex::new(searches)))?;
        let batches = Arc::new(Mutex::new(batches));
        for n in 0..threads {
            spawn(format!("embed-bulk-{n}"), &model, &batches)?;
        }
        Ok(Self { interactive, bulk, dimensions, weights_hash })
    }

    /// Embeds a few texts at once, as a search does; more than 32 go the bulk way. [`IndexError::Busy`] if too many wait.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, IndexError> {
        if texts.len() > MOST_INTERACTIVE {
            return self.embed_bulk(texts).await;
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |model| {
            if !answer.is_closed() {
                let _ = answer.send(model.embed(&texts)); // the caller may have gone: nobody to tell
            }
        });
        self.interactive.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IndexError::Busy,
            mpsc::error::TrySendError::Closed(_) => IndexError::EmbedderStopped,
        })?;
        answered.await.map_err(|_| IndexError::EmbedderStopped)?
    }

    /// Embeds many texts with all bulk threads, waiting for its turn. Dropping the future abandons what has not begun.
    pub async fn embed_bulk(&self, texts: Vec<String>) -> Result<Embeddings, IndexError> {
        let count = texts.len();
        let Batches { batches, tokens } = self.on_bulk_thread(move |model| model.batches(&texts)).await?;
        let computed = batches.into_iter().map(|batch| self.on_bulk_thread(move |model| model.embed_batch(batch)));
        let mut vectors = vec![Vec::new(); count];
        for (place, vector) in try_join_all(computed).await?.into_iter().flatten() {
            vectors[place] = vector;
        }
        Ok(Embeddings { vectors, tokens })
    }

    /// How well each passage answers a query, token by token: see [`TokenVectors::late_interaction`]. Of each text the first 256
    /// tokens count. Costs about as much as embedding the passages.
    pub(crate) async fn late_interaction(&self, query: String, passages: Vec<String>) -> Result<Vec<f64>, IndexError> {
        let texts: Vec<String> = std::iter::once(query).chain(passages).collect();
        let count = texts.len();
        let batches = self.on_bulk_thread(move |model| model.batches(&texts)).await?.batches;
        let computed = batches.into_iter().map(|batch| self.on_bulk_thread(move |model| model.token_vectors(batch)));
        let mut vectors: Vec<Option<TokenVectors>> = (0..count).map(|_| None).collect();
        for (place, tokens) in try_join_all(computed).await?.into_iter().flatten() {
            vectors[place] = Some(tokens);
        }
        self.on_bulk_thread(move |_| {
            let mut texts = vectors.into_iter().flatten();
            let Some(query) = texts.next() else { return Ok(Vec::new()) };
            Ok(texts.map(|passage| query.late_interaction(&passage)).collect())
        })
        .await
    }

    /// What a cross-encoder says of each passage, computed on the bulk threads: see [`CrossEncoder::scores`].
    pub(crate) async fn cross_scores(
        &self,
        encoder: Arc<CrossEncoder>,
        query: String,
        passages: Vec<String>,
    ) -> Result<Vec<f64>, IndexError> {
        let of_pairs = encoder.clone();
        let batches = self.on_bulk_thread(move |_| Ok(of_pairs.batches(of_pairs.pairs(&query, &passages)?))).await?;
        let scored = batches.into_iter().map(|batch| {
            let encoder = encoder.clone();
            self.on_bulk_thread(move |_| encoder.score(batch))
        });
        Ok(try_join_all(scored).await?.into_iter().flatten().map(f64::from).collect())
    }

    /// Length of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// SHA-256 of the model's weights.
    pub fn weights_hash(&self) -> Hash {
        self.weights_hash
    }

    /// The model's name, as the embeddings endpoint calls it.
    pub fn name(&self) -> &'static str {
        "all-MiniLM-L6-v2"
    }

    /// Fails if a datanet was embedded with another model.
    pub(crate) fn check_weights(&self, datanet: &DatanetName, found: &str) -> Result<(), IndexError> {
        let loaded = self.weights_hash.to_string();
        if found == loaded {
            return Ok(());
        }
        Err(IndexError::WrongEmbedder { datanet: datanet.clone(), found: found.to_owned(), loaded })
    }

    async fn on_bulk_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MiniLm) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |model| {
            if !answer.is_closed() {
                let _ = answer.send(work(model)); // the caller may have gone: nobody to tell
            }
        });
        self.bulk.send(job).await.map_err(|_| IndexError::EmbedderStopped)?;
        answered.await.map_err(|_| IndexError::EmbedderStopped)?
    }
}

/// `jobs` is shared by the threads of a lane; its lock is held only while one of them waits for the next job.
fn spawn(name: String, model: &Arc<MiniLm>, jobs: &Arc<Mutex<mpsc::Receiver<Job>>>) -> Result<(), IndexError> {
    let (model, jobs) = (model.clone(), jobs.clone());
    let run = move || {
        loop {
            let Some(job) = jobs.lock().blocking_recv() else { return };
            job(&model);
        }
    };
    let spawned = thread::Builder::new().name(name.clone()).spawn(run);
    spawned.map(drop).map_err(|error| IndexError::Model { path: name.into(), reason: error.to_string() })
}

/// Texts that the interactive lane takes at once: about a second's work.
const MOST_INTERACTIVE: usize = 32;
