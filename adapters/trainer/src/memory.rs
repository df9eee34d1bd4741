//! What a run needs: predicted before it starts, measured while it goes.

use std::time::Instant;

use cairn_lane::{Config, names::Projection};
use serde::{Deserialize, Serialize};

use crate::{
    Adapter, BaseForm, Optimizer, TrainOptions,
    loss::rows_at_once,
    session::KEPT,
    view::{On, View, ViewMut, multiply},
};

/// Bytes by use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The frozen base.
    pub weights: usize,
    /// The numbers that are trained.
    pub adapter: usize,
    /// Their gradients.
    pub gradients: usize,
    /// AdamW's states.
    pub optimizer: usize,
    /// Layer inputs, and what one layer (or all, without checkpointing) keeps and needs on the way back.
    pub activations: usize,
    /// The logits of one block of rows.
    pub logits: usize,
    /// The program, and what products need to rearrange their factors.
    pub program: usize,
}

impl Memory {
    /// What [`crate::Run`] will hold at its peak. `trained` are the numbers of the adapter ([`trained`]), `rows` the tokens of
    /// the largest batch, `file` the bytes of the model's files.
    #[must_use]
    pub fn predict(config: &Config, options: &TrainOptions, trained: usize, rows: usize, file: u64) -> Self {
        let [linear, outer] = parameters(config);
        // Bits a weight as stored; files hold little else.
        let stored = (file as f64 / (linear + outer) as f64).min(4.0);
        let [linear_bytes, outer_bytes] = match options.form() {
            BaseForm::F32 => [4.0, 4.0],
            BaseForm::F16 => [2.0, 2.0],
            BaseForm::Stored => [stored; 2],
            BaseForm::Nf4 => [NF4, stored],
        };
        let state = if options.optimizer == Optimizer::AdamW8bit { 2 * trained + trained / 32 } else { 8 * trained };
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.q_width(), config.kv_width());
        let low = 7 * options.r + config.heads;
        let dora = if options.use_dora { 2 * q + 2 * kv + 2 * inner + hidden } else { 0 };
        let dropped = if options.dropout > 0.0 { inner.max(hidden) * 2 } else { 0 };
        let tape = 3 * hidden + 2 * q + 2 * kv + 3 * inner + low + dora;
        let back = 2 * hidden + inner + 2 * q + 2 * kv + dropped;
        let part = 2 * q + 2 * kv + hidden + 4 * options.r + config.heads;
        let part = if options.gradient_checkpointing { KEPT.min(4 * rows * part * config.layers) } else { 0 };
        let tapes = if options.gradient_checkpointing { 1 } else { config.layers };
        let chunk = rows_at_once(config.vocab_size).min(rows);
        Self {
            weights: (linear as f64 * linear_bytes + outer as f64 * outer_bytes) as usize,
            adapter: 4 * trained,
            gradients: 4 * trained,
            optimizer: state,
            activations: 4 * rows * (config.layers * hidden + tapes * tape + back) + part,
            logits: 4 * chunk * (config.vocab_size + 4 * hidden),
            program: PROGRAM,
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        let Self { weights, adapter, gradients, optimizer, activations, logits, program } = *self;
        weights + adapter + gradients + optimizer + activations + logits + program
    }

    /// The same adapter beside weights in 16 bits.
    #[must_use]
    pub fn with_half_weights(self, config: &Config) -> Self {
        Self { weights: 2 * parameters(config).iter().sum::<usize>(), ..self }
    }

    /// Training every weight in mixed precision, as it is usual: weights and gradients in 16 bits, AdamW's states and a copy
    /// of the weights in f32.
    #[must_use]
    pub fn of_full_fine_tuning(self, config: &Config) -> Self {
        let all: usize = parameters(config).iter().sum();
        Self { weights: 2 * all, adapter: 0, gradients: 2 * all, optimizer: 12 * all, ..self }
    }
}

/// Bytes of a weight in NF4: 4 bits, 8 for 64 scales, 32 for 256 of those.
const NF4: f64 = 0.5 + 1.0 / 64.0 + 4.0 / (64.0 * 256.0);

/// Measured with a model of next to nothing.
pub(crate) const PROGRAM: usize = 64 << 20;

