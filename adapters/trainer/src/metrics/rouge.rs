//! ROUGE as rouge-score 0.1.2 computes it (the package behind Hugging Face's `evaluate`), with or without its stemmer.
//!
//! ROUGE-1 and -2 count common n-grams; ROUGE-L takes the longest common subsequence of all tokens; ROUGE-Lsum takes, line by
//! line of the reference, the union of its longest common subsequences with the hypothesis' lines.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use serde::{Deserialize, Serialize};

use super::stem;

/// Scores pairs of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RougeScorer {
    /// Whether words are stemmed before they are compared.
    pub stemmed: bool,
}

/// Precision, recall and their harmonic mean, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Prf {
    /// The part of the hypothesis that is in the reference.
    pub precision: f64,
    /// The part of the reference that is in the hypothesis.
    pub recall: f64,
    /// 2 · precision · recall / (precision + recall).
    pub f1: f64,
}

/// The four scores of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rouge {
    /// Common words.
    pub rouge1: Prf,
    /// Common pairs of words.
    pub rouge2: Prf,
    /// Longest common subsequence.
    pub rouge_l: Prf,
    /// The same, line by line.
    pub rouge_lsum: Prf,
}

impl RougeScorer {
    /// Scores a pair. None where the reference has no Latin letter or digit: ROUGE sees nothing else, and 0 would say that
    /// the hypothesis is bad where in truth nothing was measured.
    #[must_use]
    pub fn score(self, hypothesis: &str, reference: &str) -> Option<Rouge> {
        let (ours, theirs) = (self.tokens(hypothesis), self.tokens(reference));
        if theirs.is_empty() {
            return None;
        }
        Some(Rouge {
            rouge1: common_ngrams(&ours, &theirs, 1),
            rouge2: common_ngrams(&ours, &theirs, 2),
            rouge_l: Prf::new(lcs_length(&theirs, &ours), ours.len(), theirs.len()),
            rouge_lsum: self.lines(hypothesis, reference),
        })
    }

    fn tokens(self, text: &str) -> Vec<String> {
        let text = text.to_lowercase();
        let words = text.split(|it: char| !it.is_ascii_lowercase() && !it.is_ascii_digit());
        let words = words.filter(|word| !word.is_empty());
        words.map(|word| if self.stemmed && word.len() > 3 { stem(word) } else { word.to_owned() }).collect()
    }

    fn lines(self, hypothesis: &str, reference: &str) -> Prf {
        let split = |text: &str| -> Vec<Vec<String>> {
            text.split('\n').filter(|line| !line.is_empty()).map(|line| self.tokens(line)).collect()
        };
        let (ours, theirs) = (split(hypothesis), split(reference));
        let (mut left_ours, mut left_theirs) = (counts(words(&ours)), counts(words(&theirs)));
        let mut hits = 0;
        for line in &theirs {
            let union: BTreeSet<usize> = ours.iter().flat_map(|other| lcs_places(line, other)).collect();
            // A token is found at most as often as both texts have it.
            for token in union.into_iter().map(|place| line[place].as_str()) {
                let (Some(a), Some(b)) = (left_ours.get_mut(token), left_theirs.get_mut(token)) else { continue };
                if *a > 0 && *b > 0 {
                    (*a, *b, hits) = (*a - 1, *b - 1, hits + 1);
                }
            }
        }
        Prf::new(hits, ours.iter().map(Vec::len).sum(), theirs.iter().map(Vec::len).sum())
    }
}

impl Prf {
    fn new(hits: usize, ours: usize, theirs: usize) -> Self {
        let (precision, recall) = (hits as f64 / ours.max(1) as f64, hits as f64 / theirs.max(1) as f64);
        let sum = precision + recall;
        Self { precision, recall, f1: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 } }
    }
}

fn common_ngrams(ours: &[String], theirs: &[String], n: usize) -> Prf {
    let (a, b) = (counts(ours.windows(n)), counts(theirs.windows(n)));
    let hits = b.iter().map(|(ngram, count)| *count.min(a.get(ngram).unwrap_or(&0))).sum();
    Prf::new(hits, a.values().sum(), b.values().sum())
}

fn words(lines: &[Vec<String>]) -> impl Iterator<Item = &str> {
    lines.iter().flatten().map(String::as_str)
}

fn counts<'a, T: Hash + Eq + ?Sized>(all: impl Iterator<Item = &'a T>) -> HashMap<&'a T, usize> {
    let mut counts = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    counts
}

/// Lengths of longest common subsequences of all prefixes: [a + 1, b + 1].
fn lcs_table(a: &[String], b: &[String]) -> Vec<Vec<u32>> {
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[i][j] =
                if a[i - 1] == b[j - 1] { table[i - 1][j - 1] + 1 } else { table[i - 1][j].max(table[i][j - 1]) };
        }
    }
    table
}

fn lcs_length(a: &[String], b: &[String]) -> usize {
    // Two rows instead of a table: references may be long.
    let mut row = vec![0; b.len() + 1];
    for left in a {
        let mut diagonal = 0;
        for (j, right) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if left == right { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Places in `a` of one longest common subsequence: of several, the one that rouge-score chooses.
fn lcs_places(a: &[String], b: &[String]) -> Vec<usize> {
    let table = lcs_table(a, b);
    let (mut i, mut j, mut places) = (a.len(), b.len(), Vec::new());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            places.push(i - 1);
            (i, j) = (i - 1, j - 1);
        } else if table[i][j - 1] > table[i - 1][j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_latin_letters_are_not_scored() {
        assert!(RougeScorer::default().score("量子", "量子力学").is_none());
        assert_eq!(RougeScorer::default().score("量子", "quantum").unwrap().rouge1.f1, 0.0);
    }

    #[test]
    fn stems_make_forms_of_a_word_equal() {
        let score = |stemmed| RougeScorer { stemmed }.score("She dies happily", "she died happy").unwrap();
        assert!((score(false).rouge1.f1 - 1.0 / 3.0).abs() < 1e-12);
        assert!((score(true).rouge1.f1 - 2.0 / 3.0).abs() < 1e-12);
    }
}
