//! Causal attention of every new token over its own sequence's keys, computed in f32.
//!
//! ```text
//! out[t, h] = Σ_j softmax_j(q[t, h] · k[j, h / group] / sqrt(head_dim)) v[j, h / group],   t - window < j ≤ t
//! ```
//! The query heads that share a key head, and neighbouring tokens of a prompt, go over the pages together. What one query
//! computes is the same sequence of operations alone and in company: pages are those of its own sequence, counted from the
//! sequence's beginning, and keys that only others see have weight zero.

mod kernel;

use std::{ops::Range, sync::Mutex as Once};

use cairn_matrix::{Threads, vector};
use half::f16;
use parking_lot::Mutex;

use crate::{
    Sequence,
    sequence::{Kept, Layout, Number, PAGE},
};

/// New tokens of one sequence, their keys and values already written.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) sequence: &'a Sequence,
    /// The first new token's position.
    pub(crate) position: usize,
    /// New tokens.
    pub(crate) tokens: usize,
}

/// Which layer, and how many keys a query sees.
#[derive(Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) index: usize,
    pub(crate) window: Option<usize>,
}

impl Layer {
    /// The first position that a query sees.
    fn begin(self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Scores of queries in work, one buffer for each thread that was ever at it.
#[derive(Default)]
pub(crate) struct Scratch(Mutex<Vec<Buffers>>);

#[derive(Default)]
struct Buffers {
    /// Queries that go over the pages together: [head_dim][n].
    queries: Vec<f32>,
    /// [n][keys of the pages]
    scores: Vec<f32>,
    /// [n][head_dim]
    mixed: Vec<f32>,
}

/// q and out: [tokens, heads x head_dim], the tokens of all queries below one another.
pub(crate) fn attend(
    threads: &Threads,
    layer: Layer,
    queries: &[Query<'_>],
    q: &[f32],
    out: &mut [f32],
    scratch: &Scratch,
) {
    let tokens: usize = queries.iter().map(|query| query.tokens).sum();
    let (Some(first), true) = (queries.first(), tokens > 0) else { return };
    let (width, layout) = (out.len() / tokens, first.sequence.layout());
    let mut units = units(queries, layout, width, q, out);
    let work: usize = queries.iter().map(|query| query.tokens * (query.position + query.tokens)).sum::<usize>() * width;
    let parts = if work < ONE_PART { 1 } else { units.len().min(threads.count() * PARTS) };
    let parts: Vec<Once<&mut [Unit<'_>]>> = shares(&mut units, parts, layer).into_iter().map(Once::new).collect();
    let run = match layout.kept {
        Kept::F32 => run_all::<f32>,
        Kept::F16 => run_all::<f16>,
    };
    threads.run(parts.len(), |part| {
        let mut buffers = scratch.0.lock().pop().unwrap_or_default();
        run(&mut parts[part].lock().expect("each part is locked once"), layer, &mut buffers);
        scratch.0.lock().push(buffers);
    });
}

/// One unit after the other, each fetching the beginning of the next.
fn run_all<T: Number>(units: &mut [Unit<'_>], layer: Layer, buffers: &mut Buffers) {
    for at in 0..units.len() {
        let next = units.get(at + 1).map(|next| next.first_keys::<T>(layer));
        units[at].run::<T>(layer, next, buffers);
    }
}

/// Multiply-adds that are not worth a hand-over.
const ONE_PART: usize = 64 << 10;
/// Parts for each thread, so that one that is held up can be helped.
const PARTS: usize = 3;
/// Tokens of a prompt in one unit.
const BLOCK: usize = 16;

/// Some tokens of a prompt with all heads, or one token with one key head.
struct Unit<'a> {
    query: Query<'a>,
    /// The first token's position.
    position: usize,
    kv_heads: Range<usize>,
    /// [tokens, heads of `kv_heads` x head_dim]
    q: &'a [f32],
    out: &'a mut [f32],
}

/// Cuts the work so that each unit's out is one slice.
fn units<'a>(
    queries: &[Query<'a>],
    layout: Layout,
    width: usize,
    mut q: &'a [f32],
    mut out: &'a mut [f32],
) -> Vec<Unit<'a>> {
    let mut units = Vec::new();
    let mut push = |query: Query<'a>, position: usize, kv_heads: Range<usize>, len: usize| {
        let (mine, rest) = q.split_at(len);
        q = rest;
        let (written, rest) = std::mem::take(&mut out).split_at_mut(len);
        out = rest;
        units.push(Unit { query, position, kv_heads, q: mine, out: written });
    };
    for query in queries {
        if query.tokens == 1 {
            (0..layout.kv_heads).for_each(|head| push(*query, query.position, head..head + 1, width / layout.kv_heads));
            continue;
        }
        for from in (0..query.tokens).step_by(BLOCK) {
            let tokens = BLOCK.min(query.tokens - from);
            push(*query, query.position + from, 0..layout.kv_heads, tokens * width);
        }
    }
    units
}

/// Neighbouring units for each of so many parts, about equally many pages for each.
fn shares<'u, 'a>(units: &'u mut [Unit<'a>], parts: usize, layer: Layer) -> Vec<&'u mut [Unit<'a>]> {
    let total: usize = units.iter().map(|unit| unit.cost(layer)).sum();
    let mut shares = Vec::with_capacity(parts);
    let (mut rest, mut done) = (units, 0);
    for part in 1..=parts {
        let mut count = 0;
        while count < rest.len() && (part == parts || done + rest[count].cost(layer) / 2 < total * part / parts) {
            done += rest[count].cost(layer);
            count += 1;
        }
        let (share, others) = std::mem::take(&mut rest).split_at_mut(count);
        shares.push(share);
        rest = others;
    }
    shares
}

