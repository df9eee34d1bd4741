//! The two products of attention, for one page of keys and a few queries at once.
//!
//! One body for AVX-512 and AVX2, whose sums stay in registers, and plain loops elsewhere. Each result is one chain of fused
//! multiply-adds in f32 in the order of d or j: the same bits everywhere, whichever queries go over the page together.

use crate::sequence::{Number, PAGE};

/// Queries that go over a page together.
pub(super) const MOST: usize = 6;

/// Calls a kernel for as many queries as there are.
#[cfg(target_arch = "x86_64")]
macro_rules! by_count {
    ($n:expr, $set:ident::$kernel:ident($($arg:expr),*)) => {
        match $n {
            1 => $set::$kernel::<T, 1>($($arg),*),
            2 => $set::$kernel::<T, 2>($($arg),*),
            3 => $set::$kernel::<T, 3>($($arg),*),
            4 => $set::$kernel::<T, 4>($($arg),*),
            5 => $set::$kernel::<T, 5>($($arg),*),
            6 => $set::$kernel::<T, 6>($($arg),*),
            n => unreachable!("{n} queries at once"),
        }
    };
}

/// scores[r][j] = scale · Σ_d queries[d][r] keys[d][j], with `stride` from one query's scores to the next's.
///
/// `queries`: [head_dim][n], `keys`: [head_dim][PAGE], n at most [`MOST`]. `next`, keys or values, is fetched meanwhile: pages
/// lie apart, and no processor guesses where the next one is.
pub(super) fn scores<T: Number>(
    queries: &[f32],
    (keys, next): (&[T], &[T]),
    scale: f32,
    scores: &mut [f32],
    stride: usize,
) {
    let dim = keys.len() / PAGE;
    let n = queries.len() / dim;
    assert!(keys.len() == dim * PAGE && next.len() == keys.len() && queries.len() == n * dim);
    assert!((1..=MOST).contains(&n) && scores.len() >= (n - 1) * stride + PAGE);
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    // SAFETY: the machine has the instructions, and the assertions above are those the kernels ask for.
    unsafe {
        if is_x86_feature_detected!("avx512f") {
            return by_count!(n, avx512::scores(queries, (keys, next), scale, scores, stride));
        }
        if detected_avx2() {
            return by_count!(n, avx2::scores(queries, (keys, next), scale, scores, stride));
        }
    }
    for r in 0..n {
        for j in 0..PAGE {
            let sum = (0..dim).fold(0.0, |sum, d| queries[d * n + r].mul_add(keys[d * PAGE + j].to_f32(), sum));
            scores[r * stride + j] = scale * sum;
        }
    }
}

