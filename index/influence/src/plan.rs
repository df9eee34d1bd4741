//! Which coalitions to value, and what follows from their values.

use std::collections::{BTreeMap, BTreeSet};

use crate::draw::Draw;

/// Up to this many passages Shapley values are exact.
pub const MOST_EXACT: usize = 5;
/// Most passages of a prompt.
pub const MOST_PASSAGES: usize = 64;
/// Coalitions that sampled orders are about as many as.
const SAMPLED: usize = 64;

/// How influence is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Necessity and sufficiency only: 2n + 2 coalitions of n passages.
    LeaveOneOut,
    /// Shapley values too: 2ⁿ coalitions, or orders drawn from the seed.
    Shapley,
    /// Shapley values from all 2ⁿ coalitions, however many: what sampled ones are held against.
    Exact,
}

/// A set of passages, by their position from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Coalition(u64);

impl Coalition {
    /// Whether the passage at this position is in it.
    #[must_use]
    pub fn has(self, passage: usize) -> bool {
        self.0 >> passage & 1 == 1
    }

    fn of(passages: impl IntoIterator<Item = usize>) -> Self {
        Self(passages.into_iter().fold(0, |set, passage| set | 1 << passage))
    }

    /// Neighbours in this order have the longest common beginnings: what was read of one prompt serves the next.
    fn in_prompt_order(self) -> Vec<u32> {
        (0..u64::BITS).filter(|passage| self.0 >> passage & 1 == 1).collect()
    }
}

/// What is to be valued.
#[derive(Debug, Clone)]
pub struct Plan {
    passages: usize,
    method: Method,
    coalitions: Vec<Coalition>,
    place: BTreeMap<Coalition, usize>,
    /// Pairs of an order and its reverse; none where the values are exact.
    permutations: Vec<Vec<usize>>,
}

/// The influence of all passages on a sentence or an answer, in nats.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// v(∅).
    pub closed_book: f64,
    /// v(N).
    pub with_all: f64,
    /// Each passage, in the prompt's order.
    pub passages: Vec<Passage>,
}

/// The influence of one passage, in nats.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// v(N) − v(N∖{i}).
    pub necessity: f64,
    /// v({i}) − v(∅).
    pub sufficiency: f64,
    /// The mean over orders; none for [`Method::LeaveOneOut`].
    pub shapley: Option<f64>,
    /// Its standard error, where orders were sampled.
    pub error: Option<f64>,
}

impl Passage {
    /// What the passage is credited with: the Shapley value where there is one, or else necessity.
    #[must_use]
    pub fn influence(&self) -> f64 {
        self.shapley.unwrap_or(self.necessity)
    }
}

impl Plan {
    /// For a prompt of so many passages, from 1 to [`MOST_PASSAGES`]. The seed chooses the orders where they are sampled.
    ///
    /// # Panics
    /// With more passages than that.
    #[must_use]
    pub fn new(passages: usize, method: Method, seed: [u8; 32]) -> Self {
        assert!(passages <= MOST_PASSAGES, "{passages} passages; a prompt has at most {MOST_PASSAGES}");
        let all = || 0..passages;
        let mut wanted = BTreeSet::from([Coalition::of([]), Coalition::of(all())]);
        for one in all() {
            wanted.insert(Coalition::of([one]));
            wanted.insert(Coalition::of(all().filter(|other| *other != one)));
        }
        let mut permutations = Vec::new();
        if method == Method::Exact || method == Method::Shapley && passages <= MOST_EXACT {
            wanted.extend((0..1 << passages).map(Coalition));
        } else if method == Method::Shapley {
            let mut draw = Draw::new(seed);
            for _ in 0..(SAMPLED / (2 * passages)).max(2) {
                let order = draw.order(passages);
                permutations.push(order.clone());
                permutations.push(order.into_iter().rev().collect());
            }
            for order in &permutations {
                wanted.extend((1..=passages).map(|end| Coalition::of(order[..end].iter().copied())));
            }
        }
        let mut coalitions: Vec<Coalition> = wanted.into_iter().collect();
        coalitions.sort_by_key(|coalition| coalition.in_prompt_order());
        let place = coalitions.iter().enumerate().map(|(at, coalition)| (*coalition, at)).collect();
        Self { passages, method, coalitions, place, permutations }
    }

    /// What to value.
    #[must_use]
    pub fn coalitions(&self) -> &[Coalition] {
        &self.coalitions
    }

