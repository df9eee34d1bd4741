//! Kernels for the thin matrices of adapters: A [r, in] has one or two panels, B [out, r] few inputs, and often there is a
//! single row. They read x as it lies, without gathering, go over all panels in one call, and where rows are few keep
//! several chunks of inputs in flight, because one chain of additions would wait for its own latency.
//!
//! In f32 and f16 the sums are those of the dense kernels, bit by bit: chunks of [`CHUNK`] inputs, each a chain of fused
//! multiply-adds from 0, added up in order. In bytes a block of [`BLOCK`] inputs is such a chain, over the bytes as they are,
//! and comes to the sum by one more, with its scale. While a matrix is multiplied the next one is fetched, a chunk for a
//! chunk: there are hundreds of them a step, each too short for the processor to notice the pattern.

use std::ops::Range;

use super::{CHUNK, Isa};
use crate::{
    Factor, Form, Write,
    factor::{BLOCK, Kind, block_start},
    packed::{LANES, Line, PANEL},
    product::Columns,
};

/// Some panels of a factor times some rows.
pub(crate) struct Thin<'a> {
    pub(crate) matrix: &'a Factor,
    pub(crate) panels: Range<usize>,
    /// What will be multiplied next, to be fetched meanwhile.
    pub(crate) ahead: &'a [Line],
    /// x [rows, in].
    pub(crate) x: &'a [f32],
    /// Where x's rows go; those columns that the panels have belong to the caller alone.
    pub(crate) y: &'a Columns,
    pub(crate) rows: Range<usize>,
    pub(crate) write: Write,
}

impl Thin<'_> {
    /// Computes and writes.
    #[allow(unsafe_code)]
    pub(crate) fn run(&self, isa: Isa) {
        let (inputs, outputs) = (self.matrix.inputs(), self.matrix.outputs());
        assert!(self.x.len() == self.rows.len() * inputs && self.panels.end <= self.matrix.panels());
        assert!(self.y.holds(self.rows.end, outputs));
        match isa {
            // SAFETY, here and below: the machine has what an `Isa` names; the assertions hold for what the kernels read
            // and write, and the columns are the caller's.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni => unsafe { avx512::all(self) },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::all(self) },
            Isa::Portable => unsafe { portable::all(self) },
        }
    }
}

/// How a factor's numbers lie: what the kernels are made for.
const F32: u8 = 0;
const F16: u8 = 1;
const BYTES: u8 = 2;

/// The weights of one panel.
#[derive(Clone, Copy)]
struct Weights<'a> {
    start: *const u8,
    /// Of scaled bytes, what their scales are multiplied with.
    unit: f32,
    /// What comes after this panel's lines is fetched by the next panel.
    ahead: &'a [Line],
}

impl Weights<'_> {
    /// Fetches as many bytes of what comes next as are being read of this.
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    fn fetch(&self, from: usize, to: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in self.ahead.get(from / 64..self.ahead.len().min(to / 64)).unwrap_or(&[]) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint, which reads and writes nothing.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast());
            }
        }
    }
}

/// A panel's lines, its groups, and the unit of its scales.
fn panel(factor: &Factor, p: usize) -> (&[Line], usize, f32) {
    match &factor.0 {
        Kind::Dense(matrix) => {
            let panel = matrix.packed.panel(p);
            (panel.lines, panel.groups, 1.0)
        }
        Kind::Bytes(bytes) => {
            let (lines, groups) = bytes.panel(p);
            (lines, groups, bytes.unit)
        }
    }
}

/// Where an input that begins a chunk, scales and all, lies in its panel.
#[inline]
fn start<const KIND: u8>(first: usize, groups: usize) -> usize {
    match KIND {
        F32 => first * groups * 4 * LANES,
        F16 => first * groups * 2 * LANES,
        _ => block_start(first, groups),
    }
}

/// Where the numbers of such an input lie.
#[inline]
fn numbers<const KIND: u8>(first: usize, groups: usize) -> usize {
    start::<KIND>(first, groups) + if KIND == BYTES { groups * 2 * LANES } else { 0 }
}

