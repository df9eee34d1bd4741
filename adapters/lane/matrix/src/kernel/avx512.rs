//! The kernels in AVX-512: a register holds 16 outputs of one row, so nothing is ever summed across lanes.
//!
//! A tile of R rows and G groups keeps its R G sums (quantized: and R G integer dot products) in registers and loads each
//! weight once; the activations are broadcast from the first-level cache. With R = 12, G = 2 (dense) and R = 6, G = 2
//! (quantized) the multiply units are what limits, not the loads.

use std::{arch::x86_64::*, ops::Range};

use super::{CHUNK, MOST_ROWS, Sums, check_bytes, check_dense, check_quantized};
use crate::{
    Form,
    activations::{BLOCK, DenseTile, QuantizedTile},
    factor::{Bytes, BytesPanel},
    packed::{LANES, Line, PANEL, Panel},
    product::Columns,
};

/// Inputs of a dense sum between two requests for what comes next: asked for in one go, they would block the loads.
const BURST: usize = 16;

/// Calls `$kernel::<R, G>` for the tile's rows and the panel's groups.
macro_rules! by_shape {
    ($kernel:ident, $panel:expr, $tile:expr, $ahead:expr, $sums:expr, $($rows:literal)*) => {
        match ($tile.rows, $panel.groups) {
            $(
                ($rows, 1) => $kernel::<$rows, 1>($panel, $tile, $ahead, $sums),
                ($rows, 2) => $kernel::<$rows, 2>($panel, $tile, $ahead, $sums),
            )*
            (rows, groups) => unreachable!("no tile has {rows} rows or {groups} groups"),
        }
    };
}

/// F32 and F16.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
pub(super) fn dense(panel: Panel<'_>, tile: DenseTile<'_>, ahead: &[Line], sums: &mut [Sums]) {
    check_dense(panel, tile, sums);
    match panel.form {
        Form::F32 => by_shape!(f32_tile, panel, tile, ahead, sums, 1 2 3 4 5 6 7 8 9 10 11 12),
        _ => by_shape!(f16_tile, panel, tile, ahead, sums, 1 2 3 4 5 6 7 8 9 10 11 12),
    }
}

/// Q8_0.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
pub(super) fn q8_0(panel: Panel<'_>, tile: QuantizedTile<'_>, ahead: &[Line], sums: &mut [Sums]) {
    check_quantized(panel, tile, sums);
    by_shape!(q8_0_tile, panel, tile, ahead, sums, 1 2 3 4 5 6);
}

/// Q4_K.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
pub(super) fn q4_k(panel: Panel<'_>, tile: QuantizedTile<'_>, ahead: &[Line], sums: &mut [Sums]) {
    check_quantized(panel, tile, sums);
    by_shape!(q4_k_tile, panel, tile, ahead, sums, 1 2 3 4 5 6);
}

/// Gathers the rows of a dense tile: `x[i * rows + r] = from[r * inputs + i]`.
#[target_feature(enable = "avx512f")]
pub(crate) fn gather(rows: usize, x: &mut [f32], from: &[f32]) {
    let inputs = from.len() / rows;
    assert!(rows <= MOST_ROWS && x.len() == rows * inputs && from.len() == rows * inputs);
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(rows as i32));
    // 16 inputs of every row at a time, so that the lines written are complete when they leave the cache.
    for i in (0..inputs).step_by(LANES) {
        let mask = u16::MAX >> LANES.saturating_sub(inputs - i);
        for r in 0..rows {
            // SAFETY: the mask selects inputs below `inputs`, whose places in both slices the assertion covers.
            unsafe {
                let values = _mm512_maskz_loadu_ps(mask, from.as_ptr().add(r * inputs + i));
                _mm512_mask_i32scatter_ps::<4>(x.as_mut_ptr().add(i * rows + r).cast(), mask, places, values);
            }
        }
    }
}

macro_rules! dense_tile {
    ($name:ident, $group_bytes:literal, $load:expr) => {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        fn $name<const R: usize, const G: usize>(
            panel: Panel<'_>,
            tile: DenseTile<'_>,
            ahead: &[Line],
            sums: &mut [Sums],
        ) {
            let zero = _mm512_setzero_ps();
            let mut weights = panel.lines.as_ptr().cast::<u8>();
            let share = (ahead.len() * BURST * R).div_ceil(tile.x.len().max(1));
            let mut asked = 0;
            for chunk in tile.x.chunks(CHUNK * R) {
                let mut partial = [[zero; G]; R];
                for burst in chunk.chunks(BURST * R) {
                    prefetch(ahead, asked, share);
                    asked += share;
                    for x in burst.chunks_exact(R) {
                        // SAFETY: `check_dense` found G groups of weights for each input, of which `x` is one.
                        let w: [__m512; G] =
                            std::array::from_fn(|g| unsafe { $load(weights.add(g * $group_bytes).cast()) });
                        // SAFETY: as above; at the end one past the last weight.
                        weights = unsafe { weights.add(G * $group_bytes) };
                        for r in 0..R {
                            let x = _mm512_set1_ps(x[r]);
                            for g in 0..G {
                                partial[r][g] = _mm512_fmadd_ps(w[g], x, partial[r][g]);
                            }
                        }
                    }
                }
                add::<R, G>(sums, &partial);
            }
        }
    };
}

