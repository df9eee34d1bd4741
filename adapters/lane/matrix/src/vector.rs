//! The small dense kernels around the matrix products, on plain slices.
//!
//! The bodies are plain Rust that the compiler vectorises, compiled once for AVX-512, once for AVX2 and once for the
//! target. Sums run in a fixed order, 64 chains over the elements and then a tree, so results are the same bits everywhere.

#[cfg(target_arch = "x86_64")]
use crate::kernel::Isa;

/// Chains of a sum: four 512-bit registers, enough to hide the latency of an addition.
const CHAINS: usize = 64;

/// Defines public functions and compiles each body once for every instruction set.
macro_rules! kernels {
    ($($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? $body:block)*) => {$(
        $(#[$doc])*
        pub fn $name($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn portable($($arg: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512($($arg: $type),*) $(-> $out)? {
                    portable($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $type),*) $(-> $out)? {
                    portable($($arg),*)
                }
                match Isa::best() {
                    // SAFETY: the machine has what the function needs.
                    #[allow(unsafe_code)]
                    Isa::Avx512Vnni | Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    #[allow(unsafe_code)]
                    Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    Isa::Portable => {}
                }
            }
            portable($($arg),*)
        }
    )*};
}

kernels! {
    /// Σ a b
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 {
        dot_inline(a, b)
    }

    /// y += scale x
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn axpy(scale: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        for (y, x) in y.iter_mut().zip(x) {
            *y = scale.mul_add(*x, *y);
        }
    }

    /// out = x / sqrt(mean(x²) + eps) · weight
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert!(x.len() == weight.len() && x.len() == out.len());
        let scale = 1.0 / (dot_inline(x, x) / x.len() as f32 + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }

    /// gate = silu(gate) · up, with silu(v) = v / (1 + exp(-v))
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len());
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }

    /// x = exp(x - max(x)) / Σ exp(x - max(x)). Negative infinity gives zero; all of them, NaN.
    pub fn softmax(x: &mut [f32]) {
        let mut chains = [f32::NEG_INFINITY; CHAINS];
        for chunk in x.chunks(CHAINS) {
            for (chain, x) in chains.iter_mut().zip(chunk) {
                *chain = if *x > *chain { *x } else { *chain };
            }
        }
        let max = chains.iter().fold(f32::NEG_INFINITY, |max, chain| max.max(*chain));
        let mut chains = [0.0; CHAINS];
        for chunk in x.chunks_mut(CHAINS) {
            for (chain, x) in chains.iter_mut().zip(chunk) {
                *x = exp(*x - max);
                *chain += *x;
            }
        }
        let scale = 1.0 / tree(chains);
        x.iter_mut().for_each(|x| *x *= scale);
    }

    /// Rotates every head of `heads` [n, 2 · cos.len()] by one position's angles, in the half-rotated layout of Hugging
    /// Face weights: (a, b) = (x[i], x[i + half]) becomes (a cos - b sin, b cos + a sin).
    ///
    /// # Panics
    /// If `cos` and `sin` differ in length or `heads` does not divide into heads.
    pub fn rope(heads: &mut [f32], cos: &[f32], sin: &[f32]) {
        let half = cos.len();
        assert!(half == sin.len() && heads.len().is_multiple_of(2 * half));
        for head in heads.chunks_exact_mut(2 * half) {
            let (a, b) = head.split_at_mut(half);
            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }

    /// out = Σ_t weights[t] · values[t · stride ..], in the order of t: the attended value.
    ///
    /// # Panics
    /// If `values` is too short.
    pub fn mix(weights: &[f32], values: &[f32], stride: usize, out: &mut [f32]) {
        let width = out.len();
        let (whole, rest) = out.as_chunks_mut::<CHAINS>();
        for (c, out) in whole.iter_mut().enumerate() {
            let mut sums = [0.0f32; CHAINS];
            for (t, weight) in weights.iter().enumerate() {
                let value = &values[t * stride + c * CHAINS..][..CHAINS];
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = weight.mul_add(*value, *sum);
                }
            }
            *out = sums;
        }
        let start = width - rest.len();
        rest.fill(0.0);
        for (t, weight) in weights.iter().enumerate() {
            let value = &values[t * stride + start..][..rest.len()];
            for (out, value) in rest.iter_mut().zip(value) {
                *out = weight.mul_add(*value, *out);
            }
        }
    }
}

/// out[t] = scale · query · keys[t · stride ..], one for each element of `out`: attention scores.
///
/// # Panics
/// If `keys` is too short.
pub fn scores(query: &[f32], keys: &[f32], stride: usize, scale: f32, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if query.len().is_multiple_of(CHAINS) && matches!(Isa::best(), Isa::Avx512 | Isa::Avx512Vnni) {
        // SAFETY: the machine has AVX-512.
        #[allow(unsafe_code)]
        return unsafe { crate::kernel::attention::scores(query, keys, stride, scale, out) };
    }
    scores_of_each(query, keys, stride, scale, out);
}

