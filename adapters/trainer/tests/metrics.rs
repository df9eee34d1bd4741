//! BLEU and ROUGE equal sacreBLEU 2.6.0 and rouge-score 0.1.2 on reference pairs.

use std::path::{Path, PathBuf};

use cairn_trainer::metrics::{BleuStatistics, Prf, RougeScorer, SIGNATURE, corpus_bleu, sentence_bleu};
use serde_json::Value;

#[test]
fn bleu_equals_sacrebleu() {
    let golden = golden();
    let pairs = pairs(&golden);
    assert_eq!(golden["signature"], SIGNATURE);
    close(corpus_bleu(pairs.iter().copied()).score, &golden["corpus_bleu"], "corpus");
    let sum: BleuStatistics = pairs.iter().map(|(ours, theirs)| BleuStatistics::new(ours, &[theirs])).sum();
    for n in 0..4 {
        assert_eq!(golden["counts"][n], sum.counts[n]);
        assert_eq!(golden["totals"][n], sum.totals[n]);
    }
    assert_eq!(golden["sys_len"], sum.hypothesis_length);
    assert_eq!(golden["ref_len"], sum.reference_length);
    close(sum.score().brevity_penalty, &golden["brevity_penalty"], "brevity penalty");
    for (row, (ours, theirs)) in golden["rows"].as_array().unwrap().iter().zip(&pairs) {
        close(sentence_bleu(ours, theirs), &row["sentence_bleu"], ours);
    }
    for row in golden["multi_reference"].as_array().unwrap() {
        let references: Vec<&str> =
            row["references"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let hypothesis = row["hypothesis"].as_str().unwrap();
        close(BleuStatistics::new(hypothesis, &references).score().score, &row["corpus_bleu"], hypothesis);
    }
}

#[test]
fn rouge_equals_rouge_score() {
    let golden = golden();
    let rows = golden["rows"].as_array().unwrap();
    assert!(rows.len() >= 50);
    for (row, (ours, theirs)) in rows.iter().zip(pairs(&golden)) {
        for (stemmed, name) in [(false, "rouge"), (true, "rouge_stemmed")] {
            let score = RougeScorer { stemmed }.score(ours, theirs).expect("all references have words");
            let all = [
                (score.rouge1, "rouge1"),
                (score.rouge2, "rouge2"),
                (score.rouge_l, "rougeL"),
                (score.rouge_lsum, "rougeLsum"),
            ];
            for (Prf { precision, recall, f1 }, kind) in all {
                for (i, value) in [precision, recall, f1].into_iter().enumerate() {
                    close(value, &row[name][kind][i], &format!("{name} {kind} {i} of {ours:?}"));
                }
            }
        }
    }
}

fn close(ours: f64, theirs: &Value, what: &str) {
    let theirs = theirs.as_f64().expect("a number");
    assert!((ours - theirs).abs() <= 1e-9, "{what}: {ours} instead of {theirs}");
}

fn pairs(golden: &Value) -> Vec<(&str, &str)> {
    let rows = golden["rows"].as_array().expect("rows").iter();
    rows.map(|row| (row["hypothesis"].as_str().expect("text"), row["reference"].as_str().expect("text"))).collect()
}

fn golden() -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let directory = std::env::var_os("CAIRN_GOLDEN").map_or(here, PathBuf::from);
    serde_json::from_slice(&std::fs::read(directory.join("metrics.json")).expect("the golden file")).expect("JSON")
}