dense_tile!(f32_tile, 64, |at| _mm512_loadu_ps(at));
dense_tile!(f16_tile, 32, |at| _mm512_cvtph_ps(_mm256_loadu_si256(at)));

/// The dot products of 32 inputs, on top of what `$dots` holds: step s multiplies inputs 4s to 4s+3, with `$weights(s, g)`.
/// Eight copies instead of a loop, without a branch between them, so that everything stays in registers.
macro_rules! add_dots {
    ($dots:ident, $q:expr, $weights:expr, $($s:literal)*) => {$(
        let mut w = [_mm512_setzero_si512(); G];
        for g in 0..G {
            w[g] = $weights($s, g);
        }
        for r in 0..R {
            let x = _mm512_set1_epi32($q.add(r * BLOCK + 4 * $s).cast::<i32>().read_unaligned());
            for g in 0..G {
                $dots[r][g] = _mm512_dpbusd_epi32($dots[r][g], w[g], x);
            }
        }
    )*};
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
fn q8_0_tile<const R: usize, const G: usize>(
    panel: Panel<'_>,
    tile: QuantizedTile<'_>,
    ahead: &[Line],
    sums: &mut [Sums],
) {
    let blocks = panel.lines.len() / (8 * G + 1);
    let share = ahead.len().div_ceil(blocks.max(1));
    let mut total = sums_of::<R, G>(sums);
    for b in 0..blocks {
        prefetch(ahead, b * share, share);
        // SAFETY: `check_quantized` found 8 G + 1 lines, and for each of R rows 32 bytes and one scale, for every block.
        unsafe {
            let record = panel.lines.as_ptr().add(b * (8 * G + 1));
            let (q, d_x, bias) =
                (tile.q.as_ptr().add(b * R * BLOCK), tile.d.as_ptr().add(b * R), tile.bias.as_ptr().add(b * R));
            let mut dots = [[_mm512_setzero_si512(); G]; R];
            for r in 0..R {
                dots[r] = [_mm512_set1_epi32(*bias.add(r)); G];
            }
            add_dots!(dots, q, |s, g| load(record.add(s * G + g)), 0 1 2 3 4 5 6 7);
            for g in 0..G {
                let d = halves(record.add(8 * G), g);
                for r in 0..R {
                    let d = _mm512_mul_ps(d, _mm512_set1_ps(*d_x.add(r)));
                    total[r][g] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r][g]), d, total[r][g]);
                }
            }
        }
    }
    store(sums, &total);
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
fn q4_k_tile<const R: usize, const G: usize>(
    panel: Panel<'_>,
    tile: QuantizedTile<'_>,
    ahead: &[Line],
    sums: &mut [Sums],
) {
    let blocks = panel.lines.len() / (2 + 8 * (4 * G + 1)) * 8;
    let share = ahead.len().div_ceil(blocks.max(1));
    let low = _mm512_set1_epi8(15);
    let mut total = sums_of::<R, G>(sums);
    for b in 0..blocks {
        prefetch(ahead, b * share, share);
        // SAFETY: `check_quantized` found 2 + 8 (4 G + 1) lines for eight blocks each, and for each of R rows 32 bytes and
        // one scale for every block.
        unsafe {
            let factors = panel.lines.as_ptr().add(b / 8 * (2 + 8 * (4 * G + 1)));
            let record = factors.add(2 + b % 8 * (4 * G + 1));
            let (q, d_x, d_sum) =
                (tile.q.as_ptr().add(b * R * BLOCK), tile.d.as_ptr().add(b * R), tile.d_sum.as_ptr().add(b * R));
            let mut dots = [[_mm512_setzero_si512(); G]; R];
            add_dots!(dots, q, |s: usize, g: usize| _mm512_and_si512(load(record.add(s * G + g)), low), 0 1 2 3);
            let high =
                |s: usize, g: usize| _mm512_and_si512(_mm512_srli_epi16::<4>(load(record.add((s - 4) * G + g))), low);
            add_dots!(dots, q, high, 4 5 6 7);
            for g in 0..G {
                let scales = record.add(4 * G).cast::<u8>().add(g * LANES);
                let d = _mm512_mul_ps(halves(factors, g), bytes(scales));
                let min = _mm512_mul_ps(halves(factors.add(1), g), bytes(scales.add(PANEL)));
                for r in 0..R {
                    let d = _mm512_mul_ps(d, _mm512_set1_ps(*d_x.add(r)));
                    let sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r][g]), d, total[r][g]);
                    total[r][g] = _mm512_fnmadd_ps(min, _mm512_set1_ps(*d_sum.add(r)), sum);
                }
            }
        }
    }
    store(sums, &total);
}