/// [`scores`], key by key.
fn scores_of_each(query: &[f32], keys: &[f32], stride: usize, scale: f32, out: &mut [f32]) {
    for (t, out) in out.iter_mut().enumerate() {
        *out = scale * dot(query, &keys[t * stride..][..query.len()]);
    }
}

#[inline(always)]
fn dot_inline(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let mut chains = [0.0f32; CHAINS];
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<CHAINS>(), b.as_chunks::<CHAINS>());
    for (a, b) in whole_a.iter().zip(whole_b) {
        for i in 0..CHAINS {
            chains[i] = a[i].mul_add(b[i], chains[i]);
        }
    }
    for (chain, (a, b)) in chains.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *chain = a.mul_add(*b, *chain);
    }
    tree(chains)
}

/// Adds the chains up, halves first.
#[inline(always)]
fn tree(mut chains: [f32; CHAINS]) -> f32 {
    let mut width = CHAINS;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            chains[i] += chains[i + width];
        }
    }
    chains[0]
}

/// exp(x) within 2 ulp (Cephes' expf): x = n ln 2 + r, exp(x) = 2^n exp(r). Below -87.3 it is 0, above 88 it stays.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.0);
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-355.0 / 512.0, clamped));
    let mut p = 1.987_569_1e-4f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, c);
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(0x4B40_0000 - 127) << 23);
    let value = (p * r).mul_add(r, r + 1.0) * power;
    if x < -87.3 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn exponentials() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.5e-7, "exp({x}) = {}", exp(x));
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(-100.0), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn sums_of_every_length() {
        for n in 0..300 {
            let (a, b) = (numbers(n, 1), numbers(n, 2));
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(dot(&a, &b)) - expected).abs() < 1e-5, "length {n}");
            let mut y = b.clone();
            axpy(0.5, &a, &mut y);
            assert!(y.iter().zip(&a).zip(&b).all(|((y, a), b)| (y - (0.5 * a + b)).abs() < 1e-6));
        }
    }

    #[test]
    fn norm_gate_and_rotation() {
        let (x, w) = (numbers(576, 3), numbers(576, 4));
        let mut out = vec![0.0; 576];
        rms_norm(&x, &w, 1e-5, &mut out);
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 576.0 + 1e-5;
        for ((out, x), w) in out.iter().zip(&x).zip(&w) {
            assert!((f64::from(*out) - f64::from(*x) / mean.sqrt() * f64::from(*w)).abs() < 1e-6);
        }
        let mut gate: Vec<f32> = x.iter().map(|x| x * 30.0).collect();
        let before = gate.clone();
        silu_mul(&mut gate, &w);
        for ((gate, x), w) in gate.iter().zip(&before).zip(&w) {
            let x = f64::from(*x);
            assert!((f64::from(*gate) - x / (1.0 + (-x).exp()) * f64::from(*w)).abs() < 1e-5);
        }
        let mut heads = [1.0, 2.0, 3.0, 4.0, 1.0, 0.0, 0.0, 1.0];
        rope(&mut heads, &[0.0, 1.0], &[1.0, 0.0]);
        assert_eq!(heads, [-3.0, 2.0, 1.0, 4.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn attention_against_f64() {
        for (width, length) in [(64, 1), (64, 77), (80, 130), (16, 3), (128, 9)] {
            let stride = width + 8;
            let (q, keys) = (numbers(width, 5), numbers(length * stride, 6));
            let mut weights = vec![0.0; length];
            scores(&q, &keys, stride, 0.125, &mut weights);
            softmax(&mut weights);
            let mut out = vec![7.0; width];
            mix(&weights, &keys, stride, &mut out);
            let scored = |t: usize| -> f64 {
                let dot: f64 = (0..width).map(|i| f64::from(q[i]) * f64::from(keys[t * stride + i])).sum();
                (dot * 0.125).exp()
            };
            let total: f64 = (0..length).map(scored).sum();
            for (i, out) in out.iter().enumerate() {
                let expected: f64 = (0..length).map(|t| scored(t) / total * f64::from(keys[t * stride + i])).sum();
                assert!((f64::from(*out) - expected).abs() < 2e-6, "{width} x {length}, {i}");
            }
        }
        for (width, length) in [(64, 1), (64, 16), (64, 47), (128, 33), (192, 5)] {
            let stride = width + 16;
            let (q, keys) = (numbers(width, 7), numbers(length * stride, 8));
            let (mut fast, mut plain) = (vec![0.0; length], vec![1.0; length]);
            scores(&q, &keys[..(length - 1) * stride + width], stride, 0.3, &mut fast);
            scores_of_each(&q, &keys, stride, 0.3, &mut plain);
            assert_eq!(fast, plain, "{width} x {length}");
        }
        let mut masked = [1.0, f32::NEG_INFINITY, 1.0];
        softmax(&mut masked);
        assert_eq!(masked, [0.5, 0.0, 0.5]);
    }
}
