//! BLEU as sacreBLEU 2.6 computes it: corpus level, 13a tokens, exponential smoothing, scale 0 to 100.
//!
//! BLEU = BP · exp(1/4 Σ ln p_n), p_n the share of a hypothesis' n-grams that a reference has (clipped by the largest count in
//! a reference), BP = min(1, exp(1 - reference length / hypothesis length)). Counts are summed over the corpus before anything
//! is divided, so they are kept per pair as [`BleuStatistics`]: a bootstrap adds up another choice of pairs.

use std::{collections::HashMap, iter::Sum, ops::AddAssign, sync::LazyLock};

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::is_python_space;

/// What was computed, as sacreBLEU writes it: to be reported beside the number.
pub const SIGNATURE: &str = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0";

/// BLEU of a corpus of hypotheses with one reference each.
#[must_use]
pub fn corpus_bleu<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BleuScore {
    let pairs = pairs.into_iter();
    pairs.map(|(hypothesis, reference)| BleuStatistics::new(hypothesis, &[reference])).sum::<BleuStatistics>().score()
}

/// BLEU of one hypothesis, of effective order: orders that the hypothesis is too short for are left out.
#[must_use]
pub fn sentence_bleu(hypothesis: &str, reference: &str) -> f64 {
    BleuStatistics::new(hypothesis, &[reference]).compute(true).score
}

/// What BLEU needs to know of a pair, or of several: n-grams of each order and lengths in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BleuStatistics {
    /// n-grams that a reference has too.
    pub counts: [usize; ORDER],
    /// n-grams of the hypothesis.
    pub totals: [usize; ORDER],
    /// Tokens of the hypothesis.
    pub hypothesis_length: usize,
    /// Tokens of the reference that is closest in length; of two as close, the shorter.
    pub reference_length: usize,
}

/// BLEU and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BleuScore {
    /// 0 to 100.
    pub score: f64,
    /// Of each order, in per cent, smoothed.
    pub precisions: [f64; ORDER],
    /// 1, or less where hypotheses are shorter than references.
    pub brevity_penalty: f64,
}

impl BleuStatistics {
    /// Of one hypothesis and its references.
    #[must_use]
    pub fn new(hypothesis: &str, references: &[&str]) -> Self {
        let hypothesis = tokenize_13a(hypothesis);
        let mut clip: HashMap<Vec<&str>, usize> = HashMap::new();
        let references: Vec<String> = references.iter().map(|reference| tokenize_13a(reference)).collect();
        let mut closest: Option<usize> = None;
        let tokens: Vec<&str> = split(&hypothesis);
        for reference in &references {
            let reference = split(reference);
            let key = |length: usize| (length.abs_diff(tokens.len()), length);
            let length = reference.len();
            closest = Some(closest.map_or(length, |best| if key(length) < key(best) { length } else { best }));
            for (ngram, count) in ngrams(&reference) {
                let most = clip.entry(ngram).or_default();
                *most = count.max(*most);
            }
        }
        let mut statistics =
            Self { hypothesis_length: tokens.len(), reference_length: closest.unwrap_or_default(), ..Self::default() };
        for (ngram, count) in ngrams(&tokens) {
            let order = ngram.len() - 1;
            statistics.totals[order] += count;
            statistics.counts[order] += clip.get(&ngram).map_or(0, |most| count.min(*most));
        }
        statistics
    }

    /// Corpus BLEU.
    #[must_use]
    pub fn score(&self) -> BleuScore {
        self.compute(false)
    }

    fn compute(&self, effective_order: bool) -> BleuScore {
        let (own, other) = (self.hypothesis_length as f64, self.reference_length as f64);
        let brevity_penalty = match self.hypothesis_length {
            0 if self.reference_length > 0 => 0.0,
            length if length < self.reference_length => (1.0 - other / own).exp(),
            _ => 1.0,
        };
        let mut precisions = [0.0; ORDER];
        if self.counts == [0; ORDER] {
            return BleuScore { score: 0.0, precisions, brevity_penalty };
        }
        let (mut order, mut halved) = (ORDER, 1.0);
        for (n, precision) in precisions.iter_mut().enumerate() {
            if self.totals[n] == 0 {
                break;
            }
            if effective_order {
                order = n + 1;
            }
            let total = self.totals[n] as f64;
            *precision = if self.counts[n] == 0 {
                halved *= 2.0;
                100.0 / (halved * total)
            } else {
                100.0 * self.counts[n] as f64 / total
            };
        }
        // The logarithm of a precision of 0 is -∞, which makes a score of 0.
        let logarithms: f64 = precisions[..order].iter().map(|precision| precision.ln()).sum();
        BleuScore { score: brevity_penalty * (logarithms / order as f64).exp(), precisions, brevity_penalty }
    }
}

impl AddAssign for BleuStatistics {
    fn add_assign(&mut self, other: Self) {
        for n in 0..ORDER {
            self.counts[n] += other.counts[n];
            self.totals[n] += other.totals[n];
        }
        self.hypothesis_length += other.hypothesis_length;
        self.reference_length += other.reference_length;
    }
}

impl Sum for BleuStatistics {
    fn sum<I: Iterator<Item = Self>>(statistics: I) -> Self {
        statistics.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// Longest n-grams.
const ORDER: usize = 4;

/// mteval-v13a's tokens, with a space between each.
fn tokenize_13a(text: &str) -> String {
    let text = text.trim_end_matches(is_python_space).replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
    RULES.iter().fold(format!(" {text} "), |text, (rule, with)| rule.replace_all(&text, *with).into_owned())
}

/// Language-dependent part of mteval-v13a: symbols, then full stops and commas that are not within a number, then dashes
/// after a digit.
static RULES: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    let rule = |rule: &str| Regex::new(rule).expect("a regex that is written below");
    [
        (rule(r"([\{-~\[-` -&\(-\+:-@/])"), " $1 "),
        (rule(r"([^0-9])([.,])"), "$1 $2 "),
        (rule(r"([.,])([^0-9])"), " $1 $2"),
        (rule(r"([0-9])(-)"), "$1 $2 "),
    ]
});

fn split(text: &str) -> Vec<&str> {
    text.split(is_python_space).filter(|token| !token.is_empty()).collect()
}

fn ngrams<'a>(tokens: &[&'a str]) -> HashMap<Vec<&'a str>, usize> {
    let mut counts = HashMap::new();
    for ngram in (1..=ORDER).flat_map(|n| tokens.windows(n)) {
        *counts.entry(ngram.to_vec()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_13a() {
        let tokens = |text| split(&tokenize_13a(text)).join(" ");
        assert_eq!(tokens("It costs $3.50, not 3,500."), "It costs $ 3.50 , not 3,500 .");
        assert_eq!(tokens("1-2 and x-y <skipped>a-\nb\u{1c}c"), "1 - 2 and x-y ab c");
        assert_eq!(tokens("&amp;lt; ~!\n"), "< ~ !");
    }

    #[test]
    fn no_hypothesis_and_no_match_are_zero() {
        assert_eq!(corpus_bleu([("", "a b c d")]).score, 0.0);
        assert_eq!(corpus_bleu([("x y z", "a b c d")]).score, 0.0);
        // Fewer than four tokens: no 4-grams in the whole corpus.
        assert_eq!(corpus_bleu([("a b", "a b")]).score, 0.0);
        assert!((sentence_bleu("a b", "a b") - 100.0).abs() < 1e-9);
        assert_eq!(corpus_bleu([]).score, 0.0);
    }
}