impl<'a> Unit<'a> {
    fn tokens(&self) -> usize {
        BLOCK.min(self.query.position + self.query.tokens - self.position)
    }

    /// Pages that its queries read, each counted.
    fn cost(&self, layer: Layer) -> usize {
        let last = self.position + self.tokens();
        self.tokens() * self.kv_heads.len() * (last.div_ceil(PAGE) - layer.begin(self.position) / PAGE)
    }

    /// The first page that it reads.
    fn first_keys<T: Number>(&self, layer: Layer) -> &'a [T] {
        self.query.sequence.page(layer.begin(self.position) / PAGE, layer.index, self.kv_heads.start).0
    }

    /// Computes it; `next` is what will be read first after that.
    fn run<T: Number>(&mut self, layer: Layer, next: Option<&[T]>, buffers: &mut Buffers) {
        let dim = self.query.sequence.layout().head_dim;
        let kv_heads = self.kv_heads.clone();
        let tokens = self.tokens();
        let heads = self.q.len() / tokens / dim; // query heads of this unit
        let group = heads / kv_heads.len();
        for (at, head) in kv_heads.enumerate() {
            // Query n of this key head is head n % group of token n / group.
            let slot = |n: usize| ((n / group) * heads + at * group + n % group) * dim;
            for from in (0..tokens * group).step_by(kernel::MOST) {
                let together = from..(tokens * group).min(from + kernel::MOST);
                let positions = self.position + together.start / group..self.position + (together.end - 1) / group + 1;
                let n = together.len();
                buffers.queries.resize(n * dim, 0.0);
                for (r, query) in together.clone().enumerate() {
                    for (d, x) in self.q[slot(query)..][..dim].iter().enumerate() {
                        buffers.queries[d * n + r] = *x;
                    }
                }
                let position = |r: usize| self.position + (together.start + r) / group;
                self.together::<T>(layer, head, positions, position, next, buffers);
                for (query, mixed) in together.zip(buffers.mixed.chunks_exact(dim)) {
                    self.out[slot(query)..][..dim].copy_from_slice(mixed);
                }
            }
        }
    }

    /// The queries in `buffers` over all pages that any of them sees.
    fn together<T: Number>(
        &self,
        layer: Layer,
        head: usize,
        positions: Range<usize>,
        position: impl Fn(usize) -> usize,
        next: Option<&[T]>,
        buffers: &mut Buffers,
    ) {
        let sequence = self.query.sequence;
        let dim = sequence.layout().head_dim;
        let pages = layer.begin(positions.start) / PAGE..positions.end.div_ceil(PAGE);
        let Buffers { queries, scores, mixed } = buffers;
        let (n, keys) = (queries.len() / dim, pages.len() * PAGE);
        scores.resize(n * keys, 0.0);
        let scale = 1.0 / (dim as f32).sqrt();
        let page = |page: usize| sequence.page::<T>(page, layer.index, head);
        for (at, number) in pages.clone().enumerate() {
            let next = if number + 1 == pages.end { page(pages.start).1 } else { page(number + 1).0 };
            kernel::scores(queries, (page(number).0, next), scale, &mut scores[at * PAGE..], keys);
        }
        for (r, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let position = position(r);
            let (from, to) = (layer.begin(position) - pages.start * PAGE, position + 1 - pages.start * PAGE);
            scores[..from].fill(0.0);
            scores[to..].fill(0.0);
            vector::softmax(&mut scores[from..to]);
        }
        mixed.clear();
        mixed.resize(n * dim, 0.0);
        for (at, number) in pages.clone().enumerate() {
            let values = page(number).1;
            let next = if number + 1 == pages.end { next.unwrap_or(values) } else { page(number + 1).1 };
            kernel::mix(&scores[at * PAGE..], keys, (values, next), mixed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn against_f64_for_every_grouping_and_window() {
        against_f64::<f32>(Kept::F32);
        against_f64::<f16>(Kept::F16);
    }

    /// The keys and values are what the pages hold of them: the computation is in f32 either way.
    fn against_f64<T: Number>(kept: Kept) {
        let held = |numbers: Vec<f32>| -> Vec<f32> {
            let mut held = vec![T::ZERO; numbers.len()];
            T::round(&numbers, &mut held);
            held.into_iter().map(T::to_f32).collect()
        };
        for (kv_heads, group, dim) in [(1, 1, 64), (2, 3, 16), (3, 3, 64), (1, 7, 80), (2, 9, 24)] {
            for window in [None, Some(1), Some(5), Some(40)] {
                for tokens in [1, 5, 40, 101] {
                    let layout = Layout::of(2, kv_heads, dim, kept);
                    let (k, v) = (held(numbers(tokens * kv_heads * dim, 1)), held(numbers(tokens * kv_heads * dim, 2)));
                    let mut sequence = Sequence::new(layout);
                    sequence.reserve(tokens);
                    sequence.write(1, 0, &k, &v);
                    let width = kv_heads * group * dim;
                    let q = numbers(tokens * width, 3);
                    let run = |position: usize, tokens: usize| {
                        let query = Query { sequence: &sequence, position, tokens };
                        let mut out = vec![9.0; tokens * width];
                        let layer = Layer { index: 1, window };
                        let q = &q[position * width..][..tokens * width];
                        attend(&Threads::new(2), layer, &[query], q, &mut out, &Scratch::default());
                        out
                    };
                    let out = run(0, tokens);
                    for t in 0..tokens {
                        assert!(run(t, 1) == out[t * width..][..width], "token {t} alone");
                        let begin = window.map_or(0, |window| (t + 1).saturating_sub(window));
                        for h in 0..kv_heads * group {
                            let at = |x: &[f32], j: usize, i: usize| f64::from(x[(j * kv_heads + h / group) * dim + i]);
                            let q = &q[t * width + h * dim..][..dim];
                            let weight = |j: usize| {
                                let dot: f64 = (0..dim).map(|i| f64::from(q[i]) * at(&k, j, i)).sum();
                                (dot / (dim as f64).sqrt()).exp()
                            };
                            let weights: Vec<f64> = (begin..=t).map(weight).collect();
                            let total: f64 = weights.iter().sum();
                            for i in 0..dim {
                                let expected: f64 =
                                    weights.iter().enumerate().map(|(j, w)| w / total * at(&v, begin + j, i)).sum();
                                let found = f64::from(out[t * width + h * dim + i]);
                                assert!((found - expected).abs() < 3e-6, "{kv_heads} {group} {dim} {window:?} {t}");
                            }
                        }
                    }
                }
            }
        }
    }
}
