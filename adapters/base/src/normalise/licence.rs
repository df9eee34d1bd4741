//! The licence that a model's own files name.

use std::{fs, path::Path};

/// From the front matter of README.md, as model cards have it; else from the first line of a licence file.
pub(super) fn of(original: &Path) -> Option<String> {
    let card = fs::read_to_string(original.join("README.md")).unwrap_or_default();
    let file = || ["LICENSE", "LICENSE.txt"].iter().find_map(|name| fs::read_to_string(original.join(name)).ok());
    from_card(&card).or_else(|| first_line(&file()?))
}

/// `license: apache-2.0` between the lines `---`.
fn from_card(card: &str) -> Option<String> {
    let front = card.strip_prefix("---")?.split("\n---").next()?;
    let value = front.lines().find_map(|line| line.strip_prefix("license:"))?;
    let value = value.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then(|| value.to_owned())
}

fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_says_it_in_its_front_matter_only() {
        assert_eq!(from_card("---\nlanguage: en\nlicense: apache-2.0\n---\n# A").as_deref(), Some("apache-2.0"));
        assert_eq!(from_card("# A\nlicense: mit"), None);
        assert_eq!(from_card("---\na: b\n---\nlicense: mit"), None);
        assert_eq!(first_line("\n   Apache License\n   Version 2.0").as_deref(), Some("Apache License"));
    }
}
