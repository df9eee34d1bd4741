//! HTML: what a browser would show as text, but for navigation.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use scraper::{Html, Node, node::Element};

use crate::{CELL, Document};

pub(crate) fn read(bytes: &[u8]) -> Document {
    let (text, ..) = encoding(bytes).decode(bytes);
    let html = Html::parse_document(&text);
    let mut reader = Reader::default();
    // The edges of the tree in order. No recursion: a page may nest twenty thousand deep.
    let mut node = *html.root_element();
    let root = node.id();
    loop {
        let entered = reader.enter(node.value());
        if let Some(child) = node.first_child().filter(|_| entered) {
            node = child;
            continue;
        }
        if entered {
            reader.leave(node.value());
        }
        loop {
            if node.id() == root {
                reader.flush();
                return reader.document;
            }
            if let Some(next) = node.next_sibling() {
                node = next;
                break;
            }
            let Some(parent) = node.parent() else {
                reader.flush();
                return reader.document;
            };
            reader.leave(parent.value());
            node = parent;
        }
    }
}

/// What the file says of its encoding; else UTF-8 if it is that; else what the HTML standard falls back on.
fn encoding(bytes: &[u8]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding;
    }
    let head = &bytes[..bytes.len().min(1024)];
    let at = head.windows(8).position(|window| window.eq_ignore_ascii_case(b"charset="));
    let named = at.and_then(|at| {
        let label = head[at + 8..].iter().skip_while(|byte| matches!(byte, b'"' | b'\'' | b' '));
        let label: Vec<u8> =
            label.take_while(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(byte)).copied().collect();
        Encoding::for_label(&label)
    });
    named.unwrap_or_else(|| if std::str::from_utf8(bytes).is_ok() { UTF_8 } else { WINDOWS_1252 })
}

#[derive(Default)]
struct Reader {
    document: Document,
    /// The block at hand.
    block: String,
    /// How deep inside `pre`.
    preserved: usize,
    /// The level of the heading at hand.
    heading: Option<u8>,
    title: bool,
}

impl Reader {
    /// Whether what is in it shall be visited.
    fn enter(&mut self, node: &Node) -> bool {
        match node {
            Node::Text(text) => self.text(text),
            Node::Element(element) => return self.open(element),
            _ => {}
        }
        true
    }

    fn open(&mut self, element: &Element) -> bool {
        let name = element.name();
        let hidden = element.attr("hidden").is_some() || element.attr("aria-hidden") == Some("true");
        if SKIPPED.contains(&name) || hidden {
            return false;
        }
        match name {
            "title" => self.title = true,
            "br" => self.block.push('\n'),
            "td" | "th" if !self.block.trim().is_empty() => self.block.push_str(CELL),
            "td" | "th" => {}
            _ if is_block(name) => self.flush(),
            _ => {}
        }
        match name {
            "pre" | "textarea" => self.preserved += 1,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading = name[1..].parse().ok(),
            _ => {}
        }
        true
    }

    fn leave(&mut self, node: &Node) {
        let Node::Element(element) = node else { return };
        let name = element.name();
        if name == "title" {
            let title = std::mem::take(&mut self.block);
            self.document.title = Some(title.trim().to_owned()).filter(|title| !title.is_empty());
            self.title = false;
            return;
        }
        if is_block(name) {
            self.flush();
        }
        match name {
            "pre" | "textarea" => self.preserved = self.preserved.saturating_sub(1),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => self.heading = None,
            _ => {}
        }
    }

    /// Runs of white space are one space, as a browser shows them, but where they are to be kept.
    fn text(&mut self, text: &str) {
        if self.preserved > 0 {
            self.block.push_str(text);
            return;
        }
        for char in text.chars() {
            if !char.is_ascii_whitespace() {
                self.block.push(char);
            } else if !self.block.is_empty() && !self.block.ends_with([' ', '\n']) {
                self.block.push(' ');
            }
        }
    }

    fn flush(&mut self) {
        let block = std::mem::take(&mut self.block);
        match self.heading {
            Some(level) => self.document.heading(level, &block),
            None => self.document.paragraph(&block),
        }
    }
}

/// Elements that begin and end a paragraph: those that the HTML standard's own style sheet shows as blocks.
fn is_block(name: &str) -> bool {
    BLOCKS.contains(&name)
}

const BLOCKS: [&str; 40] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "legend",
    "li",
    "main",
    "ol",
    "option",
    "p",
    "pre",
    "search",
    "section",
    "summary",
    "table",
    "tr",
    "ul",
];
/// Elements whose text is nobody's prose.
const SKIPPED: [&str; 14] = [
    "audio", "canvas", "embed", "iframe", "math", "nav", "noscript", "object", "script", "style", "svg", "template",
    "video", "datalist",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> String {
        read(html.as_bytes()).text
    }

    #[test]
    fn blocks_are_paragraphs_and_white_space_is_one_space() {
        let html = "<title> A  page </title><script>x()</script><nav>Home</nav><h1>One <b>thing</b></h1><p>First\n  line<br>second</p>\
                    <ul><li>a<li>b</ul><pre>x\n  y</pre>tail";
        let document = read(html.as_bytes());
        assert_eq!(document.title.as_deref(), Some("A page"));
        assert_eq!(document.text, "One thing\n\nFirst line\nsecond\n\na\n\nb\n\nx\n  y\n\ntail");
        assert_eq!(document.headings.len(), 1);
        assert_eq!(
            (document.headings[0].at, document.headings[0].level, document.headings[0].text.as_str()),
            (0, 1, "One thing")
        );
    }

    #[test]
    fn a_row_of_a_table_is_a_paragraph() {
        assert_eq!(text("<table><tr><th>Name<th>Year<tr><td>Ada<td>1815</table>"), "Name | Year\n\nAda | 1815");
    }

    #[test]
    fn hidden_parts_are_left_out_and_entities_are_read() {
        assert_eq!(
            text("<p hidden>no</p><p>caf&eacute; &amp; t&eacute;</p><div aria-hidden=true>no</div>"),
            "café & té"
        );
    }

    #[test]
    fn encodings_are_found_as_browsers_find_them() {
        assert_eq!(read(b"<meta charset='iso-8859-1'><p>caf\xe9").text, "café");
        assert_eq!(read(b"<p>caf\xe9").text, "café");
        assert_eq!(read("<p>café".as_bytes()).text, "café");
        assert_eq!(read(b"\xff\xfe<\0p\0>\0\xe9\0").text, "é");
    }

    #[test]
    fn deep_nesting_overflows_no_stack() {
        let deep = "<div>".repeat(20_000) + "word";
        assert_eq!(text(&deep), "word");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            read(&bytes);
        }
    }
}
