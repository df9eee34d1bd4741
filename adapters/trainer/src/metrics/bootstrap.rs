//! Seeded bootstrap: how far a number would move with other examples of the same kind.
//!
//! Examples are drawn with replacement, as many as there are; the statistic is computed of each draw, and the interval is
//! between the percentiles of those values. For a difference, base and adapter are computed of the same draw, because the
//! examples that are hard for one are hard for the other.

use serde::{Deserialize, Serialize};

use crate::random::Key;

/// How intervals are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The same seed gives the same intervals.
    pub seed: u64,
    /// Draws.
    pub resamples: usize,
    /// The part of the draws that the interval holds.
    pub confidence: f64,
}

/// A number and the interval around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic of all examples.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// Adapter less base.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The difference and its interval.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Whether the interval leaves 0 out: the difference is more than chance. Never so with fewer than six examples.
    pub significant: bool,
}

/// Examples that a judgement needs. With n examples all on one side of 0 no draw can cross it, so the interval leaves 0 out
/// whatever the truth is; by the sign test that happens by chance in 2^(1 - n) of cases, under 5 % from six on.
const FEWEST: usize = 6;

impl Bootstrap {
    /// The statistic of `n` examples with its interval; the statistic gets the places of the examples to compute it of.
    /// None without examples, or where the statistic of all of them is none.
    pub fn estimate(&self, n: usize, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Estimate> {
        if n == 0 {
            return None;
        }
        let all: Vec<usize> = (0..n).collect();
        let value = statistic(&all)?;
        let mut drawn = all;
        let mut values: Vec<f64> = (0..self.resamples)
            .filter_map(|resample| {
                let key = Key::new(self.seed).with(resample as u64);
                for (at, place) in drawn.iter_mut().enumerate() {
                    *place = (key.at(at as u64) % n as u64) as usize;
                }
                statistic(&drawn)
            })
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.confidence.clamp(0.0, 1.0)) / 2.0;
        let [low, high] = [tail, 1.0 - tail].map(|share| percentile(&values, share).unwrap_or(value));
        Some(Estimate { value, low, high })
    }

    /// The difference between two statistics of the same examples: adapter less base.
    pub fn difference(
        &self,
        n: usize,
        base: impl Fn(&[usize]) -> Option<f64>,
        adapter: impl Fn(&[usize]) -> Option<f64>,
    ) -> Option<Difference> {
        let estimate = self.estimate(n, |drawn| Some(adapter(drawn)? - base(drawn)?))?;
        let significant = n >= FEWEST && (estimate.low > 0.0 || estimate.high < 0.0);
        Some(Difference { estimate, significant })
    }
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { seed: 42, resamples: 1000, confidence: 0.95 }
    }
}

/// Of sorted values, between neighbours in proportion (numpy's default).
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (*sorted.get(place.floor() as usize)?, *sorted.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> impl Fn(&[usize]) -> Option<f64> + '_ {
        |drawn| Some(drawn.iter().map(|place| values[*place]).sum::<f64>() / drawn.len() as f64)
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_theory_and_the_same_for_a_seed() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(i % 2)).collect();
        let bootstrap = Bootstrap::default();
        let estimate = bootstrap.estimate(400, mean(&values)).unwrap();
        // 0.5 ± 1.96 · 0.5 / √400
        assert_eq!(estimate.value, 0.5);
        assert!((estimate.low - 0.451).abs() < 0.006 && (estimate.high - 0.549).abs() < 0.006, "{estimate:?}");
        assert_eq!(bootstrap.estimate(400, mean(&values)).unwrap(), estimate);
        let other = Bootstrap { seed: 43, ..bootstrap }.estimate(400, mean(&values)).unwrap();
        assert_ne!([other.low, other.high], [estimate.low, estimate.high]);
    }

    #[test]
    fn a_small_but_steady_difference_is_seen_because_draws_are_paired() {
        let base: Vec<f64> = (0..50).map(f64::from).collect();
        let adapter: Vec<f64> = base.iter().map(|value| value + 0.1 + 0.01 * (value % 3.0)).collect();
        let bootstrap = Bootstrap::default();
        assert!(bootstrap.difference(50, mean(&base), mean(&adapter)).unwrap().significant);
        assert!(!bootstrap.difference(50, mean(&base), mean(&base)).unwrap().significant);
        let few = |n| bootstrap.difference(n, mean(&base), mean(&adapter)).unwrap().significant;
        assert!(!few(1) && !few(FEWEST - 1) && few(FEWEST), "a few examples prove nothing");
        let [a, b] = [&base, &adapter].map(|values| bootstrap.estimate(50, mean(values)).unwrap());
        assert!(a.high > b.low, "the intervals themselves overlap");
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(percentile(&[], 0.5), None);
        assert!(Bootstrap::default().estimate(0, |_| Some(1.0)).is_none());
    }
}
