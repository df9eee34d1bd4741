//! DOCX: a zip with `word/document.xml` in it (ECMA-376, part 1, section 17).
//!
//! Paragraphs (`w:p`) with their text (`w:t`), tables row by row, headings by the outline level of their style, then the
//! footnotes and endnotes. Text that was deleted under change tracking is left out, inserted text is in.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::{CELL, Document, DocumentError};

pub(crate) fn read(bytes: &[u8]) -> Result<Document, DocumentError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(DocumentError::Zip)?;
    let body = part(&mut archive, "word/document.xml")?.ok_or(DocumentError::NotDocx)?;
    let styles = part(&mut archive, "word/styles.xml")?.unwrap_or_default();
    let levels = heading_levels(&styles)?;
    let core = part(&mut archive, "docProps/core.xml")?.unwrap_or_default();
    let mut document = Document { title: title(&core)?, ..Document::default() };
    story("word/document.xml", &body, &levels, &mut document)?;
    for notes in ["word/footnotes.xml", "word/endnotes.xml"] {
        if let Some(xml) = part(&mut archive, notes)? {
            story(notes, &xml, &levels, &mut document)?;
        }
    }
    Ok(document)
}

/// A part of the archive as text; none if it is not there.
fn part(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &'static str) -> Result<Option<String>, DocumentError> {
    let file = match archive.by_name(name) {
        Ok(file) => file,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(DocumentError::Zip(error)),
    };
    let mut xml = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut xml).map_err(|source| DocumentError::Part { part: name, source })?;
    if xml.len() as u64 > MOST_BYTES {
        return Err(DocumentError::TooLarge { part: name, most: MOST_BYTES });
    }
    // ECMA-376 allows UTF-16 too; nobody writes it.
    Ok(Some(String::from_utf8_lossy(&xml).trim_start_matches('\u{feff}').to_owned()))
}

