//! The kernels: one panel of outputs times one tile of rows, for each instruction set.
//!
//! All of them compute the same numbers, bit by bit. Output o of row r is
//! - dense, over chunks C of 128 inputs in order: Σ_C s_C, with s_C the chain s = fma(w[o, i], x[r, i], s) from 0;
//! - Q8_0, over blocks b of 32 inputs in order: s = fma(Σ q_w q_x, d_w d_x, s), the inner sum in integers;
//! - Q4_K, the same with d_w = d scale_b, and then s = fma(-(dmin min_b), d_x Σ q_x, s);
//! - I8, of an adapter's factor, as Q8_0.
//!
//! A kernel goes on from the sums it is given, so a long row may be cut into parts (between chunks or blocks) at will.

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // intrinsics load and store
pub(crate) mod attention;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, clippy::needless_range_loop)] // intrinsics load and store; r and g index several arrays
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, clippy::needless_range_loop)] // intrinsics load and store; r and g index several arrays
pub(crate) mod avx512;
mod portable;
mod thin;

use std::ops::Range;

pub(crate) use thin::Thin;

#[cfg(target_arch = "x86_64")]
use crate::activations::{BLOCK, DenseTile};
use crate::{
    Form,
    activations::{QuantizedTile, Tile},
    factor::{Bytes, BytesPanel},
    packed::{LANES, Line, PANEL, Panel},
    product::Columns,
};

/// Inputs of one chunk of a dense sum. Chunks keep the error of long sums down.
pub(crate) const CHUNK: usize = 128;
/// The most rows of any tile.
pub(crate) const MOST_ROWS: usize = 12;

/// The instruction sets there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, VL, BW and DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Isa {
    /// The best that this machine has.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            match (avx2, avx512, is_x86_feature_detected!("avx512vnni")) {
                (_, true, true) => return Self::Avx512Vnni,
                (_, true, false) => return Self::Avx512,
                (true, false, _) => return Self::Avx2,
                (false, false, _) => {}
            }
        }
        Self::Portable
    }

    /// All that this machine has, for tests to compare.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        return match Self::best() {
            Self::Avx512Vnni => vec![Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Vnni],
            Self::Avx512 => vec![Self::Portable, Self::Avx2, Self::Avx512],
            Self::Avx2 => vec![Self::Portable, Self::Avx2],
            Self::Portable => vec![Self::Portable],
        };
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }

    /// How many rows a tile has at most: what the registers hold.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(crate) fn tile_rows(self, quantized: bool) -> usize {
        match self {
            Self::Portable => 6,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Vnni if !quantized => MOST_ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => 6,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => {
                if quantized {
                    3
                } else {
                    6
                }
            }
        }
    }

    /// Adds the product of one panel and one tile to `sums`, two groups for each row of the tile. `ahead` are weights that
    /// will be wanted soon.
    #[allow(unsafe_code)]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(crate) fn multiply(self, panel: Panel<'_>, tile: Tile<'_>, ahead: &[Line], sums: &mut [Sums]) {
        match (self, panel.form, tile) {
            // SAFETY, here and below: an `Isa` other than `Portable` exists only on a machine that has it.
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512 | Self::Avx512Vnni, Form::F32 | Form::F16, Tile::Dense(tile)) => unsafe {
                avx512::dense(panel, tile, ahead, sums);
            },
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512Vnni, Form::Q8_0, Tile::Quantized(tile)) => unsafe { avx512::q8_0(panel, tile, ahead, sums) },
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512Vnni, Form::Q4K, Tile::Quantized(tile)) => unsafe { avx512::q4_k(panel, tile, ahead, sums) },
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2, Form::F32 | Form::F16, Tile::Dense(tile)) => unsafe { avx2::dense(panel, tile, sums) },
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2 | Self::Avx512, Form::Q8_0, Tile::Quantized(tile)) => unsafe {
                avx2::q8_0(panel, tile, sums);
            },
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2 | Self::Avx512, Form::Q4K, Tile::Quantized(tile)) => unsafe {
                avx2::q4_k(panel, tile, sums);
            },
            (Self::Portable, Form::F32 | Form::F16, Tile::Dense(tile)) => portable::dense(panel, tile, sums),
            (Self::Portable, Form::Q8_0, Tile::Quantized(tile)) => portable::q8_0(panel, tile, sums),
            (Self::Portable, Form::Q4K, Tile::Quantized(tile)) => portable::q4_k(panel, tile, sums),
            (_, Form::F32 | Form::F16, Tile::Quantized(_)) | (_, Form::Q8_0 | Form::Q4K, Tile::Dense(_)) => {
                unreachable!("activations are prepared for the form of the matrix")
            }
        }
    }

    /// The product of a factor's panel in I8 and some rows of a tile: two groups for each of the rows, in `sums`.
    #[allow(unsafe_code)]
    pub(crate) fn multiply_factor(
        self,
        panel: BytesPanel<'_>,
        tile: QuantizedTile<'_>,
        rows: Range<usize>,
        sums: &mut [Sums],
    ) {
        match self {
            // SAFETY, here and below: an `Isa` other than `Portable` exists only on a machine that has it.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => unsafe { avx512::factor_i8(panel, tile, rows, sums) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => unsafe { avx2::factor_i8(panel, tile, rows, sums) },
            Self::Portable => portable::factor_i8(panel, tile, rows, sums),
        }
    }

    /// y += scale · all rows of a tile times some panels of a factor in I8, y's first row being `row`.
    ///
    /// # Safety
    /// Nobody else may be using these panels' columns of y in these rows.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn add_factor(
        self,
        b: &Bytes,
        panels: Range<usize>,
        tile: QuantizedTile<'_>,
        scale: f32,
        (y, row): (&Columns, usize),
    ) {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512Vnni {
            // SAFETY: the machine has the instructions; the rest by the caller.
            return unsafe { avx512::add_factor_i8(b, panels, tile, scale, (y, row)) };
        }
        let mut sums = [Sums::ZERO; 2 * MOST_ROWS];
        for p in panels {
            self.multiply_factor(b.panel(p), tile, 0..tile.rows, &mut sums[..2 * tile.rows]);
            let columns = p * PANEL..b.outputs.min((p + 1) * PANEL);
            for (r, sums) in sums.as_chunks::<2>().0[..tile.rows].iter().enumerate() {
                // SAFETY: by the caller.
                let y = unsafe { y.row(row + r, columns.clone()) };
                for (y, sums) in y.chunks_mut(LANES).zip(sums) {
                    y.iter_mut().zip(&sums.0).for_each(|(y, sum)| *y = scale.mul_add(*sum, *y));
                }
            }
        }
    }
}