/// The kernels over a register type that holds the 16 outputs of a group: `zero`, `load` of f32, f16 or signed bytes, `fma`
/// with a number in all lanes or in each its own, `scaled`, `add`, and `put` of the first n lanes.
macro_rules! kernels {
    ($(#[$feature:meta])?) => {
        /// # Safety
        /// As [`Thin::run`] asserts, and the machine must have the instructions.
        $(#[$feature])?
        pub(super) unsafe fn all(thin: &Thin<'_>) {
            let mut row = 0;
            while row < thin.rows.len() {
                // SAFETY: by the caller; `row` and the rows after it that are taken are below the number of rows.
                row += unsafe {
                    match thin.rows.len() - row {
                        1 => of_form::<1, 4>(thin, row),
                        2..4 => of_form::<2, 4>(thin, row),
                        4..8 => of_form::<4, 2>(thin, row),
                        _ => of_form::<8, 1>(thin, row),
                    }
                };
            }
        }

        $(#[$feature])?
        unsafe fn of_form<const R: usize, const C: usize>(thin: &Thin<'_>, row: usize) -> usize {
            // SAFETY: by the caller.
            unsafe {
                match &thin.matrix.0 {
                    Kind::Dense(matrix) if matrix.form() == Form::F16 => panels::<R, C, F16>(thin, row),
                    Kind::Dense(_) => panels::<R, C, F32>(thin, row),
                    Kind::Bytes(_) => panels::<R, C, BYTES>(thin, row),
                }
            }
            R
        }

        /// All panels times R rows.
        $(#[$feature])?
        unsafe fn panels<const R: usize, const C: usize, const KIND: u8>(thin: &Thin<'_>, row: usize) {
            let inputs = thin.matrix.inputs();
            // SAFETY: x has R rows from here.
            let x = unsafe { thin.x.as_ptr().add(row * inputs) };
            // Once is enough, however many rows there are.
            let mut ahead = if row == 0 { thin.ahead } else { &[] };
            for p in thin.panels.clone() {
                let (lines, groups, unit) = panel(thin.matrix, p);
                let weights = Weights { start: lines.as_ptr().cast::<u8>(), unit, ahead };
                ahead = &ahead[lines.len().min(ahead.len())..];
                let columns = p * PANEL..thin.matrix.outputs().min((p + 1) * PANEL);
                // SAFETY: the panel has `groups` weights for each input.
                unsafe {
                    if groups == 1 {
                        let sums = sums::<R, 1, C, KIND>(weights, x, inputs);
                        write(thin, row, columns, &sums);
                    } else {
                        let sums = sums::<R, 2, C, KIND>(weights, x, inputs);
                        write(thin, row, columns, &sums);
                    }
                }
            }
        }

        /// The sums of one panel with G groups and R rows.
        #[inline]
        $(#[$feature])?
        unsafe fn sums<const R: usize, const G: usize, const C: usize, const KIND: u8>(
            weights: Weights<'_>,
            x: *const f32,
            inputs: usize,
        ) -> [[Group; G]; R] {
            let chunk = if KIND == BYTES { BLOCK } else { CHUNK };
            // SAFETY, here and below: `inputs` weights of each group, and numbers of each row, are readable.
            unsafe {
                let mut total = [[zero(); G]; R];
                let mut first = 0;
                while first + C * chunk <= inputs {
                    weights.fetch(start::<KIND>(first, G), start::<KIND>(first + C * chunk, G));
                    let partial = chunks::<R, G, C, KIND>(weights.start, x, inputs, first, chunk);
                    add_chunks::<R, G, C, KIND>(&mut total, &partial, weights, first);
                    first += C * chunk;
                }
                while first < inputs {
                    let length = chunk.min(inputs - first);
                    weights.fetch(start::<KIND>(first, G), start::<KIND>(first + chunk, G));
                    let partial = chunks::<R, G, 1, KIND>(weights.start, x, inputs, first, length);
                    add_chunks::<R, G, 1, KIND>(&mut total, &partial, weights, first);
                    first += length;
                }
                total
            }
        }

        /// C chunks of `length` inputs from `first`, each by itself.
        #[inline]
        $(#[$feature])?
        unsafe fn chunks<const R: usize, const G: usize, const C: usize, const KIND: u8>(
            weights: *const u8,
            x: *const f32,
            inputs: usize,
            first: usize,
            length: usize,
        ) -> [[[Group; G]; R]; C] {
            let starts: [*const u8; C] =
                std::array::from_fn(|c| weights.wrapping_add(numbers::<KIND>(first + c * length, G)));
            // SAFETY: by the caller.
            unsafe {
                let mut partial = [[[zero(); G]; R]; C];
                // Plain loops over constant bounds: the compiler unrolls them and keeps `partial` in registers.
                for i in 0..length {
                    for c in 0..C {
                        let mut w = [zero(); G];
                        for g in 0..G {
                            w[g] = match KIND {
                                F32 => load_f32(starts[c].add((i * G + g) * 4 * LANES)),
                                F16 => load_f16(starts[c].add((i * G + g) * 2 * LANES)),
                                _ => load_i8(starts[c].add((i * G + g) * LANES)),
                            };
                        }
                        for r in 0..R {
                            let x = *x.add(r * inputs + first + c * length + i);
                            for g in 0..G {
                                partial[c][r][g] = fma(w[g], x, partial[c][r][g]);
                            }
                        }
                    }
                }
                partial
            }
        }

        /// Chunks to the sum, in their order; bytes with their blocks' scales.
        #[inline]
        $(#[$feature])?
        unsafe fn add_chunks<const R: usize, const G: usize, const C: usize, const KIND: u8>(
            total: &mut [[Group; G]; R],
            partial: &[[[Group; G]; R]; C],
            weights: Weights<'_>,
            first: usize,
        ) {
            for c in 0..C {
                // SAFETY, here and below: the machine has the instructions, and the block a scale for each output.
                let mut scales = [unsafe { zero() }; G];
                if KIND == BYTES {
                    for g in 0..G {
                        scales[g] = unsafe {
                            let at = weights.start.add(start::<KIND>(first + c * BLOCK, G) + g * 2 * LANES);
                            scaled(load_f16(at), weights.unit)
                        };
                    }
                }
                for r in 0..R {
                    for g in 0..G {
                        total[r][g] = unsafe {
                            match KIND {
                                BYTES => fma_groups(scales[g], partial[c][r][g], total[r][g]),
                                _ => add(total[r][g], partial[c][r][g]),
                            }
                        };
                    }
                }
            }
        }

        #[inline]
        $(#[$feature])?
        unsafe fn write<const R: usize, const G: usize>(
            thin: &Thin<'_>,
            row: usize,
            columns: Range<usize>,
            sums: &[[Group; G]; R],
        ) {
            for (r, sums) in sums.iter().enumerate() {
                // SAFETY: the columns of these panels are the caller's, and y holds them.
                unsafe {
                    let y = thin.y.at(thin.rows.start + row + r, columns.start);
                    for (g, sum) in sums.iter().enumerate() {
                        let lanes = (columns.len() - g * LANES).min(LANES);
                        put(y.add(g * LANES), lanes, *sum, thin.write);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, clippy::needless_range_loop)] // intrinsics, and pointers that `Thin::run` has checked; several arrays
mod avx512 {
    use std::arch::x86_64::*;

    use super::*;

    type Group = __m512;

    kernels!(#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]);

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn zero() -> Group {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load_f32(at: *const u8) -> Group {
        // SAFETY: by the caller.
        unsafe { _mm512_loadu_ps(at.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load_f16(at: *const u8) -> Group {
        // SAFETY: by the caller.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(at.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load_i8(at: *const u8) -> Group {
        // SAFETY: by the caller.
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(at.cast()) }))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn scaled(a: Group, by: f32) -> Group {
        _mm512_mul_ps(a, _mm512_set1_ps(by))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn fma_groups(a: Group, b: Group, sum: Group) -> Group {
        _mm512_fmadd_ps(a, b, sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn fma(w: Group, x: f32, sum: Group) -> Group {
        _mm512_fmadd_ps(w, _mm512_set1_ps(x), sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn add(a: Group, b: Group) -> Group {
        _mm512_add_ps(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn put(y: *mut f32, lanes: usize, sum: Group, write: Write) {
        let mask = u16::MAX >> (LANES - lanes);
        // SAFETY: `lanes` numbers are the caller's; the mask leaves the others alone.
        unsafe {
            let value = match write {
                Write::Set => sum,
                Write::Add(scale) => _mm512_fmadd_ps(_mm512_set1_ps(scale), sum, _mm512_maskz_loadu_ps(mask, y)),
            };
            _mm512_mask_storeu_ps(y, mask, value);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, clippy::needless_range_loop)] // as above
mod avx2 {
    use std::arch::x86_64::*;

    use super::*;

    type Group = [__m256; 2];

    kernels!(#[target_feature(enable = "avx2,fma,f16c")]);

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn zero() -> Group {
        [_mm256_setzero_ps(); 2]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load_f32(at: *const u8) -> Group {
        // SAFETY: by the caller.
        unsafe { [_mm256_loadu_ps(at.cast()), _mm256_loadu_ps(at.cast::<f32>().add(LANES / 2))] }
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load_f16(at: *const u8) -> Group {
        // SAFETY: by the caller.
        unsafe { [_mm256_cvtph_ps(_mm_loadu_si128(at.cast())), _mm256_cvtph_ps(_mm_loadu_si128(at.add(LANES).cast()))] }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load_i8(at: *const u8) -> Group {
        // SAFETY: by the caller.
        let bytes = unsafe { _mm_loadu_si128(at.cast()) };
        [
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn scaled(a: Group, by: f32) -> Group {
        let by = _mm256_set1_ps(by);
        [_mm256_mul_ps(a[0], by), _mm256_mul_ps(a[1], by)]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn fma_groups(a: Group, b: Group, sum: Group) -> Group {
        [_mm256_fmadd_ps(a[0], b[0], sum[0]), _mm256_fmadd_ps(a[1], b[1], sum[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn fma(w: Group, x: f32, sum: Group) -> Group {
        let x = _mm256_set1_ps(x);
        [_mm256_fmadd_ps(w[0], x, sum[0]), _mm256_fmadd_ps(w[1], x, sum[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn add(a: Group, b: Group) -> Group {
        [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn put(y: *mut f32, lanes: usize, sum: Group, write: Write) {
        let mut values = [0.0f32; LANES];
        // SAFETY: `values` is 16 numbers; `lanes` numbers of y are the caller's.
        unsafe {
            if lanes == LANES
                && let Write::Add(scale) = write
            {
                let scale = _mm256_set1_ps(scale);
                for (h, sum) in sum.into_iter().enumerate() {
                    let y = y.add(h * LANES / 2);
                    _mm256_storeu_ps(y, _mm256_fmadd_ps(scale, sum, _mm256_loadu_ps(y)));
                }
                return;
            }
            _mm256_storeu_ps(values.as_mut_ptr(), sum[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(LANES / 2), sum[1]);
            super::put(std::slice::from_raw_parts_mut(y, lanes), &values, write);
        }
    }
}

#[allow(unsafe_code, clippy::needless_range_loop)] // pointers that `Thin::run` has checked; several arrays
mod portable {
    use half::f16;

    use super::*;

    type Group = [f32; LANES];

    kernels!();

    #[inline]
    unsafe fn zero() -> Group {
        [0.0; LANES]
    }

    #[inline]
    unsafe fn load_f32(at: *const u8) -> Group {
        // SAFETY: by the caller; the lines are aligned, but a group of f16 need not be.
        unsafe { at.cast::<Group>().read_unaligned() }
    }

    #[inline]
    unsafe fn load_f16(at: *const u8) -> Group {
        // SAFETY: by the caller.
        unsafe { at.cast::<[f16; LANES]>().read_unaligned() }.map(f16::to_f32)
    }

    #[inline]
    unsafe fn load_i8(at: *const u8) -> Group {
        // SAFETY: by the caller.
        unsafe { at.cast::<[i8; LANES]>().read() }.map(f32::from)
    }

    #[inline]
    unsafe fn scaled(a: Group, by: f32) -> Group {
        a.map(|a| a * by)
    }

    #[inline]
    unsafe fn fma_groups(a: Group, b: Group, sum: Group) -> Group {
        std::array::from_fn(|i| a[i].mul_add(b[i], sum[i]))
    }

    #[inline]
    unsafe fn fma(w: Group, x: f32, sum: Group) -> Group {
        std::array::from_fn(|i| w[i].mul_add(x, sum[i]))
    }

    #[inline]
    unsafe fn add(a: Group, b: Group) -> Group {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline]
    unsafe fn put(y: *mut f32, lanes: usize, sum: Group, write: Write) {
        // SAFETY: `lanes` numbers of y are the caller's.
        super::put(unsafe { std::slice::from_raw_parts_mut(y, lanes) }, &sum, write);
    }
}

/// Writes as many sums as there is room for.
fn put(y: &mut [f32], sums: &[f32; LANES], write: Write) {
    match write {
        Write::Set => y.copy_from_slice(&sums[..y.len()]),
        Write::Add(scale) => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = scale.mul_add(*sum, *y)),
    }
}
