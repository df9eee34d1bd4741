//! The element-wise steps of BERT, each in one pass over rows that are still in the cache.
//!
//! Written for the vectoriser: no branches, eight independent sums. Between the matrix products of candle-transformers'
//! own BERT these steps took two thirds of the time: erf and exp one element at a time, softmax in seven passes.

/// Row <- softmax(scale · row), for every row of this length.
pub(super) fn softmax(rows: &mut [f32], length: usize, scale: f32) {
    for row in rows.chunks_exact_mut(length) {
        let most = reduce(row, f32::NEG_INFINITY, f32::max, |x| x) * scale;
        row.iter_mut().for_each(|x| *x = exp(*x * scale - most));
        let factor = 1.0 / reduce(row, 0.0, |a, b| a + b, |x| x);
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

/// Row <- gamma · (y - mean y) / sqrt(var y + eps) + beta, with y = row + bias + residual.
pub(super) fn add_norm(rows: &mut [f32], residual: &[f32], bias: &[f32], (gamma, beta): (&[f32], &[f32]), eps: f32) {
    let length = bias.len();
    for (row, residual) in rows.chunks_exact_mut(length).zip(residual.chunks_exact(length)) {
        for ((x, r), b) in row.iter_mut().zip(residual).zip(bias) {
            *x += r + b;
        }
        let mean = reduce(row, 0.0, |a, b| a + b, |x| x) / length as f32;
        let variance = reduce(row, 0.0, |a, b| a + b, |x| (x - mean) * (x - mean)) / length as f32;
        let factor = 1.0 / (variance + eps).sqrt();
        for ((x, g), b) in row.iter_mut().zip(gamma).zip(beta) {
            *x = (*x - mean) * factor * g + b;
        }
    }
}

/// Row <- gelu(row + bias), gelu(x) = x/2 · (1 + erf(x/√2)).
pub(super) fn bias_gelu(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            let y = *x + b;
            *x = 0.5 * y * (1.0 + erf(y * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

/// Row <- row + bias.
pub(super) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
}

/// Folds `of(x)` over a slice in eight lanes.
#[inline(always)]
fn reduce(xs: &[f32], start: f32, fold: impl Fn(f32, f32) -> f32, of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [start; 8];
    let chunks = xs.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = fold(*lane, of(*x));
        }
    }
    let lanes = lanes.into_iter().fold(start, &fold);
    rest.iter().fold(lanes, |sum, x| fold(sum, of(*x)))
}

/// Abramowitz and Stegun 7.1.26: within 2e-7.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let polynomial = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_7) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    (1.0 - polynomial * exp(-a * a)).copysign(x)
}

/// e^x for x <= 88: 2^n · e^r with |r| <= ln 2 / 2, e^r by its Taylor series. Within 2 units in the last place; 0 below
/// -87.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// 1.5 · 2^23: adding it rounds to the nearest integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that the difference is exact.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let series =
        1.0 + r * (1.0 + r * (0.5 + r * (0.166_666_67 + r * (0.041_666_67 + r * (0.008_333_334 + r * 0.001_388_889)))));
    series * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_erf_are_right_over_their_range() {
        for n in -8700..=1000 {
            let x = n as f32 / 100.0;
            let right = f64::from(x).exp();
            assert!((f64::from(exp(x)) / right - 1.0).abs() < 1e-6, "exp {x}");
        }
        assert!(exp(-1000.0) < 1e-37);
        // erf(0.5), erf(1), erf(2), erf(-1)
        for (x, right) in [(0.0, 0.0), (0.5, 0.520_499_9), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (-1.0, -0.842_700_8)]
        {
            assert!((erf(x) - right).abs() < 5e-7, "erf {x}");
        }
    }

    #[test]
    fn softmax_sums_to_one_and_survives_large_scores() {
        let mut rows = vec![1e4, 1e4 - 1.0, -1e4, 0.0, 1.0, 2.0];
        softmax(&mut rows, 3, 1.0);
        assert!((rows[0] - 0.731_058_6).abs() < 1e-6 && (rows[1] - 0.268_941_4).abs() < 1e-6 && rows[2] < 1e-30);
        assert!((rows[3..].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn norm_has_mean_beta_and_deviation_gamma() {
        let mut row: Vec<f32> = (0..16).map(|n| n as f32).collect();
        let (zeros, ones) = ([0.0; 16], [1.0; 16]);
        add_norm(&mut row, &ones, &zeros, (&[2.0; 16], &[3.0; 16]), 1e-12);
        let mean = row.iter().sum::<f32>() / 16.0;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / 16.0;
        assert!((mean - 3.0).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4);
    }
}
