//! The entries of a dictd dictionary, out of the text that a client would show.
//!
//! Three conventions are understood. An entry of the Free On-line Dictionary of Computing opens its first paragraph with
//! `<category>` and ends with its date, `(1994-11-08)`; one of the Jargon File has its pronunciation below its headwords; one of
//! the Collaborative International Dictionary (GCIDE, Webster of 1913) has it between backslashes beside the headword, and the text
//! begins on the same line. Lines that were wrapped at 70 columns are joined and cross-references lose their braces: a passage is
//! read by people and models, not by a dictd client.

use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use crate::Draft;

/// An entry; `index_words` are the headwords that the index has for it.
pub(super) fn parse_entry(text: &str, index_words: Vec<String>) -> Draft {
    let lines: Vec<&str> = text.lines().map(str::trim_end).skip_while(|line| line.is_empty()).collect();
    let Parts { mut headwords, pronunciation, mut paragraphs } = webster(&lines).unwrap_or_else(|| plain(&lines));
    if headwords.is_empty() {
        headwords = index_words.first().cloned().into_iter().collect();
    }
    for word in index_words {
        if !headwords.iter().any(|known| known.to_lowercase() == word.to_lowercase()) {
            headwords.push(word);
        }
    }
    let mut contributed_at = None;
    if let Some(last) = paragraphs.last_mut() {
        if let Some((before, date)) = trailing_date(last) {
            contributed_at = Some(date);
            *last = before;
        }
        if last.is_empty() {
            paragraphs.pop();
        }
    }
    let category = paragraphs.first_mut().and_then(leading_category);

    let mut metadata = Map::new();
    let mut words = headwords.into_iter();
    let headword = words.next().unwrap_or_default();
    metadata.insert("headword".to_owned(), Value::String(headword.clone()));
    let aliases: Vec<String> = words.collect();
    if !aliases.is_empty() {
        metadata.insert("aliases".to_owned(), json!(aliases));
    }
    if let Some(category) = category {
        metadata.insert("category".to_owned(), Value::String(category));
    }
    if !pronunciation.is_empty() {
        metadata.insert("pronunciation".to_owned(), Value::String(pronunciation));
    }
    let text = std::iter::once(headword).chain(paragraphs).collect::<Vec<_>>().join("\n\n");
    Draft { text, contributed_at, metadata, ..Draft::default() }
}

/// What an entry consists of.
struct Parts {
    headwords: Vec<String>,
    pronunciation: String,
    paragraphs: Vec<String>,
}

/// Headwords from column 0, perhaps a pronunciation right below them, then indented paragraphs.
fn plain(lines: &[&str]) -> Parts {
    let (opening, body) = lines.split_at(opening(lines));
    let pronounced = body.iter().take_while(|line| !line.is_empty()).count();
    Parts {
        headwords: opening.iter().map(|line| (*line).to_owned()).collect(),
        pronunciation: body[..pronounced].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
        paragraphs: paragraphs(&body[pronounced..]),
    }
}

/// A headword and its pronunciation between backslashes on the first line, which may be wrapped, and runs on in the text below.
fn webster(lines: &[&str]) -> Option<Parts> {
    let (opening, body) = lines.split_at(opening(lines));
    let opening = opening.join(" ");
    let (headword, rest) = opening.split_once(" \\")?;
    let (pronunciation, rest) = rest.split_once('\\').unwrap_or(("", rest));
    let rest = without_braces(rest.trim_start_matches([',', ' ']));
    let first = body.iter().take_while(|line| !line.is_empty()).count();
    let mut paragraphs = paragraphs(body);
    match paragraphs.first_mut() {
        // A list begins on a line of its own.
        Some(paragraph) if first > 0 && !rest.is_empty() && !paragraph.contains('\n') => {
            *paragraph = format!("{rest} {paragraph}");
        }
        _ if rest.is_empty() => {}
        _ => paragraphs.insert(0, rest),
    }
    Some(Parts { headwords: vec![headword.to_owned()], pronunciation: pronunciation.to_owned(), paragraphs })
}

/// How many lines from the first on are not indented.
fn opening(lines: &[&str]) -> usize {
    lines.iter().take_while(|line| !line.is_empty() && !line.starts_with([' ', '\t'])).count()
}

fn paragraphs(lines: &[&str]) -> Vec<String> {
    lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()).map(reflow).collect()
}

/// Joins the lines of a paragraph, unless they are indented unevenly: then it is a table, a list or a program.
fn reflow(lines: &[&str]) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let base = lines.iter().map(|line| indent(line)).min().unwrap_or(0);
    if lines.iter().all(|line| indent(line) == base) {
        let joined = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        return without_braces(&joined);
    }
    lines.iter().map(|line| &line[base..]).collect::<Vec<_>>().join("\n")
}

