//! Texts that nearly repeat each other: MinHash signatures in locality-sensitive buckets, confirmed exactly.
//!
//! Two texts are as similar as the sets of their three-word sequences are (Jaccard: common ones over all of them; case and
//! punctuation do not count). [`Near`] holds the texts that are new; each further text is compared only with those that share
//! a bucket with it, and then exactly. Broder, "On the resemblance and containment of documents", 1997; banding as in
//! Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4. Own code because the crates for it have rested
//! for years, and it is a page.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Texts to compare with. About 250 bytes each.
#[derive(Debug)]
pub struct Near {
    least: f64,
    texts: usize,
    /// By band and its hash: the numbers of the texts. At most [`MOST_IN_BUCKET`] each, for a phrase that thousands share makes
    /// every comparison a comparison with thousands.
    buckets: HashMap<(u8, u32), Vec<u32>>,
}

impl Near {
    /// Finds texts that are at least this similar, 0 to 1. Pairs from 0.7 on are found with a probability of 0.99.
    pub fn new(least: f64) -> Self {
        Self { least, texts: 0, buckets: HashMap::new() }
    }

    /// Numbers from 0 of the texts added earlier that may be similar to this one.
    pub fn candidates(&self, text: &str) -> Vec<usize> {
        let bands = bands(&signature(&shingles(text)));
        let found: HashSet<u32> = bands.filter_map(|band| self.buckets.get(&band)).flatten().copied().collect();
        let mut found: Vec<usize> = found.into_iter().map(|number| number as usize).collect();
        found.sort_unstable();
        found
    }

    /// Adds a text; its number is how many were added before.
    pub fn add(&mut self, text: &str) {
        let number = u32::try_from(self.texts).unwrap_or(u32::MAX);
        self.texts += 1;
        for band in bands(&signature(&shingles(text))) {
            let bucket = self.buckets.entry(band).or_default();
            if bucket.len() < MOST_IN_BUCKET {
                bucket.push(number);
            }
        }
    }

    /// How similar two texts are, if that is enough to be called nearly the same.
    pub fn similar(&self, a: &str, b: &str) -> Option<f64> {
        Some(similarity(a, b)).filter(|similarity| *similarity >= self.least)
    }
}

/// Jaccard similarity of the sets of three-word sequences, 0 to 1.
pub fn similarity(a: &str, b: &str) -> f64 {
    let (a, b): (HashSet<u32>, HashSet<u32>) = (shingles(a).into_iter().collect(), shingles(b).into_iter().collect());
    let common = a.intersection(&b).count();
    let all = a.len() + b.len() - common;
    if all == 0 { 1.0 } else { common as f64 / all as f64 }
}

/// Hashes of all sequences of three words; of the whole text, if it has fewer.
fn shingles(text: &str) -> Vec<u32> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    // The low half of a 64-bit hash.
    let hash = |words: &[&str]| hasher.hash_one(words) as u32;
    if words.len() < WORDS { vec![hash(&words)] } else { words.windows(WORDS).map(hash).collect() }
}

/// The least value of each hash function over the set. The functions are `a x + b` modulo 2^32, spread by a last mix.
fn signature(shingles: &[u32]) -> [u32; HASHES] {
    let mut least = [u32::MAX; HASHES];
    for shingle in shingles {
        for (number, least) in (0_u32..).zip(&mut least) {
            let mixed = (shingle ^ number.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0xc2b2_ae35);
            *least = (*least).min(mixed ^ (mixed >> 13));
        }
    }
    least
}

/// Bands of a signature: texts that agree in all rows of any of them share a bucket.
fn bands(signature: &[u32; HASHES]) -> impl Iterator<Item = (u8, u32)> + use<> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    signature
        .chunks(ROWS)
        .zip(0_u8..)
        .map(move |(rows, band)| (band, hasher.hash_one(rows) as u32))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Words of a sequence.
const WORDS: usize = 3;
/// Hash functions: 16 bands of 4 rows find a pair of similarity s with probability 1 - (1 - s^4)^16.
const HASHES: usize = 64;
const ROWS: usize = 4;
/// Texts that a bucket names.
const MOST_IN_BUCKET: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "An employee may take twenty five days of paid leave in each calendar year, and carries over at most five \
                        of them into the next, which lapse at the end of March unless the manager agreed otherwise in writing.";

    #[test]
    fn a_changed_word_is_nearly_the_same_and_another_text_is_not() {
        let changed = TEXT.replace("twenty", "thirty").to_uppercase();
        assert!(similarity(TEXT, &changed) > 0.8, "{}", similarity(TEXT, &changed));
        assert_eq!(similarity(TEXT, "The quick brown fox jumps over the lazy dog."), 0.0);
        assert_eq!(similarity("Two words", "two  WORDS!"), 1.0);
        assert_eq!(similarity("", "..."), 1.0);
    }

    #[test]
    fn similar_texts_are_found_among_many() {
        let mut near = Near::new(0.8);
        let other = |number: usize| {
            format!("Paragraph {number} is about {} and {} things of no {} kind.", number * 7, number * 3, number + 5)
        };
        for number in 0..2_000 {
            near.add(&other(number));
        }
        near.add(TEXT);
        let changed = TEXT.replace("calendar", "business");
        let found: Vec<usize> = near
            .candidates(&changed)
            .into_iter()
            .filter(|number| *number == 2_000 || near.similar(&changed, &other(*number)).is_some())
            .collect();
        assert_eq!(found, [2_000]);
        assert!(near.similar(&changed, TEXT).is_some());
    }

    #[test]
    fn pairs_at_the_threshold_are_found_as_often_as_the_formula_says() {
        let words: Vec<String> = (0..60).map(|word| format!("w{word}")).collect();
        let mut missed = 0;
        for trial in 0..200 {
            let mut one: Vec<String> = words.iter().map(|word| format!("{word}x{trial}")).collect();
            let text = one.join(" ");
            one[20] = "changed".to_owned();
            one[40] = "changed".to_owned();
            let other = one.join(" ");
            assert!((0.79..0.83).contains(&similarity(&text, &other)));
            let mut near = Near::new(0.75);
            near.add(&text);
            missed += usize::from(near.candidates(&other).is_empty());
        }
        assert!(missed <= 4, "{missed} of 200 pairs were missed; the formula says 0.02");
    }
}
