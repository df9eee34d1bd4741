//! The kernels: one panel of outputs times one tile of rows, for each instruction set.
//!
//! All of them compute the same numbers, bit by bit. Output o of row r is
//! - dense, over chunks C of 256 inputs in order: Σ_C s_C, with s_C the chain s = fma(w[o, i], x[r, i], s) from 0;
//! - Q8_0, over blocks b of 32 inputs in order: s = fma(Σ q_w q_x, d_w d_x, s), the inner sum in integers;
//! - Q4_K, the same with d_w = d scale_b, and then s = fma(-(dmin min_b), d_x Σ q_x, s).

mod portable;

use crate::{
    Form,
    activations::Tile,
    packed::{PANEL, Panel},
};

/// Inputs of one chunk of a dense sum. Chunks keep the error of long sums down.
pub(crate) const CHUNK: usize = 256;
/// The most rows of any tile.
const MOST_ROWS: usize = 12;

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

    /// How many rows a tile has at most.
    pub(crate) fn tile_rows(self, quantized: bool) -> usize {
        if quantized { 6 } else { MOST_ROWS }
    }

    /// The sums of one panel and one tile.
    pub(crate) fn multiply(self, panel: Panel<'_>, tile: Tile<'_>, sums: &mut Sums) {
        match (panel.form, tile) {
            (Form::F32 | Form::F16, Tile::Dense(tile)) => portable::dense(panel, tile, sums),
            (Form::Q8_0, Tile::Quantized(tile)) => portable::q8_0(panel, tile, sums),
            (Form::Q4K, Tile::Quantized(tile)) => portable::q4_k(panel, tile, sums),
            _ => unreachable!("activations are prepared for the form of the matrix"),
        }
    }
}

/// The results of one panel and one tile, a row of [`PANEL`] outputs for each row of the tile.
#[repr(C, align(64))]
pub(crate) struct Sums([f32; MOST_ROWS * PANEL]);

impl Sums {
    pub(crate) fn new() -> Self {
        Self([0.0; MOST_ROWS * PANEL])
    }

    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.0[row * PANEL..][..PANEL]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.0[row * PANEL..][..PANEL]
    }
}
