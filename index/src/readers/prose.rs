//! Prose: Markdown, plain text and documents, cut into passages that fit an embedding.
//!
//! The cuts are text-splitter's: at headings and blocks for Markdown, at paragraphs and sentences otherwise, and only then in
//! between. A passage's metadata say where it stands:
//!
//! | key | |
//! | --- | --- |
//! | `headings` | those it stands under, outermost first |
//! | `file`, `document` | the file's name, and SHA-256 (hex) of its bytes |
//! | `passage` | the how-manieth of the file, from 0 |
//! | `characters` | from where to where in the file's text, half-open, in Unicode scalar values |
//! | `page` | the page on which it begins, from 1, for files that have pages |

use std::path::{Path, PathBuf};

use cairn_documents::Document;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use text_splitter::{ChunkConfig, MarkdownSplitter, TextSplitter};

use super::{ReadError, ReadLimits, open, read_whole};
use crate::Draft;

/// Reads a Markdown file.
pub fn markdown(path: &Path, limits: &ReadLimits) -> Result<Prose, ReadError> {
    let whole = whole_text(path, limits)?;
    let headings = headings(&whole.text);
    let splitter = MarkdownSplitter::new(chunks(limits));
    let passages = splitter.chunk_indices(&whole.text).map(|(at, passage)| {
        let end = at + passage.len();
        // A passage that opens with headings stands under them, not under what came before.
        let opening = passage.lines().take_while(|line| line.starts_with('#') || line.trim().is_empty());
        let opened = at + opening.map(|line| line.len() + 1).sum::<usize>();
        Passage { at, text: passage.to_owned(), headings: path_at(&headings, opened.min(end).max(at + 1)), page: None }
    });
    Ok(Prose::new(&whole, passages.collect()))
}

/// Reads a plain text file.
pub fn text(path: &Path, limits: &ReadLimits) -> Result<Prose, ReadError> {
    let whole = whole_text(path, limits)?;
    let splitter = TextSplitter::new(chunks(limits));
    let passages = splitter.chunk_indices(&whole.text);
    let passages = passages.map(|(at, text)| Passage { at, text: text.to_owned(), headings: Vec::new(), page: None });
    Ok(Prose::new(&whole, passages.collect()))
}

/// Reads a document whose text was taken out of the file at `path`.
pub fn document(path: &Path, of: Document, limits: &ReadLimits) -> Result<Prose, ReadError> {
    let bytes = read_whole(open(path)?, path, limits.file_bytes)?;
    let Document { title, text, headings, pages } = of;
    let headings: Vec<(usize, usize, String)> =
        headings.into_iter().map(|heading| (heading.at, usize::from(heading.level), heading.text)).collect();
    let splitter = TextSplitter::new(chunks(limits));
    let mut passages = Vec::new();
    // Section by section, so that no passage runs on under the next heading.
    let starts: Vec<usize> = std::iter::once(0).chain(headings.iter().map(|heading| heading.0)).collect();
    for (number, start) in starts.iter().copied().enumerate() {
        let end = starts.get(number + 1).copied().unwrap_or(text.len());
        for (within, passage) in splitter.chunk_indices(&text[start..end]) {
            let at = start + within;
            let mut path = path_at(&headings, at + 1);
            if path.is_empty() {
                path.extend(title.clone());
            }
            // A heading alone says nothing that the passages under it do not say.
            if headings.iter().any(|(_, _, heading)| heading == passage) {
                continue;
            }
            let page = (!pages.is_empty()).then(|| pages.partition_point(|page| *page <= at).max(1));
            passages.push(Passage { at, text: passage.to_owned(), headings: path, page });
        }
    }
    Ok(Prose::new(&Whole::new(path, &bytes, text), passages))
}

fn chunks(limits: &ReadLimits) -> ChunkConfig<text_splitter::Characters> {
    let most = limits.passage_chars.max(1);
    // It fails only for an overlap as long as a passage.
    let overlapping = ChunkConfig::new(most).with_overlap(limits.passage_overlap.min(most - 1));
    overlapping.unwrap_or_else(|_| ChunkConfig::new(most))
}

/// A file's text, with what is said of the file in each passage.
struct Whole {
    file: String,
    /// SHA-256 of the file's bytes (hex).
    document: String,
    text: String,
}

impl Whole {
    fn new(path: &Path, bytes: &[u8], text: String) -> Self {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { file, document: hex::encode(Sha256::digest(bytes)), text }
    }
}

struct Passage {
    /// Byte offset in the file's text.
    at: usize,
    text: String,
    headings: Vec<String>,
    page: Option<usize>,
}

/// The passages of a file.
#[derive(Debug)]
pub struct Prose {
    drafts: std::vec::IntoIter<Draft>,
}

impl Prose {
    fn new(whole: &Whole, passages: Vec<Passage>) -> Self {
        let (mut line, mut characters, mut upto) = (1, 0, 0);
        let drafts = passages.into_iter().enumerate().map(|(number, passage)| {
            // Passages begin one after the other, also where they overlap.
            let between = &whole.text[upto..passage.at];
            line += between.matches('\n').count() as u64;
            characters += between.chars().count();
            upto = passage.at;
            let mut metadata = Map::new();
            if !passage.headings.is_empty() {
                metadata.insert("headings".to_owned(), json!(passage.headings));
            }
            metadata.insert("file".to_owned(), Value::String(whole.file.clone()));
            metadata.insert("document".to_owned(), Value::String(whole.document.clone()));
            metadata.insert("passage".to_owned(), json!(number));
            metadata.insert("characters".to_owned(), json!([characters, characters + passage.text.chars().count()]));
            if let Some(page) = passage.page {
                metadata.insert("page".to_owned(), json!(page));
            }
            Draft { line, text: passage.text, metadata, ..Draft::default() }
        });
        Self { drafts: drafts.collect::<Vec<_>>().into_iter() }
    }
}

impl Iterator for Prose {
    type Item = Result<Draft, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.drafts.next().map(Ok)
    }
}

fn whole_text(path: &Path, limits: &ReadLimits) -> Result<Whole, ReadError> {
    let bytes = read_whole(open(path)?, path, limits.file_bytes)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Whole::new(path, &bytes, text.to_owned())),
        Err(error) => {
            let byte = error.valid_up_to();
            let before = &bytes[..byte];
            let line = 1 + before.iter().filter(|b| **b == b'\n').count() as u64;
            let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            Err(ReadError::NotUtf8 { path: PathBuf::from(path), line, byte: byte - start })
        }
    }
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
