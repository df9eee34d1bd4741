//! Documents and tables as people have them: read, cut, mapped, compared, kept, and erased with what they hold.

use std::path::{Path, PathBuf};

use cairn_proof::Hash;
use cairn_tests::{Client, Reply, shared, unique};
use reqwest::{Method, multipart};
use serde_json::{Value, json};

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("documents").join(name)
}

async fn examine(client: &Client, datanet: &str, query: &[(&str, &str)], file: &str, bytes: Vec<u8>) -> Reply {
    let form = multipart::Form::new().part("file", multipart::Part::bytes(bytes).file_name(file.to_owned()));
    let request = client.request(Method::POST, &format!("/v1/datanets/{datanet}/examine")).query(query).multipart(form);
    client.send(request).await
}

#[tokio::test]
async fn web_pages_word_files_and_pdfs_become_passages_that_point_at_their_place() {
    let client = shared().await.admin();
    for (format, page) in [("html", None), ("docx", None), ("pdf", Some(1))] {
        let name = unique(format);
        client.post("/v1/datanets", json!({"name": name})).await.ok();
        let path = document(&format!("handbook.{format}"));
        let query = [("format", format), ("contributor", "Edda Marsh"), ("passage_characters", "300")];
        let report = client.succeeded(&client.ingest(&name, &query, &[&path]).await).await;
        assert!(report["added"].as_u64().is_some_and(|added| added >= 3), "{format}: {report:#}");

        let search = json!({"query": "How many days of leave does a keeper have?", "datanets": [name], "top_k": 1});
        let found = client.post("/v1/search", search).await.ok()["data"][0].clone();
        assert!(found["text"].as_str().is_some_and(|text| text.contains("thirty-four days")), "{format}: {found:#}");
        let metadata = &found["metadata"];
        assert_eq!(metadata["file"], format!("handbook.{format}"));
        assert_eq!(metadata["page"], json!(page), "{format}");
        if format != "pdf" {
            let headings = metadata["headings"].as_array().expect("headings");
            assert_eq!(headings.last().and_then(Value::as_str), Some("Leave"), "{format}: {metadata}");
        }
        let span: Vec<usize> = serde_json::from_value(metadata["characters"].clone()).expect("a span");
        assert_eq!(span[1] - span[0], found["text"].as_str().expect("text").chars().count());

        let bytes = std::fs::read(&path).expect("the original");
        assert_eq!(metadata["document"], Hash::of(&bytes).to_string(), "{format}");
        let at = format!("/v1/datanets/{name}/documents/{}", metadata["document"].as_str().expect("a hash"));
        let kept = client.get(&at).await;
        assert_eq!((kept.status, &kept.body), (200, &bytes), "{format}: the original is kept as it was");
        assert!(kept.header("content-disposition").starts_with("attachment"), "{}", kept.header("content-disposition"));

        client.post(&format!("/v1/datanets/{name}/erasures"), json!({"datapoints": [found["id"]]})).await.ok();
        client.get(&at).await.error(404, "not_found");
    }
}

#[tokio::test]
async fn tables_are_mapped_by_their_columns() {
    let client = shared().await.admin();
    let parquet = unique("parquet");
    client.post("/v1/datanets", json!({"name": parquet})).await.ok();
    let path = document("notes.parquet");
    let bytes = std::fs::read(&path).expect("the table");
    let unmapped = examine(&client, &parquet, &[("format", "parquet")], "notes.parquet", bytes.clone()).await.ok();
    assert_eq!(unmapped["rejected_total"], 3);
    let reason = unmapped["rejected"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("text=body") && reason.contains("`author`"), "{reason}");

    let columns = "text=body, id=entry, contributor=author, contributed_at=written";
    let query = [("format", "parquet"), ("columns", columns)];
    let examined = examine(&client, &parquet, &query, "notes.parquet", bytes).await.ok();
    assert_eq!((&examined["new"], &examined["rejected_total"]), (&json!(3), &json!(0)), "{examined:#}");
    assert_eq!(client.get(&format!("/v1/datanets/{parquet}")).await.ok()["snapshot"]["size"], 0, "nothing was written");
    client.succeeded(&client.ingest(&parquet, &query, &[&path]).await).await;
    let row = client.get(&format!("/v1/datanets/{parquet}/datapoints/q-3")).await.ok();
    assert_eq!(
        (&row["contributor"], &row["contributed_at"], &row["metadata"]),
        (&json!("Tobias Venn"), &json!("2022-07-01"), &json!({"watch": 3, "file": "notes.parquet", "row": 3}))
    );

    let lines = "{\"body\":\"A gull nests on the gallery.\",\"n\":1}\n{\"body\":7}\n{\"body\":null}\n";
    let query = [("format", "jsonl"), ("columns", "text=body,id=n"), ("contributor", "tests"), ("keep_good", "true")];
    let report = client.succeeded(&client.ingest_text(&parquet, &query, "gulls.jsonl", lines).await).await;
    assert_eq!((&report["added"], &report["rejected_total"]), (&json!(2), &json!(1)), "{report:#}");
    let wrong =
        examine(&client, &parquet, &[("format", "csv"), ("columns", "words=body")], "a.csv", b"body\n".into()).await;
    let error = wrong.error(400, "invalid_request");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("`words` is no field")), "{error}");
}

