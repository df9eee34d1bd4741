//! One datanet in memory: the table to write to, and what readers see of it.
//!
//! Readers see a [`Published`]: a table pinned to one version together with the tree over exactly its rows. Both are
//! replaced at once, so a search, its snapshot and its proofs always speak of the same rows.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;
use cairn_proof::{Hash, Tree};
use futures::TryStreamExt;
use lance::dataset::{BatchUDF, NewColumnTransform};
use lancedb::expr::{col, lit};
use lancedb::query::{ExecutableQuery, QueryBase, Select};
use lancedb::{Connection, Table};
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::OwnedMutexGuard;

use crate::indices::{self, Scale};
use crate::ingest::Bands;
use crate::schema::{Columns, attributes, attributes_field, hash_at, weights_hash};
use crate::{DatanetName, Embedder, IndexError};

/// The state of a datanet that proofs refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub datanet: DatanetName,
    /// The LanceDB table version that searches read.
    pub lance_version: u64,
    /// Number of datapoints.
    pub size: u64,
    /// RFC 6962 root hash over their commitments, in order.
    pub root: Hash,
}

/// A datanet that is open.
pub(crate) struct Datanet {
    pub(crate) name: DatanetName,
    connection: Connection,
    /// The table at its latest version. Guards against two ingests at once; held by an ingest from beginning to end.
    pub(crate) writer: Arc<tokio::sync::Mutex<Table>>,
    /// Guards the one reference; written by [`Datanet::publish`], under the writer's lock.
    published: RwLock<Arc<Published>>,
    /// What near-duplicates are sought by. Guards itself; written by ingests, examinations and erasures.
    pub(crate) bands: Bands,
    scale: Scale,
}

/// What readers see.
pub(crate) struct Published {
    /// Pinned to the snapshot's version, or to a later one with the same rows and more indices.
    pub(crate) table: Table,
    pub(crate) snapshot: Snapshot,
    pub(crate) tree: Tree,
}

impl Datanet {
    /// Opens a datanet: checks its model, recomputes its tree, makes it searchable. Where `reads` is set another process does
    /// the last, and nothing is written.
    pub(crate) async fn open(
        connection: &Connection,
        name: DatanetName,
        embedder: &Embedder,
        scale: Scale,
        reads: bool,
    ) -> Result<Self, IndexError> {
        let table = connection.open_table(name.as_str()).execute().await?;
        embedder.check_weights(&name, weights_hash(table.schema().await?.as_ref()))?;
        if !reads {
            add_attributes(&name, &table).await?;
            indices::make_searchable(&table).await?;
        }
        let tree = read_tree(&name, &table, Tree::new()).await?;
        let published = Published::pin(connection, &name, table.version().await?, tree).await?;
        let (writer, published) = (Arc::new(tokio::sync::Mutex::new(table)), RwLock::new(Arc::new(published)));
        let bands = Bands::default();
        Ok(Self { name, connection: connection.clone(), writer, published, bands, scale })
    }

    /// Rewrites files and indices without what is no longer in the table.
    pub(crate) async fn rewrite(&self, writer: &Table) -> Result<(), IndexError> {
        indices::rewrite(writer, self.scale).await
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        self.published.read().clone()
    }

    /// Replaces what readers see by the writer's version. `leaves` are those of the rows added since; if they do not
    /// account for all rows, because another process wrote too, the tree is read anew.
    pub(crate) async fn publish(&self, writer: &Table, leaves: Vec<Hash>) -> Result<Snapshot, IndexError> {
        let mut tree = self.published().tree.clone();
        tree.extend(leaves);
        if writer.count_rows(None).await? as u64 != tree.len() {
            tree = read_tree(&self.name, writer, Tree::new()).await?;
        }
        let published = Published::pin(&self.connection, &self.name, writer.version().await?, tree).await?;
        let snapshot = published.snapshot.clone();
        *self.published.write() = Arc::new(published);
        Ok(snapshot)
    }

    /// Brings the indices up to the rows while readers go on, who search what is not indexed yet by scanning it. A crash costs
    /// nothing but the work: the next ingest or start does it again. `writer` is this datanet's.
    pub(crate) fn index_in_background(self: Arc<Self>, writer: OwnedMutexGuard<Table>) {
        tokio::spawn(async move {
            let outcome = async {
                indices::update(&writer, self.scale).await?;
                self.repin(&writer).await
            };
            if let Err(error) = outcome.await {
                tracing::warn!(datanet = %self.name, %error, "the indices could not be brought up to date; searches scan instead");
            }
        });
    }

    /// Lets readers use what was built since, of the same rows: their snapshot stays.
    async fn repin(&self, writer: &Table) -> Result<(), IndexError> {
        let now = self.published();
        let pinned = Published::pin(&self.connection, &self.name, writer.version().await?, now.tree.clone()).await?;
        *self.published.write() = Arc::new(Published { snapshot: now.snapshot.clone(), ..pinned });
        Ok(())
    }

