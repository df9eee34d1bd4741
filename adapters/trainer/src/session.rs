//! [`Session`]: a model, an adapter and an optimizer, moved step by step. [`crate::Run`] does that over a data set.
//!
//! ```text
//! loss of a step = Σ nll over all its batches / Σ supervised tokens over all its batches
//! ```

use std::sync::Arc;

use rayon::prelude::*;

use crate::{
    Adapter, Batch, Model, TrainError, TrainOptions,
    buffers::Buffers,
    kernel::Angles,
    layer::{Layer, Pass, Tape},
    loss::Loss,
    optimizer::{AdamW, States, clip, norm},
    random::Key,
};

/// An adapter in training on a model.
pub struct Session {
    model: Arc<Model>,
    adapter: Adapter,
    /// Of the numbers of the adapter, in their order.
    gradients: Vec<f32>,
    states: States,
    settings: Settings,
    /// Batches so far: masks and noise follow from it.
    batches: u64,
    buffers: Buffers,
    /// Rows of the last batch.
    rows: usize,
}

/// What does not change from step to step.
struct Settings {
    adamw: AdamW,
    max_grad_norm: Option<f64>,
    noise: Option<f32>,
    key: Key,
    checkpointing: bool,
}

/// What is kept of a block for the way back.
enum Memory {
    /// Its input only.
    Input,
    /// Also what [`Tape::forget`] leaves.
    Part(Tape),
    /// Everything.
    All(Tape),
}

/// Bytes that gradient checkpointing may keep beyond the inputs of blocks: they spare the second computation of attention
/// in as many blocks as they suffice for.
pub(crate) const KEPT: usize = 256 << 20;

impl Session {
    /// A session that has made no step.
    #[must_use]
    pub fn new(model: Arc<Model>, adapter: Adapter, options: &TrainOptions) -> Self {
        let adamw = AdamW { betas: options.adam_betas, eps: options.adam_eps, weight_decay: options.weight_decay };
        Self {
            gradients: vec![0.0; adapter.parameters()],
            states: States::new(options.optimizer, adapter.tensors()),
            settings: Settings {
                adamw,
                max_grad_norm: options.max_grad_norm,
                noise: options.neftune_noise_alpha,
                key: Key::new(options.seed).with(PASSES),
                checkpointing: options.gradient_checkpointing,
            },
            model,
            adapter,
            batches: 0,
            buffers: Buffers::default(),
            rows: 0,
        }
    }

    /// The adapter as it is.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The base.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Bytes of gradients and of the optimizer's states.
    #[must_use]
    pub fn bytes(&self) -> [usize; 2] {
        [size_of_val(self.gradients.as_slice()), self.states.bytes()]
    }

    /// Adds the gradients of one batch of a step that learns `window` tokens in all its batches. Returns Σ nll.
    pub fn accumulate(&mut self, batch: &Batch, window: usize) -> f64 {
        let key = self.settings.key.with(self.batches);
        self.batches += 1;
        self.make_room(batch);
        let model = Arc::clone(&self.model);
        let angles = Angles::new(batch.positions(), &model.config().rope.inverse_frequencies);
        let pass = Pass {
            config: model.config(),
            adapter: Some(&self.adapter),
            sequences: &batch.sequences,
            angles: &angles,
            key: Some(key),
        };
        let buffers = &mut self.buffers;
        let mut x = embed(&model, batch, buffers);
        if let Some(alpha) = self.settings.noise {
            add_noise(&mut x, batch, alpha, key.with(NOISE));
        }
        let mut inputs = Vec::with_capacity(model.blocks.len());
        let mut memories = Vec::with_capacity(model.blocks.len());
        let layer = |index: usize| Layer { pass: &pass, block: &model.blocks[index], index };
        let mut room = KEPT / size_of::<f32>();
        for index in model.layers() {
            let (mut tape, y) = layer(index).forward(&x, buffers);
            inputs.push(std::mem::replace(&mut x, y));
            // The last block's tape is needed at once.
            if !self.settings.checkpointing || index + 1 == model.blocks.len() {
                memories.push(Memory::All(tape));
                continue;
            }
            tape.forget(buffers);
            memories.push(if let Some(left) = room.checked_sub(tape.len()) {
                room = left;
                Memory::Part(tape)
            } else {
                tape.give_back(buffers);
                Memory::Input
            });
        }
        let factor = 1.0 / window as f32;
        let mut dx = buffers.take(x.len());
        let values = Loss { model: &model, targets: &batch.targets, factor }.gradient(&x, &mut dx, buffers);
        buffers.give([x]);
        for index in model.layers().rev() {
            let input = inputs.pop().expect("one input a block");
            let tape = match memories.pop().expect("one memory a block") {
                Memory::All(tape) => tape,
                Memory::Part(tape) => layer(index).again(&input, Some(tape), buffers),
                Memory::Input => layer(index).again(&input, None, buffers),
            };
            layer(index).backward(&input, tape, &mut dx, &mut self.gradients, index > 0, buffers);
            buffers.give([input]);
        }
        buffers.give([dx]);
        values.iter().map(|value| f64::from(*value)).sum()
    }

