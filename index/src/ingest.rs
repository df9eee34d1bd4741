//! Ingest: from drafts to a new snapshot, all or nothing.
//!
//! 1. read and check every draft; with a single one rejected, nothing is written and the report says what to mend, unless
//!    [`IngestOptions::keep_good`] says to take the others
//! 2. drop what is in the datanet already (same id, same text); name what nearly repeats something, or refuse it
//! 3. embed, staging vectors on disk as they come: a killed or cancelled ingest, run again, resumes here
//! 4. draw salts, compute commitments, add all rows in ONE commit of LanceDB: readers never see a part
//! 5. publish table version and tree together: the rows are searchable at once; the indices follow in the background
//!
//! Memory: texts and vectors of the whole input, about 2 kB a datapoint beside its text. Larger inputs are best split.

mod commit;
mod input;
mod known;
mod near;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use lancedb::Table;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::commit::{Commit, Staged};
use self::input::{Input, MOST_LISTED};
pub(crate) use self::near::Bands;
pub use self::near::NearDuplicate;
use crate::datanet::Datanet;
use crate::datapoint::Checked;
use crate::indices::make_searchable;
use crate::schema::datanet_schema;
use crate::staging::{Staging, TextHash};
use crate::{DatanetName, Draft, Drafts, Index, IndexError, IngestDefaults, Snapshot};

/// How an ingest runs.
#[derive(Clone)]
pub struct IngestOptions {
    /// Where vectors are staged; the same directory on the next try resumes. Empty again after success.
    pub staging_dir: PathBuf,
    /// What to assume of datapoints that do not say it themselves.
    pub defaults: IngestDefaults,
    /// Takes what is valid though something else is not.
    pub keep_good: bool,
    /// What to do with datapoints that nearly repeat others.
    pub near_duplicates: NearDuplicates,
    /// Cancels the ingest up to its commit; what is embedded stays staged.
    pub cancel: CancellationToken,
    /// Told of every step. Called from several threads; must not block.
    pub progress: Option<ProgressFn>,
}

/// What is done with datapoints that nearly repeat others, see [`NearDuplicate`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NearDuplicates {
    /// They are not looked for.
    Ignore,
    /// They are named in the report.
    #[default]
    Report,
    /// They are named in the report and left out.
    Refuse,
}

/// Receives an ingest's progress.
pub type ProgressFn = Arc<dyn Fn(IngestProgress) + Send + Sync>;

impl IngestOptions {
    /// Stages in `staging_dir`, without defaults, progress or cancellation.
    pub fn new(staging_dir: impl Into<PathBuf>) -> Self {
        Self {
            staging_dir: staging_dir.into(),
            defaults: IngestDefaults::default(),
            keep_good: false,
            near_duplicates: NearDuplicates::default(),
            cancel: CancellationToken::new(),
            progress: None,
        }
    }
}

/// How far an ingest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IngestProgress {
    /// What it is doing.
    pub stage: IngestStage,
    /// Datapoints done in this stage.
    pub done: u64,
    /// Datapoints this stage is about; 0: not known yet.
    pub total: u64,
}

/// What an ingest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IngestStage {
    /// Reading and checking the input.
    Reading,
    /// Looking for what nearly repeats something.
    Comparing,
    /// Computing vectors: nearly all of the time.
    Embedding,
    /// Committing to the table.
    Writing,
    /// Updating the indices.
    Indexing,
}

/// What an ingest did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IngestReport {
    /// Datapoints in the input.
    pub read: u64,
    /// Datapoints added.
    pub added: u64,
    /// Datapoints that were there already, or twice in the input.
    pub skipped_duplicates: u64,
    /// What has to be mended, the first 1,000; if anything, nothing was written but where the good was to be kept.
    pub rejected: Vec<Rejection>,
    /// How many were rejected in all.
    pub rejected_total: u64,
    /// All of them, where the first 1,000 are not all.
    #[serde(skip)]
    pub rejected_whole: Vec<Rejection>,
    /// Whether the good was to be kept.
    #[serde(skip)]
    keep_good: bool,
    /// What nearly repeats something, the first 1,000.
    pub near_duplicates: Vec<NearDuplicate>,
    /// How many do in all.
    pub near_duplicates_total: u64,
    /// Vectors computed.
    pub embedded: u64,
    /// Vectors that an earlier try had left staged.
    pub resumed: u64,
    /// Tokens of the texts embedded.
    pub tokens: u64,
    /// The datanet afterwards.
    pub snapshot: Snapshot,
}

impl IngestReport {
    /// Whether the input was rejected and nothing of it is in the datanet. Where the good was to be kept, all of that may have been
    /// there before: by an earlier try that ended between its commit and its report.
    pub fn is_rejected(&self) -> bool {
        self.rejected_total > 0 && self.added == 0 && !(self.keep_good && self.skipped_duplicates > 0)
    }
}

