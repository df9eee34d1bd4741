//! The adapter lane: one copy of a base model's weights, and in one ragged batch rows that use different LoRA adapters,
//! several, or none.
//!
//! [`Lane`] serves requests: a queue that is fair to tenants, continuous batching, sampling, text. Below it, [`Decoder`]
//! computes steps, for those who need no more than that:
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
mod batch;
mod config;
mod constrain;
mod decoder;
mod describe;
mod dialogue;
mod engine;
mod error;
mod forward;
mod gguf;
pub mod names;
mod prefix;
mod prepare;
mod profile;
mod project;
mod rows;
mod safetensors;
mod schedule;
mod sequence;
pub mod source;
mod text;
mod weights;

pub use attach::Attached;
pub use cairn_matrix::Form;
pub use config::{Biases, Config, Family, Rope};
pub use decoder::{Decoder, Options, Row, Wanted};
pub use describe::Description;
pub use dialogue::Dialogue;
pub use engine::{Lane, LaneAdapter, LaneOptions, LaneRequest, LaneStats, OpenError, Prompt};
pub use error::{AttachError, LoadError, StepError};
pub use profile::Profile;
pub use sequence::Sequence;
pub use text::TextError;
