//! Activations as the kernels read them: rows gathered in tiles, for quantized weights as int8 with a scale per 32.
//!
//! A kernel computes one tile of rows against one panel of outputs, so a tile holds its rows side by side: dense
//! `[in][row]`, quantized `[in / 32][row][32]`. What a row's numbers are never depends on the tile it is in.

use std::ops::Range;

use crate::kernel::Isa;

/// Inputs that share one scale.
pub(crate) const BLOCK: usize = 32;

/// Inputs that are gathered in one go.
const TRANSPOSED: usize = 64;

/// A prepared x [rows, in].
#[derive(Default)]
pub(crate) struct Activations {
    tiling: Tiling,
    inputs: usize,
    quantized: bool,
    dense: Vec<f32>,
    q: Vec<i8>,
    d: Vec<f32>,
    bias: Vec<i32>,
    d_sum: Vec<f32>,
}

/// Rows cut into tiles of nearly equal height.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tiling {
    rows: usize,
    tiles: usize,
}

impl Tiling {
    pub(crate) fn new(rows: usize, most: usize) -> Self {
        Self { rows, tiles: rows.div_ceil(most) }
    }

    pub(crate) fn tiles(self) -> usize {
        self.tiles
    }

    /// The rows of a tile.
    pub(crate) fn rows(self, tile: usize) -> Range<usize> {
        tile * self.rows / self.tiles..(tile + 1) * self.rows / self.tiles
    }
}

/// One tile, to be read.
#[derive(Clone, Copy)]
pub(crate) enum Tile<'a> {
    Dense(DenseTile<'a>),
    Quantized(QuantizedTile<'a>),
}

impl Tile<'_> {
    /// Some inputs of the tile; the range must lie on blocks if they are quantized.
    pub(crate) fn part(self, inputs: Range<usize>) -> Self {
        match self {
            Self::Dense(DenseTile { rows, x }) => {
                Self::Dense(DenseTile { rows, x: &x[inputs.start * rows..inputs.end * rows] })
            }
            Self::Quantized(QuantizedTile { rows, q, d, bias, d_sum }) => {
                let blocks = inputs.start / BLOCK * rows..inputs.end / BLOCK * rows;
                Self::Quantized(QuantizedTile {
                    rows,
                    q: &q[inputs.start * rows..inputs.end * rows],
                    d: &d[blocks.clone()],
                    bias: &bias[blocks.clone()],
                    d_sum: &d_sum[blocks],
                })
            }
        }
    }
}

/// Rows of f32: `x[input * rows + row]`.
#[derive(Clone, Copy)]
pub(crate) struct DenseTile<'a> {
    pub(crate) rows: usize,
    pub(crate) x: &'a [f32],
}

/// Rows of int8: x = d q, with a scale for each block of 32 inputs and row.
#[derive(Clone, Copy)]
pub(crate) struct QuantizedTile<'a> {
    pub(crate) rows: usize,
    /// `q[(block * rows + row) * 32 + i]`
    pub(crate) q: &'a [i8],
    /// `d[block * rows + row]`, as the next two.
    pub(crate) d: &'a [f32],
    /// -128 Σ q: takes back the 128 that packed Q8_0 weights have too much.
    pub(crate) bias: &'a [i32],
    /// d Σ q: what a block's minimum is multiplied with.
    pub(crate) d_sum: &'a [f32],
}

/// One tile, to be filled from its rows.
pub(crate) enum TileMut<'a> {
    Dense { rows: usize, x: &'a mut [f32] },
    Quantized { rows: usize, q: &'a mut [i8], d: &'a mut [f32], bias: &'a mut [i32], d_sum: &'a mut [f32] },
}