/// `{binary tree}` becomes `binary tree`, `{(https://example.org)}` becomes `https://example.org`.
fn without_braces(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        plain.push_str(&rest[..open]);
        let after = &rest[open + 1..];
        let Some(close) = after.find(['{', '}']).filter(|at| after[*at..].starts_with('}') && *at > 0) else {
            plain.push('{');
            rest = after;
            continue;
        };
        let inner = after[..close].trim();
        let bare = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        plain.push_str(bare.unwrap_or(inner));
        rest = &after[close + 1..];
    }
    plain.push_str(rest);
    plain
}

/// Splits `… (1994-11-08)` into what precedes and the date.
fn trailing_date(paragraph: &str) -> Option<(String, String)> {
    let (before, date) = paragraph.strip_suffix(')')?.rsplit_once('(')?;
    let valid = date.len() == 10 && NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok();
    valid.then(|| (before.trim_end().to_owned(), date.to_owned()))
}

/// Takes `<algorithm> ` off the front of a paragraph.
fn leading_category(paragraph: &mut String) -> Option<String> {
    let (category, rest) = paragraph.strip_prefix('<')?.split_once("> ")?;
    if category.is_empty() || category.len() > 80 || category.contains(['<', '>', '\n']) {
        return None;
    }
    let (category, rest) = (category.to_owned(), rest.trim_start().to_owned());
    *paragraph = rest;
    Some(category)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_gcide() {
        let text = "Nobilitation \\No*bil`i*ta\"tion\\, n. [Cf. OF. {nobilitation}.]\n   The act of making\n   noble. [Obs.]\n   [1913 Webster]\n\n";
        let draft = parse_entry(text, vec!["Nobilitation".to_owned(), "Nobilitations".to_owned()]);
        assert_eq!(
            draft.text,
            "Nobilitation\n\nn. [Cf. OF. nobilitation.] The act of making noble. [Obs.] [1913 Webster]"
        );
        assert_eq!(
            Value::Object(draft.metadata),
            json!({"headword": "Nobilitation", "aliases": ["Nobilitations"], "pronunciation": "No*bil`i*ta\"tion"})
        );
        // Wrapped in the middle of the pronunciation; senses are a list.
        let text = "Federal Dais \\Federal\nDa\"is\\ prop. n.\n   1. The high table,\n      at the end.\n\n   2. A platform.\n";
        let draft = parse_entry(text, vec!["federal dais".to_owned()]);
        assert_eq!(draft.text, "Federal Dais\n\nprop. n.\n\n1. The high table,\n   at the end.\n\n2. A platform.");
        assert_eq!(draft.metadata["pronunciation"], "Federal Da\"is");
        let bare = parse_entry("Unslipping \\Unslipping\\\n   See {slipping}.\n", vec!["Unslipping".to_owned()]);
        assert_eq!(bare.text, "Unslipping\n\nSee slipping.");
    }

    #[test]
    fn an_entry_of_foldoc() {
        let text = "B-tree\n\n   <algorithm> A multi-way {balanced tree}.\n\n   A {B+-tree} is one whose\n   leaves are linked {(http://x.org/)}.\n\n   (2000-01-10)\n\n";
        let draft = parse_entry(text, vec!["b-tree".to_owned()]);
        assert_eq!(
            draft.text,
            "B-tree\n\nA multi-way balanced tree.\n\nA B+-tree is one whose leaves are linked http://x.org/."
        );
        assert_eq!(draft.contributed_at.as_deref(), Some("2000-01-10"));
        assert_eq!(Value::Object(draft.metadata), json!({"headword": "B-tree", "category": "algorithm"}));
    }

    #[test]
    fn an_entry_of_the_jargon_file() {
        let text = "foo\nbar\n /foo/, n.\n\n    [from X] Said {twice\n    }.\n\n        int main() { }\n      x\n";
        let draft = parse_entry(text, vec!["foo".to_owned(), "bar".to_owned(), "baz".to_owned()]);
        assert_eq!(draft.text, "foo\n\n[from X] Said twice.\n\n  int main() { }\nx");
        assert_eq!(
            Value::Object(draft.metadata),
            json!({"headword": "foo", "aliases": ["bar", "baz"], "pronunciation": "/foo/, n."})
        );
        assert_eq!(draft.contributed_at, None);
    }

    #[test]
    fn braces_that_are_no_reference_stay() {
        assert_eq!(without_braces("a { b {c} } {} {"), "a { b c } {} {");
    }
}
