//! The Porter stemmer (M. F. Porter, "An algorithm for suffix stripping", 1980) with the changes that NLTK makes to it by
//! default, because ROUGE's reference stems with NLTK. It is not Snowball's "english", which is Porter's second algorithm.

/// The stem of a lower-case ASCII word.
#[must_use]
pub fn stem(word: &str) -> String {
    if let Some((_, irregular)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*irregular).to_owned();
    }
    if word.len() <= 2 || !word.is_ascii() {
        return word.to_owned();
    }
    [step_1a, step_1b, step_1c, step_2, step_3, step_4, step_5a, step_5b]
        .iter()
        .fold(word.to_owned(), |word, step| step(&word))
}

/// Forms that the rules below get wrong.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// The rule of the first suffix that the word has decides; it applies if the stem before the suffix meets the condition.
fn apply(word: &str, rules: &[(&str, &str)], condition: impl Fn(&str) -> bool) -> String {
    match rules.iter().find_map(|(suffix, with)| Some((word.strip_suffix(suffix)?, with))) {
        Some((stem, with)) if condition(stem) => format!("{stem}{with}"),
        _ => word.to_owned(),
    }
}

fn step_1a(word: &str) -> String {
    if word.len() == 4 && word.ends_with("ies") {
        return word[..3].to_owned();
    }
    apply(word, &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_| true)
}

fn step_1b(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if word.len() == 4 { "ie" } else { "i" });
    }
    if word.ends_with("eed") {
        return apply(word, &[("eed", "ee")], |stem| measure(stem) > 0);
    }
    let stripped = ["ed", "ing"].iter().filter_map(|suffix| word.strip_suffix(suffix)).find(|stem| has_vowel(stem));
    let Some(stem) = stripped else { return word.to_owned() };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return format!("{stem}e");
    }
    if ends_in_double_consonant(stem) {
        return if stem.ends_with(['l', 's', 'z']) { stem.to_owned() } else { stem[..stem.len() - 1].to_owned() };
    }
    if measure(stem) == 1 && ends_cvc(stem) { format!("{stem}e") } else { stem.to_owned() }
}

fn step_1c(word: &str) -> String {
    apply(word, &[("y", "i")], |stem| stem.len() > 1 && is_consonant(stem.as_bytes(), stem.len() - 1))
}

fn step_2(word: &str) -> String {
    const RULES: [(&str, &str); 21] = [
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
    ];
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| measure(stem) > 0) {
        return step_2(&format!("{stem}al"));
    }
    if let Some(stem) = word.strip_suffix("logi") {
        // The l counts as part of the stem.
        return if measure(&word[..stem.len() + 1]) > 0 { format!("{stem}log") } else { word.to_owned() };
    }
    apply(word, &RULES, |stem| measure(stem) > 0)
}

fn step_3(word: &str) -> String {
    const RULES: [(&str, &str); 7] =
        [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];
    apply(word, &RULES, |stem| measure(stem) > 0)
}

fn step_4(word: &str) -> String {
    const SUFFIXES: [&str; 19] = [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate",
        "iti", "ous", "ive", "ize",
    ];
    let found = SUFFIXES.iter().find_map(|suffix| Some((*suffix, word.strip_suffix(suffix)?)));
    match found {
        Some((suffix, stem)) if measure(stem) > 1 && (suffix != "ion" || stem.ends_with(['s', 't'])) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

fn step_5a(word: &str) -> String {
    apply(word, &[("e", "")], |stem| measure(stem) > 1 || (measure(stem) == 1 && !ends_cvc(stem)))
}

fn step_5b(word: &str) -> String {
    apply(word, &[("ll", "l")], |stem| measure(&word[..stem.len() + 1]) > 1)
}

/// Digits are consonants, and y is one at the start and after a vowel.
fn is_consonant(word: &[u8], at: usize) -> bool {
    match word[at] {
        b'a' | b'e' | b'i' | b'o' | b'u' => false,
        b'y' => at == 0 || !is_consonant(word, at - 1),
        _ => true,
    }
}

/// Porter's m: how often a consonant follows a vowel.
fn measure(stem: &str) -> usize {
    let word = stem.as_bytes();
    (1..word.len()).filter(|at| is_consonant(word, *at) && !is_consonant(word, at - 1)).count()
}

fn has_vowel(stem: &str) -> bool {
    (0..stem.len()).any(|at| !is_consonant(stem.as_bytes(), at))
}

fn ends_in_double_consonant(stem: &str) -> bool {
    matches!(stem.as_bytes(), [.., a, b] if a == b) && is_consonant(stem.as_bytes(), stem.len() - 1)
}

/// Consonant, vowel, consonant other than w, x and y; or, in NLTK, a word of a vowel and a consonant.
fn ends_cvc(stem: &str) -> bool {
    let word = stem.as_bytes();
    let n = word.len();
    match n {
        0 | 1 => false,
        2 => !is_consonant(word, 0) && is_consonant(word, 1),
        _ => {
            is_consonant(word, n - 3)
                && !is_consonant(word, n - 2)
                && is_consonant(word, n - 1)
                && !stem.ends_with(['w', 'x', 'y'])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::stem;

    /// Stems as NLTK has them, many from its own documentation and tests.
    #[test]
    fn stems_are_those_of_nltk() {
        let known = [
            ("caresses", "caress"),
            ("flies", "fli"),
            ("dies", "die"),
            ("died", "die"),
            ("dying", "die"),
            ("mules", "mule"),
            ("denied", "deni"),
            ("agreed", "agre"),
            ("owned", "own"),
            ("humbled", "humbl"),
            ("sized", "size"),
            ("meeting", "meet"),
            ("stating", "state"),
            ("siezing", "siez"),
            ("itemization", "item"),
            ("sensational", "sensat"),
            ("traditional", "tradit"),
            ("reference", "refer"),
            ("colonizer", "colon"),
            ("plotted", "plot"),
            ("happily", "happili"),
            ("joyfully", "joy"),
            ("theologically", "theolog"),
            ("theology", "theolog"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("skies", "sky"),
            ("spied", "spi"),
            ("hopping", "hop"),
            ("hoping", "hope"),
            ("falling", "fall"),
            ("controll", "control"),
            ("roll", "roll"),
            ("adoption", "adopt"),
            ("rate", "rate"),
            ("cease", "ceas"),
            ("replacement", "replac"),
            ("electriciti", "electr"),
            ("triplicate", "triplic"),
            ("oed", "o"),
            ("geologist", "geologist"),
            ("generalizations", "gener"),
        ];
        for (word, expected) in known {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
