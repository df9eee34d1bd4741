//! The kernels in AVX2 with FMA and F16C: a register holds 8 outputs of one row, half a group.
//!
//! AVX2 multiplies unsigned by signed bytes into saturating 16-bit sums of two. Q8_0 weights therefore lend their sign to
//! the activations: |w| s(x), at most 128 · 127 · 2 = 32,512, never saturates; nor do 4-bit weights.

use std::{arch::x86_64::*, ops::Range};

use super::{CHUNK, Sums, check_bytes, check_dense, check_quantized};
use crate::{
    Form,
    activations::{BLOCK, DenseTile, QuantizedTile},
    factor::BytesPanel,
    packed::{LANES, Line, PANEL, Panel},
};

/// Outputs of one register.
const HALF: usize = LANES / 2;

/// Calls `$kernel::<R>` for the tile's rows and each group of the panel.
macro_rules! by_rows {
    ($kernel:ident, $panel:expr, $tile:expr, $sums:expr, $($rows:literal)*) => {
        for g in 0..$panel.groups {
            match $tile.rows {
                $($rows => $kernel::<$rows>($panel, g, $tile, $sums),)*
                rows => unreachable!("no tile has {rows} rows"),
            }
        }
    };
}

/// F32 and F16.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dense(panel: Panel<'_>, tile: DenseTile<'_>, sums: &mut [Sums]) {
    check_dense(panel, tile, sums);
    match panel.form {
        Form::F32 => by_rows!(f32_tile, panel, tile, sums, 1 2 3 4 5 6),
        _ => by_rows!(f16_tile, panel, tile, sums, 1 2 3 4 5 6),
    }
}

/// Q8_0.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q8_0(panel: Panel<'_>, tile: QuantizedTile<'_>, sums: &mut [Sums]) {
    check_quantized(panel, tile, sums);
    by_rows!(q8_0_tile, panel, tile, sums, 1 2 3);
}

/// Q4_K.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn q4_k(panel: Panel<'_>, tile: QuantizedTile<'_>, sums: &mut [Sums]) {
    check_quantized(panel, tile, sums);
    by_rows!(q4_k_tile, panel, tile, sums, 1 2 3);
}

macro_rules! dense_tile {
    ($name:ident, $half_bytes:literal, $load:expr) => {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn $name<const R: usize>(panel: Panel<'_>, g: usize, tile: DenseTile<'_>, sums: &mut [Sums]) {
            let zero = _mm256_setzero_ps();
            let mut total = sums_of::<R>(sums, g);
            let start = panel.lines.as_ptr().cast::<u8>();
            let (offset, stride) = (g * 2 * $half_bytes, panel.groups * 2 * $half_bytes);
            for (c, chunk) in tile.x.chunks(CHUNK * R).enumerate() {
                let mut partial = [[zero; 2]; R];
                for (i, x) in chunk.chunks_exact(R).enumerate() {
                    let at = (c * CHUNK + i) * stride + offset;
                    // SAFETY: `check_dense` found `stride` bytes of weights for each input, of which `x` is one.
                    let w: [__m256; 2] =
                        std::array::from_fn(|h| unsafe { $load(start.add(at + h * $half_bytes).cast()) });
                    for r in 0..R {
                        let x = _mm256_set1_ps(x[r]);
                        for h in 0..2 {
                            partial[r][h] = _mm256_fmadd_ps(w[h], x, partial[r][h]);
                        }
                    }
                }
                for r in 0..R {
                    for h in 0..2 {
                        total[r][h] = _mm256_add_ps(total[r][h], partial[r][h]);
                    }
                }
            }
            store(sums, g, &total);
        }
    };
}

dense_tile!(f32_tile, 32, |at| _mm256_loadu_ps(at));
dense_tile!(f16_tile, 16, |at| _mm256_cvtph_ps(_mm_loadu_si128(at)));

#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0_tile<const R: usize>(panel: Panel<'_>, g: usize, tile: QuantizedTile<'_>, sums: &mut [Sums]) {
    let bias = _mm256_set1_epi8(-128);
    let mut total = sums_of::<R>(sums, g);
    for (b, record) in panel.lines.chunks_exact(8 * panel.groups + 1).enumerate() {
        let at = b * R;
        let mut dots = [[_mm256_setzero_si256(); 2]; R];
        for s in 0..8 {
            let line = &record[s * panel.groups + g];
            for h in 0..2 {
                let w = _mm256_xor_si256(load(line, h), bias);
                let size = _mm256_abs_epi8(w);
                for r in 0..R {
                    // SAFETY: `check_quantized` found 32 bytes for each row and block, and s < 8.
                    let x = unsafe { four(tile.q.as_ptr().add((at + r) * BLOCK + 4 * s)) };
                    dots[r][h] = add_products(dots[r][h], size, _mm256_sign_epi8(x, w));
                }
            }
        }
        for h in 0..2 {
            let d = halves(&record[8 * panel.groups], g, h);
            for r in 0..R {
                let d = _mm256_mul_ps(d, _mm256_set1_ps(tile.d[at + r]));
                total[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][h]), d, total[r][h]);
            }
        }
    }
    store(sums, g, &total);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q4_k_tile<const R: usize>(panel: Panel<'_>, g: usize, tile: QuantizedTile<'_>, sums: &mut [Sums]) {
    let low = _mm256_set1_epi8(15);
    let stride = 4 * panel.groups + 1;
    let mut total = sums_of::<R>(sums, g);
    for (sup, lines) in panel.lines.chunks_exact(2 + 8 * stride).enumerate() {
        for (j, record) in lines[2..].chunks_exact(stride).enumerate() {
            let at = (sup * 8 + j) * R;
            let mut dots = [[_mm256_setzero_si256(); 2]; R];
            for s in 0..8 {
                for h in 0..2 {
                    let pair = load(&record[s % 4 * panel.groups + g], h);
                    let w = _mm256_and_si256(if s < 4 { pair } else { _mm256_srli_epi16::<4>(pair) }, low);
                    for r in 0..R {
                        // SAFETY: `check_quantized` found 32 bytes for each row and block, and s < 8.
                        let x = unsafe { four(tile.q.as_ptr().add((at + r) * BLOCK + 4 * s)) };
                        dots[r][h] = add_products(dots[r][h], w, x);
                    }
                }
            }
            let factors = &record[4 * panel.groups].0;
            for h in 0..2 {
                let o = g * LANES + h * HALF;
                let d = _mm256_mul_ps(halves(&lines[0], g, h), bytes(factors, o));
                let min = _mm256_mul_ps(halves(&lines[1], g, h), bytes(factors, PANEL + o));
                for r in 0..R {
                    let d = _mm256_mul_ps(d, _mm256_set1_ps(tile.d[at + r]));
                    let sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][h]), d, total[r][h]);
                    total[r][h] = _mm256_fnmadd_ps(min, _mm256_set1_ps(tile.d_sum[at + r]), sum);
                }
            }
        }
    }
    store(sums, g, &total);
}