/// Asserts what the pointer arithmetic of a dense kernel relies on: a weight of each group for every input.
#[cfg(target_arch = "x86_64")]
fn check_dense(panel: Panel<'_>, tile: DenseTile<'_>, sums: &[Sums]) {
    assert!(sums.len() >= 2 * tile.rows);
    let weights = tile.x.len() / tile.rows * panel.groups * LANES;
    let bytes = if panel.form == Form::F32 { 4 * weights } else { 2 * weights };
    assert!(tile.x.len().is_multiple_of(tile.rows) && size_of_val(panel.lines) >= bytes);
}

/// Asserts what the pointer arithmetic of a quantized kernel relies on: for every block of weights one of each row.
#[cfg(target_arch = "x86_64")]
fn check_quantized(panel: Panel<'_>, tile: QuantizedTile<'_>, sums: &[Sums]) {
    assert!(sums.len() >= 2 * tile.rows);
    let blocks = match panel.form {
        Form::Q8_0 => panel.lines.len() / (8 * panel.groups + 1),
        _ => panel.lines.len() / (2 + 8 * (4 * panel.groups + 1)) * 8,
    };
    let scales = blocks * tile.rows;
    assert!(tile.q.len() == scales * BLOCK);
    assert!(tile.d.len() == scales && tile.bias.len() == scales && tile.d_sum.len() == scales);
}

/// Asserts what the pointer arithmetic of an I8 kernel relies on: a record for every block, and for each row of the tile
/// 32 bytes and a scale.
#[cfg(target_arch = "x86_64")]
fn check_bytes(panel: BytesPanel<'_>, tile: QuantizedTile<'_>, rows: &Range<usize>) {
    assert!(rows.end <= tile.rows);
    let blocks = panel.inputs.div_ceil(BLOCK);
    assert!(panel.lines.len() == panel.inputs.div_ceil(4) * panel.groups + blocks);
    let scales = blocks * tile.rows;
    assert!(tile.q.len() == scales * BLOCK && tile.d.len() == scales && tile.bias.len() == scales);
}

/// The sums of one group of outputs and one row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [f32; LANES]);

impl Sums {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);
}
