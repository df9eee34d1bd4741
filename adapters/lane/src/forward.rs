//! One forward pass over the tokens of a batch.
//!
//! ```text
//! x = E[token]
//! for each block:  x += O attention(rope(Q n), rope(K n), V n)    with n = norm(x)
//!                  x += Down (silu(Gate n) ⊙ Up n)                with n = norm(x)
//! logits = Head norm(x)
//! ```
//! Tokens of all rows stand below one another: every matrix is [tokens, width]. After the last block's keys and values,
//! only tokens whose logits are wanted go on.

use std::{ops::Range, sync::Arc};

use cairn_matrix::{Between, Matrix, Threads, vector};

use crate::{
    Attached, Config, Profile, Row,
    attach::{NormPlace, Place},
    attention::{self, Query},
    batch::{Batch, Segment},
    names::Projection as P,
    profile::timed,
    project::{Output, project, split},
    rows::over_rows,
    weights::{Layer, Linear, Weights},
};

/// Buffers of a step, kept for the next one, and where the time went.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The residual stream: [tokens, hidden].
    x: Vec<f32>,
    /// What the last layer adds to it: [tokens, hidden].
    added: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// cos and sin of every token's position: [tokens, head_dim / 2].
    cos: Vec<f32>,
    sin: Vec<f32>,
    /// A x of adapters.
    between: Between,
    /// Logits in another order than the rows'.
    logits: Vec<f32>,
    attention: attention::Scratch,
    pub(crate) profile: Profile,
}

pub(crate) struct Forward<'a> {
    pub(crate) config: &'a Config,
    pub(crate) weights: &'a Weights,
    pub(crate) threads: &'a Threads,
    pub(crate) scratch: &'a mut Scratch,
}

