//! How often an answer is the reference, word for word.

/// Whether both are the same but for white space around them.
#[must_use]
pub fn exact_match(hypothesis: &str, reference: &str) -> bool {
    hypothesis.trim() == reference.trim()
}

/// Whether both have the same words: case, punctuation and white space do not count.
#[must_use]
pub fn normalised_match(hypothesis: &str, reference: &str) -> bool {
    words(hypothesis) == words(reference)
}

fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    text.split(|it: char| !it.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_never_counts_and_case_and_punctuation_count_in_one_of_them() {
        assert!(exact_match(" Paris.\n", "Paris.") && !exact_match("paris", "Paris."));
        assert!(normalised_match("paris", "Paris.") && !normalised_match("Par is", "Paris"));
        assert!(normalised_match("Größe", "größe!") && !normalised_match("量", "子"));
    }
}
