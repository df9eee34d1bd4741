//! Causal attention over sequences that stand below one another, forward and backward, in blocks of queries: no matrix of
//! all scores is ever kept. Sequences do not see each other.
//!
//! ```text
//! P = softmax(scale · Q Kᵀ)      O = P V           lse: the logarithm of each row's sum, kept for the way back
//! dV = Pᵀ dO     dS = P ⊙ (dO Vᵀ - Σ dO ⊙ O)      dQ = scale · dS K     dK = scale · dSᵀ Q
//! ```
//! q, o: [rows, heads · dim], k, v: [rows, kv_heads · dim], lse: [heads, rows]

use std::ops::Range;

use cairn_matrix::vector::{dot, exp};
use rayon::prelude::*;

use crate::view::{On, View, ViewMut, multiply};

/// The shape of one layer's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
    /// Keys that a query sees, its own included; none = all before it.
    pub(crate) window: Option<usize>,
    /// Rows of each sequence.
    pub(crate) sequences: &'a [Range<usize>],
}

/// Queries, keys and values.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
}

/// The gradients of [`Inputs`].
pub(crate) struct InputGradients<'a> {
    pub(crate) q: &'a mut [f32],
    pub(crate) k: &'a mut [f32],
    pub(crate) v: &'a mut [f32],
}

/// Queries whose scores exist at once.
const BLOCK: usize = 128;

