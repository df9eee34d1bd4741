//! [`Decoder`]: a base model's weights in memory, and the steps that rows with any adapters take through them.

use std::{path::Path, sync::Arc};

use cairn_adapters::peft;
use cairn_matrix::{Form, Threads};
use parking_lot::Mutex;

use crate::{
    AttachError, Attached, Config, LoadError, Profile, Sequence, StepError, attach,
    batch::Batch,
    forward::{Forward, Scratch},
    sequence::{Layout, PAGE},
    source::{Opened, open},
    weights::Weights,
};

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The form of the weight matrices; none = as stored, bf16 in f16 and quantized types without a kernel in Q8_0. Where a
    /// row does not divide into a form's blocks, the next more exact form is taken.
    pub form: Option<Form>,
    /// Threads of a step.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { form: None, threads: std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// Part of a sequence in a step.
pub struct Row<'a> {
    /// New tokens, at least one.
    pub tokens: &'a [u32],
    /// Where they go on.
    pub sequence: &'a mut Sequence,
    /// Adapters with their weights; empty = the base.
    pub adapters: &'a [(Arc<Attached>, f32)],
    /// Which logits are wanted.
    pub wanted: Wanted,
}

/// The logits of a row that a step returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None: a part of a prompt.
    None,
    /// After the last new token.
    Last,
    /// After each of this many last new tokens.
    Rest(usize),
    /// After each new token.
    All,
}

/// A base model that rows with any adapters run through.
pub struct Decoder {
    config: Config,
    weights: Weights,
    /// Of sequences.
    layout: Layout,
    threads: Threads,
    /// Buffers of a step; a second one at the same time waits.
    scratch: Mutex<Scratch>,
}

impl Decoder {
    /// Loads a model: a directory with a `.gguf` file, or with `config.json` and `.safetensors` files.
    ///
    /// # Errors
    /// [`LoadError`]: a file is missing or damaged, or the model computes what the lane cannot.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, LoadError> {
        let Opened { config, mut source } = open(dir)?;
        let weights = Weights::read(&config, source.as_mut(), options.form)?;
        let layout = Layout::new(&config, weights.kept());
        Ok(Self { config, weights, layout, threads: Threads::new(options.threads.max(1)), scratch: Mutex::default() })
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A sequence without tokens.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence::new(self.layout)
    }

    /// Prepares an adapter for this base, on threads of its own: a step at the same time shares the cores with them.
    ///
    /// # Errors
    /// [`AttachError`], naming the module that does not fit.
    pub fn attach(&self, adapter: &peft::Adapter) -> Result<Attached, AttachError> {
        attach::attach(adapter, &self.config, &self.weights)
    }

    /// Bytes of the weights in memory.
    #[must_use]
    pub fn weights_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Bytes of keys and values a token.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> usize {
        self.layout.page_bytes() / PAGE
    }

    /// Where the time of all steps so far went.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.scratch.lock().profile
    }

    /// One forward pass over all rows. Appends the wanted logits to `logits`, `[vocabulary]` each, in the order of the rows.
    ///
    /// # Errors
    /// [`StepError`], before anything was changed.
    pub fn step(&self, rows: &mut [Row<'_>], logits: &mut Vec<f32>) -> Result<(), StepError> {
        self.check(rows)?;
        let batch = Batch::new(rows);
        for part in &batch.parts {
            rows[part.row].sequence.reserve(part.tokens);
        }
        let mut scratch = self.scratch.lock();
        Forward { config: &self.config, weights: &self.weights, threads: &self.threads, scratch: &mut scratch }
            .run(rows, batch, logits);
        for row in rows {
            row.sequence.advance(row.tokens.len());
        }
        Ok(())
    }

    fn check(&self, rows: &[Row<'_>]) -> Result<(), StepError> {
        for row in rows {
            let tokens = row.sequence.len() + row.tokens.len();
            if tokens > self.config.context_length {
                return Err(StepError::Context { tokens, context: self.config.context_length });
            }
            if let Some(token) = row.tokens.iter().find(|token| **token as usize >= self.config.vocab_size) {
                return Err(StepError::Token { token: *token, vocabulary: self.config.vocab_size });
            }
        }
        Ok(())
    }
}