/// Calls `$kernel::<R>` for so many rows.
macro_rules! by_rows {
    ($rows:expr, $kernel:ident($($arg:expr),*)) => {
        match $rows {
            1 => $kernel::<1>($($arg),*),
            2 => $kernel::<2>($($arg),*),
            3 => $kernel::<3>($($arg),*),
            4 => $kernel::<4>($($arg),*),
            5 => $kernel::<5>($($arg),*),
            6 => $kernel::<6>($($arg),*),
            rows => unreachable!("no tile has {rows} rows"),
        }
    };
}

/// I8: some rows of a tile. Sets `sums`.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
pub(super) fn factor_i8(panel: BytesPanel<'_>, tile: QuantizedTile<'_>, rows: Range<usize>, sums: &mut [Sums]) {
    assert!(sums.len() >= 2 * rows.len());
    check_bytes(panel, tile, &rows);
    by_rows!(rows.len(), factor_i8_rows(panel, tile, rows.start, sums));
}

#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
fn factor_i8_rows<const R: usize>(panel: BytesPanel<'_>, tile: QuantizedTile<'_>, first: usize, sums: &mut [Sums]) {
    // SAFETY: `check_bytes` has seen to it.
    unsafe {
        match panel.groups {
            1 => store(sums, &factor_sums::<R, 1>(panel, tile, first)),
            _ => store(sums, &factor_sums::<R, 2>(panel, tile, first)),
        }
    }
}

/// I8: y += scale · all rows of a tile times some panels, y's first row being `row`.
///
/// # Safety
/// Nobody else may be using these panels' columns of y in these rows.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
pub(super) unsafe fn add_factor_i8(
    b: &Bytes,
    panels: Range<usize>,
    tile: QuantizedTile<'_>,
    scale: f32,
    (y, row): (&Columns, usize),
) {
    assert!(y.holds(row + tile.rows, b.outputs));
    // SAFETY: by the caller and the assertion.
    unsafe { by_rows!(tile.rows, add_factor_i8_rows(b, panels, tile, scale, (y, row))) }
}

/// # Safety
/// As `add_factor_i8`.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
unsafe fn add_factor_i8_rows<const R: usize>(
    b: &Bytes,
    panels: Range<usize>,
    tile: QuantizedTile<'_>,
    scale: f32,
    (y, row): (&Columns, usize),
) {
    for p in panels {
        let panel = b.panel(p);
        check_bytes(panel, tile, &(0..R));
        // SAFETY: `check_bytes` has seen to what is read; the caller to what is written.
        unsafe {
            match panel.groups {
                1 => add_scaled_to::<R, 1>(&factor_sums(panel, tile, 0), scale, (y, row), p * PANEL),
                _ => add_scaled_to::<R, 2>(&factor_sums(panel, tile, 0), scale, (y, row), p * PANEL),
            }
        }
    }
}

/// y += scale · sums
///
/// # Safety
/// y must have the rows and columns, and nobody else be using them.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_scaled_to<const R: usize, const G: usize>(
    sums: &[[__m512; G]; R],
    scale: f32,
    (y, row): (&Columns, usize),
    column: usize,
) {
    for r in 0..R {
        for g in 0..G {
            let column = column + g * LANES;
            let mask = u16::MAX >> LANES.saturating_sub(y.outputs() - column);
            // SAFETY: by the caller; the mask leaves out what is behind the last column.
            unsafe {
                let y = y.at(row + r, column);
                let sum = _mm512_fmadd_ps(_mm512_set1_ps(scale), sums[r][g], _mm512_maskz_loadu_ps(mask, y));
                _mm512_mask_storeu_ps(y, mask, sum);
            }
        }
    }
}

