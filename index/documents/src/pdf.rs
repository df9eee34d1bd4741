//! PDF: the text of each page, line by line.
//!
//! A PDF places glyphs and knows no paragraphs; lines are taken as they stand, and a gap between lines is a paragraph's end.
//! Hyphens at line ends stay, for whether one belongs to the word cannot be told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_extract::{Document as Pdf, Error, Object, OutputError, PlainTextOutput, output_doc_page};

use crate::{Document, DocumentError};

pub(crate) fn read(bytes: &[u8]) -> Result<Document, DocumentError> {
    let mut pdf = Pdf::load_mem(bytes).map_err(DocumentError::Pdf)?;
    // Many PDFs are encrypted with the empty password, to forbid printing.
    if pdf.is_encrypted() && pdf.decrypt("").is_err() {
        return Err(DocumentError::Locked);
    }
    let mut document = Document { title: title(&pdf), ..Document::default() };
    for page in pdf.get_pages().into_keys() {
        let text = page_text(&pdf, page).map_err(|source| DocumentError::Page { page, source })?;
        document.page();
        for paragraph in paragraphs(&text) {
            document.paragraph(&paragraph);
        }
    }
    Ok(document)
}

fn page_text(pdf: &Pdf, page: u32) -> Result<String, OutputError> {
    let mut text = String::new();
    // The reader panics on some fonts that it does not know; that is this page's failure, not the process's.
    let outcome = catch_unwind(AssertUnwindSafe(|| output_doc_page(pdf, &mut PlainTextOutput::new(&mut text), page)));
    outcome.unwrap_or(Err(OutputError::PdfError(Error::Unimplemented("a font or an operator of it"))))?;
    Ok(text)
}

/// Lines that follow each other, without the white space around each.
fn paragraphs(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in text.lines().map(str::trim) {
        match found.last_mut() {
            Some(last) if !line.is_empty() => {
                if !last.is_empty() {
                    last.push('\n');
                }
                last.push_str(line);
            }
            Some(last) if !last.is_empty() => found.push(String::new()),
            _ => {}
        }
    }
    found
}

/// The title that the document's information dictionary names (ISO 32000-1, 14.3.3).
fn title(pdf: &Pdf) -> Option<String> {
    let info = match pdf.trailer.get(b"Info").ok()? {
        Object::Reference(id) => pdf.get_object(*id).and_then(Object::as_dict).ok()?,
        object => object.as_dict().ok()?,
    };
    let title = pdf_extract::decode_text_string(info.get(b"Title").ok()?).ok()?;
    Some(title.trim().to_owned()).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_lines_ends_a_paragraph() {
        assert_eq!(paragraphs("\n a \nb\n\n\n c\n"), ["a\nb", "c"]);
    }

    #[test]
    fn what_is_no_pdf_is_said() {
        assert!(matches!(read(b"%PDF-1.7 nothing"), Err(DocumentError::Pdf(_))));
    }
}
