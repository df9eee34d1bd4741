//! The PEFT adapter format: `adapter_config.json` and `adapter_model.safetensors`, as PEFT, Unsloth and LLaMA-Factory
//! save them.
//!
//! ```no_run
//! use cairn_adapters::peft::{Adapter, Limits};
//!
//! let adapter = Adapter::read("out/checkpoint-100".as_ref(), &Limits::default())?;
//! for (path, delta) in &adapter.layers {
//!     println!("{path}: r = {}, [{}, {}], scale {}", delta.r(), delta.outputs(), delta.inputs(), delta.scale);
//! }
//! # Ok::<(), cairn_adapters::peft::FormatError>(())
//! ```
//! Nothing is ignored in silence: a tensor or an active field that is not understood is refused by name. Whether the
//! adapter fits a base is another question, answered by [`crate::compatibility`].

mod adapter;
mod array;
mod config;
mod error;
mod files;
mod limits;
mod names;
mod targets;

pub use adapter::{Adapter, Delta};
pub use array::Array;
pub use config::{Bias, Config};
pub use error::FormatError;
pub use files::{CONFIG_FILE, Files, WEIGHTS_FILE};
pub use limits::Limits;
pub use targets::{Patterns, Targets};
