//! Attention scores in AVX-512, 16 keys at a time: the sums of 16 registers are folded into one register of 16 scores.
//!
//! Each sum is the one of `vector::dot`, in the same order: 64 chains, then halves onto halves down to one lane.

use std::arch::x86_64::*;

/// Keys at a time.
const KEYS: usize = 16;

/// out[t] = scale · query · keys[t · stride ..], for a query whose length is a multiple of 64.
#[target_feature(enable = "avx512f,avx512dq")]
pub(crate) fn scores(query: &[f32], keys: &[f32], stride: usize, scale: f32, out: &mut [f32]) {
    let width = query.len();
    assert!(width.is_multiple_of(64) && (out.is_empty() || (out.len() - 1) * stride + width <= keys.len()));
    for (block, out) in out.chunks_mut(KEYS).enumerate() {
        let mut sums = [_mm512_setzero_ps(); KEYS];
        for (k, sum) in sums.iter_mut().enumerate() {
            // The last block may be short: its missing keys repeat the last one, and are not stored.
            let t = block * KEYS + k.min(out.len() - 1);
            let key = &keys[t * stride..][..width];
            // SAFETY: query and key are `width` floats, a multiple of 64.
            *sum = unsafe { sixteen_chains(query.as_ptr(), key.as_ptr(), width) };
        }
        let scores = _mm512_mul_ps(fold(&sums), _mm512_set1_ps(scale));
        let mask = (u16::MAX) >> (KEYS - out.len());
        // SAFETY: the mask selects `out.len()` floats.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, scores) };
    }
}

/// The 64 chains of a dot product, folded to 16.
///
/// # Safety
/// `width` floats, a multiple of 64, must be readable at both.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sixteen_chains(query: *const f32, key: *const f32, width: usize) -> __m512 {
    let mut chains = [_mm512_setzero_ps(); 4];
    for start in (0..width).step_by(64) {
        for (c, chain) in chains.iter_mut().enumerate() {
            // SAFETY: by the caller.
            let (q, k) =
                unsafe { (_mm512_loadu_ps(query.add(start + 16 * c)), _mm512_loadu_ps(key.add(start + 16 * c))) };
            *chain = _mm512_fmadd_ps(q, k, *chain);
        }
    }
    _mm512_add_ps(_mm512_add_ps(chains[0], chains[2]), _mm512_add_ps(chains[1], chains[3]))
}

/// Lane k of the result is the sum of the lanes of register k: lanes 8 apart first, then 4, 2 and 1.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn fold(sums: &[__m512; KEYS]) -> __m512 {
    // In units of 128 bits: [a0 a1 b0 b1] + [a2 a3 b2 b3], so a and b share a register, with 8 lanes each.
    let eights = |k: usize| {
        let (a, b) = (sums[k], sums[k + 8]);
        _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(a, b), _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
    };
    // From a = [k, k, k+8, k+8] and b the same of k+4: [k, k+8, k+4, k+12], with 4 lanes each.
    let fours = |k: usize| {
        let (a, b) = (eights(k), eights(k + 4));
        _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
    };
    // Within each 128 bits: [a0 a1 b0 b1] + [a2 a3 b2 b3].
    let twos = |k: usize| {
        let (a, b) = (fours(k), fours(k + 2));
        _mm512_add_ps(_mm512_shuffle_ps::<0b01_00_01_00>(a, b), _mm512_shuffle_ps::<0b11_10_11_10>(a, b))
    };
    let (a, b) = (twos(0), twos(1));
    // [a0 a2 b0 b2] + [a1 a3 b1 b3]: units are of k + {0, 8, 4, 12}, lanes in them + {0, 2, 1, 3}.
    let mixed = _mm512_add_ps(_mm512_shuffle_ps::<0b10_00_10_00>(a, b), _mm512_shuffle_ps::<0b11_01_11_01>(a, b));
    let order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
    _mm512_permutexvar_ps(order, mixed)
}
