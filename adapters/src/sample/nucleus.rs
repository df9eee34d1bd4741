//! Drawing a token: temperature, then top_k, min_p and top_p narrow the choice.

use super::scan;
use crate::Sampling;

/// The token at `at` (0 to 1) of what `sampling` leaves of the distribution. Candidates stay in the order of their ids, so
/// that the same number is the same token whatever finds them.
pub(super) fn draw(logits: &[f32], highest: f32, sampling: &Sampling, at: f64, scratch: &mut Candidates) -> u32 {
    let scale = (1.0 / sampling.temperature) as f32;
    if !narrow(logits, highest, sampling, scratch) {
        return scan::draw(logits, highest, scale, at, &mut scratch.masses);
    }
    let mut left = at * scratch.tokens.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>();
    for (token, weight) in &scratch.tokens {
        left -= f64::from(*weight);
        if left < 0.0 {
            return *token;
        }
    }
    scratch.tokens.last().map_or(0, |(token, _)| *token)
}

/// Memory for the tokens that may be drawn.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// With their weights, in the order of their ids.
    tokens: Vec<(u32, f32)>,
    weights: Vec<f32>,
    masses: Vec<f64>,
}

/// Leaves the tokens that may be drawn with their weights e^((x − highest) / T) in `scratch`; false where all may.
fn narrow(logits: &[f32], highest: f32, sampling: &Sampling, scratch: &mut Candidates) -> bool {
    let candidates = &mut scratch.tokens;
    let scale = (1.0 / sampling.temperature) as f32;
    let logit_of = |weight: f64| (f64::from(highest) + sampling.temperature * weight.ln()) as f32;
    let top_k = sampling.top_k.map(|k| k.max(1)).filter(|k| *k < logits.len());
    let min_p = sampling.min_p.filter(|min_p| *min_p > 0.0).map(|min_p| logit_of(min_p.min(1.0)));
    let top_p = (sampling.top_p < 1.0).then_some(sampling.top_p.max(0.0));
    // The weight of all tokens that top_p takes its share of, where it is not that of the candidates.
    let mut mass = None;
    match (top_k, min_p, top_p) {
        (None, None, None) => return false,
        (Some(k), least, _) => {
            scan::largest(logits, k, candidates);
            candidates.retain(|(_, logit)| least.is_none_or(|least| *logit >= least));
        }
        (None, Some(least), _) => scan::at_least(logits, least, candidates),
        (None, None, Some(top_p)) => {
            let all = scan::mass(logits, highest, scale);
            // All tokens below this share hold less than 1 - top_p together, so none of them is needed. Half of it, for
            // what float32 rounds.
            let least = all * (1.0 - top_p) / logits.len() as f64 / 2.0;
            scan::at_least(logits, logit_of(least.min(1.0)), candidates);
            mass = Some(all);
        }
    }
    for (_, logit) in candidates.iter_mut() {
        *logit = scan::exp((*logit - highest) * scale);
    }
    if let Some(top_p) = top_p {
        let mass = mass.unwrap_or_else(|| candidates.iter().map(|(_, weight)| f64::from(*weight)).sum());
        keep_share(candidates, top_p * mass, &mut scratch.weights);
    }
    true
}