    /// How many orders were drawn; 0 where the Shapley values are exact or not asked for.
    #[must_use]
    pub fn permutations(&self) -> usize {
        self.permutations.len()
    }

    /// The influences that follow from v(S) of each of [`Plan::coalitions`], in their order.
    ///
    /// # Panics
    /// With fewer values than coalitions.
    #[must_use]
    pub fn solve(&self, values: &[f64]) -> Outcome {
        assert!(values.len() >= self.coalitions.len(), "each coalition has a value");
        let value = |coalition: Coalition| values[self.place[&coalition]];
        let all = Coalition::of(0..self.passages);
        let (closed_book, with_all) = (value(Coalition(0)), value(all));
        let shapley = match self.method {
            Method::LeaveOneOut => None,
            Method::Exact => Some(self.exact(&value)),
            Method::Shapley if self.permutations.is_empty() => Some(self.exact(&value)),
            Method::Shapley => Some(self.sampled(&value)),
        };
        let passages = (0..self.passages).map(|one| Passage {
            necessity: with_all - value(Coalition(all.0 & !(1 << one))),
            sufficiency: value(Coalition(1 << one)) - closed_book,
            shapley: shapley.as_ref().map(|shapley| shapley[one].0),
            error: shapley.as_ref().and_then(|shapley| shapley[one].1),
        });
        Outcome { closed_book, with_all, passages: passages.collect() }
    }

    /// φᵢ = Σ over S ⊆ N∖{i} of |S|! (n − |S| − 1)! / n! · (v(S∪{i}) − v(S)).
    fn exact(&self, value: &dyn Fn(Coalition) -> f64) -> Vec<(f64, Option<f64>)> {
        let n = self.passages;
        let factorial = |k: usize| (1..=k).map(|i| i as f64).product::<f64>();
        let weight: Vec<f64> = (0..n).map(|k| factorial(k) * factorial(n - k - 1) / factorial(n)).collect();
        (0..n)
            .map(|one| {
                let without = (0..1_u64 << n).filter(|set| set >> one & 1 == 0);
                let gain = |set: u64| value(Coalition(set | 1 << one)) - value(Coalition(set));
                (without.map(|set| weight[set.count_ones() as usize] * gain(set)).sum(), None)
            })
            .collect()
    }