#[tokio::test]
async fn what_nearly_repeats_something_is_named_or_refused() {
    let client = shared().await.admin();
    let name = unique("near");
    let text = "When fewer than nine hundred litres are left in the tanks, the keeper on watch orders oil from Harrowgate \
                and Sons by telegram, and writes the hour of the order into the brass ledger beside the door.";
    client.datanet(&name, &[("first", text)]).await;
    let again = text.replace("nine hundred", "eight hundred");
    let lines =
        format!("{}\n{}\n", json!({"id": "again", "text": again}), json!({"id": "gull", "text": "A gull nests here."}));
    let query = [("format", "jsonl"), ("contributor", "tests"), ("near_duplicates", "refuse")];
    let report = client.succeeded(&client.ingest_text(&name, &query, "it.jsonl", &lines).await).await;
    assert_eq!((&report["added"], &report["near_duplicates_total"]), (&json!(1), &json!(1)), "{report:#}");
    let near = &report["near_duplicates"][0];
    assert_eq!((&near["id"], &near["of"], &near["line"]), (&json!("again"), &json!("first"), &json!(1)));
    assert!(near["similarity"].as_f64().is_some_and(|it| (0.8..1.0).contains(&it)), "{near}");

    let report = client.succeeded(&client.ingest_text(&name, &query[..2], "it.jsonl", &lines).await).await;
    assert_eq!(
        (&report["added"], &report["near_duplicates_total"]),
        (&json!(1), &json!(1)),
        "named and taken: {report:#}"
    );
}

#[tokio::test]
async fn terms_refuse_contributions_that_nearly_repeat() {
    let gateway = shared().await;
    let (owner, name) = (gateway.admin(), unique("terms-near"));
    let text = "The lamp of the Quillmere Lighthouse turns once in seventeen seconds, by a clockwork that the keeper on watch \
                winds every four hours with the iron crank under the gallery stairs.";
    owner.datanet(&name, &[("lamp", text)]).await;
    let terms = json!({"contributions": {"from_anyone": "allow", "near_duplicates": "refuse"}});
    let publish = owner.request(Method::PUT, &format!("/v1/datanets/{name}/terms")).json(&terms);
    owner.send(publish).await.ok();
    let (outsider, _) = gateway.caller(&["app"]).await;
    let offer = async |text: String| {
        let part = multipart::Part::text(format!("{}\n", json!({"text": text}))).file_name("offer.jsonl");
        let request = outsider.request(Method::POST, &format!("/v1/datanets/{name}/contributions"));
        outsider.send(request.query(&[("format", "jsonl")]).multipart(multipart::Form::new().part("file", part))).await
    };
    let error = offer(text.replace("seventeen", "eighteen")).await.error(400, "invalid_request");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("nearly repeat")), "{error}");
    assert_eq!(offer("The stairs have one hundred and twelve steps.".to_owned()).await.status, 201);
}

#[tokio::test]
async fn damaged_files_are_refused_with_a_reason_and_leave_nothing() {
    let client = shared().await.admin();
    let name = unique("damaged");
    client.post("/v1/datanets", json!({"name": name})).await.ok();
    let pdf = std::fs::read(document("handbook.pdf")).expect("the PDF");
    let cases = [
        ("pdf", "half.pdf", pdf[..pdf.len() / 3].to_vec(), "PDF"),
        ("pdf", "notes.pdf", b"not a PDF at all".to_vec(), "PDF"),
        ("docx", "old.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec(), ".docx"),
        ("html", "empty.html", b"<html><script>x</script></html>".to_vec(), "no text"),
        ("parquet", "table.parquet", b"text,licence\n".to_vec(), "Parquet"),
    ];
    for (format, file, bytes, said) in cases {
        let reply = examine(&client, &name, &[("format", format), ("contributor", "tests")], file, bytes).await;
        let error = reply.error(400, "invalid_request");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(said) && message.contains(file), "{format}: {message}");
        assert!(!message.contains("/tmp") && !message.contains("examined"), "no path of ours: {message}");
    }
    assert_eq!(client.get(&format!("/v1/datanets/{name}")).await.ok()["snapshot"]["size"], 0);
}
