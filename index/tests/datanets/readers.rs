//! Each format, and what its reader says of files that are wrong.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use cairn_documents::{Document, Heading};
use cairn_index::readers::{self, Columns, ReadLimits};
use cairn_index::{Draft, ReadError};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// The lines of the drafts that were read, and the lines and messages of the errors.
fn outcome(drafts: impl Iterator<Item = Result<Draft, ReadError>>) -> (Vec<Draft>, Vec<(u64, String)>) {
    let (mut read, mut errors) = (Vec::new(), Vec::new());
    for draft in drafts {
        match draft {
            Ok(draft) => read.push(draft),
            Err(error) => errors.push((error.line().unwrap(), error.to_string())),
        }
    }
    (read, errors)
}

#[test]
fn jsonl_reads_every_key_and_names_the_line_of_every_error() {
    let dir = TempDir::new().unwrap();
    let lines = [
        r#"{"id":"1","text":"one","contributor":"ada","contributed_at":"1994-11-08","source":"s","licence":"l","metadata":{"k":[1,"x"]}}"#,
        "",
        r#"{"text":"two"}"#,
        r#"{"text":"three","contributer":"typo"}"#,
        r#"{"contributor":"no text"}"#,
        r#"{"text":"four","metadata":{"a":{"b":1,"b":2}}}"#,
        r#"{"text":"five","text":"again"}"#,
        r#"{"text":"six","metadata":[]}"#,
        r#"not json"#,
        r#"{"text":"last"}"#,
    ];
    let path = file(&dir, "x.jsonl", lines.join("\n"));
    let (read, errors) = outcome(readers::jsonl(&path, &ReadLimits::default()).unwrap());
    assert_eq!(
        read.iter().map(|d| (d.line, d.text.as_str())).collect::<Vec<_>>(),
        [(1, "one"), (3, "two"), (10, "last")]
    );
    assert_eq!(Value::Object(read[0].metadata.clone()), json!({"k": [1, "x"]}));
    assert_eq!(read[0].licence.as_deref(), Some("l"));
    let expected = [
        (4, "unknown field `contributer`"),
        (5, "missing field `text`"),
        (6, "duplicate field `b`"),
        (7, "duplicate field `text`"),
        (8, "metadata must be an object"),
        (9, "expected"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for ((line, message), (expected_line, part)) in errors.iter().zip(expected) {
        assert_eq!(*line, expected_line);
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
}

#[test]
fn jsonl_limits_a_datapoint_and_names_bytes_that_are_not_utf8() {
    let dir = TempDir::new().unwrap();
    let mut bytes = b"\xef\xbb\xbf{\"text\":\"ok\"}\n{\"text\":\"".to_vec();
    bytes.extend(vec![b'x'; 100]);
    bytes.extend(b"\"}\n{\"text\":\"\xff\"}\n{\"text\":\"");
    bytes.extend(vec![b'y'; 200_000]);
    bytes.extend(b"\"}\n{\"text\":\"end\"}");
    let path = file(&dir, "x.jsonl", bytes);
    let limits = ReadLimits { datapoint_bytes: 50, ..ReadLimits::default() };
    let (read, errors) = outcome(readers::jsonl(&path, &limits).unwrap());
    assert_eq!(read.iter().map(|d| d.line).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(errors.iter().map(|e| e.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(errors[0].1.contains("larger than 50 bytes"));
    assert!(errors[1].1.contains("not UTF-8 after 9 bytes"), "{}", errors[1].1);
    assert!(errors[2].1.contains("larger than 50 bytes"));
}

#[test]
fn csv_makes_other_columns_metadata() {
    let dir = TempDir::new().unwrap();
    let path = file(
        &dir,
        "x.csv",
        "id,text,contributor,year,metadata\n1,\"two\nlines\",ada,1994,\"{\"\"k\"\":1}\"\n2,b,,,\n3,too,many,cells,here,now\n4,c,,,[]\n5,d,,,\n",
    );
    let (read, errors) = outcome(readers::csv(&path, &Columns::default(), &ReadLimits::default()).unwrap());
    assert_eq!(read.iter().map(|d| d.id.clone().unwrap()).collect::<Vec<_>>(), ["1", "2", "5"]);
    assert_eq!(read[0].text, "two\nlines");
    assert_eq!(Value::Object(read[0].metadata.clone()), json!({"year": "1994", "k": 1}));
    assert_eq!(read[1].contributor, None);
    assert_eq!(read[2].line, 7);
    assert_eq!(errors.iter().map(|e| e.0).collect::<Vec<_>>(), [5, 6], "{errors:?}");
}

#[test]
fn csv_needs_its_header() {
    let dir = TempDir::new().unwrap();
    for (header, message) in [("id,body\n", "`text`"), ("text,a,a\n", "twice"), ("text,\n", "no name")] {
        let error = readers::csv(&file(&dir, "x.csv", header), &Columns::default(), &ReadLimits::default())
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let latin1 = file(&dir, "l.csv", b"text\nok\ncaf\xe9\n");
    let (_, errors) = outcome(readers::csv(&latin1, &Columns::default(), &ReadLimits::default()).unwrap());
    assert_eq!(errors[0].0, 3);
    assert!(errors[0].1.contains("UTF-8"), "{}", errors[0].1);
}

#[test]
fn markdown_passages_know_their_headings() {
    let dir = TempDir::new().unwrap();
    let paragraph = "Sentence with several words in it. ".repeat(8);
    let markdown =
        format!("# Trees\n\n{paragraph}\n\n## Insertion\n\n{paragraph}\n\n{paragraph}\n\n# Hashing\n\n{paragraph}\n");
    let path = file(&dir, "notes.md", &markdown);
    let limits = ReadLimits { passage_chars: 350, ..ReadLimits::default() };
    let (read, errors) = outcome(readers::markdown(&path, &limits).unwrap());
    assert!(errors.is_empty());
    let paths: Vec<Value> = read.iter().map(|draft| draft.metadata["headings"].clone()).collect();
    assert_eq!(
        paths,
        [json!(["Trees"]), json!(["Trees", "Insertion"]), json!(["Trees", "Insertion"]), json!(["Hashing"])]
    );
    assert!(read.iter().all(|draft| draft.text.chars().count() <= 350));
    assert_eq!(read.iter().map(|draft| draft.line).collect::<Vec<_>>(), [1, 5, 9, 11]);
    assert_eq!(read[2].metadata["passage"], json!(2));
}

#[test]
fn text_is_cut_at_paragraphs_and_must_be_utf8() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "a.txt", format!("{}\n\n{}", "a".repeat(500), "b".repeat(500)));
    let (read, _) = outcome(readers::text(&path, &ReadLimits::default()).unwrap());
    assert_eq!(read.iter().map(|draft| draft.text.len()).collect::<Vec<_>>(), [500, 500]);
    let error = readers::text(&file(&dir, "b.txt", b"fine\nnot \xff"), &ReadLimits::default()).unwrap_err();
    assert_eq!(error.line(), Some(2));
    assert!(error.to_string().contains("after 4 bytes"), "{error}");
    let limits = ReadLimits { file_bytes: 10, ..ReadLimits::default() };
    assert!(matches!(readers::text(&path, &limits), Err(ReadError::FileTooLarge { most: 10, .. })));
}

#[test]
fn dictd_joins_headwords_of_one_entry_and_skips_what_describes_the_dictionary() {
    let dir = TempDir::new().unwrap();
    let about = "00-database-short\n     A Small Dictionary (2024)\n";
    let tree = "B-tree\n\n   <algorithm> A multi-way {balanced tree}.\n\n   (2000-01-10)\n\n";
    let heap = "heap\n\n   A tree that is\n   no search tree.\n";
    let dict = format!("{about}{tree}{heap}");
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(dict.as_bytes()).unwrap();
    let dict_path = file(&dir, "x.dict.dz", packed.finish().unwrap());
    let at = |offset: usize, length: usize| format!("{}\t{}", base64(offset), base64(length));
    let index = format!(
        "00-database-short\t{}\nBayer tree\t{}\nb-tree\t{}\nheap\t{}\n",
        at(0, about.len()),
        at(about.len(), tree.len()),
        at(about.len(), tree.len()),
        at(about.len() + tree.len(), heap.len())
    );
    let index_path = file(&dir, "x.index", &index);
    let dictd = readers::dictd(&index_path, &dict_path, &ReadLimits::default()).unwrap();
    assert_eq!(dictd.info().short, "A Small Dictionary (2024)");
    let (read, errors) = outcome(dictd);
    assert!(errors.is_empty());
    assert_eq!(read.len(), 2);
    assert_eq!(read[0].text, "B-tree\n\nA multi-way balanced tree.");
    assert_eq!(read[0].contributed_at.as_deref(), Some("2000-01-10"));
    assert_eq!(read[0].source.as_deref(), Some("A Small Dictionary (2024)"));
    assert_eq!(
        Value::Object(read[0].metadata.clone()),
        json!({"headword": "B-tree", "aliases": ["Bayer tree"], "category": "algorithm"})
    );
    assert_eq!((read[1].line, read[1].text.as_str()), (4, "heap\n\nA tree that is no search tree."));

    let beyond = file(&dir, "y.index", format!("heap\t{}\n", at(dict.len(), 5)));
    let (_, errors) = outcome(readers::dictd(&beyond, &dict_path, &ReadLimits::default()).unwrap());
    assert!(errors[0].1.contains("do not belong together"), "{errors:?}");
    let garbled = file(&dir, "z.index", "heap\t!\tB\n");
    assert_eq!(readers::dictd(&garbled, &dict_path, &ReadLimits::default()).unwrap_err().line(), Some(1));
}

fn base64(mut number: usize) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    loop {
        text.insert(0, char::from(digits[number % 64]));
        number /= 64;
        if number == 0 {
            return text;
        }
    }
}

#[test]
fn rows_of_a_table_are_read_by_its_columns() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "x.jsonl", "{\"body\":\"one\",\"n\":7,\"k\":[1]}\n{\"body\":[]}\n{\"other\":1}\n");
    let columns: Columns = "text=body,id=n".parse().unwrap();
    let (read, errors) = outcome(readers::rows(&path, &columns, &ReadLimits::default()).unwrap());
    assert_eq!((read.len(), read[0].text.as_str(), read[0].id.as_deref()), (1, "one", Some("7")));
    assert_eq!(Value::Object(read[0].metadata.clone()), json!({"k": [1]}));
    assert_eq!(errors.iter().map(|e| e.0).collect::<Vec<_>>(), [2, 3]);
    assert!(errors[1].1.contains("`other`"), "{}", errors[1].1);
}

#[test]
fn passages_of_a_document_know_their_section_page_and_place() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "x.pdf", "the original's bytes");
    let text = "Trees\n\nA tree grows – slowly.\n\nHeaps\n\nA heap is a heap.";
    let at = |word: &str| text.find(word).unwrap();
    let document = Document {
        title: Some("Title".to_owned()),
        text: text.to_owned(),
        headings: vec![Heading { at: at("Heaps"), level: 1, text: "Heaps".to_owned() }],
        pages: vec![0, at("Heaps")],
    };
    let limits = ReadLimits { passage_chars: 20, ..ReadLimits::default() };
    let (read, _) = outcome(readers::document(&path, document, &limits).unwrap());
    let seen: Vec<(&str, Value, Value)> = read
        .iter()
        .map(|draft| (draft.text.as_str(), draft.metadata["headings"].clone(), draft.metadata["page"].clone()))
        .collect();
    assert_eq!(seen.last().unwrap(), &("A heap is a heap.", json!(["Heaps"]), json!(2)));
    assert_eq!((&seen[0].1, &seen[0].2), (&json!(["Title"]), &json!(1)));
    for draft in &read {
        let span: [usize; 2] = serde_json::from_value(draft.metadata["characters"].clone()).unwrap();
        let there: String = text.chars().skip(span[0]).take(span[1] - span[0]).collect();
        assert_eq!(there, draft.text);
    }
}

#[test]
fn passages_overlap_where_that_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "x.txt", (0..60).map(|n| format!("word{n} ")).collect::<String>());
    let limits = ReadLimits { passage_chars: 100, passage_overlap: 30, ..ReadLimits::default() };
    let (read, _) = outcome(readers::text(&path, &limits).unwrap());
    let spans: Vec<[usize; 2]> =
        read.iter().map(|draft| serde_json::from_value(draft.metadata["characters"].clone()).unwrap()).collect();
    assert!(spans.len() > 3 && spans.windows(2).all(|two| two[1][0] < two[0][1]), "{spans:?}");
}