    /// Takes over what other processes wrote.
    pub(crate) async fn refresh(&self, writer: &Table) -> Result<Snapshot, IndexError> {
        writer.checkout_latest().await?;
        let seen = self.published();
        if writer.version().await? == seen.table.version().await? {
            return Ok(seen.snapshot.clone());
        }
        self.publish(writer, Vec::new()).await
    }

    /// As [`Datanet::refresh`] for a process that never writes: rows only ever follow the ones that it has, so it reads the
    /// new ones. `noted` is the last snapshot that the writer told of; a later version that has the same rows, with more
    /// indices, is read in its name. Whether anything was new.
    pub(crate) async fn follow(&self, writer: &Table, noted: Option<&Snapshot>) -> Result<bool, IndexError> {
        writer.checkout_latest().await?;
        let (version, seen) = (writer.version().await?, self.published());
        let named = |size: u64| noted.filter(|noted| noted.size == size).map(|noted| noted.lance_version);
        if version == seen.table.version().await?
            && named(seen.snapshot.size).is_none_or(|version| version == seen.snapshot.lance_version)
        {
            return Ok(false);
        }
        let mut tree = seen.tree.clone();
        let rows = writer.count_rows(None).await? as u64;
        if rows != tree.len() {
            let known = if rows > tree.len() { tree } else { Tree::new() };
            tree = read_tree(&self.name, writer, known).await?;
        }
        let mut published = Published::pin(&self.connection, &self.name, version, tree).await?;
        if let Some(version) = named(published.snapshot.size) {
            published.snapshot.lance_version = version;
        }
        *self.published.write() = Arc::new(published);
        Ok(true)
    }
}

impl Published {
    async fn pin(connection: &Connection, name: &DatanetName, version: u64, tree: Tree) -> Result<Self, IndexError> {
        let table = connection.open_table(name.as_str()).version(version).execute().await?;
        let snapshot = Snapshot { datanet: name.clone(), lance_version: version, size: tree.len(), root: tree.root() };
        Ok(Self { table, snapshot, tree })
    }
}

/// Tables from before there were filters lack the column that filters ask; it follows from the metadata.
async fn add_attributes(name: &DatanetName, table: &Table) -> Result<(), IndexError> {
    let column = attributes_field();
    if table.schema().await?.column_with_name(column.name()).is_some() {
        return Ok(());
    }
    tracing::info!(datanet = %name, "adding the column that filters ask");
    let schema = Arc::new(Schema::new(vec![column]));
    let (of_mapper, datanet) = (schema.clone(), name.clone());
    let mapper = move |batch: &RecordBatch| {
        let failed = |error: IndexError| lance::Error::invalid_input(error.to_string());
        let columns = Columns { datanet: &datanet, batch };
        let metadata = columns.texts("metadata").map_err(failed)?;
        let texts = (0..metadata.len()).map(|row| metadata.value(row));
        Ok(RecordBatch::try_new(of_mapper.clone(), vec![attributes(texts).map_err(failed)?])?)
    };
    let computed = BatchUDF { mapper: Box::new(mapper), output_schema: schema, result_checkpoint: None };
    let computed = table.add_columns().transform(NewColumnTransform::BatchUDF(computed));
    computed.read_columns(vec!["metadata".to_owned()]).execute().await?;
    Ok(())
}

/// The tree over the `leaf` column, by `seq`; `known` is that of the first rows. Costs one scan of 40 bytes a row.
async fn read_tree(name: &DatanetName, table: &Table, mut known: Tree) -> Result<Tree, IndexError> {
    let from = known.len();
    let mut query = table.query().select(Select::columns(&["seq", "leaf"]));
    if from > 0 {
        query = query.only_if_expr(col("seq").gt_eq(lit(from)));
    }
    let mut batches = query.execute().await?;
    let mut leaves: Vec<(u64, Hash)> = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let columns = Columns { datanet: name, batch: &batch };
        let (seq, leaf) = (columns.u64s("seq")?, columns.hashes("leaf")?);
        leaves.extend((0..seq.len()).map(|row| (seq.value(row), Hash::new(hash_at(leaf, row)))));
    }
    leaves.sort_unstable();
    if let Some((expected, (found, _))) = (from..).zip(&leaves).find(|(expected, (found, _))| expected != found) {
        let reason = format!("its places must run from 0 without a gap, but after {expected} rows comes place {found}");
        return Err(IndexError::Corrupt { datanet: name.clone(), reason });
    }
    known.extend(leaves.into_iter().map(|(_, leaf)| leaf));
    Ok(known)
}