/// The paragraphs of a part.
fn story(
    part: &'static str,
    xml: &str,
    levels: &HashMap<String, u8>,
    document: &mut Document,
) -> Result<(), DocumentError> {
    let mut reader = Reader::from_str(xml);
    let mut block = String::new();
    let (mut level, mut in_text, mut rows, mut deleted) = (None, false, 0_usize, 0_usize);
    loop {
        match reader.read_event().map_err(|source| DocumentError::Xml { part, source })? {
            Event::Start(start) => match start.local_name().into_inner() {
                "p" if rows == 0 => (level, block) = (None, String::new()),
                "t" => in_text = true,
                "tr" => {
                    rows += 1;
                    if rows == 1 {
                        block.clear();
                    }
                }
                "tc" if rows > 0 && !block.trim().is_empty() => {
                    block.truncate(block.trim_end().len());
                    block.push_str(CELL);
                }
                "del" | "moveFrom" => deleted += 1,
                _ => {}
            },
            Event::Empty(start) => match start.local_name().into_inner() {
                "pStyle" => level = value(&start).and_then(|style| levels.get(&style).copied()),
                "outlineLvl" => level = value(&start).and_then(|value| outline(&value)).or(level),
                "tab" => block.push('\t'),
                "br" | "cr" => block.push('\n'),
                "noBreakHyphen" => block.push('-'),
                _ => {}
            },
            Event::Text(text) if in_text && deleted == 0 => block.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) if in_text && deleted == 0 => {
                let number = reference.resolve_char_ref().map_err(|source| DocumentError::Xml { part, source })?;
                match (number, &*reference.into_inner()) {
                    (Some(char), _) => block.push(char),
                    (None, "amp") => block.push('&'),
                    (None, "lt") => block.push('<'),
                    (None, "gt") => block.push('>'),
                    (None, "quot") => block.push('"'),
                    (None, "apos") => block.push('\''),
                    // XML knows no others without a document type, and OOXML has none.
                    (None, _) => {}
                }
            }
            Event::End(end) => match end.local_name().into_inner() {
                "t" => in_text = false,
                "p" if rows == 0 => match level.take() {
                    Some(level) => document.heading(level, &std::mem::take(&mut block)),
                    None => document.paragraph(&std::mem::take(&mut block)),
                },
                "p" if !block.ends_with([' ', '\n']) && !block.is_empty() => block.push(' '),
                "tr" => {
                    rows = rows.saturating_sub(1);
                    if rows == 0 {
                        document.paragraph(&std::mem::take(&mut block));
                    }
                }
                "del" | "moveFrom" => deleted = deleted.saturating_sub(1),
                _ => {}
            },
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

/// Heading level by style id: from the style's outline level, its name, or the style it is based on.
fn heading_levels(xml: &str) -> Result<HashMap<String, u8>, DocumentError> {
    let mut reader = Reader::from_str(xml);
    let (mut levels, mut based) = (HashMap::new(), HashMap::new());
    let mut style = String::new();
    loop {
        let event = reader.read_event();
        match event.map_err(|source| DocumentError::Xml { part: "word/styles.xml", source })? {
            Event::Start(start) if start.local_name().into_inner() == "style" => {
                style = attribute(&start, "styleId").unwrap_or_default();
            }
            Event::Empty(start) => match start.local_name().into_inner() {
                "name" => {
                    let name = value(&start).unwrap_or_default().to_lowercase();
                    let level = match name.strip_prefix("heading ") {
                        Some(number) => number.parse().ok().filter(|level| (1..=9).contains(level)),
                        None => (name == "title").then_some(1),
                    };
                    levels.extend(level.map(|level| (style.clone(), level)));
                }
                "outlineLvl" => {
                    levels.extend(value(&start).and_then(|value| outline(&value)).map(|level| (style.clone(), level)));
                }
                "basedOn" => based.extend(value(&start).map(|base| (style.clone(), base))),
                _ => {}
            },
            Event::Eof => break,
            _ => {}
        }
    }
    let inherited: Vec<(String, u8)> = based
        .keys()
        .filter(|style| !levels.contains_key(*style))
        .filter_map(|style| {
            // A chain of styles longer than this is a circle.
            let chain = std::iter::successors(based.get(style), |base| based.get(*base)).take(16);
            chain.into_iter().find_map(|base| levels.get(base)).map(|level| (style.clone(), *level))
        })
        .collect();
    levels.extend(inherited);
    Ok(levels)
}

/// `dc:title`.
fn title(xml: &str) -> Result<Option<String>, DocumentError> {
    let mut reader = Reader::from_str(xml);
    let mut title = None;
    loop {
        match reader.read_event().map_err(|source| DocumentError::Xml { part: "docProps/core.xml", source })? {
            Event::Start(start) if start.local_name().into_inner() == "title" => title = Some(String::new()),
            Event::Text(text) => {
                if let Some(title) = &mut title {
                    title.push_str(&text.xml10_content());
                }
            }
            Event::End(end) if end.local_name().into_inner() == "title" => {
                return Ok(title.map(|title| title.trim().to_owned()).filter(|title| !title.is_empty()));
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}

/// `w:outlineLvl`: 0 is the outermost, 9 is body text.
fn outline(value: &str) -> Option<u8> {
    value.parse::<u8>().ok().filter(|level| *level < 9).map(|level| level + 1)
}

fn value(start: &BytesStart<'_>) -> Option<String> {
    attribute(start, "val")
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = start.attributes().flatten().find(|attribute| attribute.key.local_name().into_inner() == name);
    found.map(|attribute| attribute.value.into_owned())
}

/// Most bytes that a part may unpack to.
const MOST_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn docx(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, xml) in parts {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(xml.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    const STYLES: &str = r#"<w:styles xmlns:w="w"><w:style w:styleId="Berschrift1"><w:name w:val="heading 1"/></w:style>
        <w:style w:styleId="Own"><w:name w:val="My own"/><w:basedOn w:val="Berschrift1"/></w:style></w:styles>"#;

    fn body(paragraphs: &str) -> Vec<u8> {
        let xml = format!(r#"<w:document xmlns:w="w"><w:body>{paragraphs}</w:body></w:document>"#);
        docx(&[("word/document.xml", &xml), ("word/styles.xml", STYLES)])
    }

    #[test]
    fn paragraphs_headings_and_tables() {
        let document = read(&body(
            r#"<w:p><w:pPr><w:pStyle w:val="Own"/></w:pPr><w:r><w:t>Leave</w:t></w:r></w:p>
            <w:p><w:r><w:t xml:space="preserve">Ask </w:t></w:r><w:r><w:t>R&amp;D &#233;</w:t><w:br/><w:t>now</w:t></w:r></w:p>
            <w:tbl><w:tr><w:tc><w:p><w:r><w:t>Name</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>Ada</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
            <w:p><w:del><w:r><w:delText>old</w:delText><w:t>old</w:t></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>"#,
        ))
        .unwrap();
        assert_eq!(document.text, "Leave\n\nAsk R&D é\nnow\n\nName | Ada\n\nnew");
        assert_eq!(document.headings.iter().map(|it| (it.level, it.text.as_str())).collect::<Vec<_>>(), [(1, "Leave")]);
    }

    #[test]
    fn what_is_no_docx_is_said() {
        assert!(matches!(read(b"\xd0\xcf\x11\xe0"), Err(DocumentError::Zip(_))));
        assert!(matches!(read(&docx(&[("a.txt", "x")])), Err(DocumentError::NotDocx)));
        assert!(matches!(read(&body("<w:p><w:t>")), Ok(_) | Err(DocumentError::Xml { .. })));
        assert!(matches!(read(&body("<w:p></w:t>")), Err(DocumentError::Xml { .. })));
    }

    #[test]
    fn a_circle_of_styles_ends() {
        let styles = r#"<w:styles xmlns:w="w"><w:style w:styleId="A"><w:basedOn w:val="B"/></w:style><w:style w:styleId="B"><w:basedOn w:val="A"/></w:style></w:styles>"#;
        assert!(heading_levels(styles).unwrap().is_empty());
    }
}
