//! The adapter lane: one copy of a base model's weights, and in one ragged batch rows that use different LoRA adapters,
//! several, or none.
//!
//! ```no_run
//! use cairn_lane::{Decoder, Options, Row, Wanted};
//!
//! let decoder = Decoder::open("models/smollm2/serving".as_ref(), &Options::default())?;
//! let mut sequence = decoder.sequence();
//! let mut logits = Vec::new(); // [vocabulary]
//! decoder.step(
//!     &mut [Row { tokens: &[1, 2, 3], sequence: &mut sequence, adapters: &[], wanted: Wanted::Last }],
//!     &mut logits,
//! )?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! A row gets the same bits alone and among any others, and a prompt in parts the same as at once.

mod attach;
mod attention;
mod cache;
mod config;
mod decoder;
mod delta;
mod describe;
mod error;
mod gguf;
pub mod names;
mod safetensors;
mod weights;

pub use attach::Attached;
pub use cache::Sequence;
pub use cairn_matrix::Form;
pub use config::{Config, Family, Rope};
pub use decoder::{Decoder, Options, Row, Wanted};
pub use describe::Description;
pub use error::{AttachError, LoadError, StepError};
