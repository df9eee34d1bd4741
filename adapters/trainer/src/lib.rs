//! Training LoRA and QLoRA adapters on the lane's families of models, on the CPU.
//!
//! A [`Model`] is a frozen base, an [`Adapter`] what is trained, a [`Session`] both with an optimizer, and a [`Run`] a session
//! over a data set, with evaluation, checkpoints and resumption:
//!
//! ```no_run
//! use std::sync::Arc;
//! use cairn_trainer::{Adapter, Batch, Example, Model, Session, TrainOptions};
//!
//! let options = TrainOptions::default();
//! let model = Arc::new(Model::open("models/smollm2/serving".as_ref(), options.form())?);
//! let adapter = Adapter::new(&model, &options, "smollm2-135m-instruct")?;
//! let mut session = Session::new(model, adapter, &options);
//! let example = Example { tokens: vec![1, 2, 3], supervised: vec![false, true, true], row: "row 1".into() };
//! let batch = Batch::new([&example]);
//! let loss = session.accumulate(&batch, batch.supervised()) / batch.supervised() as f64;
//! session.apply(options.lr)?;
//! # Ok::<(), cairn_trainer::TrainError>(())
//! ```
//! All mathematics is here, forward and backward, on slices of f32 and `gemm`'s products: layers keep nothing but their
//! input, buffers are used again, and a weight is f32 only while it is multiplied.

mod adapter;
mod attention;
mod batch;
mod buffers;
mod checkpoint;
pub mod data;
pub mod device;
pub mod dynamic;
mod error;
mod example;
mod export;
mod frozen;
pub mod job;
mod kernel;
mod layer;
mod linear;
mod loss;
pub mod memory;
pub mod metrics;
mod model;
pub mod nf4;
mod optimizer;
mod options;
mod plan;
mod random;
pub mod report;
mod run;
mod schedule;
mod score;
mod session;
mod view;

pub use adapter::Adapter;
pub use batch::Batch;
pub use error::{TrainError, told};
pub use example::Example;
pub use frozen::{BaseForm, Frozen};
pub use model::Model;
pub use optimizer::Optimizer;
pub use options::{Method, Preset, TargetModules, TrainOptions, TrainedBias};
pub use run::{Control, Data, End, Event, Run, StepReport};
pub use schedule::Schedule;
pub use score::{Score, logits, score};
pub use session::Session;
