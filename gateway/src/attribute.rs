//! Which parts of an answer rest on which passage.
//!
//! Two independent signs: markers `[n]` that the model wrote, and sentences that repeat a passage's wording, whether or
//! not the model said so. Small models often forget to cite, so nothing depends on their obedience. Offsets are
//! half-open, in Unicode scalar values, as in OpenAI's annotations.

use std::collections::HashSet;

use cairn_openapi::attribution::{Citation, CitationKind};
use unicode_segmentation::UnicodeSegmentation;

use crate::prompt::Shown;

/// A sentence counts as resting on a passage when at least this part of its three-word sequences stands there.
const OVERLAP: f64 = 0.5;
/// Sentences of fewer words say too little to compare.
const MIN_WORDS: usize = 5;

/// A model that repeats `[1]` for ever must not make a record too large for the log.
const MAX_CITATIONS: usize = 24;

/// Citations of one choice, in order of their start; at most [`MAX_CITATIONS`].
pub(crate) fn citations(choice: usize, answer: &str, passages: &[Shown]) -> Vec<Citation> {
    let mut found = markers(choice, answer, passages.len());
    found.extend(overlaps(choice, answer, passages));
    found.sort_by_key(|citation| (citation.start, citation.end, citation.n));
    found.truncate(MAX_CITATIONS);
    found
}

/// Each `[n]` (also `[n, m]`) cites what stands before it in its sentence.
fn markers(choice: usize, answer: &str, passages: usize) -> Vec<Citation> {
    let mut found = Vec::new();
    let chars: Vec<char> = answer.chars().collect();
    let mut begin = 0;
    let mut at = 0;
    while at < chars.len() {
        let close =
            (chars[at] == '[').then(|| chars[at..].iter().position(|c| *c == ']').map(|end| at + end)).flatten();
        let numbers: Option<Vec<usize>> = close.and_then(|close| {
            let inside: String = chars[at + 1..close].iter().collect();
            inside.split(',').map(|number| number.trim().parse().ok()).collect()
        });
        if let (Some(close), Some(numbers)) = (close, numbers) {
            let start = (begin..at).find(|place| !chars[*place].is_whitespace()).unwrap_or(at);
            for n in numbers.into_iter().filter(|n| (1..=passages).contains(n)) {
                found.push(Citation { choice, n, start, end: close + 1, kind: CitationKind::Marker, score: 1.0 });
            }
            at = close + 1;
            continue;
        }
        let ends =
            matches!(chars[at], '.' | '!' | '?' | '\n') && chars.get(at + 1).is_none_or(|next| next.is_whitespace());
        // A marker may follow the full stop that it belongs to.
        let cited_next = chars[at + 1..].iter().find(|next| !next.is_whitespace()) == Some(&'[');
        if ends && !cited_next {
            begin = at + 1;
        }
        at += 1;
    }
    found
}

fn overlaps(choice: usize, answer: &str, passages: &[Shown]) -> Vec<Citation> {
    let known: Vec<(usize, HashSet<[String; 3]>)> =
        passages.iter().map(|passage| (passage.n, shingles(&passage.text).into_iter().collect())).collect();
    let mut found = Vec::new();
    let mut offset = 0;
    for sentence in answer.split_sentence_bounds() {
        let length = sentence.chars().count();
        let of_sentence = shingles(sentence);
        if of_sentence.len() + 2 >= MIN_WORDS {
            let lead = length - sentence.trim_start().chars().count();
            let trail = length - sentence.trim_end().chars().count();
            for (n, of_passage) in &known {
                let shared = of_sentence.iter().filter(|shingle| of_passage.contains(*shingle)).count();
                let score = shared as f64 / of_sentence.len() as f64;
                if score >= OVERLAP {
                    found.push(Citation {
                        choice,
                        n: *n,
                        start: offset + lead,
                        end: offset + length - trail,
                        kind: CitationKind::Overlap,
                        score: (score * 1e6).round() / 1e6,
                    });
                }
            }
        }
        offset += length;
    }
    found
}

/// Every sequence of three words, in lower case and without punctuation.
fn shingles(text: &str) -> Vec<[String; 3]> {
    let words: Vec<String> = text.unicode_words().map(str::to_lowercase).collect();
    words.windows(3).map(|three| [three[0].clone(), three[1].clone(), three[2].clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(n: usize, text: &str) -> Shown {
        Shown { n, text: text.into(), truncated: false }
    }

    #[test]
    fn a_marker_cites_its_sentence() {
        let answer = "Über alles. A B-tree is balanced [1]. It is old.";
        let found = citations(0, answer, &[passage(1, "unrelated")]);
        let spans: Vec<String> =
            found.iter().map(|c| answer.chars().skip(c.start).take(c.end - c.start).collect()).collect();
        assert_eq!(spans, ["A B-tree is balanced [1]"]);
    }

    #[test]
    fn a_marker_after_the_full_stop_belongs_to_the_sentence_before() {
        let answer = "It is balanced. [2] More.";
        let found = citations(0, answer, &[passage(1, "x"), passage(2, "y")]);
        assert_eq!((found[0].n, found[0].start, found[0].end), (2, 0, 19));
    }

    #[test]
    fn markers_that_name_no_passage_are_ignored() {
        assert!(citations(0, "See [3], [x], [0] and [.", &[passage(1, "x")]).is_empty());
    }

    #[test]
    fn a_sentence_that_repeats_a_passage_is_cited_without_a_marker() {
        let passages =
            [passage(1, "Something about hashing of keys."), passage(2, "A multi-way balanced tree of keys.")];
        let found = citations(0, "Well. A multi-way balanced tree is used.", &passages);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].n, found[0].kind, found[0].start), (2, CitationKind::Overlap, 6));
    }

    #[test]
    fn a_sentence_of_its_own_is_not_cited() {
        let passages = [passage(1, "A multi-way balanced tree.")];
        assert!(citations(0, "Bananas are yellow and grow in warm countries.", &passages).is_empty());
    }
}