    /// The mean gain over orders, and the standard error of the mean over pairs of an order and its reverse.
    fn sampled(&self, value: &dyn Fn(Coalition) -> f64) -> Vec<(f64, Option<f64>)> {
        let gains = |order: &Vec<usize>| {
            let mut gains = vec![0.0; self.passages];
            let mut before = Coalition(0);
            for one in order {
                let after = Coalition(before.0 | 1 << one);
                gains[*one] = value(after) - value(before);
                before = after;
            }
            gains
        };
        let orders: Vec<Vec<f64>> = self.permutations.iter().map(gains).collect();
        let pairs: Vec<Vec<f64>> = orders
            .chunks_exact(2)
            .map(|pair| pair[0].iter().zip(&pair[1]).map(|(a, b)| (a + b) / 2.0).collect())
            .collect();
        let count = pairs.len() as f64;
        (0..self.passages)
            .map(|one| {
                let mean = pairs.iter().map(|pair| pair[one]).sum::<f64>() / count;
                let squares = pairs.iter().map(|pair| (pair[one] - mean).powi(2)).sum::<f64>();
                (mean, Some((squares / (count - 1.0) / count).sqrt()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(plan: &Plan, value: impl Fn(Coalition) -> f64) -> Vec<f64> {
        plan.coalitions().iter().map(|coalition| value(*coalition)).collect()
    }

    fn seed(byte: u8) -> [u8; 32] {
        [byte; 32]
    }

    /// The airport game (Littlechild and Owen): a runway costs what its longest plane needs; φ is known in closed form.
    #[test]
    fn exact_values_are_those_of_the_airport_game() {
        let costs = [1.0, 2.0, 5.0, 9.0];
        let plan = Plan::new(4, Method::Shapley, seed(0));
        assert_eq!((plan.coalitions().len(), plan.permutations()), (16, 0));
        let most = |set: Coalition| (0..4).filter(|i| set.has(*i)).map(|i| costs[i]).fold(0.0, f64::max);
        let outcome = plan.solve(&values(&plan, most));
        let expected = [0.25, 0.25 + 1.0 / 3.0, 0.25 + 1.0 / 3.0 + 1.5, 0.25 + 1.0 / 3.0 + 1.5 + 4.0];
        for (passage, expected) in outcome.passages.iter().zip(expected) {
            assert!((passage.shapley.unwrap() - expected).abs() < 1e-12, "{passage:?}");
        }
        assert_eq!((outcome.closed_book, outcome.with_all), (0.0, 9.0));
        assert_eq!((outcome.passages[3].necessity, outcome.passages[3].sufficiency), (4.0, 9.0));
    }

    #[test]
    fn duplicates_share_and_neither_is_necessary() {
        let plan = Plan::new(3, Method::Shapley, seed(0));
        let value = |set: Coalition| if set.has(0) || set.has(2) { 6.0 } else { 0.0 };
        let outcome = plan.solve(&values(&plan, value));
        let shapley: Vec<f64> = outcome.passages.iter().map(|passage| passage.shapley.unwrap()).collect();
        assert!(shapley.iter().zip([3.0, 0.0, 3.0]).all(|(a, b)| (a - b).abs() < 1e-12), "{shapley:?}");
        assert_eq!(outcome.passages[0].necessity, 0.0);
    }

    #[test]
    fn leaving_one_out_takes_few_coalitions_and_gives_no_shapley_values() {
        let plan = Plan::new(6, Method::LeaveOneOut, seed(0));
        assert_eq!(plan.coalitions().len(), 14);
        let outcome = plan.solve(&values(&plan, |set| f64::from(set.0.count_ones())));
        assert!(outcome.passages.iter().all(|passage| passage.shapley.is_none() && passage.necessity == 1.0));
    }

    /// Sampled against exact values on a game with interactions, and its error against what it is off by.
    #[test]
    fn sampled_values_add_up_and_are_within_their_error() {
        let n = 9;
        let weight = |i: usize| (i as f64 * 1.7).sin();
        let value = |set: Coalition| {
            let held: Vec<usize> = (0..n).filter(|i| set.has(*i)).collect();
            let single: f64 = held.iter().map(|i| weight(*i)).sum();
            let pairs: f64 = held.windows(2).map(|pair| weight(pair[0] * pair[1])).sum();
            single + pairs
        };
        let all_coalitions = Plan::new(n, Method::Exact, seed(0));
        assert_eq!((all_coalitions.coalitions().len(), all_coalitions.permutations()), (512, 0));
        let exact = all_coalitions.solve(&values(&all_coalitions, value));
        let exact: Vec<f64> = exact.passages.iter().map(|passage| passage.shapley.unwrap()).collect();
        let (mut within, mut all) = (0, 0);
        for byte in 0..40 {
            let plan = Plan::new(n, Method::Shapley, seed(byte));
            assert!(plan.permutations() >= 4 && plan.coalitions().len() < 100);
            let outcome = plan.solve(&values(&plan, value));
            let sum: f64 = outcome.passages.iter().map(|passage| passage.shapley.unwrap()).sum();
            assert!((sum - (outcome.with_all - outcome.closed_book)).abs() < 1e-9);
            for (passage, exact) in outcome.passages.iter().zip(&exact) {
                all += 1;
                within += usize::from((passage.shapley.unwrap() - exact).abs() <= 3.0 * passage.error.unwrap() + 1e-9);
            }
        }
        // Student's t with two degrees of freedom is within 3 standard errors 90 % of the time.
        assert!(within * 100 >= all * 85, "{within} of {all}");
    }

    #[test]
    fn the_same_seed_asks_the_same_and_neighbours_share_beginnings() {
        let plan = Plan::new(8, Method::Shapley, seed(3));
        assert_eq!(plan.coalitions(), Plan::new(8, Method::Shapley, seed(3)).coalitions());
        assert_ne!(plan.coalitions(), Plan::new(8, Method::Shapley, seed(4)).coalitions());
        let order: Vec<Vec<u32>> = Plan::new(3, Method::Shapley, seed(0))
            .coalitions()
            .iter()
            .map(|coalition| coalition.in_prompt_order())
            .collect();
        let expected: [&[u32]; 8] = [&[], &[0], &[0, 1], &[0, 1, 2], &[0, 2], &[1], &[1, 2], &[2]];
        assert_eq!(order, expected);
    }

    #[test]
    fn one_passage_and_none() {
        let outcome = Plan::new(1, Method::Shapley, seed(0)).solve(&[-5.0, -2.0]);
        let passage = &outcome.passages[0];
        assert_eq!((passage.necessity, passage.sufficiency, passage.shapley), (3.0, 3.0, Some(3.0)));
        assert_eq!(Plan::new(0, Method::Shapley, seed(0)).coalitions().len(), 1);
    }
}