impl Attention<'_> {
    /// Writes o and lse.
    pub(crate) fn forward(&self, inputs: Inputs<'_>, o: &mut [f32], lse: &mut [f32]) {
        let rows = self.rows();
        let group = self.heads / self.kv_heads;
        let (lengths, widths) = (self.lengths(), vec![group * self.dim; self.kv_heads]);
        let o = ViewMut::new(o, rows, self.heads * self.dim).split(&lengths, &widths);
        let lse = self.split_lse(lse, &lengths);
        o.into_par_iter().zip(lse).enumerate().for_each(|(task, (mut o, mut lse))| {
            let (sequence, kv_head) = (&self.sequences[task / self.kv_heads], task % self.kv_heads);
            let mut scores = Vec::new();
            for member in 0..group {
                let head = self.head(inputs, sequence, kv_head * group + member);
                let columns = member * self.dim..(member + 1) * self.dim;
                for queries in head.blocks() {
                    let keys = head.keys(&queries);
                    head.scores(&queries, &keys, &mut scores);
                    let lse = &mut lse.row(member)[queries.clone()];
                    for ((i, row), lse) in queries.clone().zip(scores.chunks_exact_mut(keys.len())).zip(lse) {
                        *lse = softmax(row, head.seen(i, &keys));
                    }
                    let p = View::new(&scores, queries.len(), keys.len());
                    let v = head.v.block(keys, 0..self.dim);
                    multiply(On::One, 1.0, p, v, 0.0, &mut o.block(queries, columns.clone()));
                }
            }
        });
    }

    /// Writes the gradients of q, k and v.
    pub(crate) fn backward(&self, inputs: Inputs<'_>, o: &[f32], lse: &[f32], d_o: &[f32], to: InputGradients<'_>) {
        let rows = self.rows();
        let group = self.heads / self.kv_heads;
        let (width, kv_width) = (self.heads * self.dim, self.kv_heads * self.dim);
        let lengths = self.lengths();
        let dq = ViewMut::new(to.q, rows, width).split(&lengths, &vec![group * self.dim; self.kv_heads]);
        let dk = ViewMut::new(to.k, rows, kv_width).split(&lengths, &vec![self.dim; self.kv_heads]);
        let dv = ViewMut::new(to.v, rows, kv_width).split(&lengths, &vec![self.dim; self.kv_heads]);
        let (lse, o, d_o) = (View::new(lse, self.heads, rows), View::new(o, rows, width), View::new(d_o, rows, width));
        let tasks = dq.into_par_iter().zip(dk).zip(dv).enumerate();
        tasks.for_each(|(task, ((mut dq, mut dk), mut dv))| {
            let (sequence, kv_head) = (&self.sequences[task / self.kv_heads], task % self.kv_heads);
            (0..sequence.len()).for_each(|row| {
                dk.row(row).fill(0.0);
                dv.row(row).fill(0.0);
            });
            let (mut p, mut ds) = (Vec::new(), Vec::new());
            for member in 0..group {
                let at = kv_head * group + member;
                let head = self.head(inputs, sequence, at);
                let lse = &lse.row(at)[sequence.clone()];
                let columns = at * self.dim..(at + 1) * self.dim;
                let (o, d_o) = (o.block(sequence.clone(), columns.clone()), d_o.block(sequence.clone(), columns));
                for queries in head.blocks() {
                    let keys = head.keys(&queries);
                    head.scores(&queries, &keys, &mut p);
                    let (height, count) = (queries.len(), keys.len());
                    let d_o_block = d_o.block(queries.clone(), 0..self.dim);
                    ds.resize(height * count, 0.0);
                    let v = head.v.block(keys.clone(), 0..self.dim).transposed();
                    multiply(On::One, 1.0, d_o_block, v, 0.0, &mut ViewMut::new(&mut ds, height, count));
                    let scale = self.scale();
                    let rows = queries.clone().zip(p.chunks_exact_mut(count).zip(ds.chunks_exact_mut(count)));
                    for (i, (p, ds)) in rows {
                        let seen = head.seen(i, &keys);
                        let along = dot(o.row(i), d_o.row(i));
                        for (p, ds) in p[seen.clone()].iter_mut().zip(&mut ds[seen.clone()]) {
                            *p = exp(*p - lse[i]);
                            *ds = scale * *p * (*ds - along);
                        }
                        for unseen in [0..seen.start, seen.end..count] {
                            p[unseen.clone()].fill(0.0);
                            ds[unseen].fill(0.0);
                        }
                    }
                    let (p, ds) = (View::new(&p, height, count), View::new(&ds, height, count));
                    let columns = member * self.dim..(member + 1) * self.dim;
                    let all = 0..self.dim;
                    let k = head.k.block(keys.clone(), all.clone());
                    let q = head.q.block(queries.clone(), all.clone());
                    multiply(On::One, 1.0, ds, k, 0.0, &mut dq.block(queries, columns));
                    multiply(On::One, 1.0, ds.transposed(), q, 1.0, &mut dk.block(keys.clone(), all.clone()));
                    multiply(On::One, 1.0, p.transposed(), d_o_block, 1.0, &mut dv.block(keys, all));
                }
            }
        });
    }

    fn rows(&self) -> usize {
        self.sequences.last().map_or(0, |last| last.end)
    }

    fn lengths(&self) -> Vec<usize> {
        self.sequences.iter().map(Range::len).collect()
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// In the order of tasks: sequence by sequence, and in each the groups of heads.
    fn split_lse<'b>(&self, lse: &'b mut [f32], lengths: &[usize]) -> Vec<ViewMut<'b>> {
        let heights = vec![self.heads / self.kv_heads; self.kv_heads];
        let mut blocks: Vec<Option<ViewMut<'b>>> =
            ViewMut::new(lse, self.heads, self.rows()).split(&heights, lengths).into_iter().map(Some).collect();
        let order = (0..lengths.len()).flat_map(|s| (0..self.kv_heads).map(move |g| g * lengths.len() + s));
        order.map(|at| blocks[at].take().expect("each block once")).collect()
    }

    fn head<'b>(&self, inputs: Inputs<'b>, sequence: &Range<usize>, head: usize) -> Head<'b> {
        let columns = |head: usize| head * self.dim..(head + 1) * self.dim;
        let kv = columns(head / (self.heads / self.kv_heads));
        let view = |data: &'b [f32], heads: usize| View::new(data, self.rows(), heads * self.dim);
        Head {
            q: view(inputs.q, self.heads).block(sequence.clone(), columns(head)),
            k: view(inputs.k, self.kv_heads).block(sequence.clone(), kv.clone()),
            v: view(inputs.v, self.kv_heads).block(sequence.clone(), kv),
            length: sequence.len(),
            dim: self.dim,
            scale: self.scale(),
            window: self.window,
        }
    }
}

/// One head of one sequence: [length, dim] each.
struct Head<'a> {
    q: View<'a>,
    k: View<'a>,
    v: View<'a>,
    length: usize,
    dim: usize,
    scale: f32,
    window: Option<usize>,
}

impl Head<'_> {
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let length = self.length;
        (0..length).step_by(BLOCK).map(move |first| first..(first + BLOCK).min(length))
    }

    /// Keys that any of the queries sees.
    fn keys(&self, queries: &Range<usize>) -> Range<usize> {
        self.window.map_or(0, |window| (queries.start + 1).saturating_sub(window))..queries.end
    }

    /// Places among `keys` that query `i` sees.
    fn seen(&self, i: usize, keys: &Range<usize>) -> Range<usize> {
        let first = self.window.map_or(0, |window| (i + 1).saturating_sub(window));
        first.max(keys.start) - keys.start..i + 1 - keys.start
    }

    /// scores = scale · q kᵀ: [queries, keys]
    fn scores(&self, queries: &Range<usize>, keys: &Range<usize>, scores: &mut Vec<f32>) {
        scores.resize(queries.len() * keys.len(), 0.0);
        let q = self.q.block(queries.clone(), 0..self.dim);
        let k = self.k.block(keys.clone(), 0..self.dim).transposed();
        multiply(On::One, self.scale, q, k, 0.0, &mut ViewMut::new(scores, queries.len(), keys.len()));
    }
}

