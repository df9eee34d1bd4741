//! AdamW (Loshchilov, Hutter 2019) as torch computes it, with states in f32 or, block by block, in 8 bits.
//!
//! ```text
//! p ← p - lr · decay · p
//! m ← β₁ m + (1 - β₁) g,    v ← β₂ v + (1 - β₂) g²
//! p ← p - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε)
//! ```

use std::ops::Range;

use rayon::prelude::*;

use crate::dynamic::{BLOCK, Blockwise, SIGNED, UNSIGNED, quantize_block};

/// How states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Optimizer {
    /// In f32: 8 bytes a parameter.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// In 8 bits: 2 bytes a parameter. Tensors under 4,096 elements keep f32, as in bitsandbytes.
    #[serde(rename = "adamw_8bit")]
    AdamW8bit,
}

/// What does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AdamW {
    /// β₁ and β₂.
    pub(crate) betas: [f64; 2],
    /// ε.
    pub(crate) eps: f64,
    /// Decoupled weight decay.
    pub(crate) weight_decay: f64,
}

/// The states of all parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct States {
    /// Updates made.
    pub(crate) updates: u64,
    pub(crate) tensors: Vec<(Range<usize>, State)>,
}

/// The states of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Whole { m: Vec<f32>, v: Vec<f32> },
    Bytes { m: Blockwise, v: Blockwise },
}

/// Elements from which states are kept in 8 bits.
const LEAST: usize = 4096;

/// The numbers of one update.
#[derive(Clone, Copy)]
struct Update {
    beta1: f32,
    beta2: f32,
    keep: f32,
    rate: f32,
    root: f32,
    eps: f32,
    clip: f32,
}

impl States {
    /// Zeros, for tensors at these places.
    pub(crate) fn new(optimizer: Optimizer, tensors: impl IntoIterator<Item = Range<usize>>) -> Self {
        let state = |len: usize| {
            if optimizer == Optimizer::AdamW8bit && len >= LEAST {
                State::Bytes { m: Blockwise::zeros(len, &SIGNED), v: Blockwise::zeros(len, &UNSIGNED) }
            } else {
                State::Whole { m: vec![0.0; len], v: vec![0.0; len] }
            }
        };
        Self { updates: 0, tensors: tensors.into_iter().map(|range| (range.clone(), state(range.len()))).collect() }
    }

    /// Moves the parameters against `clip` times the gradients.
    pub(crate) fn update(&mut self, of: &AdamW, lr: f64, clip: f64, parameters: &mut [f32], gradients: &[f32]) {
        self.updates += 1;
        let t = self.updates as f64;
        let update = Update {
            beta1: of.betas[0] as f32,
            beta2: of.betas[1] as f32,
            keep: (1.0 - lr * of.weight_decay) as f32,
            rate: (lr / (1.0 - of.betas[0].powf(t))) as f32,
            root: (1.0 - of.betas[1].powf(t)).sqrt() as f32,
            eps: of.eps as f32,
            clip: clip as f32,
        };
        for (range, state) in &mut self.tensors {
            let parameters = parameters[range.clone()].par_chunks_mut(BLOCK);
            let all = parameters.zip(gradients[range.clone()].par_chunks(BLOCK)).with_min_len(16);
            match state {
                State::Whole { m, v } => all
                    .zip(m.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)))
                    .for_each(|((parameters, gradients), (m, v))| update.apply(parameters, gradients, m, v)),
                State::Bytes { m, v } => all
                    .zip(m.codes.par_chunks_mut(BLOCK).zip(&mut m.scales))
                    .zip(v.codes.par_chunks_mut(BLOCK).zip(&mut v.scales))
                    .for_each(|(((parameters, gradients), (m, m_scale)), (v, v_scale))| {
                        let decode = |codes: &[u8], scale: f32, book: &[f32; 256]| -> Vec<f32> {
                            codes.iter().map(|code| book[usize::from(*code)] * scale).collect()
                        };
                        let (mut new_m, mut new_v) = (decode(m, *m_scale, &SIGNED), decode(v, *v_scale, &UNSIGNED));
                        update.apply(parameters, gradients, &mut new_m, &mut new_v);
                        *m_scale = quantize_block(&new_m, &SIGNED, m);
                        *v_scale = quantize_block(&new_v, &UNSIGNED, v);
                    }),
            }
        }
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |state: &State| match state {
            State::Whole { m, v } => size_of_val(m.as_slice()) + size_of_val(v.as_slice()),
            State::Bytes { m, v } => m.bytes() + v.bytes(),
        };
        self.tensors.iter().map(|(_, state)| bytes(state)).sum()
    }
}

impl Update {
    fn apply(&self, parameters: &mut [f32], gradients: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, g), m), v) in parameters.iter_mut().zip(gradients).zip(m).zip(v) {
            let g = g * self.clip;
            *p *= self.keep;
            *m += (g - *m) * (1.0 - self.beta1);
            *v = *v * self.beta2 + (1.0 - self.beta2) * g * g;
            *p -= self.rate * *m / (v.sqrt() / self.root + self.eps);
        }
    }
}

/// √Σ g², in one order.
pub(crate) fn norm(gradients: &[f32]) -> f64 {
    let parts: Vec<f64> = gradients
        .par_chunks(1 << 14)
        .map(|part| part.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>())
        .collect();
    parts.iter().sum::<f64>().sqrt()
}

/// The factor that brings gradients of a norm to at most `most`, as torch clips them.
pub(crate) fn clip(norm: f64, most: Option<f64>) -> f64 {
    most.map_or(1.0, |most| (most / (norm + 1e-6)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    #[test]
    fn both_states_reach_the_minimum() {
        let goal: Vec<f32> = (0..5000).map(|i| Key::new(1).uniform(i)).collect();
        let settings = AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
        for optimizer in [Optimizer::AdamW, Optimizer::AdamW8bit] {
            let mut states = States::new(optimizer, [0..10, 10..5000]);
            let mut at = vec![0.0f32; 5000];
            for step in 0..400 {
                let gradients: Vec<f32> = at.iter().zip(&goal).map(|(at, goal)| at - goal).collect();
                let lr = 0.02 * Schedule::Linear.factor(step, 0, 400);
                states.update(&settings, lr, 1.0, &mut at, &gradients);
            }
            let off = at.iter().zip(&goal).map(|(at, goal)| (at - goal).abs()).fold(0.0, f32::max);
            assert!(off < 0.01, "{optimizer:?}: {off}");
        }
        let bytes = |optimizer| States::new(optimizer, std::iter::once(0..40_960)).bytes();
        assert_eq!(bytes(Optimizer::AdamW), 8 * 40_960);
        assert_eq!(bytes(Optimizer::AdamW8bit), 2 * (40_960 + 160 * 4));
    }

    use crate::schedule::Schedule;

    #[test]
    fn clipping_keeps_small_gradients() {
        assert_eq!(norm(&[3.0, 4.0]), 5.0);
        assert_eq!((clip(5.0, None), clip(0.5, Some(1.0))), (1.0, 1.0));
        assert!((clip(5.0, Some(1.0)) - 0.2).abs() < 1e-6);
    }
}
