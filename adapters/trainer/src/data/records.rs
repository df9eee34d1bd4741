//! Cuts a file into records, each with the line it begins at: lines of JSONL, elements of a JSON array, or paragraphs.
//!
//! A record is at most [`Limits::record_bytes`] long, and no more than one is in memory at a time.

use std::io::BufRead;

use super::{DataError, Limits};

/// How records are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One a line.
    Lines,
    /// Elements of one array.
    Array,
    /// Blank lines between them.
    Paragraphs,
}

/// A record as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) line: usize,
    /// None where it is too long.
    pub(super) bytes: Option<Vec<u8>>,
}

/// The records of a reader.
pub(super) struct Records<R> {
    reader: R,
    layout: Layout,
    limit: usize,
    line: usize,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Before,
    Within,
    Done,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(reader: R, layout: Layout, limits: &Limits) -> Self {
        Self { reader, layout, limit: limits.record_bytes, line: 1, state: State::Before }
    }

    /// The next record; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>, DataError> {
        match self.layout {
            Layout::Lines => self.next_line(),
            Layout::Paragraphs => self.next_paragraph(),
            Layout::Array => self.next_element(),
        }
    }

    fn next_line(&mut self) -> Result<Option<Record>, DataError> {
        loop {
            let line = self.line;
            let Some(bytes) = self.take_line()? else { return Ok(None) };
            if bytes.as_ref().is_none_or(|bytes| !bytes.trim_ascii().is_empty()) {
                return Ok(Some(Record { line, bytes }));
            }
        }
    }

    fn next_paragraph(&mut self) -> Result<Option<Record>, DataError> {
        let Some(mut record) = self.next_line()? else { return Ok(None) };
        while let Some(line) = self.take_line()? {
            if line.as_ref().is_some_and(|line| line.trim_ascii().is_empty()) {
                break;
            }
            record.bytes = match (record.bytes, line) {
                (Some(mut all), Some(line)) if all.len() + line.len() <= self.limit => {
                    all.extend(line);
                    Some(all)
                }
                _ => None,
            };
        }
        Ok(Some(record))
    }

    /// A line with its end; without its bytes where it is too long; none at the end of the file.
    fn take_line(&mut self) -> Result<Option<Option<Vec<u8>>>, DataError> {
        let (mut line, mut fits, mut any) = (Vec::new(), true, false);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            fits &= line.len() + taken <= self.limit;
            if fits {
                line.extend_from_slice(&buffer[..taken]);
            }
            self.reader.consume(taken);
            if end.is_some() {
                self.line += 1;
                break;
            }
        }
        Ok(any.then(|| fits.then_some(line)))
    }

    fn next_element(&mut self) -> Result<Option<Record>, DataError> {
        let broken = |line, reason: &str| Err(DataError::Broken { line, reason: reason.to_owned() });
        if self.state == State::Done {
            return Ok(None);
        }
        let first = self.next_visible()?;
        let start = if self.state == State::Before {
            if first != Some(b'[') {
                return broken(self.line, "a JSON array was expected here");
            }
            self.state = State::Within;
            self.next_visible()?
        } else if first == Some(b',') {
            self.next_visible()?
        } else {
            first
        };
        match start {
            Some(b'{') => self.finish_object().map(Some),
            Some(b']') => {
                self.state = State::Done;
                let line = self.line;
                self.next_visible()?.map_or(Ok(None), |_| broken(line, "there is text after the end of the array"))
            }
            Some(_) => broken(self.line, "the elements of the array must be JSON objects, with commas between them"),
            None => broken(self.line, "the array has no end: a ] is missing, or the file was cut off"),
        }
    }

    /// What follows an object's first brace. Braces in strings do not count.
    fn finish_object(&mut self) -> Result<Record, DataError> {
        let line = self.line;
        let (mut bytes, mut fits) = (vec![b'{'], true);
        let (mut depth, mut quoted, mut escaped) = (1_usize, false, false);
        while depth > 0 {
            let Some(byte) = self.next_byte()? else {
                let reason = "the object that begins here has no end: a quotation mark or a } is missing".to_owned();
                return Err(DataError::Broken { line, reason });
            };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' if !quoted => depth += 1,
                b'}' if !quoted => depth -= 1,
                _ => {}
            }
            fits &= bytes.len() < self.limit;
            if fits {
                bytes.push(byte);
            }
        }
        Ok(Record { line, bytes: fits.then_some(bytes) })
    }

    fn next_visible(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            match self.next_byte()? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                byte => return Ok(byte),
            }
        }
    }

    fn next_byte(&mut self) -> Result<Option<u8>, DataError> {
        let Some(byte) = self.reader.fill_buf()?.first().copied() else { return Ok(None) };
        self.reader.consume(1);
        self.line += usize::from(byte == b'\n');
        Ok(Some(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, layout: Layout) -> Result<Vec<(usize, Option<String>)>, DataError> {
        let limits = Limits { record_bytes: 20, ..Limits::default() };
        let mut records = Records::new(text.as_bytes(), layout, &limits);
        let mut all = Vec::new();
        while let Some(record) = records.next()? {
            all.push((record.line, record.bytes.map(|bytes| String::from_utf8(bytes).unwrap())));
        }
        Ok(all)
    }

    #[test]
    fn lines_paragraphs_and_elements_know_where_they_begin() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(records("\na\n\nb", Layout::Lines).unwrap(), [(2, some("a\n")), (4, some("b"))]);
        assert_eq!(records("a\nb\n \n\nc\n", Layout::Paragraphs).unwrap(), [(1, some("a\nb\n")), (5, some("c\n"))]);
        let array = "[\n{\"a\": \"}\\\"\"},\n\n {\"b\": {}}\n]\n";
        assert_eq!(records(array, Layout::Array).unwrap(), [(2, some("{\"a\": \"}\\\"\"}")), (4, some("{\"b\": {}}"))]);
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_what_is_cut_off_has_a_line() {
        let long = format!("{}\nshort\n", "x".repeat(50));
        assert_eq!(records(&long, Layout::Lines).unwrap(), [(1, None), (2, Some("short\n".to_owned()))]);
        let long = format!("[{{\"a\": \"{}\"}},\n{{}}]", "x".repeat(50));
        assert_eq!(records(&long, Layout::Array).unwrap(), [(1, None), (2, Some("{}".to_owned()))]);
        for (text, line) in [("[{},\n{\"a\": \"", 2), ("[{},\n3]", 2), ("[{}\n", 2), ("[{}]\n]", 1)] {
            let error = records(text, Layout::Array).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}:")), "{text:?}: {error}");
        }
    }
}
