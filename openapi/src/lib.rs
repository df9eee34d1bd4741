//! The wire contract: what travels over HTTP, as serde and utoipa types and nothing else.
//!
//! OpenAI's field names are unchanged; what Cairn adds is named in each type's documentation. `openapi.json` beside this
//! crate is generated from these types by `cairn openapi` and compared in CI.

pub mod access;
pub mod adapters;
pub mod anchors;
pub mod attribution;
pub mod chat;
pub mod completions;
pub mod contributions;
pub mod datanets;
pub mod embeddings;
pub mod error;
pub mod evaluations;
pub mod fine_tuning;
pub mod jobs;
pub mod keys;
pub mod ledger;
pub mod log;
pub mod models;
pub mod paging;
pub mod records;
pub mod retrieval;
pub mod sign_in;
pub mod usage;