impl Activations {
    /// Makes room for other activations.
    pub(crate) fn resize(&mut self, tiling: Tiling, inputs: usize, quantized: bool) {
        (self.tiling, self.inputs, self.quantized) = (tiling, inputs, quantized);
        let elements = tiling.rows * inputs;
        let blocks = if quantized { elements / BLOCK } else { 0 };
        self.dense.resize(if quantized { 0 } else { elements }, 0.0);
        self.q.resize(blocks * BLOCK, 0);
        self.d.resize(blocks, 0.0);
        self.bias.resize(blocks, 0);
        self.d_sum.resize(blocks, 0.0);
    }

    pub(crate) fn tiling(&self) -> Tiling {
        self.tiling
    }

    pub(crate) fn tile(&self, tile: usize) -> Tile<'_> {
        let span = self.tiling.rows(tile);
        let (rows, inputs) = (span.len(), self.inputs);
        if self.quantized {
            let blocks = span.start * inputs / BLOCK..span.end * inputs / BLOCK;
            Tile::Quantized(QuantizedTile {
                rows,
                q: &self.q[span.start * inputs..span.end * inputs],
                d: &self.d[blocks.clone()],
                bias: &self.bias[blocks.clone()],
                d_sum: &self.d_sum[blocks],
            })
        } else {
            Tile::Dense(DenseTile { rows, x: &self.dense[span.start * inputs..span.end * inputs] })
        }
    }

    /// The tile that a row lies in, and that tile's rows.
    pub(crate) fn tile_of(&self, row: usize) -> (Tile<'_>, Range<usize>) {
        let near = row * self.tiling.tiles / self.tiling.rows;
        let in_it = |tile: &usize| self.tiling.rows(*tile).contains(&row);
        let tile = [near, near + 1].into_iter().find(in_it).expect("tiles are of nearly equal height");
        (self.tile(tile), self.tiling.rows(tile))
    }

    /// Every tile with the rows of x [rows, in] that belong into it.
    pub(crate) fn tiles_mut<'a>(&'a mut self, x: &'a [f32]) -> impl Iterator<Item = (TileMut<'a>, &'a [f32])> {
        let (tiling, inputs, quantized) = (self.tiling, self.inputs, self.quantized);
        let (mut dense, mut q) = (self.dense.as_mut_slice(), self.q.as_mut_slice());
        let (mut d, mut bias, mut d_sum) = (self.d.as_mut_slice(), self.bias.as_mut_slice(), self.d_sum.as_mut_slice());
        (0..tiling.tiles).map(move |tile| {
            let span = tiling.rows(tile);
            let rows = span.len();
            let from = &x[span.start * inputs..span.end * inputs];
            let tile = if quantized {
                let blocks = rows * inputs / BLOCK;
                TileMut::Quantized {
                    rows,
                    q: take(&mut q, rows * inputs),
                    d: take(&mut d, blocks),
                    bias: take(&mut bias, blocks),
                    d_sum: take(&mut d_sum, blocks),
                }
            } else {
                TileMut::Dense { rows, x: take(&mut dense, rows * inputs) }
            };
            (tile, from)
        })
    }
}

