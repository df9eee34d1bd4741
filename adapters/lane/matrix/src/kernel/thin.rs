//! Kernels for the factors of adapters in F32 and F16: A [r, in] has one or two panels, B [out, r] few inputs, and often
//! there is a single row. They read x as it lies, without gathering, go over all panels in one call, and where rows are few
//! keep several chunks of inputs in flight, because one chain of additions would wait for its own latency.
//!
//! The sums are those of the dense kernels, bit by bit: chunks of [`CHUNK`] inputs, each a chain of fused multiply-adds
//! from 0, added up in order.

use std::ops::Range;

use super::{CHUNK, Isa};
use crate::{
    Form, Write,
    packed::{LANES, PANEL, Packed},
    product::Columns,
};

/// Some panels of a factor times some rows.
pub(crate) struct Thin<'a> {
    /// F32 or F16.
    pub(crate) factor: &'a Packed,
    pub(crate) panels: Range<usize>,
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
        let Packed { inputs, outputs, form, .. } = *self.factor;
        assert!(form == Form::F32 || form == Form::F16);
        assert!(self.x.len() == self.rows.len() * inputs && self.panels.end <= self.factor.panels());
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

/// The kernels over a register type that holds the 16 outputs of a group: `zero`, `load` of each form, `fma` with a number in
/// all lanes, `add`, and `put` of the first n lanes.
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
                        1 => of_form::<1, 4, 5>(thin, row),
                        2..4 => of_form::<2, 4, 5>(thin, row),
                        4..8 => of_form::<4, 2, 3>(thin, row),
                        _ => of_form::<8, 1, 2>(thin, row),
                    }
                };
            }
        }

        $(#[$feature])?
        unsafe fn of_form<const R: usize, const C: usize, const D: usize>(thin: &Thin<'_>, row: usize) -> usize {
            // SAFETY: by the caller.
            unsafe {
                match thin.factor.form {
                    Form::F32 => panels::<R, C, D, false>(thin, row),
                    _ => panels::<R, C, D, true>(thin, row),
                }
            }
            R
        }

        /// All panels times R rows.
        $(#[$feature])?
        unsafe fn panels<const R: usize, const C: usize, const D: usize, const HALF: bool>(thin: &Thin<'_>, row: usize) {
            let Packed { inputs, outputs, .. } = *thin.factor;
            // SAFETY: x has R rows from here.
            let x = unsafe { thin.x.as_ptr().add(row * inputs) };
            for p in thin.panels.clone() {
                let panel = thin.factor.panel(p);
                let weights = panel.lines.as_ptr().cast::<u8>();
                let columns = p * PANEL..outputs.min((p + 1) * PANEL);
                // SAFETY: the panel has `groups` weights for each input.
                unsafe {
                    if panel.groups == 1 {
                        let sums = sums::<R, 1, C, D, HALF>(weights, x, inputs);
                        write(thin, row, columns, &sums);
                    } else {
                        let sums = sums::<R, 2, C, D, HALF>(weights, x, inputs);
                        write(thin, row, columns, &sums);
                    }
                }
            }
        }

        /// The sums of one panel with G groups and R rows. D is C + 1.
        #[inline]
        $(#[$feature])?
        unsafe fn sums<const R: usize, const G: usize, const C: usize, const D: usize, const HALF: bool>(
            weights: *const u8,
            x: *const f32,
            inputs: usize,
        ) -> [[Group; G]; R] {
            let (whole, rest) = (inputs / CHUNK, inputs % CHUNK);
            // SAFETY, here and below: `inputs` weights of each group, and numbers of each row, are readable.
            unsafe {
                let mut total = [[zero(); G]; R];
                let mut chunk = 0;
                while chunk + C < whole || (chunk + C == whole && rest == 0) {
                    let mut partial = [[[zero(); G]; R]; C];
                    chunks::<R, G, C, HALF>(weights, (x, inputs), chunk, 0..CHUNK, &mut partial);
                    add_chunks(&mut total, &partial);
                    chunk += C;
                }
                if chunk + C == whole {
                    // The short chunk goes along with the last whole ones: by itself its one chain would wait.
                    let mut partial = [[[zero(); G]; R]; D];
                    chunks::<R, G, D, HALF>(weights, (x, inputs), chunk, 0..rest, &mut partial);
                    let most = partial.first_chunk_mut::<C>().expect("D is C + 1");
                    chunks::<R, G, C, HALF>(weights, (x, inputs), chunk, rest..CHUNK, most);
                    add_chunks(&mut total, &partial);
                    return total;
                }
                while chunk * CHUNK < inputs {
                    let mut partial = [[[zero(); G]; R]; 1];
                    let within = 0..CHUNK.min(inputs - chunk * CHUNK);
                    chunks::<R, G, 1, HALF>(weights, (x, inputs), chunk, within, &mut partial);
                    add_chunks(&mut total, &partial);
                    chunk += 1;
                }
                total
            }
        }

        /// Some inputs of each of N chunks, added to what these have.
        #[inline]
        $(#[$feature])?
        unsafe fn chunks<const R: usize, const G: usize, const N: usize, const HALF: bool>(
            weights: *const u8,
            (x, inputs): (*const f32, usize),
            first: usize,
            within: Range<usize>,
            sums: &mut [[[Group; G]; R]; N],
        ) {
            let group = if HALF { 2 * LANES } else { 4 * LANES };
            // By value, so that they stay in registers.
            let mut partial = *sums;
            // SAFETY: by the caller.
            unsafe {
                for i in within {
                    for (c, partial) in partial.iter_mut().enumerate() {
                        let input = (first + c) * CHUNK + i;
                        let mut w = [zero(); G];
                        for (g, w) in w.iter_mut().enumerate() {
                            let at = weights.add((input * G + g) * group);
                            *w = if HALF { load_f16(at) } else { load_f32(at) };
                        }
                        for (r, partial) in partial.iter_mut().enumerate() {
                            let x = *x.add(r * inputs + input);
                            for (partial, w) in partial.iter_mut().zip(w) {
                                *partial = fma(w, x, *partial);
                            }
                        }
                    }
                }
            }
            *sums = partial;
        }

        /// Adds up N chunks.
        #[inline]
        $(#[$feature])?
        unsafe fn add_chunks<const R: usize, const G: usize, const N: usize>(
            total: &mut [[Group; G]; R],
            partial: &[[[Group; G]; R]; N],
        ) {
            // Nested, not flattened: so the sums stay in registers.
            for partial in partial {
                for (total, partial) in total.iter_mut().zip(partial) {
                    for (total, partial) in total.iter_mut().zip(partial) {
                        // SAFETY: the machine has the instructions.
                        *total = unsafe { add(*total, *partial) };
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
#[allow(unsafe_code)] // intrinsics, and pointers that `Thin::run` has checked
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
#[allow(unsafe_code)] // as above
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

#[allow(unsafe_code)] // pointers that `Thin::run` has checked
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
