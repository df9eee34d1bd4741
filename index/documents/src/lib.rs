//! Documents as people have them: their text and structure, and texts that nearly repeat each other.
//!
//! [`Document::read`] takes the bytes of an HTML, DOCX or PDF file to a text whose paragraphs are separated by blank lines,
//! with its headings and pages by their place in it. Words are taken as they stand: nothing is joined, corrected or reordered.
//! Cutting into passages is not done here. The parsers read what strangers wrote, so whoever calls this on a server does it in
//! a process of its own with limits on memory and time.
//!
//! [`parquet_rows`] writes the rows of a Parquet file as JSON lines. [`near`] finds texts that nearly repeat each other.

mod docx;
mod error;
mod html;
pub mod near;
mod parquet;
mod pdf;

use serde::{Deserialize, Serialize};

pub use self::parquet::parquet_rows;
pub use error::DocumentError;

/// A file format that [`Document::read`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// HTML, in any encoding that browsers know.
    Html,
    /// Office Open XML text (ECMA-376), as Word and LibreOffice save it.
    Docx,
    /// PDF with text in it; a scanned page is a picture and has none.
    Pdf,
}

/// The text of a file, with its structure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its title, where the file has one.
    pub title: Option<String>,
    /// Its text; paragraphs are separated by a blank line.
    pub text: String,
    /// Its headings, in order.
    pub headings: Vec<Heading>,
    /// Where each page begins, as a byte offset of the text; empty for formats without pages.
    pub pages: Vec<usize>,
}

/// A heading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// Where it begins, as a byte offset of the document's text.
    pub at: usize,
    /// 1 for the outermost.
    pub level: u8,
    /// Its words.
    pub text: String,
}

impl Document {
    /// Reads a file. A document without any text is an error that says so.
    pub fn read(format: Format, bytes: &[u8]) -> Result<Self, DocumentError> {
        let document = match format {
            Format::Html => html::read(bytes),
            Format::Docx => docx::read(bytes)?,
            Format::Pdf => pdf::read(bytes)?,
        };
        if document.text.trim().is_empty() {
            return Err(match format {
                Format::Pdf => DocumentError::Scanned,
                _ => DocumentError::NoText,
            });
        }
        Ok(document)
    }

    /// Adds a paragraph. White space around it is no part of it.
    fn paragraph(&mut self, text: &str) {
        self.block(text);
    }

    fn heading(&mut self, level: u8, text: &str) {
        if let Some(at) = self.block(text) {
            self.headings.push(Heading { at, level, text: text.trim().to_owned() });
        }
    }

    fn page(&mut self) {
        self.pages.push(self.text.len() + if self.text.is_empty() { 0 } else { GAP.len() });
    }

    /// Adds a block and says where it begins; none if it is empty.
    fn block(&mut self, text: &str) -> Option<usize> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if !self.text.is_empty() {
            self.text.push_str(GAP);
        }
        let at = self.text.len();
        self.text.push_str(text);
        Some(at)
    }
}

/// Between two paragraphs.
const GAP: &str = "\n\n";
/// Between two cells of a table's row.
const CELL: &str = " | ";