/// What an ingest would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// Datapoints in the input.
    pub read: u64,
    /// Those that would be added.
    pub new: u64,
    /// Those that are there already, or twice in the input.
    pub duplicates: u64,
    /// What has to be mended, the first 1,000.
    pub rejected: Vec<Rejection>,
    /// How many have to be mended in all.
    pub rejected_total: u64,
    /// What nearly repeats something, the first 1,000.
    pub near_duplicates: Vec<NearDuplicate>,
    /// How many do in all.
    pub near_duplicates_total: u64,
    /// The first of them, also where they have to be mended.
    pub first: Vec<Sample>,
}

/// A datapoint as it would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Its id; empty where it follows from a text that is not valid.
    pub id: String,
    /// Its text, or how it begins.
    pub text: String,
    /// Who contributed it; empty where nobody is named.
    pub contributor: String,
    /// Its licence.
    pub licence: String,
}

impl Sample {
    /// As the file and the defaults say it.
    fn of_draft(draft: &Draft, defaults: &IngestDefaults) -> Self {
        let given = |own: &Option<String>, default: &Option<String>| {
            own.clone().or_else(|| default.clone()).unwrap_or_default()
        };
        Self {
            id: draft.id.clone().unwrap_or_default(),
            text: draft.text.chars().take(SHOWN_CHARACTERS).collect(),
            contributor: given(&draft.contributor, &defaults.contributor),
            licence: given(&draft.licence, &defaults.licence),
        }
    }

    fn of(checked: &Checked) -> Self {
        Self {
            id: checked.id.to_string(),
            text: checked.text.chars().take(SHOWN_CHARACTERS).collect(),
            contributor: checked.contributor.clone(),
            licence: checked.licence.clone(),
        }
    }
}

/// A datapoint that cannot be ingested as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Its line in the input, from 1; 0 if it is about the input as a whole.
    pub line: u64,
    /// What is wrong and how to mend it.
    pub reason: String,
}

impl Index {
    /// Adds the drafts to a datanet, all or none. One ingest a datanet runs at a time; further ones wait.
    ///
    /// Rejected datapoints are no error but a report, see [`IngestReport::is_rejected`].
    pub async fn ingest(
        &self,
        name: &DatanetName,
        drafts: Drafts,
        options: IngestOptions,
    ) -> Result<IngestReport, IndexError> {
        let datanet = self.datanet(name)?;
        let writer = datanet.writer.clone().lock_owned().await;
        let snapshot = datanet.refresh(&writer).await?;
        let input = read(name, (&*writer, &datanet.bands), drafts, &options).await?;
        let rejected_total = input.rejected.len() as u64;
        let listed = input.rejected.iter().take(MOST_LISTED).cloned().collect();
        let mut report = IngestReport {
            read: input.read,
            added: 0,
            skipped_duplicates: input.duplicates,
            rejected: listed,
            rejected_total,
            rejected_whole: if rejected_total > MOST_LISTED as u64 { input.rejected } else { Vec::new() },
            keep_good: options.keep_good,
            near_duplicates: input.near_duplicates,
            near_duplicates_total: input.near_duplicates_total,
            embedded: 0,
            resumed: 0,
            tokens: 0,
            snapshot,
        };
        if input.checked.is_empty() || report.rejected_total > 0 && !options.keep_good {
            return Ok(report);
        }
        let staged = self.embed_staged(name, input.checked, &options, &mut report).await?;
        options.not_cancelled()?;

        let (first, schema) = (report.snapshot.size, datanet_schema(self.embedder()));
        let batch_name = name.clone();
        let commit = spawn_blocking(move || Commit::prepare(&batch_name, first, &schema, staged)).await??;
        options.not_cancelled()?;
        // A task of its own: a caller that goes away now must not stop between the commit and its publication.
        tokio::spawn(finish(datanet, writer, commit, report, options)).await?
    }

    /// Reads and checks drafts as an ingest would, and writes nothing.
    pub async fn examine(
        &self,
        name: &DatanetName,
        drafts: Drafts,
        options: IngestOptions,
    ) -> Result<Examination, IndexError> {
        let datanet = self.datanet(name)?;
        let published = datanet.published();
        let mut input = read(name, (&published.table, &datanet.bands), drafts, &options).await?;
        let rejected_total = input.rejected.len() as u64;
        input.rejected.truncate(MOST_LISTED);
        Ok(Examination {
            read: input.read,
            new: input.checked.len() as u64,
            duplicates: input.duplicates,
            rejected: input.rejected,
            rejected_total,
            near_duplicates: input.near_duplicates,
            near_duplicates_total: input.near_duplicates_total,
            first: input.first,
        })
    }

