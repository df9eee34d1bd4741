//! Questions whose one right answer is known, and how often it is found.
#![allow(dead_code)] // each example uses a part

use std::time::Duration;

use cairn_index::Datapoint;
use serde_json::{Value, json};

/// The first sentence after the headword, without headword and aliases; none if fewer than 5 words are left.
pub(crate) fn first_sentence(entry: &Datapoint) -> Option<String> {
    let (_, body) = entry.text.split_once("\n\n")?;
    let paragraph = body.split("\n\n").next()?.replace('\n', " ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    without_names(entry, paragraph[..end].to_owned())
}

/// The same for a dictionary of the language: the first sentence that has 5 words, without what stands in brackets.
pub(crate) fn first_definition(entry: &Datapoint) -> Option<String> {
    let (_, body) = entry.text.split_once("\n\n")?;
    let (mut plain, mut depth) = (String::new(), 0_usize);
    for character in body.chars() {
        match character {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            '\n' => plain.push(' '),
            other if depth == 0 => plain.push(other),
            _ => {}
        }
    }
    let mut sentences = plain.split(". ").map(str::trim).filter(|sentence| sentence.split_whitespace().count() >= 5);
    without_names(entry, sentences.next()?.to_owned())
}

fn without_names(entry: &Datapoint, mut sentence: String) -> Option<String> {
    let aliases = entry.metadata["aliases"].as_array().into_iter().flatten().filter_map(|alias| alias.as_str());
    for word in entry.title().into_iter().chain(aliases).filter(|word| word.len() > 1) {
        let lower = sentence.to_lowercase();
        if lower.len() == sentence.len() {
            let places: Vec<usize> = lower.match_indices(&word.to_lowercase()).map(|(at, _)| at).collect();
            for at in places.into_iter().rev() {
                if sentence.is_char_boundary(at) && sentence.is_char_boundary(at + word.len()) {
                    sentence.replace_range(at..at + word.len(), " ");
                }
            }
        }
    }
    (sentence.split_whitespace().count() >= 5).then(|| sentence.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// How often the right one was found, at which rank it stood.
pub(crate) struct Found {
    ranks: Vec<Option<usize>>,
    times: Vec<Duration>,
}

impl Found {
    pub(crate) fn new(ranks: Vec<Option<usize>>, mut times: Vec<Duration>) -> Self {
        times.sort();
        Self { ranks, times }
    }

    /// Percent of the questions whose answer stood at this rank or before.
    pub(crate) fn recall(&self, most: usize) -> f64 {
        let found = self.ranks.iter().filter(|rank| rank.is_some_and(|rank| rank <= most)).count();
        100.0 * found as f64 / self.ranks.len().max(1) as f64
    }

    /// The mean reciprocal rank.
    pub(crate) fn mrr(&self) -> f64 {
        let reciprocals: f64 = self.ranks.iter().flatten().map(|rank| 1.0 / *rank as f64).sum();
        reciprocals / self.ranks.len().max(1) as f64
    }

    /// Milliseconds that this part of the searches took at most.
    pub(crate) fn time(&self, part: f64) -> f64 {
        percentile(&self.times, part)
    }

    /// All of it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "questions": self.ranks.len(),
            "recall_1": self.recall(1),
            "recall_5": self.recall(5),
            "mrr": self.mrr(),
            "p50_ms": self.time(0.5),
            "p99_ms": self.time(0.99),
        })
    }
}

/// Milliseconds; `times` are in order.
pub(crate) fn percentile(times: &[Duration], part: f64) -> f64 {
    let at = ((times.len().max(1) - 1) as f64 * part).round() as usize;
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