impl TileMut<'_> {
    /// Fills the tile from its rows.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(crate) fn fill(&mut self, from: &[f32], isa: Isa) {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512(tile: &mut TileMut<'_>, from: &[f32]) {
                match tile {
                    TileMut::Dense { rows, x } if *rows > 1 => crate::kernel::avx512::gather(*rows, x, from),
                    tile => tile.fill_inline(from),
                }
            }
            #[target_feature(enable = "avx2,fma")]
            fn avx2(tile: &mut TileMut<'_>, from: &[f32]) {
                tile.fill_inline(from);
            }
            match isa {
                // SAFETY: an `Isa` other than `Portable` exists only on a machine that has it.
                #[allow(unsafe_code)]
                Isa::Avx512 | Isa::Avx512Vnni => return unsafe { avx512(self, from) },
                // SAFETY: as above.
                #[allow(unsafe_code)]
                Isa::Avx2 => return unsafe { avx2(self, from) },
                Isa::Portable => {}
            }
        }
        self.fill_inline(from);
    }

    #[inline(always)]
    fn fill_inline(&mut self, from: &[f32]) {
        match self {
            Self::Dense { rows: 1, x } => x.copy_from_slice(from),
            Self::Dense { rows, x } => {
                let inputs = from.len() / *rows;
                // Some inputs at a time, so that what is written stays in the first-level cache.
                for (c, x) in x.chunks_mut(TRANSPOSED * *rows).enumerate() {
                    for r in 0..*rows {
                        let from = &from[r * inputs + c * TRANSPOSED..];
                        for (x, from) in x.iter_mut().skip(r).step_by(*rows).zip(from) {
                            *x = *from;
                        }
                    }
                }
            }
            Self::Quantized { rows, q, d, bias, d_sum } => {
                let blocks = d.len() / *rows;
                for (r, row) in from.chunks_exact(blocks * BLOCK).enumerate() {
                    for (b, x) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                        let at = b * *rows + r;
                        let sum;
                        (d[at], sum) = quantize(x, &mut q[at * BLOCK..][..BLOCK]);
                        bias[at] = -128 * sum;
                        d_sum[at] = d[at] * sum as f32;
                    }
                }
            }
        }
    }
}

/// d = max|x| / 127, q = x · 127 / max|x| rounded to even; returns d and Σ q. A NaN or infinity in x makes d NaN or
/// infinite.
#[inline(always)]
pub(crate) fn quantize(x: &[f32; BLOCK], q: &mut [i8]) -> (f32, i32) {
    // Without the sign, floats order as their bits do, and NaN is above all.
    let max = x.iter().fold(0, |max, x| (x.to_bits() & 0x7FFF_FFFF).max(max));
    let max = f32::from_bits(max);
    // Below this 127 / max would overflow; such activations are zero for any purpose.
    let inverse = if max < 1e-36 { 0.0 } else { 127.0 / max };
    let mut sum = 0;
    for (q, x) in q.iter_mut().zip(x) {
        // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
        let level = (x * inverse + 12_582_912.0).to_bits() as i8;
        *q = level;
        sum += i32::from(level);
    }
    (max / 127.0, sum)
}

/// Cuts the first `n` elements off.
fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (taken, left) = std::mem::take(rest).split_at_mut(n);
    *rest = left;
    taken
}

/// Buffers that a kernel needs and the next one can use again.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The prepared activations; more may be here than the kernel at hand uses.
    pub(crate) prepared: Vec<Activations>,
    /// For each product, which of them it reads.
    pub(crate) which: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantized_blocks() {
        let mut x = [0.0f32; BLOCK];
        (x[0], x[1], x[2], x[31]) = (-254.0, 3.0, 5.0, 2.0);
        let mut q = [0; BLOCK];
        let (d, sum) = quantize(&x, &mut q);
        // d = 2: 1.5 and 2.5 both round to the even 2.
        assert_eq!((d, sum, q[0], q[1], q[2], q[31]), (2.0, -127 + 2 + 2 + 1, -127, 2, 2, 1));
        assert_eq!(quantize(&[0.0; BLOCK], &mut q), (0.0, 0));
        assert_eq!(quantize(&[1e-40; BLOCK], &mut q).1, 0);
        x[5] = f32::NAN;
        assert!(quantize(&x, &mut q).0.is_nan());
        x[5] = f32::NEG_INFINITY;
        assert_eq!(quantize(&x, &mut q).0, f32::INFINITY);
    }

    #[test]
    fn tiles_cover_the_rows() {
        for rows in 0..50 {
            let tiling = Tiling::new(rows, 6);
            let all: Vec<usize> = (0..tiling.tiles()).flat_map(|tile| tiling.rows(tile)).collect();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
            assert!((0..tiling.tiles()).all(|tile| (1..=6).contains(&tiling.rows(tile).len())));
            let mut activations = Activations::default();
            activations.resize(tiling, BLOCK, true);
            assert!((0..rows).all(|row| activations.tile_of(row).1.contains(&row)), "{rows} rows");
        }
    }
}