/// I8: some rows of a tile. Sets `sums`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn factor_i8(panel: BytesPanel<'_>, tile: QuantizedTile<'_>, rows: Range<usize>, sums: &mut [Sums]) {
    assert!(sums.len() >= 2 * rows.len());
    check_bytes(panel, tile, &rows);
    for g in 0..panel.groups {
        match rows.len() {
            1 => factor_i8_tile::<1>(panel, g, tile, rows.start, sums),
            2 => factor_i8_tile::<2>(panel, g, tile, rows.start, sums),
            3 => factor_i8_tile::<3>(panel, g, tile, rows.start, sums),
            rows => unreachable!("no tile has {rows} rows"),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn factor_i8_tile<const R: usize>(
    panel: BytesPanel<'_>,
    g: usize,
    tile: QuantizedTile<'_>,
    first: usize,
    sums: &mut [Sums],
) {
    let excess = _mm256_set1_epi8(-128);
    let mut total = [[_mm256_setzero_ps(); 2]; R];
    for (b, record) in panel.lines.chunks(8 * panel.groups + 1).enumerate() {
        let at = b * tile.rows + first;
        let (scales, weights) = record.split_last().expect("a chunk is not empty");
        let mut dots = [[_mm256_setzero_si256(); 2]; R];
        for (s, lines) in weights.chunks_exact(panel.groups).enumerate() {
            for h in 0..2 {
                let w = _mm256_xor_si256(load(&lines[g], h), excess);
                let size = _mm256_abs_epi8(w);
                for r in 0..R {
                    // SAFETY: `check_bytes` found 32 bytes for each row and block, and s < 8.
                    let x = unsafe { four(tile.q.as_ptr().add((at + r) * BLOCK + 4 * s)) };
                    dots[r][h] = add_products(dots[r][h], size, _mm256_sign_epi8(x, w));
                }
            }
        }
        for h in 0..2 {
            let halves = &scales.0[32 * g + 16 * h..][..16];
            // SAFETY: `halves` is 16 bytes.
            let halves = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) });
            let d = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves));
            for r in 0..R {
                let d = _mm256_mul_ps(d, _mm256_set1_ps(tile.d[at + r]));
                total[r][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][h]), d, total[r][h]);
            }
        }
    }
    store(sums, g, &total);
}

/// dots + Σ of four products of unsigned by signed bytes, in each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(dots: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(unsigned, signed);
    _mm256_add_epi32(dots, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(line: &Line, h: usize) -> __m256i {
    let half = &line.0[32 * h..][..32];
    // SAFETY: `half` is 32 bytes.
    unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
}

/// Four int8 activations, in every lane.
///
/// # Safety
/// Four bytes must be readable there.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four(at: *const i8) -> __m256i {
    // SAFETY: by the caller.
    _mm256_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() })
}

/// Eight f16 of a group, widened.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn halves(line: &Line, g: usize, h: usize) -> __m256 {
    let half = &line.0[32 * g + 16 * h..][..16];
    // SAFETY: `half` is 16 bytes.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(half.as_ptr().cast()) })
}

/// Eight bytes as numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn bytes(line: &[u8; 64], at: usize) -> __m256 {
    let bytes = &line[at..][..8];
    // SAFETY: `bytes` is 8 bytes.
    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) }))
}

/// The sums of one group of outputs.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of<const R: usize>(sums: &[Sums], g: usize) -> [[__m256; 2]; R] {
    std::array::from_fn(|r| {
        let (halves, _) = sums[2 * r + g].0.as_chunks::<HALF>();
        // SAFETY: `half` is 8 floats.
        std::array::from_fn(|h| unsafe { _mm256_loadu_ps(halves[h].as_ptr()) })
    })
}

#[inline]
#[target_feature(enable = "avx2")]
fn store<const R: usize>(sums: &mut [Sums], g: usize, values: &[[__m256; 2]; R]) {
    for (r, values) in values.iter().enumerate() {
        let (halves, _) = sums[2 * r + g].0.as_chunks_mut::<HALF>();
        for (value, out) in values.iter().zip(halves) {
            // SAFETY: `out` is 8 floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *value) };
        }
    }
}
