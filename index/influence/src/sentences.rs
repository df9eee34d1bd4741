//! Sentences of an answer, and what of a value falls to each.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The sentences of a text (Unicode's rules, UAX 29, and at line ends), half-open in Unicode scalar values, without the
/// white space around them. Markers such as `[1]` at a sentence's beginning, and parts without a letter, go with the
/// sentence before.
#[must_use]
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut offset = 0;
    for part in text.split_sentence_bounds() {
        let chars: Vec<char> = part.chars().collect();
        let end = chars.iter().rposition(|c| !c.is_whitespace()).map_or(0, |last| last + 1);
        let mut start = skip_space(&chars[..end], 0);
        if let Some(last) = found.last_mut() {
            let marked = after_markers(&chars[..end], start);
            let says = chars[marked..end].iter().any(|c| c.is_alphabetic());
            if !says && start < end {
                last.end = offset + end;
                start = end;
            } else if marked > start {
                let marks = chars[..marked].iter().rposition(|c| !c.is_whitespace()).map_or(0, |last| last + 1);
                last.end = offset + marks;
                start = marked;
            }
        }
        if start < end {
            found.push(offset + start..offset + end);
        }
        offset += chars.len();
    }
    found
}

fn skip_space(chars: &[char], from: usize) -> usize {
    chars[from..].iter().position(|c| !c.is_whitespace()).map_or(chars.len(), |at| from + at)
}

/// Where `[1]`, `[1, 2]` and the like at `from` end, and the white space after them.
fn after_markers(chars: &[char], mut from: usize) -> usize {
    while chars.get(from) == Some(&'[')
        && let Some(close) = chars[from..].iter().position(|c| *c == ']')
        && chars[from + 1..from + close].iter().all(|c| c.is_ascii_digit() || matches!(c, ',' | ' '))
    {
        from = skip_space(chars, from + close + 1);
    }
    from
}

/// The sum and the number of tokens that begin in each span or between it and the next; what begins before the first
/// counts there. `tokens`: the characters of each token, and its value.
#[must_use]
pub fn by_sentence(spans: &[Range<usize>], tokens: &[(Range<usize>, f64)]) -> Vec<(f64, usize)> {
    let mut sums = vec![(0.0, 0); spans.len()];
    for (chars, value) in tokens {
        // A token that begins with the white space before a sentence is the sentence's own.
        let place = spans.partition_point(|span| span.start < chars.end.max(chars.start + 1)).saturating_sub(1);
        if let Some((sum, count)) = sums.get_mut(place) {
            *sum += value;
            *count += 1;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        sentences(text).into_iter().map(|span| text.chars().skip(span.start).take(span.len()).collect()).collect()
    }

    #[test]
    fn sentences_are_counted_in_characters_and_markers_stay_with_theirs() {
        assert_eq!(texts(" Über 5.2 m hoch. [1] It is\nold [2].\n"), ["Über 5.2 m hoch. [1]", "It is", "old [2]."]);
        assert_eq!(texts("🗓️ One. Two!"), ["🗓️ One.", "Two!"]);
        assert!(texts(" \n ").is_empty());
    }

    #[test]
    fn every_token_falls_to_one_sentence() {
        // "Ab c." " De" "f."
        let spans = sentences("Ab c. Def.");
        assert_eq!(spans, [0..5, 6..10]);
        let tokens = [(0..2, -1.0), (2..4, -2.0), (4..5, -4.0), (5..8, -8.0), (8..10, -16.0), (10..10, -32.0)];
        assert_eq!(by_sentence(&spans, &tokens), [(-7.0, 3), (-56.0, 3)]);
        // Where the tokenizer does not count the white space before a word to the token.
        assert_eq!(by_sentence(&spans, &[(6..8, -1.0)]), [(0.0, 0), (-1.0, 1)]);
        assert!(by_sentence(&[], &tokens).is_empty());
    }
}