/// The sums of a panel in I8 and R rows of a tile.
///
/// # Safety
/// As `check_bytes` asserts.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx2,fma")]
unsafe fn factor_sums<const R: usize, const G: usize>(
    panel: BytesPanel<'_>,
    tile: QuantizedTile<'_>,
    first: usize,
) -> [[__m512; G]; R] {
    let (whole, rest) = (panel.inputs / BLOCK, (panel.inputs % BLOCK).div_ceil(4));
    let mut total = [[_mm512_setzero_ps(); G]; R];
    // SAFETY, of all that follows: there is a record for every block, the last one of `rest` steps, and for each row of the
    // tile 32 bytes and one scale for every block; rows `first` to `first + R` are in the tile.
    unsafe {
        let mut record = panel.lines.as_ptr();
        for b in 0..whole {
            let at = b * tile.rows + first;
            let q = tile.q.as_ptr().add(at * BLOCK);
            let mut dots = biases::<R, G>(tile.bias.as_ptr().add(at));
            add_dots!(dots, q, |s, g| load(record.add(s * G + g)), 0 1 2 3 4 5 6 7);
            add_scaled(&mut total, &dots, record.add(8 * G), tile.d.as_ptr().add(at));
            record = record.add(8 * G + 1);
        }
        if rest > 0 {
            let at = whole * tile.rows + first;
            let mut q = tile.q.as_ptr().add(at * BLOCK);
            let mut dots = biases::<R, G>(tile.bias.as_ptr().add(at));
            if rest & 4 != 0 {
                add_dots!(dots, q, |s, g| load(record.add(s * G + g)), 0 1 2 3);
                (record, q) = (record.add(4 * G), q.add(16));
            }
            if rest & 2 != 0 {
                add_dots!(dots, q, |s, g| load(record.add(s * G + g)), 0 1);
                (record, q) = (record.add(2 * G), q.add(8));
            }
            if rest & 1 != 0 {
                add_dots!(dots, q, |s, g| load(record.add(s * G + g)), 0);
                record = record.add(G);
            }
            add_scaled(&mut total, &dots, record, tile.d.as_ptr().add(at));
        }
    }
    total
}

/// The dot products of a block begin with what takes back the 128 that weights have too much.
///
/// # Safety
/// R numbers must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn biases<const R: usize, const G: usize>(bias: *const i32) -> [[__m512i; G]; R] {
    let mut dots = [[_mm512_setzero_si512(); G]; R];
    for r in 0..R {
        // SAFETY: by the caller.
        dots[r] = [_mm512_set1_epi32(unsafe { *bias.add(r) }); G];
    }
    dots
}

/// total + dots times the weights' bf16 scales times the activations'.
///
/// # Safety
/// The line must be readable, and R scales of activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn add_scaled<const R: usize, const G: usize>(
    total: &mut [[__m512; G]; R],
    dots: &[[__m512i; G]; R],
    scales: *const Line,
    d_x: *const f32,
) {
    for g in 0..G {
        // SAFETY: by the caller; a line holds the bf16 of two groups.
        let halves = unsafe { _mm256_load_si256(scales.cast::<__m256i>().add(g)) };
        let d = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)));
        for r in 0..R {
            // SAFETY: by the caller.
            let d = _mm512_mul_ps(d, _mm512_set1_ps(unsafe { *d_x.add(r) }));
            total[r][g] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r][g]), d, total[r][g]);
        }
    }
}

/// Asks for some of the lines that come next, which are in memory, while this panel is worked on, which is in the cache.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(lines: &[Line], from: usize, count: usize) {
    for line in lines.iter().skip(from).take(count) {
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).cast());
    }
}

/// # Safety
/// The line must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(line: *const Line) -> __m512i {
    // SAFETY: by the caller.
    unsafe { _mm512_load_si512(line.cast()) }
}

/// The 16 f16 of a group, widened.
///
/// # Safety
/// The line must be readable and g below 2.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(line: *const Line, g: usize) -> __m512 {
    // SAFETY: by the caller.
    _mm512_cvtph_ps(unsafe { _mm256_load_si256(line.cast::<__m256i>().add(g)) })
}

/// 16 bytes as numbers.
///
/// # Safety
/// 16 bytes must be readable there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bytes(at: *const u8) -> __m512 {
    // SAFETY: by the caller.
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(at.cast()) }))
}

/// The sums so far.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums_of<const R: usize, const G: usize>(sums: &[Sums]) -> [[__m512; G]; R] {
    let mut values = [[_mm512_setzero_ps(); G]; R];
    for r in 0..R {
        for g in 0..G {
            // SAFETY: `Sums` is 16 floats.
            values[r][g] = unsafe { _mm512_loadu_ps(sums[2 * r + g].0.as_ptr()) };
        }
    }
    values
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const R: usize, const G: usize>(sums: &mut [Sums], values: &[[__m512; G]; R]) {
    for (r, values) in values.iter().enumerate() {
        for (value, out) in values.iter().zip(&mut sums[2 * r..]) {
            // SAFETY: `Sums` is 16 floats.
            unsafe { _mm512_storeu_ps(out.0.as_mut_ptr(), *value) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn add<const R: usize, const G: usize>(sums: &mut [Sums], values: &[[__m512; G]; R]) {
    let mut total = sums_of::<R, G>(sums);
    for r in 0..R {
        for g in 0..G {
            total[r][g] = _mm512_add_ps(total[r][g], values[r][g]);
        }
    }
    store(sums, &total);
}