    /// Moves the adapter by the gradients, and forgets them. Returns their norm before clipping.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`]; the adapter is as before.
    pub fn apply(&mut self, lr: f64) -> Result<f64, TrainError> {
        let length = norm(&self.gradients);
        if !length.is_finite() {
            let step = self.states.updates as usize + 1;
            return Err(TrainError::NotFinite { what: "the norm of the gradients", value: length, step });
        }
        let clip = clip(length, self.settings.max_grad_norm);
        self.states.update(&self.settings.adamw, lr, clip, &mut self.adapter.values, &self.gradients);
        self.gradients.fill(0.0);
        self.adapter.refresh(&self.model);
        Ok(length)
    }

    /// The negative log-likelihood of each target of a batch, without dropout or noise.
    pub fn evaluate(&mut self, batch: &Batch) -> Vec<f32> {
        self.make_room(batch);
        evaluate(&self.model, Some(&self.adapter), batch, &mut self.buffers)
    }

    pub(crate) fn progress(&self) -> (&States, u64) {
        (&self.states, self.batches)
    }

    pub(crate) fn restore(&mut self, states: States, batches: u64) {
        (self.states, self.batches) = (states, batches);
    }

    /// Buffers of another size would lie about unused.
    fn make_room(&mut self, batch: &Batch) {
        if batch.tokens() > self.rows {
            self.buffers.clear();
            self.rows = batch.tokens();
        }
    }
}

/// The negative log-likelihood of each target of a batch.
pub(crate) fn evaluate(model: &Model, adapter: Option<&Adapter>, batch: &Batch, buffers: &mut Buffers) -> Vec<f32> {
    let x = hidden(model, adapter, batch, buffers);
    let values = Loss { model, targets: &batch.targets, factor: 0.0 }.values(&x, buffers);
    buffers.give([x]);
    values
}

/// What the last block gives: [rows, hidden].
pub(crate) fn hidden(model: &Model, adapter: Option<&Adapter>, batch: &Batch, buffers: &mut Buffers) -> Vec<f32> {
    let angles = Angles::new(batch.positions(), &model.config().rope.inverse_frequencies);
    let pass = Pass { config: model.config(), adapter, sequences: &batch.sequences, angles: &angles, key: None };
    let mut x = embed(model, batch, buffers);
    for index in model.layers() {
        let (tape, y) = Layer { pass: &pass, block: &model.blocks[index], index }.forward(&x, buffers);
        tape.give_back(buffers);
        buffers.give([std::mem::replace(&mut x, y)]);
    }
    x
}

/// The streams of dropout and noise, apart from that of the first values.
const PASSES: u64 = 0x0002;
const NOISE: u64 = 1 << 32;

/// E[token]: [rows, hidden]
fn embed(model: &Model, batch: &Batch, buffers: &mut Buffers) -> Vec<f32> {
    let width = model.config().hidden_size;
    let mut x = buffers.take(batch.tokens() * width);
    x.par_chunks_mut(width).zip(&batch.tokens).for_each(|(x, token)| model.embeddings.row(*token as usize, x));
    x
}

/// NEFTune (Jain et al. 2023): x += alpha / √(length · hidden) · uniform(-1, 1), with the length of each sequence.
fn add_noise(x: &mut [f32], batch: &Batch, alpha: f32, key: Key) {
    let width = x.len() / batch.tokens().max(1);
    for sequence in &batch.sequences {
        let scale = alpha / ((sequence.len() * width) as f32).sqrt();
        let rows = &mut x[sequence.start * width..sequence.end * width];
        rows.par_iter_mut().enumerate().for_each(|(i, x)| {
            *x += scale * key.uniform((sequence.start * width + i) as u64);
        });
    }
}

