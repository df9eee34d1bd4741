//! A linear layer over all tokens of a step, each with what its adapters change.
//!
//! One hand-over to the threads. Several adapters on one token follow one another in the order of the request.

use std::{ops::Range, sync::Arc};

use cairn_matrix::{Between, Changes, Gain, LowRank, Matrix, Product, Threads, Write, multiply_adapted, vector};

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

/// y = W x + bias with the adapters' changes, for layers that read one x [tokens, in].
pub(crate) fn project(
    threads: &Threads,
    segments: &[Segment<'_>],
    x: &[f32],
    outputs: &mut [Output<'_>],
    between: &mut Between,
    profile: &mut Profile,
) {
    let tokens = segments.last().map_or(0, |segment| segment.tokens.end);
    if tokens == 0 {
        return;
    }
    let factors = base_factors(segments, outputs);
    let mut changes = Changes::default();
    for (product, Output { place, .. }) in outputs.iter().enumerate() {
        for Segment { tokens, adapters } in segments {
            for (adapter, weight) in *adapters {
                if let Some(LinearChange { low_rank: Some((a, b)), .. }) = adapter.linear(*place) {
                    changes.updates.push(LowRank { product, rows: tokens.clone(), a, b, scale: *weight });
                }
            }
        }
    }
    for (product, rows, factors) in &factors {
        changes.gains.push(Gain { product: *product, rows: rows.clone(), factors });
    }
    let mut products: Vec<Product<'_>> = outputs
        .iter_mut()
        .map(|Output { linear, y, .. }| Product { matrix: linear.matrix, x, rows: tokens, y, write: Write::Set })
        .collect();
    let spent = if changes.updates.is_empty() { &mut profile.matrices } else { &mut profile.adapted };
    timed(spent, || multiply_adapted(threads, &mut products, &changes, between));
    for Output { place, linear, y } in outputs {
        if let Some(bias) = linear.bias {
            y.chunks_exact_mut(bias.len()).for_each(|y| vector::axpy(1.0, bias, y));
        }
        let width = linear.matrix.outputs();
        for (segment, y) in segments.iter().zip(split(segments, width, y)) {
            shift(*place, segment.adapters, width, y);
        }
    }
}

/// 1 + Σ weight · (g - 1) for every output and the rows of every segment where there is DoRA.
fn base_factors(segments: &[Segment<'_>], outputs: &[Output<'_>]) -> Vec<(usize, Range<usize>, Vec<f32>)> {
    let mut all = Vec::new();
    for (output, Output { place, linear, .. }) in outputs.iter().enumerate() {
        for Segment { tokens, adapters } in segments {
            let gains = adapters.iter().filter_map(|(it, weight)| Some((it.linear(*place)?.gain.as_ref()?, weight)));
            let mut factors: Option<Vec<f32>> = None;
            for (gain, weight) in gains {
                vector::axpy(*weight, gain, factors.get_or_insert_with(|| vec![1.0; linear.matrix.outputs()]));
            }
            all.extend(factors.map(|factors| (output, tokens.clone(), factors)));
        }
    }
    all
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
