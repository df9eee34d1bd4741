//! The index: all datanets of one LanceDB directory or bucket.
//!
//! One process writes; others may open the same place to read, and see new snapshots after [`Index::follow`]. Rows never
//! move and never change, so whatever an answer was drawn from can still be proved, except that one may be erased
//! ([`Index::erase`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cairn_filter::Filter;
use cairn_proof::Hash;
use futures::TryStreamExt;
use lancedb::expr::{col, is_in, lit};
use lancedb::query::{ExecutableQuery, Query as LanceQuery, QueryBase, Select};
use lancedb::{Connection, ObjectStoreRegistry, Session};
use parking_lot::RwLock;

use crate::datanet::{Datanet, Published};
use crate::indices::Scale;
use crate::retrieve::Found;
use crate::schema::{DATAPOINT_COLUMNS, datanet_schema, datapoints};
use crate::{CrossEncoder, DatanetName, Datapoint, DatapointId, Embedder, IndexError, SaltedDatapoint, Snapshot};

/// Where the index is and what it embeds with.
pub struct IndexOptions {
    /// A directory, or `s3://bucket/prefix`.
    pub uri: String,
    /// Options of the object store, such as `region`, `endpoint`, `access_key_id`; empty for a directory.
    pub storage_options: HashMap<String, String>,
    /// What texts are embedded with.
    pub embedder: Embedder,
    /// Most bytes of found passages that are kept for the same query asked again, about; 0: nothing is kept.
    pub cache_bytes: u64,
    /// Up to so many rows a search scans all vectors, which is exact; a datanet that has more gets partitions, and trees for
    /// look-ups.
    pub scanned_rows: usize,
    /// Vectors of a partition, about.
    pub partition_rows: u32,
    /// Most bytes of indices and of files' metadata that the store keeps in memory, about. What a search reads beyond them comes
    /// from the files.
    pub store_cache_bytes: u64,
    /// What reads the best candidates once more where a query asks for it; none: such queries are refused.
    pub cross_encoder: Option<Arc<CrossEncoder>>,
    /// Another process writes: this one only reads, and is brought up to what was written by [`Index::follow`].
    pub reads: bool,
}

impl IndexOptions {
    /// Without options for the store, without a cross-encoder; 64 MiB of found passages, 50,000 rows scanned, 1 GiB of indices.
    pub fn new(uri: impl Into<String>, embedder: Embedder) -> Self {
        Self {
            uri: uri.into(),
            storage_options: HashMap::new(),
            embedder,
            cache_bytes: 64 << 20,
            scanned_rows: SCANNED_ROWS,
            partition_rows: PARTITION_ROWS,
            store_cache_bytes: 1 << 30,
            cross_encoder: None,
            reads: false,
        }
    }
}

/// An index over a column of a datanet, as searches use it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The column.
    pub column: String,
    /// Rows that it has.
    pub rows: u64,
    /// Rows that are scanned beside it, because it does not have them yet.
    pub scanned: u64,
}

/// A handle to the index; cheap to clone.
#[derive(Clone)]
pub struct Index {
    connection: Connection,
    embedder: Embedder,
    /// Guards the map only; written by create and drop.
    datanets: Arc<RwLock<BTreeMap<DatanetName, Arc<Datanet>>>>,
    pub(crate) found: Found,
    pub(crate) scale: Scale,
    pub(crate) cross_encoder: Option<Arc<CrossEncoder>>,
    reads: bool,
}

impl Index {
    /// Opens the index, creating it where there is none. Recomputes every datanet's tree from its rows.
    pub async fn open(options: IndexOptions) -> Result<Self, IndexError> {
        // Indices are most of it: an eighth goes to the metadata of files.
        let most = usize::try_from(options.store_cache_bytes).unwrap_or(usize::MAX);
        let session = Session::new(most - most / 8, most / 8, Arc::new(ObjectStoreRegistry::default()));
        let connect = lancedb::connect(&options.uri).storage_options(options.storage_options);
        let connection = connect.session(Arc::new(session)).execute().await?;
        let scale = Scale { scanned_rows: options.scanned_rows, partition_rows: options.partition_rows };
        let mut datanets = BTreeMap::new();
        for table in connection.table_names().execute().await? {
            let Ok(name) = DatanetName::try_from(table.clone()) else {
                tracing::warn!(table, "not a datanet's name: the table is left alone");
                continue;
            };
            let datanet = Datanet::open(&connection, name.clone(), &options.embedder, scale, options.reads).await?;
            let datanet = Arc::new(datanet);
            if !options.reads {
                // What a crash interrupted.
                datanet.clone().index_in_background(datanet.writer.clone().lock_owned().await);
            }
            datanets.insert(name, datanet);
        }
        Ok(Self {
            connection,
            embedder: options.embedder,
            datanets: Arc::new(RwLock::new(datanets)),
            found: Found::new(options.cache_bytes),
            scale,
            cross_encoder: options.cross_encoder,
            reads: options.reads,
        })
    }