    /// Stages vectors of texts that were computed elsewhere, by the same model: an ingest that stages in `staging_dir` takes them
    /// instead of computing them.
    pub async fn stage(
        &self,
        name: &DatanetName,
        staging_dir: &Path,
        vectors: Vec<(String, Vec<f32>)>,
    ) -> Result<(), IndexError> {
        let (base, datanet, model) = (staging_dir.to_owned(), name.clone(), self.embedder().weights_hash());
        let dimensions = self.embedder().dimensions();
        spawn_blocking(move || {
            let rows = vectors.into_iter().map(|(text, vector)| (Staging::key(&text), vector)).collect();
            Staging::open(&base, &datanet, model, dimensions)?.add(rows)
        })
        .await?
    }

    /// Vectors for all drafts: what is staged is used, the rest computed and staged.
    async fn embed_staged(
        &self,
        name: &DatanetName,
        checked: Vec<Checked>,
        options: &IngestOptions,
        report: &mut IngestReport,
    ) -> Result<Staged, IndexError> {
        let (base, datanet, embedder) = (options.staging_dir.clone(), name.clone(), self.embedder().clone());
        let (model, dimensions) = (embedder.weights_hash(), embedder.dimensions());
        let mut staging = spawn_blocking(move || Staging::open(&base, &datanet, model, dimensions)).await??;

        let keys: Vec<TextHash> = checked.iter().map(|draft| Staging::key(&draft.embedded_text())).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|at| !staging.contains(&keys[*at])).collect();
        let total = checked.len() as u64;
        report.resumed = total - missing.len() as u64;
        options.tell(IngestStage::Embedding, report.resumed, total);

        // Over numbers, not over slices: a future with a closure over borrowed slices cannot be spawned.
        let parts = (0..missing.len().div_ceil(PART_ROWS)).map(|part| {
            let part = missing[part * PART_ROWS..missing.len().min((part + 1) * PART_ROWS)].to_vec();
            let (texts, embedder) = (part.iter().map(|at| checked[*at].embedded_text()).collect(), embedder.clone());
            async move { embedder.embed_bulk(texts).await.map(|embeddings| (part, embeddings)) }
        });
        // The next part is tokenised and begun while the slowest batches of this one still run.
        let mut parts = futures::stream::iter(parts).buffered(2);
        loop {
            let next = tokio::select! {
                biased;
                () = options.cancel.cancelled() => return Err(IndexError::Cancelled),
                next = parts.try_next() => next?,
            };
            let Some((part, embeddings)) = next else { break };
            let rows: Vec<_> = part.iter().map(|at| keys[*at]).zip(embeddings.vectors).collect();
            report.embedded += rows.len() as u64;
            report.tokens += embeddings.tokens;
            staging = spawn_blocking(move || staging.add(rows).map(|()| staging)).await??;
            options.tell(IngestStage::Embedding, report.resumed + report.embedded, total);
        }
        drop(parts);
        Ok(Staged { drafts: checked.into_iter().zip(keys).collect(), staging })
    }
}

/// Reads and checks drafts against what a table has.
async fn read(
    name: &DatanetName,
    of: (&Table, &Bands),
    drafts: Drafts,
    options: &IngestOptions,
) -> Result<Input, IndexError> {
    let of_task = options.clone();
    let input = spawn_blocking(move || Input::read(drafts, &of_task)).await??;
    input.unknown(name, of.0).await?.compared(name, of, options).await
}

/// Adds and publishes; indexes before that what is not searchable without, and the rest afterwards. The datanet's lock is held
/// through the guard `writer`.
async fn finish(
    datanet: Arc<Datanet>,
    writer: OwnedMutexGuard<Table>,
    commit: Commit,
    mut report: IngestReport,
    options: IngestOptions,
) -> Result<IngestReport, IndexError> {
    let Commit { batches, leaves, staging } = commit;
    let total = leaves.len() as u64;
    options.tell(IngestStage::Writing, 0, total);
    writer.add(batches).execute().await?;
    report.added = total;
    options.tell(IngestStage::Indexing, 0, total);
    // The rows are in the table: publish them even if an index failed. The next ingest or start tries again.
    let searchable = make_searchable(&writer).await;
    report.snapshot = datanet.publish(&writer, leaves).await?;
    searchable?;
    datanet.index_in_background(writer);
    spawn_blocking(move || staging.remove()).await??;
    options.tell(IngestStage::Indexing, total, total);
    Ok(report)
}

impl IngestOptions {
    fn tell(&self, stage: IngestStage, done: u64, total: u64) {
        if let Some(progress) = &self.progress {
            progress(IngestProgress { stage, done, total });
        }
    }

    fn not_cancelled(&self) -> Result<(), IndexError> {
        if self.cancel.is_cancelled() { Err(IndexError::Cancelled) } else { Ok(()) }
    }
}

/// Datapoints that an examination shows, and of each so many characters.
const SHOWN: usize = 5;
const SHOWN_CHARACTERS: usize = 400;
/// Rows of a staged part: some seconds' work, which is what a kill loses.
const PART_ROWS: usize = 512;
