//! One block of the decoder, forward and backward.
//!
//! ```text
//! n = norm(x)   a = attention(rope(Q n), rope(K n), V n)    z = x + O a
//! m = norm(z)   h = silu(Gate m) ⊙ Up m                     y = z + Down h
//! ```
//! x, y, z, n, m: [rows, hidden], a: [rows, heads · head_dim], h: [rows, intermediate]

use cairn_lane::{
    Config,
    names::Projection::{self, Down, Gate, K, O, Q, Up, V},
};

use crate::{
    Adapter,
    attention::{Attention, InputGradients, Inputs},
    buffers::Buffers,
    kernel::{self, Angles},
    linear::{Kept, Linear},
    model::Block,
    random::Key,
};

/// What all layers of one pass share.
pub(crate) struct Pass<'a> {
    pub(crate) config: &'a Config,
    pub(crate) adapter: Option<&'a Adapter>,
    pub(crate) sequences: &'a [std::ops::Range<usize>],
    pub(crate) angles: &'a Angles,
    /// Of dropout; none outside of training.
    pub(crate) key: Option<Key>,
}

/// A block in a pass.
pub(crate) struct Layer<'a> {
    pub(crate) pass: &'a Pass<'a>,
    pub(crate) block: &'a Block,
    pub(crate) index: usize,
}

/// What the way back through a block needs, beside its input.
#[derive(Default)]
pub(crate) struct Tape {
    /// n and m, with the scales of both norms.
    normed: [Vec<f32>; 2],
    scales: [Vec<f32>; 2],
    /// Queries and keys before their norms, with the scales of those (Qwen3).
    raw: [Vec<f32>; 2],
    raw_scales: [Vec<f32>; 2],
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    lse: Vec<f32>,
    z: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    h: Vec<f32>,
    /// By projection.
    kept: [Kept; 7],
}

impl Tape {
    /// Lets go of what is quickly computed again from x and from what stays: of the products, those of the gate and the
    /// up-projection.
    pub(crate) fn forget(&mut self, buffers: &mut Buffers) {
        let Self { normed, scales, gate, up, h, kept, .. } = self;
        buffers.give(normed.iter_mut().chain(scales).chain([gate, up, h]).map(std::mem::take));
        let [.., gate, up, down] = kept;
        buffers.give([gate, up, down].into_iter().flat_map(|kept| std::mem::take(kept).into_buffers()));
    }

    /// Elements that it holds.
    pub(crate) fn len(&self) -> usize {
        let Self { normed, scales, raw, raw_scales, q, k, v, attended, lse, z, gate, up, h, kept } = self;
        let groups = normed.iter().chain(scales).chain(raw).chain(raw_scales);
        let buffers: usize = groups.chain([q, k, v, attended, lse, z, gate, up, h]).map(Vec::len).sum();
        buffers + kept.iter().map(Kept::len).sum::<usize>()
    }

    pub(crate) fn give_back(self, buffers: &mut Buffers) {
        let Self { normed, scales, raw, raw_scales, q, k, v, attended, lse, z, gate, up, h, kept } = self;
        buffers.give([q, k, v, attended, lse, z, gate, up, h]);
        buffers.give(normed.into_iter().chain(scales).chain(raw).chain(raw_scales));
        buffers.give(kept.into_iter().flat_map(Kept::into_buffers));
    }
}

