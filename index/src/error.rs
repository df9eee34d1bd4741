//! What can go wrong with datanets, one variant for each. Which HTTP status it becomes is the gateway's business.

use std::path::PathBuf;

use crate::{DatanetName, ReadError};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A datanet's name has a form that is not allowed.
    #[error("{name:?} cannot name a datanet: use 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit")]
    InvalidDatanetName {
        /// What was given, shortened.
        name: String,
    },
    /// A datapoint's id has a form that is not allowed.
    #[error("{id:?} cannot be the id of a datapoint: use 1 to 200 bytes without control characters")]
    InvalidDatapointId {
        /// What was given, shortened.
        id: String,
    },
    /// There is no such datanet.
    #[error("there is no datanet {0}: create it first, or check its name")]
    UnknownDatanet(DatanetName),
    /// There is such a datanet already.
    #[error("there is a datanet {0} already: ingest into it, or choose another name")]
    AlreadyExists(DatanetName),
    /// A place beyond the end of a datanet.
    #[error("datanet {datanet} has {size} datapoints, so there is none at place {seq} (places count from 0)")]
    UnknownSeq {
        /// The datanet.
        datanet: DatanetName,
        /// The place asked for.
        seq: u64,
        /// The datanet's size.
        size: u64,
    },
    /// A proof was asked for a tree size that the datanet never had, or that does not include the datapoint.
    #[error("datanet {datanet} has {have} datapoints: no tree of size {size} exists that includes place {seq}")]
    InvalidSize {
        /// The datanet.
        datanet: DatanetName,
        /// The place asked for.
        seq: u64,
        /// The tree size asked for.
        size: u64,
        /// The datanet's size.
        have: u64,
    },
    /// The queue of texts to embed is full.
    #[error("the embedding queue is full: try again in a moment")]
    Busy,
    /// The ingest was cancelled; what was embedded is kept in the staging directory.
    #[error("cancelled: nothing was written; the same ingest resumes where it stopped")]
    Cancelled,
    /// There is nothing to search for.
    #[error("the query is empty: give it at least one word")]
    EmptyQuery,
    /// A query names no datanet.
    #[error("the query names no datanet: name at least one that may be read")]
    NoDatanets,
    /// The embedding model's directory cannot be used.
    #[error("cannot load the embedding model from {path}: {reason}")]
    Model {
        /// Its directory, or a file in it.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// The cross-encoder's directory cannot be used.
    #[error("cannot load the cross-encoder from {path}: {reason}")]
    CrossEncoder {
        /// Its directory, or a file in it.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A query asks for a cross-encoder, and there is none.
    #[error(
        "there is no cross-encoder here: rerank by late_interaction, or have `cross_encoder` in [retrieval] name the directory of one"
    )]
    NoCrossEncoder,
    /// Tokenising for the embedding failed.
    #[error("cannot tokenise a text for its embedding")]
    Tokenise(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Computing an embedding failed.
    #[error("cannot compute an embedding")]
    Compute(#[from] candle_core::Error),
    /// The embedding threads are gone, which only a panic in them can cause.
    #[error("the embedding threads have stopped: restart the process and report what it logged before")]
    EmbedderStopped,
    /// A datanet was embedded with another model than the one loaded: their vectors cannot be compared.
    #[error(
        "datanet {datanet} was embedded with model {found}, but model {loaded} is loaded: load the former, or ingest into a new datanet"
    )]
    WrongEmbedder {
        /// The datanet.
        datanet: DatanetName,
        /// Hash of the weights that embedded it (hex).
        found: String,
        /// Hash of the loaded weights (hex).
        loaded: String,
    },
    /// What is stored cannot be right.
    #[error("datanet {datanet} is damaged: {reason}; restore it from a backup")]
    Corrupt {
        /// The datanet.
        datanet: DatanetName,
        /// What was found.
        reason: String,
    },
    /// The input could not be opened or read at all.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The staging directory cannot be used.
    #[error("cannot use {path} for staging an ingest: {source}")]
    Staging {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A datapoint cannot be committed to.
    #[error("cannot commit to datapoint {id} of datanet {datanet}")]
    Commit {
        /// The datanet.
        datanet: DatanetName,
        /// The datapoint.
        id: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// LanceDB reported an error.
    #[error("the vector store failed")]
    Store(#[from] lancedb::Error),
    /// The rows that a filter leaves could not be counted. Shared by all searches that waited for it.
    #[error("the rows that a filter leaves could not be counted")]
    Counting(#[source] std::sync::Arc<lancedb::Error>),
    /// Arrow reported an error while a batch was built.
    #[error("a batch of datapoints could not be built")]
    Batch(#[from] arrow_schema::ArrowError),
    /// A worker thread panicked.
    #[error("a worker of this process panicked: see its log")]
    Worker(#[from] tokio::task::JoinError),
}
