//! How much each passage of a prompt mattered to an answer.
//!
//! The passages are the players of a cooperative game. The value v(S) of a coalition S is ln P(answer) when only the
//! passages in S stand in the prompt, by the weights that answered (teacher forcing). From it, in nats:
//!
//! - *necessity* of i: v(N) − v(N∖{i}), what is lost without it;
//! - *sufficiency* of i: v({i}) − v(∅), what it gives alone;
//! - *Shapley value* of i: the mean of v(S∪{i}) − v(S) over all orders in which the passages can come; these add up to
//!   v(N) − v(∅). Exact up to [`MOST_EXACT`] passages, above from [`Plan::permutations`], in pairs of an order and its
//!   reverse, with the standard error of the mean over pairs;
//! - the *closed-book baseline* v(∅): what the model knew without any.
//!
//! ln P(answer) is a sum over tokens, so one pass for each coalition values every sentence of the answer.
//!
//! ```
//! use cairn_influence::{Method, Plan};
//!
//! let plan = Plan::new(2, Method::Shapley, [0; 32]);
//! // The first passage says it all, the second nothing.
//! let values: Vec<f64> = plan.coalitions().iter().map(|coalition| if coalition.has(0) { -1.0 } else { -9.0 }).collect();
//! let outcome = plan.solve(&values);
//! assert_eq!(outcome.passages[0].shapley, Some(8.0));
//! assert_eq!(outcome.passages[1].necessity, 0.0);
//! ```

mod draw;
mod plan;
mod sentences;

pub use plan::{Coalition, MOST_EXACT, MOST_PASSAGES, Method, Outcome, Passage, Plan};
pub use sentences::{by_sentence, sentences};

/// Least influence of a passage on a sentence that counts as support, in nats for each token of the sentence: the sentence
/// is e^(0.1·tokens) times likelier with it.
pub const SUPPORT: f64 = 0.1;

/// Whether an influence on a sentence of so many tokens counts as support.
#[must_use]
pub fn supports(influence: f64, tokens: usize) -> bool {
    tokens > 0 && influence >= SUPPORT * tokens as f64
}

/// What is shared out: the influences on a whole answer, as parts of their sum; what hindered the answer earns nothing.
/// All zero where nothing helped.
#[must_use]
pub fn shares(influences: &[f64]) -> Vec<f64> {
    let sum: f64 = influences.iter().map(|one| one.max(0.0)).sum();
    influences.iter().map(|one| if sum > 0.0 { one.max(0.0) / sum } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hinders_earns_nothing_and_nothing_is_shared_of_nothing() {
        assert_eq!(shares(&[3.0, -2.0, 1.0]), [0.75, 0.0, 0.25]);
        assert_eq!(shares(&[-1.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn support_grows_with_the_sentence() {
        assert!(supports(1.0, 10) && !supports(1.0, 11) && !supports(1.0, 0));
    }
}