impl Layer<'_> {
    /// The tape of a pass, and y.
    pub(crate) fn forward(&self, x: &[f32], buffers: &mut Buffers) -> (Tape, Vec<f32>) {
        let mut tape = self.attend(x, buffers);
        self.gate(&mut tape, buffers);
        let rows = x.len() / self.pass.config.hidden_size;
        let (mut y, kept) = self.apply(Down, &tape.h, rows, buffers);
        tape.kept[Down as usize] = kept;
        kernel::add(&mut y, &tape.z);
        (tape, y)
    }

    /// The tape a second time, from what was kept of the first one. y is not needed, and so Down is not computed.
    pub(crate) fn again(&self, x: &[f32], kept: Option<Tape>, buffers: &mut Buffers) -> Tape {
        let mut tape = match kept {
            None => self.attend(x, buffers),
            Some(mut tape) => {
                (tape.normed[0], tape.scales[0]) = self.norm(x, &self.block.input_norm, buffers);
                tape
            }
        };
        self.gate(&mut tape, buffers);
        let rows = x.len() / self.pass.config.hidden_size;
        tape.kept[Down as usize] = self.linear(Down).keep(&tape.h, rows, buffers);
        tape
    }

    /// The first half of a block, to z.
    fn attend(&self, x: &[f32], buffers: &mut Buffers) -> Tape {
        let config = self.pass.config;
        let rows = x.len() / config.hidden_size;
        let mut tape = Tape::default();
        (tape.normed[0], tape.scales[0]) = self.norm(x, &self.block.input_norm, buffers);
        for (of, to) in [(Q, &mut tape.q), (K, &mut tape.k), (V, &mut tape.v)] {
            (*to, tape.kept[of as usize]) = self.apply(of, &tape.normed[0], rows, buffers);
        }
        if let Some(norms) = &self.block.head_norms {
            for (at, (heads, norm)) in [&mut tape.q, &mut tape.k].into_iter().zip(norms).enumerate() {
                let (normed, scales) = self.norm(heads, norm, buffers);
                tape.raw[at] = std::mem::replace(heads, normed);
                tape.raw_scales[at] = scales;
            }
        }
        kernel::rope(&mut tape.q, config.q_width(), self.pass.angles, false);
        kernel::rope(&mut tape.k, config.kv_width(), self.pass.angles, false);
        tape.attended = buffers.take(rows * config.q_width());
        tape.lse = buffers.take(rows * config.heads);
        let inputs = Inputs { q: &tape.q, k: &tape.k, v: &tape.v };
        self.attention().forward(inputs, &mut tape.attended, &mut tape.lse);
        (tape.z, tape.kept[O as usize]) = self.apply(O, &tape.attended, rows, buffers);
        kernel::add(&mut tape.z, x);
        tape
    }

    /// The second half, from z to h.
    fn gate(&self, tape: &mut Tape, buffers: &mut Buffers) {
        let rows = tape.z.len() / self.pass.config.hidden_size;
        (tape.normed[1], tape.scales[1]) = self.norm(&tape.z, &self.block.post_norm, buffers);
        (tape.gate, tape.kept[Gate as usize]) = self.apply(Gate, &tape.normed[1], rows, buffers);
        (tape.up, tape.kept[Up as usize]) = self.apply(Up, &tape.normed[1], rows, buffers);
        tape.h = buffers.take(rows * self.pass.config.intermediate_size);
        kernel::silu_mul(&tape.gate, &tape.up, &mut tape.h);
    }

    /// Adds to the gradients of the adapter and turns `dy` into the gradient of x, where that is wanted.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        tape: Tape,
        dy: &mut [f32],
        gradients: &mut [f32],
        wants_input: bool,
        buffers: &mut Buffers,
    ) {
        let config = self.pass.config;
        let rows = x.len() / config.hidden_size;
        let mut tape = tape;

        // Down and the gate. With DoRA a backward pass uses its dy up, and this one is still needed for z.
        let mut d_down = buffers.copy(dy);
        let mut dh = buffers.take(rows * config.intermediate_size);
        self.back(Down, &tape.h, &tape.kept, &mut d_down, gradients, Some((&mut dh, 0.0)), buffers);
        kernel::silu_mul_backward(&mut tape.gate, &mut tape.up, &dh);
        let mut dn = d_down; // [rows, hidden], free again
        self.back(Gate, &tape.normed[1], &tape.kept, &mut tape.gate, gradients, Some((&mut dn, 0.0)), buffers);
        self.back(Up, &tape.normed[1], &tape.kept, &mut tape.up, gradients, Some((&mut dn, 1.0)), buffers);
        kernel::rms_norm_backward(&tape.z, &self.block.post_norm, &tape.scales[1], &dn, dy);

        // Attention. From here on dy is dz.
        dn.copy_from_slice(dy);
        let mut da = buffers.take(rows * config.q_width());
        self.back(O, &tape.attended, &tape.kept, &mut dn, gradients, Some((&mut da, 0.0)), buffers);
        let (mut dq, mut dk, mut dv) = (
            buffers.take(rows * config.q_width()),
            buffers.take(rows * config.kv_width()),
            buffers.take(rows * config.kv_width()),
        );
        let inputs = Inputs { q: &tape.q, k: &tape.k, v: &tape.v };
        let to = InputGradients { q: &mut dq, k: &mut dk, v: &mut dv };
        self.attention().backward(inputs, &tape.attended, &tape.lse, &da, to);
        kernel::rope(&mut dq, config.q_width(), self.pass.angles, true);
        kernel::rope(&mut dk, config.kv_width(), self.pass.angles, true);
        if let Some(norms) = &self.block.head_norms {
            for (at, (d, norm)) in [&mut dq, &mut dk].into_iter().zip(norms).enumerate() {
                let mut before = buffers.zeros(d.len());
                kernel::rms_norm_backward(&tape.raw[at], norm, &tape.raw_scales[at], d, &mut before);
                buffers.give([std::mem::replace(d, before)]);
            }
        }
        for (of, d, keep) in [(Q, &mut dq, 0.0), (K, &mut dk, 1.0), (V, &mut dv, 1.0)] {
            let dx = wants_input.then_some((dn.as_mut_slice(), keep));
            self.back(of, &tape.normed[0], &tape.kept, d, gradients, dx, buffers);
        }
        if wants_input {
            kernel::rms_norm_backward(x, &self.block.input_norm, &tape.scales[0], &dn, dy);
        }
        buffers.give([dh, dn, da, dq, dk, dv]);
        tape.give_back(buffers);
    }

    fn norm(&self, x: &[f32], weight: &[f32], buffers: &mut Buffers) -> (Vec<f32>, Vec<f32>) {
        let (mut normed, mut scales) = (buffers.take(x.len()), buffers.take(x.len() / weight.len()));
        kernel::rms_norm(x, weight, self.pass.config.norm_eps, &mut normed, &mut scales);
        (normed, scales)
    }

    fn linear(&self, of: Projection) -> Linear<'_> {
        let branch = self.pass.adapter.and_then(|adapter| adapter.branch(self.index, of, self.pass.key));
        Linear { frozen: self.block.linear(of), bias: self.block.bias(of), branch }
    }

    fn apply(&self, of: Projection, x: &[f32], rows: usize, buffers: &mut Buffers) -> (Vec<f32>, Kept) {
        let linear = self.linear(of);
        let mut y = buffers.take(rows * linear.frozen.outputs());
        let kept = linear.forward(x, rows, &mut y, buffers);
        (y, kept)
    }

    #[expect(clippy::too_many_arguments, reason = "one call for each of seven linear layers, all arguments in use")]
    fn back(
        &self,
        of: Projection,
        x: &[f32],
        kept: &[Kept; 7],
        dy: &mut [f32],
        gradients: &mut [f32],
        dx: Option<(&mut [f32], f32)>,
        buffers: &mut Buffers,
    ) {
        let gradients = self.pass.adapter.and_then(|adapter| adapter.gradients(self.index, of, gradients));
        self.linear(of).backward(x, &kept[of as usize], dy, gradients, dx, buffers);
    }

    fn attention(&self) -> Attention<'_> {
        let config = self.pass.config;
        Attention {
            heads: config.heads,
            kv_heads: config.kv_heads,
            dim: config.head_dim,
            window: config.windows[self.index],
            sequences: self.pass.sequences,
        }
    }
}
