//! Texts that nearly repeat each other: MinHash signatures in locality-sensitive buckets, confirmed exactly.
//!
//! Two texts are as similar as the sets of their three-word sequences are (Jaccard: common ones over all of them; case and
//! punctuation do not count). [`Near`] holds the texts that are new; each further text is compared only with those that share
//! a bucket with it, and then exactly. Broder, "On the resemblance and containment of documents", 1997; banding as in
//! Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4. Own code because the crates for it have rested
//! for years, and it is a page.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};

/// What a text is found by: it shares one of these with nearly every text that nearly repeats it. 64 bytes, from which no word
/// can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bands([u32; BANDS]);

impl Bands {
    /// Those of a text: some 20 microseconds for a hundred words.
    pub fn of(text: &str) -> Self {
        let signature = signature(&shingles(text));
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let mut bands = [0; BANDS];
        for (band, rows) in bands.iter_mut().zip(signature.chunks(ROWS)) {
            *band = hasher.hash_one(rows) as u32;
        }
        Self(bands)
    }
}

/// Texts to compare with. About 250 bytes each.
#[derive(Debug)]
pub struct Near {
    least: f64,
    texts: usize,
    /// By band and its hash: the numbers of the texts. At most [`MOST_IN_BUCKET`] each, for a phrase that thousands share makes
    /// every comparison a comparison with thousands.
    buckets: [HashMap<u32, Vec<u32>, Hashed>; BANDS],
}

/// The keys are hashes already.
type Hashed = BuildHasherDefault<Unhashed>;

impl Near {
    /// Finds texts that are at least this similar, 0 to 1. Pairs from 0.7 on are found with a probability of 0.99.
    pub fn new(least: f64) -> Self {
        Self { least, texts: 0, buckets: Default::default() }
    }

    /// Numbers from 0 of the texts added earlier that may be similar to the one with these bands.
    pub fn candidates(&self, bands: &Bands) -> Vec<usize> {
        let found = self.buckets.iter().zip(bands.0).filter_map(|(bucket, band)| bucket.get(&band));
        let mut found: Vec<usize> = found.flatten().map(|number| *number as usize).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Adds a text by its bands; its number is how many were added before.
    pub fn add(&mut self, bands: &Bands) {
        let number = u32::try_from(self.texts).unwrap_or(u32::MAX);
        self.texts += 1;
        for (bucket, band) in self.buckets.iter_mut().zip(bands.0) {
            let bucket = bucket.entry(band).or_default();
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

/// Takes a key for its own hash, spread over all bits, of which the table uses the highest too.
#[derive(Debug, Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, key: u32) {
        self.0 = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
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

/// Words of a sequence.
const WORDS: usize = 3;
/// Hash functions: 16 bands of 4 rows find a pair of similarity s with probability 1 - (1 - s^4)^16.
const HASHES: usize = 64;
const ROWS: usize = 4;
/// Texts that agree in all rows of a band share a bucket.
const BANDS: usize = HASHES / ROWS;
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
            near.add(&Bands::of(&other(number)));
        }
        near.add(&Bands::of(TEXT));
        let changed = TEXT.replace("calendar", "business");
        let found: Vec<usize> = near
            .candidates(&Bands::of(&changed))
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
            near.add(&Bands::of(&text));
            missed += usize::from(near.candidates(&Bands::of(&other)).is_empty());
        }
        assert!(missed <= 4, "{missed} of 200 pairs were missed; the formula says 0.02");
    }
}
