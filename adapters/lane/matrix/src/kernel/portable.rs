//! The kernels in plain Rust: what the others must equal, and what runs where they cannot.

use std::ops::Range;

use half::bf16;

use super::{CHUNK, Sums};
use crate::{
    Form,
    activations::{BLOCK, DenseTile, QuantizedTile},
    factor::BytesPanel,
    packed::{LANES, PANEL, Panel},
};

/// F32 and F16.
pub(super) fn dense(panel: Panel<'_>, tile: DenseTile<'_>, sums: &mut [Sums]) {
    let width = panel.groups * LANES;
    for r in 0..tile.rows {
        for (c, chunk) in tile.x.chunks(CHUNK * tile.rows).enumerate() {
            let mut partial = [0.0f32; PANEL];
            for (i, x) in chunk.iter().skip(r).step_by(tile.rows).enumerate() {
                let at = (c * CHUNK + i) * width;
                for (o, partial) in partial[..width].iter_mut().enumerate() {
                    let weight = match panel.form {
                        Form::F32 => panel.lines[(at + o) / 16].float((at + o) % 16),
                        _ => panel.lines[(at + o) / 32].half((at + o) % 32),
                    };
                    *partial = weight.mul_add(*x, *partial);
                }
            }
            let sums = sums[2 * r..][..panel.groups].iter_mut().flat_map(|sums| &mut sums.0);
            sums.zip(&partial).for_each(|(sum, partial)| *sum += partial);
        }
    }
}

/// Q8_0.
pub(super) fn q8_0(panel: Panel<'_>, tile: QuantizedTile<'_>, sums: &mut [Sums]) {
    let groups = panel.groups;
    for r in 0..tile.rows {
        let sums = &mut sums[2 * r..][..groups];
        for (b, record) in panel.lines.chunks_exact(8 * groups + 1).enumerate() {
            let at = b * tile.rows + r;
            let q = &tile.q[at * BLOCK..][..BLOCK];
            for g in 0..groups {
                let mut dots = [tile.bias[at]; LANES];
                for (s, q) in q.as_chunks::<4>().0.iter().enumerate() {
                    let weights = &record[s * groups + g].0;
                    for (dot, weights) in dots.iter_mut().zip(weights.as_chunks::<4>().0) {
                        *dot += dot4(*weights, *q);
                    }
                }
                for (lane, dot) in dots.iter().enumerate() {
                    let sum = &mut sums[g].0[lane];
                    *sum = (*dot as f32).mul_add(record[8 * groups].half(g * LANES + lane) * tile.d[at], *sum);
                }
            }
        }
    }
}

/// Q4_K.
pub(super) fn q4_k(panel: Panel<'_>, tile: QuantizedTile<'_>, sums: &mut [Sums]) {
    let groups = panel.groups;
    let stride = 4 * groups + 1;
    for r in 0..tile.rows {
        let sums = &mut sums[2 * r..][..groups];
        for (sup, lines) in panel.lines.chunks_exact(2 + 8 * stride).enumerate() {
            for (j, record) in lines[2..].chunks_exact(stride).enumerate() {
                let at = (sup * 8 + j) * tile.rows + r;
                let q = &tile.q[at * BLOCK..][..BLOCK];
                let factors = &record[4 * groups].0;
                for g in 0..groups {
                    let mut dots = [0; LANES];
                    for s in 0..4 {
                        let low = [q[4 * s], q[4 * s + 1], q[4 * s + 2], q[4 * s + 3]];
                        let high = [q[4 * s + 16], q[4 * s + 17], q[4 * s + 18], q[4 * s + 19]];
                        let weights = &record[s * groups + g].0;
                        for (dot, weights) in dots.iter_mut().zip(weights.as_chunks::<4>().0) {
                            *dot += dot4(weights.map(|w| w & 15), low) + dot4(weights.map(|w| w >> 4), high);
                        }
                    }
                    for (lane, dot) in dots.iter().enumerate() {
                        let o = g * LANES + lane;
                        let d = lines[0].half(o) * f32::from(factors[o]);
                        let min = lines[1].half(o) * f32::from(factors[PANEL + o]);
                        let sum = &mut sums[g].0[lane];
                        *sum = (*dot as f32).mul_add(d * tile.d[at], *sum);
                        *sum = (-min).mul_add(tile.d_sum[at], *sum);
                    }
                }
            }
        }
    }
}

/// I8: some rows of a tile. Sets `sums`.
pub(super) fn factor_i8(panel: BytesPanel<'_>, tile: QuantizedTile<'_>, rows: Range<usize>, sums: &mut [Sums]) {
    let groups = panel.groups;
    for (r, row) in rows.enumerate() {
        let sums = &mut sums[2 * r..][..groups];
        sums.fill(Sums::ZERO);
        for (b, record) in panel.lines.chunks(8 * groups + 1).enumerate() {
            let at = b * tile.rows + row;
            let (q, _) = tile.q[at * BLOCK..][..BLOCK].as_chunks::<4>();
            let (scales, weights) = record.split_last().expect("a chunk is not empty");
            for (g, sums) in sums.iter_mut().enumerate() {
                for (lane, sum) in sums.0.iter_mut().enumerate() {
                    let four = |line: &crate::packed::Line| line.0.as_chunks::<4>().0[lane];
                    let steps = weights.chunks_exact(groups).zip(q);
                    let dot = tile.bias[at] + steps.map(|(lines, q)| dot4(four(&lines[g]), *q)).sum::<i32>();
                    let scale = scales.0.as_chunks::<2>().0[g * LANES + lane];
                    *sum = (dot as f32).mul_add(bf16::from_le_bytes(scale).to_f32() * tile.d[at], *sum);
                }
            }
        }
    }
}

fn dot4(weights: [u8; 4], q: [i8; 4]) -> i32 {
    weights.iter().zip(q).map(|(w, q)| i32::from(*w) * i32::from(q)).sum()
}
