//! A linear layer over all tokens of a step, each with what its adapters change.
//!
//! Two hand-overs to the threads: the base's product over all tokens together with every A x, then every B' (A x) added
//! to it. Several adapters on one token follow one another in the order of the request.

use std::sync::Arc;

use cairn_matrix::{Matrix, Product, Threads, Write, multiply_all, vector};

use crate::{
    Attached, Profile,
    attach::{LinearChange, Place},
    batch::Segment,
    profile::timed,
    weights::Linear,
};

/// One linear layer and where its result goes.
pub(crate) struct Output<'a> {
    pub(crate) place: Place,
    pub(crate) linear: Linear<&'a Matrix, &'a [f32]>,
    /// [tokens, out]
    pub(crate) y: &'a mut [f32],
}

/// A low-rank product of one segment in one output.
struct Update<'a> {
    output: usize,
    segment: usize,
    /// Which of the segment's adapters.
    round: usize,
    factors: &'a (Matrix, Matrix),
    weight: f32,
}

/// y = W x + bias with the adapters' changes, for layers that read one x [tokens, in]. `between` is a buffer.
pub(crate) fn project(
    threads: &Threads,
    segments: &[Segment<'_>],
    x: &[f32],
    outputs: &mut [Output<'_>],
    between: &mut Vec<f32>,
    profile: &mut Profile,
) {
    let tokens = segments.last().map_or(0, |segment| segment.tokens.end);
    if tokens == 0 {
        return;
    }
    let width = x.len() / tokens;
    let updates = updates(segments, outputs);
    between.resize(
        updates.iter().map(|update| update.factors.0.outputs() * segments[update.segment].tokens.len()).sum(),
        0.0,
    );

    let mut products = Vec::with_capacity(outputs.len() + updates.len());
    for Output { linear, y, .. } in &mut *outputs {
        products.push(Product { matrix: linear.matrix, x, rows: tokens, y, write: Write::Set });
    }
    let mut rest = between.as_mut_slice();
    for Update { segment, factors: (a, _), .. } in &updates {
        let of = &segments[*segment].tokens;
        let (y, left) = rest.split_at_mut(of.len() * a.outputs());
        rest = left;
        let x = &x[of.start * width..of.end * width];
        products.push(Product { matrix: a, x, rows: of.len(), y, write: Write::Set });
    }
    timed(&mut profile.matrices, || multiply_all(threads, &mut products));
    drop(products);

    let rounds = updates.iter().map(|update| update.round + 1).max().unwrap_or(0);
    timed(&mut profile.adapters, || {
        each_change(segments, outputs, scale_base);
        (0..rounds).for_each(|round| add(threads, segments, &updates, round, outputs, between));
    });
    for output in &mut *outputs {
        if let Some(bias) = output.linear.bias {
            output.y.chunks_exact_mut(bias.len()).for_each(|y| vector::axpy(1.0, bias, y));
        }
    }
    timed(&mut profile.adapters, || each_change(segments, outputs, shift));
}

/// All low-rank products, by output, segment and round.
fn updates<'a>(segments: &[Segment<'a>], outputs: &[Output<'_>]) -> Vec<Update<'a>> {
    let mut updates = Vec::new();
    for (output, Output { place, .. }) in outputs.iter().enumerate() {
        for (segment, Segment { adapters, .. }) in segments.iter().enumerate() {
            for (round, (adapter, weight)) in adapters.iter().enumerate() {
                if let Some(LinearChange { low_rank: Some(factors), .. }) = adapter.linear(*place) {
                    updates.push(Update { output, segment, round, factors, weight: *weight });
                }
            }
        }
    }
    updates
}

/// y += weight · B' (A x), for the updates of one round.
fn add(
    threads: &Threads,
    segments: &[Segment<'_>],
    updates: &[Update<'_>],
    round: usize,
    outputs: &mut [Output<'_>],
    between: &[f32],
) {
    let mut products = Vec::with_capacity(updates.len());
    let mut updates = updates.iter().peekable();
    let mut rest = between;
    for (at, Output { y, linear, .. }) in outputs.iter_mut().enumerate() {
        for (segment, y) in split(segments, linear.matrix.outputs(), y).enumerate() {
            let mut y = Some(y);
            while let Some(update) = updates.next_if(|update| (update.output, update.segment) == (at, segment)) {
                let (a, b) = update.factors;
                let rows = segments[segment].tokens.len();
                let (x, left) = rest.split_at(rows * a.outputs());
                rest = left;
                if update.round == round
                    && let Some(y) = y.take()
                {
                    let write = Write::Add(update.weight);
                    products.push(Product { matrix: b, x, rows, y, write });
                }
            }
        }
    }
    multiply_all(threads, &mut products);
}

/// Calls `change` for every output and segment that some adapter changes.
fn each_change(
    segments: &[Segment<'_>],
    outputs: &mut [Output<'_>],
    change: impl Fn(Place, &[(Arc<Attached>, f32)], usize, &mut [f32]),
) {
    for Output { place, linear, y } in outputs {
        let width = linear.matrix.outputs();
        for (segment, y) in segments.iter().zip(split(segments, width, y)) {
            if !segment.adapters.is_empty() {
                change(*place, segment.adapters, width, y);
            }
        }
    }
}

/// y = (1 + Σ weight · (g - 1)) ⊙ y, where there is DoRA.
fn scale_base(place: Place, adapters: &[(Arc<Attached>, f32)], width: usize, y: &mut [f32]) {
    let changes =
        adapters.iter().filter_map(|(adapter, weight)| Some((adapter.linear(place)?.gain.as_ref()?, *weight)));
    let mut factors: Option<Vec<f32>> = None;
    for (gain, weight) in changes {
        vector::axpy(weight, gain, factors.get_or_insert_with(|| vec![1.0; width]));
    }
    if let Some(factors) = factors {
        y.chunks_exact_mut(width).for_each(|y| y.iter_mut().zip(&factors).for_each(|(y, factor)| *y *= factor));
    }
}

/// y += Σ weight · shift, where there are biases.
fn shift(place: Place, adapters: &[(Arc<Attached>, f32)], width: usize, y: &mut [f32]) {
    for (adapter, weight) in adapters {
        if let Some(LinearChange { shift: Some(shift), .. }) = adapter.linear(place) {
            y.chunks_exact_mut(width).for_each(|y| vector::axpy(*weight, shift, y));
        }
    }
}

/// The rows of each segment; segments cover all rows, in order.
pub(crate) fn split<'s, 'y>(
    segments: &'s [Segment<'_>],
    width: usize,
    mut y: &'y mut [f32],
) -> impl Iterator<Item = &'y mut [f32]> + use<'s, 'y> {
    let lengths = segments.iter().map(|segment| segment.tokens.len());
    lengths.map(move |tokens| {
        let (part, rest) = std::mem::take(&mut y).split_at_mut(tokens * width);
        y = rest;
        part
    })
}
