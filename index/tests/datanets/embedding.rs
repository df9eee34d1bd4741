//! MiniLM against the library it comes from, and the embedding threads against MiniLM.

use cairn_index::{MiniLm, Precision};
use serde_json::Value;

use super::{embedder, model_dir};

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

/// minilm.golden.json: vectors and token counts that sentence-transformers computes; within 1e-4 in every dimension.
#[test]
fn vectors_equal_those_of_sentence_transformers() {
    let golden: Value = serde_json::from_str(include_str!("minilm.golden.json")).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    let texts: Vec<String> = rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect();
    let model = MiniLm::load(&model_dir()).unwrap();
    let computed = model.embed(&texts).unwrap().vectors;
    for ((row, text), vector) in rows.iter().zip(&texts).zip(computed) {
        assert_eq!(model.count_tokens(text).unwrap() as u64, row["tokens"].as_u64().unwrap(), "{text:?}");
        let expected = row["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32);
        let furthest = vector.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-4, "{text:?}: {furthest}");
    }
}

#[test]
fn vectors_in_eight_bits_lie_near_those_in_floats() {
    let long = "balanced trees and hash tables ".repeat(100);
    let texts =
        texts(&["a", "A multi-way balanced tree.", &long, "How do I sort a list of numbers?", "日本語 and emoji 🌳"]);
    let (exact, eight) = (MiniLm::load(&model_dir()), MiniLm::load_in(&model_dir(), Precision::Q8));
    let (exact, eight) = (exact.unwrap().embed(&texts).unwrap(), eight.unwrap().embed(&texts).unwrap());
    for ((text, exact), eight) in texts.iter().zip(&exact.vectors).zip(&eight.vectors) {
        assert!(exact != eight && cosine(exact, eight) > 0.99, "{text:?}: {}", cosine(exact, eight));
    }
}

#[test]
fn a_batch_equals_its_texts_one_by_one() {
    let model = MiniLm::load(&model_dir()).unwrap();
    let long = "balanced trees and hash tables ".repeat(100);
    let texts = texts(&["a", "", "A multi-way balanced tree.", &long, "日本語 and emoji 🌳"]);
    let together = model.embed(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together.vectors) {
        assert_eq!(vector.len(), 384);
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5);
        let alone = model.embed(std::slice::from_ref(text)).unwrap();
        assert!(cosine(vector, &alone.vectors[0]) > 0.99999, "{text:?}");
    }
    let counted: usize = texts.iter().map(|text| model.count_tokens(text).unwrap()).sum();
    assert_eq!(together.tokens, counted as u64);
    assert_eq!(model.count_tokens("a tree").unwrap(), 4);
}

#[test]
fn paraphrases_are_closer_than_strangers() {
    let model = MiniLm::load(&model_dir()).unwrap();
    let vectors = model
        .embed(&texts(&[
            "How do I sort a list of numbers?",
            "What is a way to put numbers into order?",
            "Bananas ripen faster in a paper bag.",
        ]))
        .unwrap()
        .vectors;
    let (paraphrase, stranger) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(paraphrase > 0.5 && stranger < 0.2, "{paraphrase} {stranger}");
}

#[tokio::test]
async fn both_lanes_agree_with_the_model() {
    let (model, embedder) = (MiniLm::load(&model_dir()).unwrap(), embedder());
    let texts: Vec<String> = (0..40).map(|n| format!("text {n} {}", "word ".repeat(n))).collect();
    let expected = model.embed(&texts).unwrap();
    let bulk = embedder.embed_bulk(texts.clone()).await.unwrap();
    let few = embedder.embed(texts[..3].to_vec()).await.unwrap();
    assert_eq!(bulk.tokens, expected.tokens);
    assert_eq!((bulk.vectors.len(), few.vectors.len()), (40, 3));
    for (vector, expected) in bulk.vectors.iter().zip(&expected.vectors) {
        assert!(cosine(vector, expected) > 0.99999);
    }
    for (vector, expected) in few.vectors.iter().zip(&expected.vectors) {
        assert!(cosine(vector, expected) > 0.99999);
    }
    assert_eq!(embedder.weights_hash(), model.weights_hash());
}

#[test]
fn a_missing_model_is_named() {
    let Err(error) = MiniLm::load(std::path::Path::new("/nonexistent")) else { panic!("it was loaded") };
    assert!(error.to_string().contains("/nonexistent/config.json"), "{error}");
}