    /// What texts are embedded with.
    pub fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    /// Creates an empty datanet.
    pub async fn create(&self, name: &DatanetName) -> Result<Snapshot, IndexError> {
        if self.datanets.read().contains_key(name) {
            return Err(IndexError::AlreadyExists(name.clone()));
        }
        let schema = datanet_schema(&self.embedder);
        let created = self.connection.create_empty_table(name.as_str(), schema).execute().await;
        created.map_err(|error| match error {
            lancedb::Error::TableAlreadyExists { .. } => IndexError::AlreadyExists(name.clone()),
            other => IndexError::Store(other),
        })?;
        let datanet = Datanet::open(&self.connection, name.clone(), &self.embedder, self.scale, self.reads).await?;
        let datanet = Arc::new(datanet);
        let snapshot = datanet.published().snapshot.clone();
        self.datanets.write().insert(name.clone(), datanet);
        Ok(snapshot)
    }

    /// Deletes a datanet with all its versions, after an ingest that is under way.
    pub async fn drop(&self, name: &DatanetName) -> Result<(), IndexError> {
        let datanet = self.datanet(name)?;
        let _writer = datanet.writer.lock().await;
        if self.datanets.write().remove(name).is_none() {
            return Err(IndexError::UnknownDatanet(name.clone()));
        }
        self.found.forget();
        Ok(self.connection.drop_table(name.as_str(), &[]).await?)
    }

    /// Every datanet, by name.
    pub fn list(&self) -> Vec<Snapshot> {
        self.datanets.read().values().map(|datanet| datanet.published().snapshot.clone()).collect()
    }

    /// The present state of a datanet. Reads memory only.
    pub fn snapshot(&self, name: &DatanetName) -> Result<Snapshot, IndexError> {
        Ok(self.published(name)?.snapshot.clone())
    }

    /// Root hash of a datanet when it had `size` datapoints. Reads memory only.
    pub fn root_at(&self, name: &DatanetName, size: u64) -> Result<Hash, IndexError> {
        let published = self.published(name)?;
        let root = published.tree.root_at(size);
        root.map_err(|_| invalid_size(&published, size.saturating_sub(1), size))
    }

    /// The audit path (RFC 6962) of the datapoint at `seq` in the tree of the first `size` ones. Reads memory only.
    pub fn prove(&self, name: &DatanetName, seq: u64, size: u64) -> Result<Vec<Hash>, IndexError> {
        let published = self.published(name)?;
        published.tree.inclusion(seq, size).map_err(|_| invalid_size(&published, seq, size))
    }

    /// Waits until the indices of a datanet are up to its rows.
    pub async fn indexed(&self, name: &DatanetName) -> Result<(), IndexError> {
        drop(self.datanet(name)?.writer.lock().await);
        Ok(())
    }

    /// What the indices of a datanet have, as far as they are built.
    pub async fn indices(&self, name: &DatanetName) -> Result<Vec<Indexed>, IndexError> {
        let present = self.published(name)?.table.list_indices().await?;
        let indexed = present.into_iter().map(|index| Indexed {
            column: index.columns.join(", "),
            rows: index.num_indexed_rows.unwrap_or_default(),
            scanned: index.num_unindexed_rows.unwrap_or_default(),
        });
        Ok(indexed.collect())
    }

