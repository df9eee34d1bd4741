//! Adapters' parts of a linear layer, added to the base's product of all rows.
//!
//! ```text
//! LoRA   y += w · scale · B (A x)
//! DoRA   y += w · ((gain - 1) ⊙ base + gain ⊙ scale · B (A x)),   gain = m / ‖W + scale · B A‖
//! ```
//! with `w` the request's weight of the adapter and `base` = W x. Rows of the same adapters stand together in a
//! [`Segment`], and all segments of all layers that read one x go to the threads in one hand-over.

use std::{ops::Range, sync::Arc};

use cairn_matrix::{LowRank, Threads, add_low_rank, vector};

use crate::{Attached, attach::Delta, names::Projection};

/// Neighbouring rows of the step's matrices that use the same adapters.
pub(crate) struct Segment<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) adapters: &'a [(Arc<Attached>, f32)],
}

/// The output of one layer: y [rows, out], and where an adapter keeps its part.
pub(crate) struct Output<'a, 'b> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) y: &'b mut [f32],
    pub(crate) place: Place,
}

/// Which linear layer of the decoder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// One of a block's.
    Block(usize, Projection),
    Head,
}

impl Place {
    fn of(self, adapter: &Attached) -> Option<&Delta> {
        match self {
            Self::Block(layer, of) => adapter.layers[layer].projections[of as usize].as_ref(),
            Self::Head => adapter.head.as_ref(),
        }
    }
}

/// Adds what the adapters of each segment change, and the biases. `x`: [rows, in] of all outputs; their `y` = W x.
pub(crate) fn add(threads: &Threads, segments: &[Segment<'_>], x: &[f32], rows: usize, outputs: &mut [Output<'_, '_>]) {
    let rounds = segments.iter().map(|segment| segment.adapters.len()).max().unwrap_or(0);
    let mut weighted = weighted(segments, x, rows, outputs);
    for round in 0..rounds {
        let mut updates = Vec::new();
        for output in &mut *outputs {
            let width = output.y.len() / rows;
            for (segment, y) in split(segments, width, output.y) {
                let Some((adapter, weight)) = segment.adapters.get(round) else { continue };
                let Some(Delta { low_rank: Some((a, b, scale)), gain: None, .. }) = output.place.of(adapter) else {
                    continue;
                };
                let x = part(x, rows, &segment.rows);
                updates.push(LowRank { a, b, scale: scale * weight, x, rows: segment.rows.len(), y });
            }
        }
        if !updates.is_empty() {
            add_low_rank(threads, &mut updates);
        }
    }
    // DoRA's parts, computed apart because they scale the base's product too.
    let mut updates: Vec<LowRank<'_>> = Vec::new();
    for part in &mut weighted {
        let (a, b, scale) = part.low_rank;
        updates.push(LowRank { a, b, scale, x: part.x, rows: part.rows, y: &mut part.update });
    }
    if !updates.is_empty() {
        add_low_rank(threads, &mut updates);
    }
    drop(updates);
    for part in weighted {
        let width = outputs[part.output].y.len() / rows;
        let y = &mut outputs[part.output].y[part.start * width..][..part.base.len()];
        for ((y, base), update) in y.chunks_mut(width).zip(part.base.chunks(width)).zip(part.update.chunks(width)) {
            for (((y, base), update), gain) in y.iter_mut().zip(base).zip(update).zip(part.gain) {
                *y += part.weight * ((gain - 1.0) * base + gain * update);
            }
        }
    }
    biases(segments, rows, outputs);
}

/// A segment's part by a DoRA adapter in one output.
struct Weighted<'a> {
    output: usize,
    start: usize,
    rows: usize,
    weight: f32,
    low_rank: (&'a cairn_matrix::Matrix, &'a cairn_matrix::Matrix, f32),
    gain: &'a [f32],
    x: &'a [f32],
    /// W x, before anything is added.
    base: Vec<f32>,
    /// scale · (B A x + bias of B).
    update: Vec<f32>,
}

fn weighted<'a>(segments: &[Segment<'a>], x: &'a [f32], rows: usize, outputs: &[Output<'a, '_>]) -> Vec<Weighted<'a>> {
    let mut found = Vec::new();
    for segment in segments {
        for (adapter, weight) in segment.adapters {
            for (at, output) in outputs.iter().enumerate() {
                let Some(Delta { low_rank: Some((a, b, scale)), gain: Some(gain), lora_bias, .. }) =
                    output.place.of(adapter)
                else {
                    continue;
                };
                let width = gain.len();
                let base = output.y[segment.rows.start * width..segment.rows.end * width].to_vec();
                let update = match lora_bias {
                    Some(bias) => bias.repeat(segment.rows.len()),
                    None => vec![0.0; base.len()],
                };
                found.push(Weighted {
                    output: at,
                    start: segment.rows.start,
                    rows: segment.rows.len(),
                    weight: *weight,
                    low_rank: (a, b, *scale),
                    gain,
                    x: part(x, rows, &segment.rows),
                    base,
                    update,
                });
            }
        }
    }
    found
}

/// y += bias of the base, or what the adapters make of it; and the biases of their B.
fn biases(segments: &[Segment<'_>], rows: usize, outputs: &mut [Output<'_, '_>]) {
    for output in outputs {
        let width = output.y.len() / rows;
        for (segment, y) in split(segments, width, output.y) {
            if let Some(bias) = output.bias {
                y.chunks_mut(width).for_each(|y| vector::axpy(1.0, bias, y));
            }
            for (adapter, weight) in segment.adapters {
                let Some(delta) = output.place.of(adapter) else { continue };
                if let (Some(bias), None) = (&delta.lora_bias, &delta.gain) {
                    y.chunks_mut(width).for_each(|y| vector::axpy(*weight, bias, y));
                }
                if let Some(instead) = &delta.bias {
                    for y in y.chunks_mut(width) {
                        vector::axpy(*weight, instead, y);
                        output.bias.into_iter().for_each(|bias| vector::axpy(-*weight, bias, y));
                    }
                }
            }
        }
    }
}

/// The rows of each segment; segments cover all rows, in order.
fn split<'s, 'a, 'y>(
    segments: &'s [Segment<'a>],
    width: usize,
    mut y: &'y mut [f32],
) -> impl Iterator<Item = (&'s Segment<'a>, &'y mut [f32])> {
    segments.iter().map(move |segment| {
        let (part, rest) = std::mem::take(&mut y).split_at_mut(segment.rows.len() * width);
        y = rest;
        (segment, part)
    })
}

fn part<'x>(x: &'x [f32], rows: usize, of: &Range<usize>) -> &'x [f32] {
    let width = x.len() / rows;
    &x[of.start * width..of.end * width]
}
