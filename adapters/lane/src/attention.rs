//! Causal attention of every new token over its own sequence's keys, in f32.
//!
//! ```text
//! out[t, h] = Σ_j softmax_j(q[t, h] · k[j, h / group] / sqrt(head_dim)) v[j, h / group],   j ≤ t, j > t - window
//! ```
//! A unit of work is one token and one key head, with the group of query heads that share it. Sums run page by page from
//! the sequence's beginning, so that neither the batch nor the parts of a prompt change a bit.

use std::sync::Mutex;

use cairn_matrix::{Threads, vector};

use crate::{Sequence, cache::Layout};

/// One new token.
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    /// Its sequence, with this token's keys and values already written.
    pub(crate) sequence: &'a Sequence,
    /// Its position there, from 0.
    pub(crate) position: usize,
}

/// q and out: [tokens, heads x head_dim].
pub(crate) fn attend(
    threads: &Threads,
    layout: Layout,
    layer: usize,
    window: Option<usize>,
    tokens: &[Token<'_>],
    q: &[f32],
    out: &mut [f32],
) {
    let (units, dim) = (tokens.len() * layout.kv_heads, layout.head_dim);
    let width = out.len() / units; // the query heads of one key head
    let work: usize = tokens.iter().map(|token| token.position + 1).sum::<usize>() * layout.kv_heads * width;
    let parts = if work < ONE_PART { 1 } else { (threads.count() * 4).min(units) };
    let chunk = units.div_ceil(parts);
    let outs: Vec<Mutex<&mut [f32]>> = out.chunks_mut(chunk * width).map(Mutex::new).collect();
    threads.run(outs.len(), |part| {
        let mut out = outs[part].lock().expect("each part is locked once, so no panic has poisoned it");
        let mut scores = Vec::new();
        let mut mixed = vec![0.0; dim];
        for (i, out) in out.chunks_mut(width).enumerate() {
            let unit = part * chunk + i;
            let (token, head) = (tokens[unit / layout.kv_heads], unit % layout.kv_heads);
            let end = token.position + 1;
            let begin = window.map_or(0, |window| end.saturating_sub(window));
            for (query, out) in q[unit * width..][..width].chunks(dim).zip(out.chunks_mut(dim)) {
                scores.clear();
                scores.resize(end - begin, 0.0);
                let scale = 1.0 / (dim as f32).sqrt();
                for (page, skip, part) in pages(begin, end) {
                    let keys = &token.sequence.head(page, layer, false, head)[skip * dim..];
                    vector::scores(query, keys, dim, scale, &mut scores[part]);
                }
                vector::softmax(&mut scores);
                out.fill(0.0);
                for (page, skip, part) in pages(begin, end) {
                    let values = &token.sequence.head(page, layer, true, head)[skip * dim..];
                    vector::mix(&scores[part], values, dim, &mut mixed);
                    vector::axpy(1.0, &mixed, out);
                }
            }
        }
    });
}

const PAGE: usize = Sequence::PAGE;
/// Multiply-adds that are not worth a hand-over.
const ONE_PART: usize = 32 << 10;

/// The pages of `begin..end`: which page, where in it, and which part of `0..end - begin`.
fn pages(begin: usize, end: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    (begin / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let (from, to) = ((page * PAGE).max(begin), ((page + 1) * PAGE).min(end));
        (page, from - page * PAGE, from - begin..to - begin)
    })
}
