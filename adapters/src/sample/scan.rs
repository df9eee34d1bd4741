//! Passes over the logits of a whole vocabulary, written so that the compiler makes vector code of them.

use std::cmp::Ordering;

/// Values that one vector pass handles together.
const LANES: usize = 16;
/// Values whose sum is kept in float32 before it goes into a float64.
const BLOCK: usize = 1024;

/// The highest value; none where one is NaN or +infinity.
pub(super) fn highest(values: &[f32]) -> Option<f32> {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut highest = [f32::NEG_INFINITY; LANES];
    let mut bad = [0_u32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            highest[lane] = if chunk[lane] > highest[lane] { chunk[lane] } else { highest[lane] };
            bad[lane] |= u32::from(chunk[lane].is_nan());
        }
    }
    let bad = bad.iter().any(|bad| *bad != 0) || rest.iter().any(|value| value.is_nan());
    let highest = highest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    (!bad && highest != f32::INFINITY).then_some(highest)
}

/// The first place of a value that is there.
pub(super) fn first(values: &[f32], value: f32) -> u32 {
    values.iter().position(|it| *it == value).map_or(0, |place| place as u32)
}

/// Σ e^((x − highest) · scale).
pub(super) fn mass(values: &[f32], highest: f32, scale: f32) -> f64 {
    values.chunks(BLOCK).map(|block| block_mass(block, highest, scale)).sum()
}

/// The token at `at` (0 to 1) of the cumulated weights e^((x − highest) · scale). Weights are computed again in the one
/// block that matters instead of being kept.
pub(super) fn draw(values: &[f32], highest: f32, scale: f32, at: f64, masses: &mut Vec<f64>) -> u32 {
    masses.clear();
    masses.extend(values.chunks(BLOCK).map(|block| block_mass(block, highest, scale)));
    let mut left = at * masses.iter().sum::<f64>();
    let mut last = first(values, highest);
    for ((block, mass), start) in values.chunks(BLOCK).zip(masses.iter()).zip((0..).step_by(BLOCK)) {
        if *mass <= left {
            left -= mass;
            continue;
        }
        for (value, token) in block.iter().zip(start..) {
            let weight = f64::from(exp((value - highest) * scale));
            if weight > 0.0 {
                last = token;
                if weight > left {
                    return token;
                }
                left -= weight;
            }
        }
        // The block was summed in another order: the difference in the last digits falls to its last token.
        return last;
    }
    last
}

/// The `count` largest values with their places, in order of place; of equal ones those that come first.
pub(super) fn largest(values: &[f32], count: usize, kept: &mut Vec<(u32, f32)>) {
    kept.clear();
    if count == 0 {
        return;
    }
    let room = 2 * count + 64;
    let mut least = f32::NEG_INFINITY;
    for (chunk, start) in values.chunks(LANES).zip((0..).step_by(LANES)) {
        if kept.len() >= count && !chunk.iter().fold(false, |any, value| any | (*value > least)) {
            continue;
        }
        kept.extend((start..).zip(chunk).filter(|(_, value)| **value > least).map(|(token, value)| (token, *value)));
        if kept.len() >= room {
            kept.select_nth_unstable_by(count - 1, by_value);
            kept.truncate(count);
            least = kept[count - 1].1;
        }
    }
    if kept.len() > count {
        kept.select_nth_unstable_by(count - 1, by_value);
        kept.truncate(count);
    }
    kept.sort_unstable_by_key(|(token, _)| *token);
}

/// Values of at least `least` with their places, in order of place.
pub(super) fn at_least(values: &[f32], least: f32, kept: &mut Vec<(u32, f32)>) {
    kept.clear();
    for (chunk, start) in values.chunks(LANES).zip((0..).step_by(LANES)) {
        if chunk.iter().fold(false, |any, value| any | (*value >= least)) {
            kept.extend((start..).zip(chunk).filter(|(_, value)| **value >= least).map(|(at, value)| (at, *value)));
        }
    }
}

/// Largest value first; of equal ones the lower place.
pub(super) fn by_value(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// e^x for x ≤ 0, to 2e-7 of its value, 0 below -87: x = n ln 2 + r, e^r by its series on |r| ≤ ln 2 / 2.
pub(super) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.0;
    // Added to a small number, it leaves the number's nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let kept = if x > LOWEST { x } else { LOWEST };
    let rounded = kept * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = kept - n * LN_2_HIGH - n * LN_2_LOW;
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x > LOWEST { series * power } else { 0.0 }
}

fn block_mass(block: &[f32], highest: f32, scale: f32) -> f64 {
    let (chunks, rest) = block.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += exp((chunk[lane] - highest) * scale);
        }
    }
    let rest = rest.iter().map(|value| f64::from(exp((value - highest) * scale)));
    sums.iter().map(|sum| f64::from(*sum)).chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_as_exact_as_float32() {
        for step in 0..87_000 {
            let x = -(step as f32) / 1000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 2.5e-7 * exact, "e^{x}");
        }
        assert_eq!([exp(0.0), exp(-200.0), exp(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_largest_are_those_of_a_full_sort() {
        let values: Vec<f32> = (0..5000).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 20) as f32).collect();
        let mut sorted: Vec<(u32, f32)> = (0..).zip(values.iter().copied()).collect();
        sorted.sort_unstable_by(by_value);
        for count in [1, 2, 20, 700, 4999, 5000, 9000] {
            let mut kept = Vec::new();
            largest(&values, count, &mut kept);
            kept.sort_unstable_by(by_value);
            assert_eq!(kept, sorted[..count.min(5000)], "{count}");
        }
        let mut kept = Vec::new();
        at_least(&values, 2000.0, &mut kept);
        assert_eq!(kept.len(), values.iter().filter(|value| **value >= 2000.0).count());
    }

    #[test]
    fn draws_cover_exactly_the_tokens_with_weight() {
        let mut values = vec![f32::NEG_INFINITY; 3000];
        values[5] = 0.0;
        values[2500] = 0.0;
        assert_eq!(
            [0.0, 0.4999, 0.5001, 0.999_999].map(|at| draw(&values, 0.0, 1.0, at, &mut Vec::new())),
            [5, 5, 2500, 2500]
        );
    }
}
