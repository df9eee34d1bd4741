//! Datanets: permissioned datasets kept in LanceDB, one table each: ingest, embed, retrieve, prove.
//!
//! A file becomes [`Draft`]s through [`readers`]; [`Index::ingest`] checks all of them, embeds them with [`MiniLm`] and
//! adds them in one atomic commit; [`Index::retrieve`] searches vectors and full text over any number of datanets and
//! says of each candidate by which search, with which score and at which rank it was found. Every datapoint has a
//! salted commitment, and every datanet an RFC 6962 tree over these, so that [`Index::prove`] can show that a datapoint
//! stood in the snapshot that an answer drew on.
//!
//! Who may read which datanet is not decided here: callers pass the names that the caller of theirs may read. Records,
//! the log and proof bundles are `cairn-proof`'s.

mod cross_encoder;
mod datanet;
mod datapoint;
mod embedder;
mod erase;
mod error;
mod index;
mod indices;
mod ingest;
mod minilm;
mod names;
pub mod readers;
mod retrieve;
mod schema;
mod staging;
mod terms;

pub use cross_encoder::CrossEncoder;
pub use datanet::Snapshot;
pub use datapoint::{Datapoint, Draft, IngestDefaults, SaltedDatapoint};
pub use embedder::{Embedder, EmbedderOptions};
pub use error::IndexError;
pub use index::{Index, IndexOptions, Indexed};
pub use ingest::{
    Examination, IngestOptions, IngestProgress, IngestReport, IngestStage, NearDuplicate, NearDuplicates, ProgressFn,
    Rejection, Sample,
};
pub use minilm::{Embeddings, MiniLm, Precision};
pub use names::{DatanetName, DatapointId};
pub use readers::{Drafts, ReadError};
pub use retrieve::{Candidate, LeftOut, Query, RERANKED, Rerank, Retrieval, RetrievalMode, Source};