#[cfg(test)]
mod tests {
    use cairn_lane::{Biases, Config, Family, Rope};

    use super::*;
    use crate::{Example, TargetModules};

    fn config() -> Config {
        Config {
            family: Family::Qwen3,
            vocab_size: 50,
            hidden_size: 32,
            intermediate_size: 48,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            context_length: 64,
            norm_eps: 1e-6,
            rope: Rope { inverse_frequencies: vec![1.0, 0.3, 0.1, 0.03] },
            windows: vec![Some(4), None],
            tied: true,
            biases: Biases { qkv: true, o: false, mlp: false },
            qk_norm: true,
        }
    }

    fn session(options: &TrainOptions) -> Session {
        let model = Arc::new(Model::random(config(), 5));
        let mut adapter = Adapter::new(&model, options, "random").unwrap();
        let key = Key::new(8);
        adapter.values.iter_mut().enumerate().for_each(|(i, value)| *value += 0.3 * key.uniform(i as u64));
        adapter.refresh(&model);
        Session::new(model, adapter, options)
    }

    fn batch() -> Batch {
        let example = |from: u32, length: u32| Example {
            tokens: (0..length).map(|i| (from + i * 7) % 50).collect(),
            supervised: (0..length).map(|i| i % 3 != 1).collect(),
            row: String::new(),
        };
        Batch::new(&[example(3, 9), example(11, 2), example(20, 13)])
    }

    /// The whole model, with all that a family may have: windows, biases, head norms, several sequences, dropout, DoRA.
    #[test]
    fn gradients_of_the_whole_model_are_those_of_differences() {
        for (use_dora, dropout, noise) in
            [(false, 0.0, None), (false, 0.2, Some(3.0)), (true, 0.0, None), (true, 0.2, None)]
        {
            let options = TrainOptions {
                r: 2,
                alpha: 2.0,
                use_dora,
                dropout,
                neftune_noise_alpha: noise,
                target_modules: TargetModules::Pattern("all-linear".into()),
                ..TrainOptions::default()
            };
            let mut session = session(&options);
            let batch = batch();
            session.accumulate(&batch, 1);
            let gradients = session.gradients.clone();
            // Every value moves with the first batch's masks and noise, and with the norms that have no gradient.
            let mut value = |at: usize, by: f32| {
                session.batches = 0;
                let before = session.adapter.values[at];
                session.adapter.values[at] += by;
                let value = session.accumulate(&batch, 1);
                session.adapter.values[at] = before;
                value
            };
            for at in (0..gradients.len()).step_by(29) {
                let numerical = (value(at, 2e-3) - value(at, -2e-3)) / 4e-3;
                let off = (numerical - f64::from(gradients[at])).abs();
                assert!(
                    off < 0.01 * numerical.abs().max(1.0),
                    "{at} of {}, DoRA {use_dora}, dropout {dropout}: {numerical} and {}",
                    gradients.len(),
                    gradients[at]
                );
            }
        }
    }

    #[test]
    fn checkpointing_changes_nothing() {
        let step = |gradient_checkpointing: bool| {
            let options = TrainOptions { gradient_checkpointing, dropout: 0.1, ..TrainOptions::default() };
            let mut session = session(&options);
            let loss = session.accumulate(&batch(), 7);
            (loss, session.gradients)
        };
        assert_eq!(step(true), step(false));
    }

    #[test]
    fn sequences_do_not_see_each_other() {
        let mut session = session(&TrainOptions::default());
        let together = session.evaluate(&batch());
        let all = batch();
        let mut alone = Vec::new();
        for sequence in &all.sequences {
            let supervised = (0..sequence.len()).map(|i| i % 3 != 1).collect();
            let tokens = all.tokens[sequence.clone()].to_vec();
            alone.extend(session.evaluate(&Batch::new([&Example { tokens, supervised, row: String::new() }])));
        }
        assert_eq!(together.len(), alone.len());
        assert!(together.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5), "{together:?} {alone:?}");
    }
}