    /// Brings a datanet up to what the process that writes has written, opening it where it is new here. `noted` is the last
    /// snapshot that the writer told of: a datanet that does not have it is another of the same name, and opened anew. For an
    /// index that was opened to read.
    ///
    /// # Errors
    /// [`IndexError::Store`] where the store fails or has no such datanet.
    pub async fn follow(&self, name: &DatanetName, noted: Option<&Snapshot>) -> Result<Snapshot, IndexError> {
        let is_it = |published: &Published| {
            noted.is_none_or(|noted| published.tree.root_at(noted.size).is_ok_and(|root| root == noted.root))
        };
        let known = self.datanets.read().get(name).cloned();
        if let Some(known) = known {
            let writer = known.writer.lock().await;
            let followed = known.follow(&writer, noted).await;
            if let Ok(new) = followed
                && is_it(&known.published())
            {
                if new {
                    self.found.forget();
                }
                return Ok(known.published().snapshot.clone());
            }
        }
        // What is kept of another datanet must not be found, whether this one can be opened or not.
        self.datanets.write().remove(name);
        self.found.forget();
        let datanet = Datanet::open(&self.connection, name.clone(), &self.embedder, self.scale, true).await?;
        datanet.follow(&*datanet.writer.lock().await, noted).await?;
        let snapshot = datanet.published().snapshot.clone();
        self.datanets.write().insert(name.clone(), Arc::new(datanet));
        Ok(snapshot)
    }

    /// The datapoint with an id, if there is one that was not erased.
    pub async fn datapoint(&self, name: &DatanetName, id: &DatapointId) -> Result<Option<Datapoint>, IndexError> {
        let published = self.published(name)?;
        let query = published.table.query().only_if_expr(col("id").eq(lit(id.as_str())));
        let found = fetch(name, query).await?.pop();
        Ok(found.filter(|salted| salted.erased.is_none()).map(|salted| salted.datapoint))
    }

    /// The datapoints at some places, with their salts, in the order of `seqs`; erased ones included.
    pub async fn by_seq(&self, name: &DatanetName, seqs: &[u64]) -> Result<Vec<SaltedDatapoint>, IndexError> {
        let published = self.published(name)?;
        let size = published.snapshot.size;
        if let Some(seq) = seqs.iter().copied().find(|seq| *seq >= size) {
            return Err(IndexError::UnknownSeq { datanet: name.clone(), seq, size });
        }
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = seqs.iter().map(|seq| lit(*seq)).collect();
        let query = published.table.query().only_if_expr(is_in(col("seq"), wanted));
        let found = fetch(name, query).await?;
        let found: HashMap<u64, SaltedDatapoint> = found.into_iter().map(|row| (row.datapoint.seq, row)).collect();
        let missing = |seq: &u64| IndexError::Corrupt {
            datanet: name.clone(),
            reason: format!("place {seq} is in its tree but not in its table"),
        };
        seqs.iter().map(|seq| found.get(seq).cloned().ok_or_else(|| missing(seq))).collect()
    }

    /// The datapoints at the `limit` places from `from` on, in order; erased ones, and those that `rows` does not mean, are
    /// left out.
    pub async fn page(
        &self,
        name: &DatanetName,
        from: u64,
        limit: usize,
        rows: Option<&Filter>,
    ) -> Result<Vec<Datapoint>, IndexError> {
        let published = self.published(name)?;
        let upto = from.saturating_add(limit as u64);
        let range = col("seq").gt_eq(lit(from)).and(col("seq").lt(lit(upto)));
        let found = fetch(name, published.table.query().only_if_expr(range)).await?;
        let found = found.into_iter().filter(|row| row.erased.is_none()).map(|row| row.datapoint);
        let mut page: Vec<Datapoint> =
            found.filter(|datapoint| rows.is_none_or(|rows| rows.matches(datapoint))).collect();
        page.sort_by_key(|datapoint| datapoint.seq);
        Ok(page)
    }

    pub(crate) fn datanet(&self, name: &DatanetName) -> Result<Arc<Datanet>, IndexError> {
        self.datanets.read().get(name).cloned().ok_or_else(|| IndexError::UnknownDatanet(name.clone()))
    }

    pub(crate) fn published(&self, name: &DatanetName) -> Result<Arc<Published>, IndexError> {
        Ok(self.datanet(name)?.published())
    }
}

pub(crate) async fn fetch(name: &DatanetName, query: LanceQuery) -> Result<Vec<SaltedDatapoint>, IndexError> {
    let mut batches = query.select(Select::columns(&DATAPOINT_COLUMNS)).execute().await?;
    let mut rows = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        rows.extend(datapoints(name, &batch)?);
    }
    Ok(rows)
}

fn invalid_size(published: &Published, seq: u64, size: u64) -> IndexError {
    let Snapshot { datanet, size: have, .. } = published.snapshot.clone();
    IndexError::InvalidSize { datanet, seq, size, have }
}

/// So many vectors are scanned in about 60 ms on two cores.
const SCANNED_ROWS: usize = 50_000;
/// Small enough that the nearest sixteen hold most of what is nearest, large enough that their centres are few.
const PARTITION_ROWS: u32 = 1024;