/// Probabilities in place of the scores that are seen, zeros in place of the others; returns the logarithm of the sum.
fn softmax(row: &mut [f32], seen: Range<usize>) -> f32 {
    let most = row[seen.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row[seen.clone()].iter_mut().for_each(|x| *x = exp(*x - most));
    let sum = sum(&row[seen.clone()]);
    row[seen.clone()].iter_mut().for_each(|x| *x *= 1.0 / sum);
    row[..seen.start].fill(0.0);
    row[seen.end..].fill(0.0);
    most + sum.ln()
}

/// Σ x in sixteen chains.
fn sum(x: &[f32]) -> f32 {
    let mut chains = [0.0f32; 16];
    for x in x.chunks(16) {
        chains.iter_mut().zip(x).for_each(|(chain, x)| *chain += x);
    }
    chains.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        (0..n as u64).map(|i| Key::new(seed).uniform(i) * 2.0).collect()
    }

    /// Attention as its definition has it, in f64; returns Σ o · d_o.
    fn plain(of: &Attention<'_>, [q, k, v, d_o]: [&[f32]; 4]) -> f64 {
        let group = of.heads / of.kv_heads;
        let mut total = 0.0;
        for sequence in of.sequences {
            for (head, i) in (0..of.heads).flat_map(|head| sequence.clone().map(move |i| (head, i))) {
                let at = |x: &[f32], heads: usize, row: usize, head: usize| -> Vec<f64> {
                    let start = (row * heads + head) * of.dim;
                    x[start..start + of.dim].iter().map(|x| f64::from(*x)).collect()
                };
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                let (query, d_o) = (at(q, of.heads, i, head), at(d_o, of.heads, i, head));
                let seen = sequence.clone().filter(|j| *j <= i && of.window.is_none_or(|window| i - j < window));
                let pairs: Vec<(f64, f64)> = seen
                    .map(|j| {
                        let score = dot(&query, &at(k, of.kv_heads, j, head / group)) / (of.dim as f64).sqrt();
                        (score.exp(), dot(&d_o, &at(v, of.kv_heads, j, head / group)))
                    })
                    .collect();
                let sum: f64 = pairs.iter().map(|(weight, _)| weight).sum();
                total += pairs.iter().map(|(weight, value)| weight / sum * value).sum::<f64>();
            }
        }
        total
    }

    #[test]
    fn values_and_gradients_are_those_of_the_definition() {
        let sequences = [0..5, 5..6, 6..145];
        let rows = 145;
        for window in [None, Some(1), Some(7), Some(140)] {
            let of = Attention { heads: 4, kv_heads: 2, dim: 4, window, sequences: &sequences };
            let (q, k, v, d_o) =
                (numbers(rows * 16, 1), numbers(rows * 8, 2), numbers(rows * 8, 3), numbers(rows * 16, 4));
            let (mut o, mut lse) = (vec![0.0; rows * 16], vec![0.0; rows * 4]);
            let inputs = Inputs { q: &q, k: &k, v: &v };
            of.forward(inputs, &mut o, &mut lse);
            let value: f64 = o.iter().zip(&d_o).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((value - plain(&of, [&q, &k, &v, &d_o])).abs() < 1e-3);
            let (mut dq, mut dk, mut dv) = (vec![9.0; rows * 16], vec![9.0; rows * 8], vec![9.0; rows * 8]);
            of.backward(inputs, &o, &lse, &d_o, InputGradients { q: &mut dq, k: &mut dk, v: &mut dv });
            let checked = [(0, &q, &dq), (1, &k, &dk), (2, &v, &dv)];
            for (which, x, gradient) in checked {
                for i in (0..x.len()).step_by(59) {
                    let value = |by: f32| {
                        let mut moved = x.clone();
                        moved[i] += by;
                        let mut all = [q.as_slice(), &k, &v, &d_o];
                        all[which] = &moved;
                        plain(&of, all)
                    };
                    let numerical = (value(1e-2) - value(-1e-2)) / 2e-2;
                    let off = (numerical - f64::from(gradient[i])).abs();
                    assert!(off < 2e-3, "{which} {i}, window {window:?}: {numerical} and {}", gradient[i]);
                }
            }
        }
    }
}
