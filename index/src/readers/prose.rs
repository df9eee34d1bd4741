//! Prose: Markdown and plain text, cut into passages that fit an embedding.
//!
//! The cuts are text-splitter's: at headings and blocks for Markdown, at paragraphs and sentences for text, and only
//! then in between. A passage's metadata say under which `headings` it stands, outermost first, and the how-manieth
//! `passage` of the file it is.

use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use serde_json::{Map, Value, json};
use text_splitter::{MarkdownSplitter, TextSplitter};

use super::{ReadError, ReadLimits, open, read_whole};
use crate::Draft;

/// Reads a Markdown file.
pub fn markdown(path: &Path, limits: &ReadLimits) -> Result<Prose, ReadError> {
    let whole = whole_text(path, limits)?;
    let headings = headings(&whole);
    let splitter = MarkdownSplitter::new(limits.passage_chars);
    let passages = splitter.chunk_indices(&whole).map(|(at, passage)| {
        let end = at + passage.len();
        // A passage that opens with headings stands under them, not under what came before.
        let opening = passage.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty());
        let opened = at + opening.map(|line| line.len() + 1).sum::<usize>();
        let path = path_at(&headings, opened.min(end).max(at + 1));
        (at, passage.to_owned(), path)
    });
    Ok(Prose::new(path, &whole, passages.collect()))
}

/// Reads a plain text file.
pub fn text(path: &Path, limits: &ReadLimits) -> Result<Prose, ReadError> {
    let whole = whole_text(path, limits)?;
    let splitter = TextSplitter::new(limits.passage_chars);
    let passages = splitter.chunk_indices(&whole).map(|(at, passage)| (at, passage.to_owned(), Vec::new()));
    Ok(Prose::new(path, &whole, passages.collect()))
}

/// The passages of a Markdown or text file.
#[derive(Debug)]
pub struct Prose {
    source: String,
    passages: std::iter::Enumerate<std::vec::IntoIter<(u64, String, Vec<String>)>>,
}

impl Prose {
    /// `passages`: byte offset, text, headings.
    fn new(path: &Path, whole: &str, passages: Vec<(usize, String, Vec<String>)>) -> Self {
        let (mut line, mut upto) = (1, 0);
        let with_lines = passages.into_iter().map(|(at, passage, headings)| {
            line += whole[upto..at].matches('\n').count() as u64;
            upto = at;
            (line, passage, headings)
        });
        let passages: Vec<_> = with_lines.collect();
        let source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { source, passages: passages.into_iter().enumerate() }
    }
}

impl Iterator for Prose {
    type Item = Result<Draft, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, (line, text, headings)) = self.passages.next()?;
        let mut metadata = Map::new();
        if !headings.is_empty() {
            metadata.insert("headings".to_owned(), json!(headings));
        }
        metadata.insert("file".to_owned(), Value::String(self.source.clone()));
        metadata.insert("passage".to_owned(), json!(number));
        Some(Ok(Draft { line, text, metadata, ..Draft::default() }))
    }
}

fn whole_text(path: &Path, limits: &ReadLimits) -> Result<String, ReadError> {
    let bytes = read_whole(open(path)?, path, limits.file_bytes)?;
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..byte];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count() as u64;
        let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        ReadError::NotUtf8 { path: PathBuf::from(path), line, byte: byte - start }
    })
}

/// Every heading: where it begins, its level from 1, its text.
fn headings(markdown: &str) -> Vec<(usize, usize, String)> {
    let mut found: Vec<(usize, usize, String)> = Vec::new();
    let mut inside = false;
    for (event, range) in Parser::new(markdown).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                found.push((range.start, level as usize, String::new()));
                inside = true;
            }
            Event::End(TagEnd::Heading(_)) => inside = false,
            Event::Text(text) | Event::Code(text) if inside => {
                if let Some((_, _, heading)) = found.last_mut() {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    found
}

/// The headings in force just before byte `at`, outermost first.
fn path_at(headings: &[(usize, usize, String)], at: usize) -> Vec<String> {
    let mut path: Vec<(usize, &str)> = Vec::new();
    for (start, level, heading) in headings {
        if *start >= at {
            break;
        }
        path.retain(|(outer, _)| outer < level);
        path.push((*level, heading));
    }
    path.into_iter().map(|(_, heading)| heading.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_nest_and_code_is_no_heading() {
        let markdown = "# A\n\n```\n# not one\n```\n\n## B `c`\n\ntext\n\n# D\n\nmore\n";
        let headings = headings(markdown);
        assert_eq!(headings.iter().map(|h| h.2.as_str()).collect::<Vec<_>>(), ["A", "B c", "D"]);
        assert_eq!(path_at(&headings, markdown.find("text").unwrap()), ["A", "B c"]);
        assert_eq!(path_at(&headings, markdown.find("more").unwrap()), ["D"]);
        assert_eq!(path_at(&headings, 0), Vec::<String>::new());
    }
}