/// Keeps the smallest number of the heaviest tokens that weigh `share` together; of equal ones those that come first. Takes
/// time in proportion to their number: the border is searched by halves, and nothing is sorted but the last of them.
fn keep_share(candidates: &mut Vec<(u32, f32)>, share: f64, weights: &mut Vec<f32>) {
    const FEW: usize = 64;
    weights.clear();
    weights.extend(candidates.iter().map(|(_, weight)| *weight));
    let heaviest_first = |a: &f32, b: &f32| b.total_cmp(a);
    // All before `from` are kept, and weigh `before`; none after `to` is.
    let (mut from, mut to, mut before) = (0, weights.len(), 0.0);
    while to - from > FEW {
        let half = (to - from) / 2;
        weights[from..to].select_nth_unstable_by(half, heaviest_first);
        let mass: f64 = weights[from..=from + half].iter().map(|weight| f64::from(*weight)).sum();
        if before + mass >= share {
            to = from + half + 1;
        } else {
            (from, before) = (from + half + 1, before + mass);
        }
    }
    weights[from..to].sort_unstable_by(heaviest_first);
    let last = weights[from..to].iter().position(|weight| {
        before += f64::from(*weight);
        before >= share
    });
    let Some(last) = last.map(|last| from + last) else { return };
    let lightest = weights[last];
    let mut ties = weights[..=last].iter().filter(|weight| **weight == lightest).count();
    candidates.retain(|(_, weight)| {
        let tie = *weight == lightest && ties > 0;
        ties -= usize::from(tie);
        tie || *weight > lightest
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
        let mut candidates = Candidates::default();
        let highest = scan::highest(logits).unwrap();
        if !narrow(logits, highest, sampling, &mut candidates) {
            return (0..logits.len() as u32).collect();
        }
        candidates.tokens.iter().map(|(token, _)| *token).collect()
    }

    /// The same by sorting everything in float64.
    fn plainly(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut weights: Vec<(u32, f64)> =
            (0..).zip(logits.iter().map(|logit| (f64::from(logit - highest) / sampling.temperature).exp())).collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        weights.truncate(sampling.top_k.unwrap_or(usize::MAX));
        weights.retain(|(_, weight)| *weight >= sampling.min_p.unwrap_or(0.0));
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut before = 0.0;
        weights.retain(|(_, weight)| {
            let keep = before < sampling.top_p * sum || before == 0.0;
            before += weight;
            keep
        });
        let mut tokens: Vec<u32> = weights.iter().map(|(token, _)| *token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn parameters_narrow_the_choice() {
        let logits = [3.0, 2.0, 1.0, 0.0];
        let kept = |sampling: Sampling| kept(&logits, &sampling).len();
        assert_eq!(kept(Sampling::default()), 4);
        assert_eq!(kept(Sampling { top_k: Some(2), ..Sampling::default() }), 2);
        // e^-1 = 0.37 and e^-2 = 0.14 of the most probable.
        assert_eq!(kept(Sampling { min_p: Some(0.2), ..Sampling::default() }), 2);
        // Probabilities are 0.64, 0.24, 0.09, 0.03.
        assert_eq!(kept(Sampling { top_p: 0.7, ..Sampling::default() }), 2);
        assert_eq!(kept(Sampling { top_p: 0.0, ..Sampling::default() }), 1);
    }

    #[test]
    fn the_choice_is_that_of_a_full_sort() {
        // Sums of sines: no two tokens alike, heavy tails like a model's.
        let logits: Vec<f32> =
            (0..20_000).map(|at| (at as f32 * 0.37).sin() * 4.0 + (at as f32 * 0.011).cos() * 5.0).collect();
        for temperature in [0.3, 1.0, 1.7] {
            for (top_k, min_p, top_p) in [
                (None, None, 0.0),
                (None, None, 0.5),
                (None, None, 0.9999),
                (None, None, 0.95),
                (Some(40), None, 1.0),
                (Some(40), None, 0.8),
                (None, Some(0.05), 1.0),
                (None, Some(0.01), 0.9),
                (Some(500), Some(0.02), 0.6),
            ] {
                let sampling = Sampling { temperature, top_k, min_p, top_p, ..Sampling::default() };
                let (fast, plain) = (kept(&logits, &sampling), plainly(&logits, &sampling));
                // One token at the border may fall either way by rounding.
                assert!(fast.len().abs_diff(plain.len()) <= 1, "{sampling:?}: {} {}", fast.len(), plain.len());
                let shorter = if fast.len() <= plain.len() { (&fast, &plain) } else { (&plain, &fast) };
                assert!(shorter.0.iter().all(|token| shorter.1.contains(token)), "{sampling:?}");
            }
        }
    }
}
