//! Prompts of a known length that no cache has seen.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// `tokens` words, another sequence for each `seed`. Each word is one token of SmolLM2's vocabulary (and of most others).
pub(crate) fn prompt(seed: u64, tokens: usize) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let words: Vec<&str> = (0..tokens).map(|_| WORDS[random.random_range(0..WORDS.len())]).collect();
    words.join(" ")
}

/// Lengths of the prompts of a batch of 8: all different, so that no engine can take them for one shape.
pub(crate) const LENGTHS: [usize; 8] = [12, 24, 37, 51, 68, 90, 117, 150];

#[rustfmt::skip]
const WORDS: [&str; 32] = [
    "the", "of", "and", "to", "in", "is", "was", "for", "on", "that", "with", "as", "by", "at", "from", "this", "which",
    "are", "be", "or", "an", "has", "were", "time", "water", "house", "people", "world", "year", "work", "city", "name",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_give_different_prompts_of_the_length() {
        assert_eq!(prompt(1, 40).split(' ').count(), 40);
        assert_eq!(prompt(1, 40), prompt(1, 40));
        assert_ne!(prompt(1, 40), prompt(2, 40));
    }
}