/// mixed[r] += Σ_j weights[r][j] values[j], with `stride` from one query's weights to the next's.
///
/// `values`: [PAGE][head_dim], `mixed`: [n][head_dim], n at most [`MOST`]. `next` is fetched meanwhile.
pub(super) fn mix<T: Number>(weights: &[f32], stride: usize, (values, next): (&[T], &[T]), mixed: &mut [f32]) {
    let dim = values.len() / PAGE;
    let n = mixed.len() / dim;
    assert!(values.len() == dim * PAGE && next.len() == values.len() && mixed.len() == n * dim);
    assert!((1..=MOST).contains(&n) && weights.len() >= (n - 1) * stride + PAGE);
    #[allow(unused_mut)]
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    // SAFETY: as above.
    unsafe {
        if is_x86_feature_detected!("avx512f") {
            done = by_count!(n, avx512::mix(weights, stride, (values, next), mixed));
        } else if detected_avx2() {
            done = by_count!(n, avx2::mix(weights, stride, (values, next), mixed));
        }
    }
    for (r, mixed) in mixed.chunks_exact_mut(dim).enumerate() {
        for (i, mixed) in mixed.iter_mut().enumerate().skip(done) {
            *mixed =
                (0..PAGE).fold(*mixed, |sum, j| weights[r * stride + j].mul_add(values[j * dim + i].to_f32(), sum));
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detected_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Brings the cache lines of so many numbers nearer.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch<T>(at: *const T, numbers: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in (0..numbers).step_by(64 / size_of::<T>()) {
        // SAFETY: a prefetch may be asked of any address; every x86-64 processor has it.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast());
        }
    }
}

/// Both kernels for one instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! kernels {
    ($set:ident, $features:literal, $lanes:literal, $register:ident, $zero:ident, $load:ident, $load_half:expr, $store:ident, $all:ident, $mul:ident, $fma:ident) => {
        #[allow(unsafe_code, clippy::needless_range_loop)] // intrinsics load and store; r and v index several arrays
        mod $set {
            use std::arch::x86_64::*;

            use super::fetch;
            use crate::sequence::{Number, PAGE};

            const LANES: usize = $lanes;

            /// As many numbers as a register holds.
            ///
            /// # Safety
            /// They must be readable.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn load<T: Number>(at: *const T) -> $register {
                // SAFETY: by the caller.
                unsafe { if T::HALF { $load_half(at.cast()) } else { $load(at.cast()) } }
            }

            /// # Safety
            /// N · head_dim queries, a page of keys twice, and a page of scores for each of N queries.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn scores<T: Number, const N: usize>(
                queries: &[f32],
                (keys, next): (&[T], &[T]),
                scale: f32,
                scores: &mut [f32],
                stride: usize,
            ) {
                let scale = $all(scale);
                for start in (0..PAGE).step_by(2 * LANES) {
                    let mut sums = [[$zero(); 2]; N];
                    for (d, x) in queries.as_chunks::<N>().0.iter().enumerate() {
                        // SAFETY: there is a page of keys for each of the queries' elements.
                        let (key, next) =
                            unsafe { (keys.as_ptr().add(d * PAGE + start), next.as_ptr().add(d * PAGE + start)) };
                        fetch(next, 2 * LANES);
                        let key = unsafe { [load(key), load(key.add(LANES))] };
                        for r in 0..N {
                            let x = $all(x[r]);
                            for v in 0..2 {
                                sums[r][v] = $fma(x, key[v], sums[r][v]);
                            }
                        }
                    }
                    for r in 0..N {
                        for v in 0..2 {
                            // SAFETY: each query has a page of scores.
                            unsafe {
                                let to = scores.as_mut_ptr().add(r * stride + start + v * LANES);
                                $store(to, $mul(scale, sums[r][v]));
                            }
                        }
                    }
                }
            }

            /// Returns how many elements of each value it has done.
            ///
            /// # Safety
            /// A page of weights for each of N queries, a page of values twice, and N rows of mixed.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn mix<T: Number, const N: usize>(
                weights: &[f32],
                stride: usize,
                (values, next): (&[T], &[T]),
                mixed: &mut [f32],
            ) -> usize {
                let dim = values.len() / PAGE;
                let mut start = 0;
                while start + 2 * LANES <= dim {
                    // SAFETY: by the caller, and the block ends within a value.
                    unsafe { block::<T, N, 2>(weights, stride, (values, next), mixed, start) };
                    start += 2 * LANES;
                }
                while start + LANES <= dim {
                    // SAFETY: as above.
                    unsafe { block::<T, N, 1>(weights, stride, (values, next), mixed, start) };
                    start += LANES;
                }
                start
            }

            /// V registers of each value, from `start` on.
            ///
            /// # Safety
            /// As `mix`, and `start + V · LANES` is at most head_dim.
            #[inline]
            #[target_feature(enable = $features)]
            unsafe fn block<T: Number, const N: usize, const V: usize>(
                weights: &[f32],
                stride: usize,
                (values, next): (&[T], &[T]),
                mixed: &mut [f32],
                start: usize,
            ) {
                let dim = values.len() / PAGE;
                let mixed = mixed.as_mut_ptr();
                let mut sums = [[$zero(); V]; N];
                for r in 0..N {
                    for v in 0..V {
                        // SAFETY: `mixed` has N rows.
                        sums[r][v] = unsafe { $load(mixed.add(r * dim + start + v * LANES)) };
                    }
                }
                for j in 0..PAGE {
                    let mut value = [$zero(); V];
                    // SAFETY: `next` has PAGE rows, as `values` has.
                    fetch(unsafe { next.as_ptr().add(j * dim + start) }, V * LANES);
                    for v in 0..V {
                        // SAFETY: `values` has PAGE rows.
                        value[v] = unsafe { load(values.as_ptr().add(j * dim + start + v * LANES)) };
                    }
                    for r in 0..N {
                        // SAFETY: each query has a page of weights.
                        let weight = $all(unsafe { *weights.as_ptr().add(r * stride + j) });
                        for v in 0..V {
                            sums[r][v] = $fma(weight, value[v], sums[r][v]);
                        }
                    }
                }
                for r in 0..N {
                    for v in 0..V {
                        // SAFETY: as above.
                        unsafe { $store(mixed.add(r * dim + start + v * LANES), sums[r][v]) };
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(
    avx512,
    "avx512f",
    16,
    __m512,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    |at| _mm512_cvtph_ps(_mm256_loadu_si256(at)),
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps
);
#[cfg(target_arch = "x86_64")]
kernels!(
    avx2,
    "avx2,fma,f16c",
    8,
    __m256,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    |at| _mm256_cvtph_ps(_mm_loadu_si128(at)),
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps
);