impl Forward<'_> {
    /// Writes the rows' new keys and values and appends the wanted logits.
    pub(crate) fn run<'r>(&mut self, rows: &mut [Row<'r>], mut batch: Batch<'r>, logits: &mut Vec<f32>) {
        if batch.tokens() == 0 {
            return;
        }
        let weights = self.weights;
        self.embed(rows, &batch);
        self.angles(&batch);
        for (at, layer) in weights.layers.iter().enumerate() {
            self.norm(&batch.segments, NormPlace::Input(at), &layer.input_norm, at > 0);
            self.keys_and_queries(at, layer, rows, &batch);
            if at + 1 == self.config.layers {
                let wanted = batch.wanted(rows);
                wanted.narrow(&batch, &mut self.scratch.x);
                wanted.narrow(&batch, &mut self.scratch.q);
                batch = wanted;
                if batch.tokens() == 0 {
                    return;
                }
            }
            self.attention(at, layer, rows, &batch);
            self.norm(&batch.segments, NormPlace::Post(at), &layer.post_norm, true);
            self.feed_forward(at, layer, &batch);
        }
        self.norm(&batch.segments, NormPlace::Last, &weights.norm, true);
        self.head(&batch, logits);
    }

    /// x = E[token], as the adapters have it.
    fn embed(&mut self, rows: &[Row<'_>], batch: &Batch<'_>) {
        let width = self.config.hidden_size;
        let embeddings = &self.weights.embeddings;
        let x = &mut self.scratch.x;
        x.resize(batch.tokens() * width, 0.0);
        let tokens = batch.parts.iter().flat_map(|part| rows[part.row].tokens.iter().map(|token| (part.row, *token)));
        let mut other = Vec::new();
        for ((row, token), x) in tokens.zip(x.chunks_exact_mut(width)) {
            let token = token as usize;
            embeddings.row(token, x);
            let adapters = rows[row].adapters;
            if adapters.iter().any(|(it, _)| it.saved_embeddings.is_some()) {
                let base = x.to_vec();
                other.resize(width, 0.0);
                for (adapter, weight) in adapters {
                    if let Some(saved) = &adapter.saved_embeddings {
                        saved.row(token, &mut other);
                        replace(x, &base, &other, *weight);
                    }
                }
            }
            let changes = || adapters.iter().filter_map(|(it, weight)| Some((it.embeddings.as_ref()?, *weight)));
            if changes().any(|(change, _)| change.gain.is_some()) {
                let base = x.to_vec();
                for (gain, weight) in changes().filter_map(|(change, weight)| Some((change.gain.as_ref()?, weight))) {
                    x.iter_mut().zip(gain.iter().zip(&base)).for_each(|(x, (gain, base))| *x += weight * gain * base);
                }
            }
            changes().for_each(|(change, weight)| change.add(token, weight, x));
        }
    }

    fn angles(&mut self, batch: &Batch<'_>) {
        let positions = batch.parts.iter().flat_map(|part| part.position..part.position + part.tokens);
        let frequencies = &self.config.rope.inverse_frequencies;
        let Scratch { cos, sin, .. } = &mut *self.scratch;
        cos.clear();
        sin.clear();
        for position in positions {
            for frequency in frequencies {
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
    }

    /// normed = norm(x), after x += added where something was.
    fn norm(&mut self, segments: &[Segment<'_>], place: NormPlace, base: &[f32], add: bool) {
        let (width, eps) = (base.len(), self.config.norm_eps);
        let Scratch { x, added, normed, .. } = &mut *self.scratch;
        let own = own_norms(segments, place, base);
        normed.resize(x.len(), 0.0);
        over_rows(self.threads, x.len() / width, x, normed, |first, x, normed| {
            for (i, (x, normed)) in x.chunks_exact_mut(width).zip(normed.chunks_exact_mut(width)).enumerate() {
                let row = first + i;
                if add {
                    vector::axpy(1.0, &added[row * width..][..width], x);
                }
                let weights = own.iter().find(|(rows, _)| rows.contains(&row)).map_or(base, |(_, own)| own);
                vector::rms_norm(x, weights, eps, normed);
            }
        });
    }

    /// q, and k and v, which are written to the sequences.
    fn keys_and_queries(&mut self, at: usize, layer: &Layer, rows: &mut [Row<'_>], batch: &Batch<'_>) {
        let (config, count) = (self.config, batch.tokens());
        let Scratch { normed, q, k, v, cos, sin, between, profile, .. } = &mut *self.scratch;
        q.resize(count * config.q_width(), 0.0);
        k.resize(count * config.kv_width(), 0.0);
        v.resize(count * config.kv_width(), 0.0);
        let mut outputs = [(P::Q, &mut *q), (P::K, &mut *k), (P::V, &mut *v)].map(|(of, y)| output(at, layer, of, y));
        project(self.threads, &batch.segments, normed, &mut outputs, between, profile);

        let half = config.head_dim / 2;
        over_rows(self.threads, count, q, k, |first, q, k| {
            for (heads, width, norm) in
                [(q, config.q_width(), &layer.query_norm), (k, config.kv_width(), &layer.key_norm)]
            {
                for (i, heads) in heads.chunks_exact_mut(width).enumerate() {
                    if let Some(norm) = norm {
                        head_norms(heads, norm, config.norm_eps);
                    }
                    let angles = (first + i) * half..(first + i + 1) * half;
                    vector::rope(heads, &cos[angles.clone()], &sin[angles]);
                }
            }
        });
        let width = config.kv_width();
        for part in &batch.parts {
            let new = part.start * width..(part.start + part.tokens) * width;
            rows[part.row].sequence.write(at, part.position, &k[new.clone()], &v[new]);
        }
    }

    /// added = O attention(q)
    fn attention(&mut self, at: usize, layer: &Layer, rows: &[Row<'_>], batch: &Batch<'_>) {
        let config = self.config;
        let Scratch { added, q, attended, between, attention, profile, .. } = &mut *self.scratch;
        attended.resize(q.len(), 0.0);
        let query = |part: &crate::batch::Part| Query {
            sequence: &*rows[part.row].sequence,
            position: part.position,
            tokens: part.tokens,
        };
        let queries: Vec<Query<'_>> = batch.parts.iter().map(query).collect();
        let of = attention::Layer { index: at, window: config.windows[at] };
        timed(&mut profile.attention, || attention::attend(self.threads, of, &queries, q, attended, attention));
        added.resize(batch.tokens() * config.hidden_size, 0.0);
        let output = output(at, layer, P::O, added);
        project(self.threads, &batch.segments, attended, &mut [output], between, profile);
    }

    /// added = Down (silu(Gate normed) ⊙ Up normed)
    fn feed_forward(&mut self, at: usize, layer: &Layer, batch: &Batch<'_>) {
        let (width, count) = (self.config.intermediate_size, batch.tokens());
        let Scratch { added, normed, gate, up, between, profile, .. } = &mut *self.scratch;
        gate.resize(count * width, 0.0);
        up.resize(count * width, 0.0);
        let mut outputs = [(P::Gate, &mut *gate), (P::Up, &mut *up)].map(|(of, y)| output(at, layer, of, y));
        project(self.threads, &batch.segments, normed, &mut outputs, between, profile);
        over_rows(self.threads, count, gate, up, |_, gate, up| vector::silu_mul(gate, up));
        let output = output(at, layer, P::Down, added);
        project(self.threads, &batch.segments, gate, &mut [output], between, profile);
    }

    /// Appends Head normed, in the order of the rows.
    fn head(&mut self, batch: &Batch<'_>, logits: &mut Vec<f32>) {
        let (threads, weights, vocabulary) = (self.threads, self.weights, self.config.vocab_size);
        let Scratch { normed, between, attended: ordered, logits: buffer, profile, .. } = &mut *self.scratch;
        let start = logits.len();
        logits.resize(start + batch.tokens() * vocabulary, 0.0);
        let y = &mut logits[start..];
        let linear = Linear { matrix: weights.head(), bias: None };
        let mut head = |segments: &[Segment<'_>], x: &[f32], y: &mut [f32]| {
            let mut head = [Output { place: Place::Head, linear, y: &mut *y }];
            project(threads, segments, x, &mut head, between, profile);
            own_heads(threads, segments, linear.matrix, x, y);
        };
        if batch.parts.is_sorted_by_key(|part| part.row) {
            return head(&batch.segments, normed, y);
        }
        // Rows were put in the order of their adapters.
        let changes = |(adapter, _): &(Arc<Attached>, f32)| adapter.changes_head();
        if batch.segments.iter().any(|segment| segment.adapters.iter().any(changes)) {
            buffer.resize(y.len(), 0.0);
            head(&batch.segments, normed, buffer);
            batch.in_order_of_rows(buffer, y);
        } else {
            // That is much less to move.
            ordered.resize(normed.len(), 0.0);
            batch.in_order_of_rows(normed, ordered);
            head(&[Segment { tokens: 0..batch.tokens(), adapters: &[] }], ordered, y);
        }
    }
}

fn output<'a>(layer: usize, weights: &'a Layer, of: P, y: &'a mut [f32]) -> Output<'a> {
    Output { place: Place::Layer(layer, of), linear: weights.linears[of as usize].as_ref(), y }
}

/// The norm's weights for tokens whose adapters bring their own.
fn own_norms(segments: &[Segment<'_>], place: NormPlace, base: &[f32]) -> Vec<(Range<usize>, Vec<f32>)> {
    let mut all = Vec::new();
    for segment in segments {
        let saved = || segment.adapters.iter().filter_map(|(it, weight)| Some((it.norm(place)?, *weight)));
        if saved().next().is_some() {
            let mut own = base.to_vec();
            saved().for_each(|(saved, weight)| replace(&mut own, base, saved, weight));
            all.push((segment.tokens.clone(), own));
        }
    }
    all
}

/// Norms each head by itself.
fn head_norms(heads: &mut [f32], weights: &[f32], eps: f32) {
    for head in heads.chunks_exact_mut(weights.len()) {
        let scale = 1.0 / (vector::dot(head, head) / weights.len() as f32 + eps).sqrt();
        head.iter_mut().zip(weights).for_each(|(x, weight)| *x = *x * scale * weight);
    }
}

/// y += Σ weight · (Own - Head) x, for tokens whose adapters bring their own head.
fn own_heads(threads: &Threads, segments: &[Segment<'_>], head: &Matrix, x: &[f32], y: &mut [f32]) {
    let (vocabulary, hidden) = (head.outputs(), head.inputs());
    for (segment, y) in segments.iter().zip(split(segments, vocabulary, y)) {
        let mut saved = segment.adapters.iter().filter_map(|(it, weight)| Some((it.saved_head.as_ref()?, *weight)));
        let Some(first) = saved.next() else { continue };
        let rows = segment.tokens.len();
        let x = &x[segment.tokens.start * hidden..segment.tokens.end * hidden];
        if let ([(adapter, 1.0)], (own, _)) = (segment.adapters, first)
            && adapter.linear(Place::Head).is_none()
        {
            own.multiply(threads, x, rows, y);
            continue;
        }
        let mut base = vec![0.0; y.len()];
        head.multiply(threads, x, rows, &mut base);
        let mut other = vec![0.0; y.len()];
        for (own, weight) in std::iter::once(first).chain(saved) {
            own.multiply(threads, x, rows, &mut other);
            y.iter_mut().zip(base.iter().zip(&other)).for_each(|(y, (base, other))| *y += weight * (other - base));
        }
    }
}

/// value += weight · (other - base); exactly `other` where the weight is 1 and nothing else was added.
fn replace(value: &mut [f32], base: &[f32], other: &[f32], weight: f32) {
    if weight == 1.0 && value == base {
        value.copy_from_slice(other);
        return;
    }
    value.iter_mut().zip(base.iter().zip(other)).for_each(|(value, (base, other))| *value += weight * (other - base));
}
