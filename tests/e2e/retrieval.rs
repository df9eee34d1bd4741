//! Datanets in answers and in searches: what is found, and why.

use std::path::Path;

use cairn_tests::{Setup, copy, shared, unique};
use serde_json::{Value, json};

const QUESTION: &str = "What is a B-tree?";

fn headwords(found: &Value) -> Vec<String> {
    let data = found.as_array().unwrap_or_else(|| panic!("an array of datapoints: {found}"));
    data.iter().map(|it| it["metadata"]["headword"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_question_retrieves_its_entry_first() {
    let client = shared().await.admin();
    let answer = client.chat(json!({"ask": QUESTION, "datanets": ["foldoc"], "max_tokens": 48})).await;
    let attribution = &answer["attribution"];
    let passages = attribution["datapoints"].as_array().expect("passages");
    assert_eq!(passages.len(), 4, "retrieval.top_k is 4 by default");
    let first = &passages[0];
    assert_eq!(first["metadata"]["headword"], "B-tree", "{:?}", headwords(&attribution["datapoints"]));
    assert_eq!(first["n"], 1);
    assert_eq!(first["datanet"], "foldoc");
    assert!(first["text"].as_str().is_some_and(|text| text.contains("balanced tree")), "{first:#}");
    assert_eq!(first["contributor"], "Denis Howe");
    let date = first["contributed_at"].as_str().unwrap_or_default();
    assert!(date.len() >= 10 && date[..4].parse::<u32>().is_ok(), "a date: {first:#}");
    assert_eq!(first["licence"], "GFDL");
    assert!(first["source"].as_str().is_some_and(|it| it.contains("Dictionary of Computing")), "{first:#}");
    assert_eq!(first["leaf"].as_str().map(str::len), Some(64), "a leaf hash: {first:#}");
    let why = &first["why"];
    assert_eq!(why["rank"], 1);
    assert!(why["vector_score"].as_f64().is_some_and(|it| (0.3..=1.0).contains(&it)), "{why:#}");
    assert!(why["text_score"].as_f64().is_some_and(|it| it > 0.0), "{why:#}");
    assert!(why["vector_rank"].is_u64() && why["text_rank"].is_u64(), "{why:#}");
    assert!(why["fused_score"].as_f64().is_some_and(|it| it > 0.0), "{why:#}");
    let terms = why["matched_terms"].as_array().expect("matched terms");
    assert!(terms.iter().any(|term| term.as_str().is_some_and(|term| term.contains("tree"))), "{terms:?}");

    let candidates = attribution["candidates"].as_array().expect("candidates");
    assert!(candidates.len() > 4, "everything that was considered is listed: {}", candidates.len());
    for (place, candidate) in candidates.iter().enumerate() {
        assert_eq!(candidate["why"]["rank"], place + 1);
        assert!(candidate.get("text").is_none(), "candidates come without texts");
    }
    let scores: Vec<f64> = candidates.iter().filter_map(|it| it["why"]["fused_score"].as_f64()).collect();
    assert!(scores.len() == candidates.len() && scores.is_sorted_by(|a, b| a >= b), "best first: {scores:?}");
    assert_eq!(candidates[0]["id"], first["id"]);
    check_citations(&answer);
}

/// Citations lie within the answer and agree with the annotations and with `cited`.
fn check_citations(answer: &Value) {
    let message = &answer["choices"][0]["message"];
    let length = message["content"].as_str().expect("content").chars().count() as u64;
    let citations = answer["attribution"]["citations"].as_array().expect("citations");
    let annotations = message["annotations"].as_array().expect("annotations");
    assert_eq!(citations.len(), annotations.len(), "each citation is annotated");
    for (citation, annotation) in citations.iter().zip(annotations) {
        let (start, end) = (citation["start"].as_u64().expect("start"), citation["end"].as_u64().expect("end"));
        assert!(start < end && end <= length, "{citation} in an answer of {length} characters");
        assert!(matches!(citation["kind"].as_str(), Some("marker" | "overlap")), "{citation}");
        assert_eq!(annotation["type"], "url_citation");
        let url = &annotation["url_citation"];
        assert_eq!((&url["start_index"], &url["end_index"]), (&citation["start"], &citation["end"]));
    }
    for passage in answer["attribution"]["datapoints"].as_array().expect("passages") {
        let cited = citations.iter().any(|citation| citation["n"] == passage["n"]);
        assert_eq!(passage["cited"], cited, "passage {}", passage["n"]);
    }
}

#[tokio::test]
async fn attribution_does_not_depend_on_the_models_obedience() {
    let client = shared().await.admin();
    let name = unique("capitals");
    let sentence = "The river Cairn springs from the granite hills above Quillfoss and ends in the lake of Ombra.";
    client.datanet(&name, &[("river", sentence), ("lake", "The lake of Ombra is two hundred metres deep.")]).await;
    // Continued greedily from its own words, the model repeats the passage, and writes no marker.
    let half = "The river Cairn springs from the granite hills above Quillfoss and ends in the lake of Ombra. The river Cairn springs from the";
    let request = json!({"model": cairn_tests::MODEL, "prompt": half, "datanets": [name], "temperature": 0, "max_tokens": 24, "stop": "["});
    let answer = client.post("/v1/completions", request).await.ok();
    let text = answer["choices"][0]["text"].as_str().expect("text");
    let citations = answer["attribution"]["citations"].as_array().expect("citations");
    assert!(citations.iter().any(|it| it["kind"] == "overlap"), "{text:?} repeats a passage: {citations:#?}");
    let passages = answer["attribution"]["datapoints"].as_array().expect("passages");
    assert_eq!(passages[0]["id"], "river");
    assert_eq!(passages[0]["contributor"], "tests");
}

#[tokio::test]
async fn a_citation_leads_to_its_datapoint() {
    let client = shared().await.admin();
    let answer = client.chat(json!({"ask": QUESTION, "datanets": ["foldoc"], "max_tokens": 1})).await;
    let first = &answer["attribution"]["datapoints"][0];
    let id = first["id"].as_str().expect("an id");
    let escaped: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let datapoint = client.get(&format!("/v1/datanets/foldoc/datapoints/{escaped}")).await.ok();
    for field in ["id", "datanet", "text", "contributor", "contributed_at", "licence", "metadata", "leaf", "source"] {
        assert_eq!(datapoint[field], first[field], "{field}");
    }
    assert_eq!(datapoint["content_hash"].as_str().map(str::len), Some(64));
}

#[tokio::test]
async fn a_stream_carries_the_same_attribution() {
    let client = shared().await.admin();
    let request = json!({"ask": QUESTION, "datanets": ["foldoc"], "max_tokens": 8, "retrieval": {"top_k": 2}});
    let (whole, streamed) = (client.chat(request.clone()).await, client.chat_streamed(request).await);
    let attribution = streamed.attribution();
    assert_eq!(headwords(&attribution["datapoints"]), headwords(&whole["attribution"]["datapoints"]));
    assert_eq!(attribution["datapoints"].as_array().map(Vec::len), Some(2), "top_k of the request");
    assert!(attribution["receipt"]["index"].is_u64(), "{attribution:#}");
    let record = client.get(&format!("/v1/attributions/{}", attribution["id"].as_str().expect("an id"))).await.ok();
    let mut recorded = record["attribution"].clone();
    // The log may have grown since.
    for field in ["tree_size", "root", "record_url", "proof_url"] {
        recorded["receipt"][field] = attribution["receipt"][field].clone();
    }
    assert_eq!(&recorded, attribution);
    assert_eq!(record["response"]["choices"][0]["message"]["content"], streamed.text(0));
    assert_eq!(record["request"]["messages"][0]["content"], QUESTION);
}

#[tokio::test]
async fn a_search_says_why_in_each_mode() {
    let client = shared().await.admin();
    let search = async |mode: &str, top_k: usize| {
        let request = json!({"query": QUESTION, "datanets": ["foldoc"], "mode": mode, "top_k": top_k});
        client.post("/v1/search", request).await.ok()
    };
    let hybrid = search("hybrid", 3).await;
    assert_eq!(hybrid["object"], "list");
    assert_eq!(hybrid["query"], QUESTION);
    assert_eq!(hybrid["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(headwords(&hybrid["data"])[0], "B-tree");
    for (mode, there, not_there) in [("vector", "vector", "text"), ("full_text", "text", "vector")] {
        let found = search(mode, 5).await;
        let data = found["data"].as_array().expect("results");
        assert!(!data.is_empty(), "{mode} finds something");
        assert!(
            headwords(&found["data"]).iter().any(|word| word == "B-tree"),
            "{mode}: {:?}",
            headwords(&found["data"])
        );
        for (place, result) in data.iter().enumerate() {
            let why = &result["why"];
            assert_eq!(why[format!("{there}_rank")], place + 1, "{mode}: {why:#}");
            assert!(why[format!("{there}_score")].is_f64(), "{mode}: {why:#}");
            assert!(why[format!("{not_there}_rank")].is_null(), "{mode}: {why:#}");
            assert!(result["text"].is_string(), "search results have texts");
        }
    }
    client.post("/v1/search", json!({"query": " "})).await.error(400, "invalid_request");
    client.post("/v1/search", json!({"query": "x", "top_k": 51})).await.error(400, "invalid_request");
    client.post("/v1/search", json!({"query": "x", "mode": "psychic"})).await.error(400, "invalid_request");
    client.post("/v1/search", json!({"query": "x", "datanets": ["none"]})).await.error(404, "datanet_not_found");
}

#[tokio::test]
async fn two_datanets_are_searched_at_once() {
    let client = shared().await.admin();
    let found =
        client.post("/v1/search", json!({"query": "tree", "datanets": ["foldoc", "jargon"], "top_k": 50})).await.ok();
    let data = found["data"].as_array().expect("results");
    for datanet in ["foldoc", "jargon"] {
        assert!(data.iter().any(|it| it["datanet"] == datanet), "something of {datanet} is found");
    }
    let request = json!({"ask": "tree", "datanets": ["foldoc", "jargon", "foldoc"], "max_tokens": 1});
    let answer = client.chat(request).await;
    let record = client.get(&format!("/v1/attributions/{}", answer["id"].as_str().expect("an id"))).await.ok();
    let snapshots = record["record"]["retrieval"]["datanets"].as_array().expect("snapshots").clone();
    let names: Vec<_> = snapshots.iter().map(|it| it["name"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, ["foldoc", "jargon"], "the record names the snapshots that were searched");
    for snapshot in &snapshots {
        let datanet = client.get(&format!("/v1/datanets/{}", snapshot["name"].as_str().expect("a name"))).await.ok();
        assert_eq!(snapshot["root"], datanet["snapshot"]["root"]);
        assert_eq!(snapshot["size"], datanet["snapshot"]["size"]);
    }
}

#[tokio::test]
async fn datanets_are_created_browsed_and_deleted() {
    let gateway = copy().await;
    let client = gateway.admin();
    let made = client.post("/v1/datanets", json!({"name": "notes", "title": "Notes", "licence": "CC0-1.0"})).await;
    assert_eq!(made.status, 201, "{made}");
    assert_eq!((&made.ok()["owner"], &made.ok()["snapshot"]["size"]), (&json!("admin"), &json!(0)));
    client.post("/v1/datanets", json!({"name": "notes"})).await.error(409, "already_exists");
    client.post("/v1/datanets", json!({"name": "Not A Name"})).await.error(400, "invalid_request");
    client.post("/v1/datanets", json!({"name": "x", "licens": "typo"})).await.error(400, "invalid_request");

    let lines: String = (0..7)
        .map(|n| format!("{}\n", json!({"id": format!("note/{n}"), "text": format!("note {n}"), "metadata": {"n": n}})))
        .collect();
    let query = [("format", "jsonl"), ("contributor", "ada"), ("contributed_at", "2024-02-29")];
    let report = client.succeeded(&client.ingest_text("notes", &query, "notes.jsonl", &lines).await).await;
    assert_eq!((&report["read"], &report["added"], &report["skipped_duplicates"]), (&json!(7), &json!(7), &json!(0)));
    let again = client.succeeded(&client.ingest_text("notes", &query, "notes.jsonl", &lines).await).await;
    assert_eq!((&again["added"], &again["skipped_duplicates"]), (&json!(0), &json!(7)), "the same file adds nothing");

    let page = client.get("/v1/datanets/notes/datapoints?limit=5").await.ok();
    let ids: Vec<_> = page["data"].as_array().expect("a page").iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["note/0", "note/1", "note/2", "note/3", "note/4"]);
    assert_eq!(page["next"], 5);
    let page = client.get("/v1/datanets/notes/datapoints?limit=5&after=5").await.ok();
    assert_eq!((page["data"].as_array().map(Vec::len), &page["next"]), (Some(2), &json!(null)));
    let one = client.get("/v1/datanets/notes/datapoints/note/3").await.ok();
    assert_eq!((&one["text"], &one["seq"], &one["metadata"]["n"]), (&json!("note 3"), &json!(3), &json!(3)));
    assert_eq!((&one["licence"], &one["contributed_at"]), (&json!("CC0-1.0"), &json!("2024-02-29")), "the defaults");
    client.get("/v1/datanets/notes/datapoints/note/9").await.error(404, "not_found");

    assert_eq!(client.delete("/v1/datanets/notes").await.status, 204);
    client.get("/v1/datanets/notes").await.error(404, "datanet_not_found");
    client.post("/v1/search", json!({"query": "note", "datanets": ["notes"]})).await.error(404, "datanet_not_found");
}

#[tokio::test]
async fn embeddings_are_unit_vectors() {
    let client = shared().await.admin();
    let request =
        json!({"model": cairn_tests::EMBEDDING, "input": ["a tree of disk pages", "index on disk", "a banana"]});
    let made = client.post("/v1/embeddings", request).await.ok();
    let vectors: Vec<Vec<f64>> = made["data"]
        .as_array()
        .expect("vectors")
        .iter()
        .map(|it| it["embedding"].as_array().expect("floats").iter().filter_map(Value::as_f64).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    for vector in &vectors {
        assert_eq!(vector.len(), 384);
        assert!((dot(vector, vector) - 1.0).abs() < 1e-4, "length {}", dot(vector, vector));
    }
    assert!(dot(&vectors[0], &vectors[1]) > dot(&vectors[0], &vectors[2]) + 0.1, "what means the like lies near");
    assert!(made["usage"]["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 6), "{}", made["usage"]);
}

#[tokio::test]
async fn a_cross_encoder_is_used_where_there_is_one_and_refused_where_not() {
    let request = json!({"query": "a search tree", "datanets": ["trees"], "rerank": "cross_encoder"});
    let texts = [("b-tree", "A balanced search tree on disk."), ("oak", "An oak."), ("heap", "A heap of apples.")];
    let mut gateway = Setup::new().start();
    let client = gateway.admin();
    client.datanet("trees", &texts).await;
    let refused = client.post("/v1/search", request.clone()).await.error(400, "invalid_request");
    assert!(refused["message"].as_str().is_some_and(|message| message.contains("cross_encoder")), "{refused:#}");

    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../index/tests/cross-encoder");
    gateway.set("retrieval.cross_encoder", &tiny.to_string_lossy());
    gateway.restart();
    let client = gateway.admin();
    let found = client.post("/v1/search", request).await.ok();
    let scores: Vec<f64> =
        found["data"].as_array().expect("results").iter().filter_map(|it| it["why"]["rerank_score"].as_f64()).collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{found:#}");
    let ask = json!({"ask": "a search tree", "datanets": ["trees"], "max_tokens": 1, "retrieval": {"rerank": "cross_encoder"}});
    let answer = client.chat(ask).await;
    let id = answer["attribution"]["id"].as_str().expect("an id").to_owned();
    let bundle: Value = serde_json::from_slice(&client.proof(&id).await).expect("a bundle");
    let method = bundle["record"]["retrieval"]["rerank"].as_str().expect("a method").to_owned();
    let hash = method.strip_prefix("cross-encoder:").unwrap_or_default();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{method}");
}
