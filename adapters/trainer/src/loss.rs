//! Cross-entropy over the tokens that are learnt, in blocks of rows: the logits of all rows never exist together.
//!
//! ```text
//! logits = norm(x) Headᵀ      nll = ln Σ exp(logits) - logits[target]      d logits = factor · (softmax(logits) - onehot)
//! ```

use rayon::prelude::*;

use cairn_matrix::vector::exp;

use crate::{
    Model,
    buffers::Buffers,
    kernel,
    view::{View, ViewMut},
};

/// Elements of the logits that exist at once: 48 MiB.
pub(crate) const LOGITS: usize = 12 << 20;

/// Rows whose logits exist at once.
pub(crate) fn rows_at_once(vocabulary: usize) -> usize {
    (LOGITS / vocabulary).clamp(16, 1024)
}

/// What is wanted of the loss.
pub(crate) struct Loss<'a> {
    pub(crate) model: &'a Model,
    /// Rows and their next tokens.
    pub(crate) targets: &'a [(usize, u32)],
    /// The loss is this times the sum of all nll.
    pub(crate) factor: f32,
}

impl Loss<'_> {
    /// The negative log-likelihood of each target, in nats; x: [rows, hidden].
    pub(crate) fn values(&self, x: &[f32], buffers: &mut Buffers) -> Vec<f32> {
        self.run(x, None, buffers)
    }

    /// [`Self::values`], and the gradient of x, which is written to `dx`.
    pub(crate) fn gradient(&self, x: &[f32], dx: &mut [f32], buffers: &mut Buffers) -> Vec<f32> {
        dx.fill(0.0);
        self.run(x, Some(dx), buffers)
    }

    fn run(&self, x: &[f32], mut dx: Option<&mut [f32]>, buffers: &mut Buffers) -> Vec<f32> {
        let (config, head) = (self.model.config(), self.model.head());
        let (width, vocabulary) = (config.hidden_size, config.vocab_size);
        let most = rows_at_once(vocabulary).min(self.targets.len());
        let [mut picked, mut normed, mut d_normed, mut d_picked] = [(); 4].map(|()| buffers.take(most * width));
        let (mut scales, mut logits) = (buffers.take(most), buffers.take(most * vocabulary));
        let mut all = Vec::with_capacity(self.targets.len());
        for targets in self.targets.chunks(most.max(1)) {
            let rows = targets.len();
            let (picked, normed) = (&mut picked[..rows * width], &mut normed[..rows * width]);
            for (to, (row, _)) in picked.chunks_exact_mut(width).zip(targets) {
                to.copy_from_slice(&x[row * width..][..width]);
            }
            let scales = &mut scales[..rows];
            kernel::rms_norm(picked, &self.model.norm, config.norm_eps, normed, scales);
            let logits = &mut logits[..rows * vocabulary];
            head.forward(View::new(normed, rows, width), &mut ViewMut::new(logits, rows, vocabulary), buffers);
            let factor = dx.is_some().then_some(self.factor);
            let rows_of = logits.par_chunks_mut(vocabulary).zip(targets);
            all.par_extend(rows_of.map(|(logits, (_, target))| cross_entropy(logits, *target as usize, factor)));
            let Some(dx) = &mut dx else { continue };
            let (d_normed, d_picked) = (&mut d_normed[..rows * width], &mut d_picked[..rows * width]);
            let to = &mut ViewMut::new(d_normed, rows, width);
            head.backward(View::new(logits, rows, vocabulary), rows, 0.0, to, buffers);
            d_picked.fill(0.0);
            kernel::rms_norm_backward(picked, &self.model.norm, scales, d_normed, d_picked);
            for (from, (row, _)) in d_picked.chunks_exact(width).zip(targets) {
                dx[row * width..][..width].copy_from_slice(from);
            }
        }
        buffers.give([picked, normed, d_normed, d_picked, scales, logits]);
        all
    }
}

/// The negative log-likelihood; with a factor, the gradient replaces the logits.
fn cross_entropy(logits: &mut [f32], target: usize, factor: Option<f32>) -> f32 {
    let mut most = [f32::NEG_INFINITY; 16];
    for part in logits.chunks(16) {
        most.iter_mut().zip(part).for_each(|(most, x)| *most = if *x > *most { *x } else { *most });
    }
    let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let wanted = logits[target];
    let mut sums = [0.0f32; 16];
    for part in logits.chunks_mut(16) {
        sums.iter_mut().zip(part).for_each(|(sum, x)| {
            *x = exp(*x - most);
            *sum += *x;
        });
    }
    let sum: f32 = sums.iter().sum();
    if let Some(factor) = factor {
        let scale = factor / sum;
        logits.iter_mut().for_each(|x| *x *= scale);
        logits[target] -= factor;
    }
    most + sum.ln() - wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_entropy_and_its_gradient() {
        let logits: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let value = |logits: &[f32]| {
            let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
            sum.ln() - f64::from(logits[5])
        };
        let mut gradient = logits.clone();
        let nll = cross_entropy(&mut gradient, 5, Some(2.0));
        assert!((f64::from(nll) - value(&logits)).abs() < 1e-5);
        for i in 0..logits.len() {
            let mut moved = logits.clone();
            moved[i] += 1e-2;
            let above = value(&moved);
            moved[i] -= 2e-2;
            let numerical = 2.0 * (above - value(&moved)) / 2e-2;
            assert!((numerical - f64::from(gradient[i])).abs() < 1e-4, "{i}");
        }
    }
}