/// Weights of the linear layers, and of the embeddings and the head.
#[must_use]
pub fn parameters(config: &Config) -> [usize; 2] {
    let block: usize =
        Projection::ALL.iter().map(|of| config.shape(*of)).map(|[outputs, inputs]| outputs * inputs).sum();
    let outer = config.vocab_size * config.hidden_size;
    [block * config.layers, if config.tied { outer } else { 2 * outer }]
}

/// Bytes that scoring `rows` tokens together takes beside weights and adapter: the forward pass keeps one layer at a time.
#[must_use]
pub fn scoring(config: &Config, options: &TrainOptions, rows: usize) -> usize {
    let width = 4 * config.hidden_size + 2 * config.q_width() + 2 * config.kv_width() + 3 * config.intermediate_size;
    let chunk = rows_at_once(config.vocab_size).min(rows);
    4 * rows * (width + 7 * options.r + config.heads) + 4 * chunk * (config.vocab_size + 4 * config.hidden_size)
}

/// Numbers of the adapter that options ask for.
///
/// # Errors
/// As [`Adapter::new`], for targets that are not in the base.
pub fn trained(config: &Config, options: &TrainOptions) -> Result<usize, crate::TrainError> {
    Ok(Adapter::zeros(config, options, "")?.parameters())
}

/// Floating-point operations for one token in training: with checkpointing most of a block is computed twice.
#[must_use]
pub fn operations(config: &Config, options: &TrainOptions, trained: usize) -> f64 {
    let [linear, _] = parameters(config);
    let down = config.layers * config.hidden_size * config.intermediate_size;
    let again = if options.gradient_checkpointing { linear - down } else { 0 };
    let head = config.vocab_size * config.hidden_size;
    let low_rank = if options.gradient_checkpointing { 4 } else { 3 };
    2.0 * (2 * linear + again + 2 * head + low_rank * trained) as f64
}

/// Floating-point operations for one token in evaluation: forward only.
#[must_use]
pub fn scoring_operations(config: &Config, trained: usize) -> f64 {
    let [linear, _] = parameters(config);
    2.0 * (linear + config.vocab_size * config.hidden_size + trained) as f64
}

/// Operations a second that products of this size reach here: the best of a quarter of a second, so that whatever else the
/// machine does in it counts little.
#[must_use]
pub fn measured_speed() -> f64 {
    const SIZE: usize = 768;
    let (a, b, mut c) = (vec![0.5; SIZE * SIZE], vec![0.25; SIZE * SIZE], vec![0.0; SIZE * SIZE]);
    let mut product = || {
        let start = Instant::now();
        let (a, b) = (View::new(&a, SIZE, SIZE), View::new(&b, SIZE, SIZE));
        multiply(On::All, 1.0, a, b.transposed(), 0.0, &mut ViewMut::new(&mut c, SIZE, SIZE));
        start.elapsed().as_secs_f64()
    };
    let start = Instant::now();
    let mut best = product();
    while start.elapsed().as_secs_f64() < 0.25 {
        best = best.min(product());
    }
    2.0 * (SIZE * SIZE * SIZE) as f64 / best
}

/// The share of that speed which a whole step reaches: norms, attention and thin products are slower.
pub const EFFICIENCY: f64 = 0.75;

/// Seconds that `tokens` take.
#[must_use]
pub fn seconds(tokens: usize, operations: f64, speed: f64) -> f64 {
    tokens as f64 * operations / (speed * EFFICIENCY)
}

/// Seconds that a base takes to be read and brought into the form it is trained in, by the bytes of its files.
#[must_use]
pub fn loading(file: u64, options: &TrainOptions) -> f64 {
    file as f64 / if options.form() == BaseForm::Nf4 { QUANTIZED_A_SECOND } else { READ_A_SECOND }
}

/// Bytes of files that are read a second: an estimate for two idle cores with the files in the system's cache.
const READ_A_SECOND: f64 = 800e6;
/// The same, where they are brought into NF4.
const QUANTIZED_A_SECOND: f64 = 200e6;

/// Bytes of this process in memory, now and at most; none where the system does not say.
#[must_use]
pub fn resident() -> Option<[u64; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    };
    Some([field("VmRSS:")?, field("VmHWM:")?])
}
