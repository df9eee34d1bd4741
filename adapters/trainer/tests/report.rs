//! An evaluation as JSON and as a page. With `CAIRN_REPORT` set to a path, the page is left there to be looked at.

use cairn_trainer::{
    metrics::{Bootstrap, Likelihood, RougeScorer, SIGNATURE},
    report::{
        Answer, Breakdown, Evaluation, GenerationSample, HeldOutSummary, LossPoint, MemoryReport, Throughput,
        TimeReport, Times, Verdict, compare_answers, compare_likelihoods,
    },
};
use serde_json::Value;

fn evaluation() -> Evaluation {
    let bootstrap = Bootstrap::default();
    let words = ["tree", "node", "queue", "lock", "page", "log", "cache", "key", "hash", "thread", "code", "file"];
    let sentence = |seed: usize, n: usize| -> String {
        (0..n).map(|i| words[(seed * 31 + i * (seed + 7) + i * i) % words.len()]).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<[String; 3]> = (0..60)
        .map(|i| {
            let reference = format!("A {} of data.", sentence(i, 8));
            let adapter =
                if i % 3 == 0 { sentence(i + 1, 9) } else { reference.replacen("of data", "for data", i % 2) };
            [reference, format!("It is {} I think, <b>maybe</b>.", sentence(i + 2, 14)), adapter]
        })
        .collect();
    let answers: Vec<Answer<'_>> =
        texts.iter().map(|[reference, base, adapter]| Answer { reference, base, adapter }).collect();
    let likelihood = |i: usize, nats: f64| Likelihood { nll: 20.0 * nats + (i % 7) as f64, tokens: 20, bytes: 84 };
    let rows: Vec<[Likelihood; 2]> = (0..60).map(|i| [likelihood(i, 3.1), likelihood(i, 2.6)]).collect();
    let mut metrics = compare_likelihoods(&rows, &bootstrap);
    metrics.extend(compare_answers(&answers, RougeScorer { stemmed: true }, &bootstrap));
    let curve = |step: usize| 2.4 + 1.2 * (-(step as f64) / 60.0).exp() + 0.12 * ((step * 7) as f64).sin();
    let predicted = Breakdown {
        weights: 76_000_000,
        adapter: 19_000_000,
        gradients: 19_000_000,
        optimizer: 10_000_000,
        activations: 310_000_000,
        program: 67_000_000,
    };
    Evaluation {
        adapter: "foldoc-terms, generation 1".to_owned(),
        base: "smollm2-135m-instruct".to_owned(),
        dataset: "a made-up set".to_owned(),
        created: "2026-01-01T12:00:00Z".to_owned(),
        held_out: HeldOutSummary { rows: 60, generated: 60, supervised_tokens: 1200, prompts_masked: true },
        metrics,
        bleu_signature: SIGNATURE.to_owned(),
        bootstrap,
        training_loss: (1..=300).map(|step| LossPoint { step, loss: curve(step) }).collect(),
        evaluation_loss: (0..=6).map(|i| LossPoint { step: (i * 50).max(1), loss: curve(i * 50) + 0.1 }).collect(),
        memory: Some(MemoryReport {
            predicted,
            measured_peak: Some(489_000_000),
            measured: Some(Breakdown { activations: 298_000_000, ..predicted }),
            evaluation_peak: None,
            device_peak: None,
            half_lora: Breakdown { weights: 269_000_000, ..predicted },
            full_fine_tuning: Breakdown {
                weights: 269_000_000,
                gradients: 269_000_000,
                optimizer: 1_614_000_000,
                adapter: 0,
                ..predicted
            },
        }),
        time: Some(TimeReport {
            predicted: Some(Times { loading: 1.5, steps: 900.0, watching: 60.0, scoring: 240.0, answers: None }),
            measured: Times { loading: 1.2, steps: 955.0, watching: 66.0, scoring: 251.0, answers: Some(130.0) },
        }),
        throughput: Throughput { training: Some(612.4), decode_base: Some(48.2), decode_adapter: Some(45.9) },
        samples: vec![GenerationSample {
            prompt: "Define: AVL tree".to_owned(),
            reference: "A self-balancing binary search tree.".to_owned(),
            base: "<script>alert('AVL')</script> is a language & a \"tree\".".to_owned(),
            adapter: Some("A binary search tree that keeps itself balanced.".to_owned()),
        }],
        configuration: vec![("r".to_owned(), "16".to_owned()), ("lr".to_owned(), "2e-4".to_owned())],
    }
}

#[test]
fn json_comes_back_as_it_was() {
    let evaluation = evaluation();
    let json = serde_json::to_string(&evaluation).unwrap();
    let back: Evaluation = serde_json::from_str(&json).unwrap();
    same(&serde_json::to_value(&back).unwrap(), &serde_json::to_value(&evaluation).unwrap());
    assert_eq!(back.memory, evaluation.memory);
}

/// Equal, floats to the last bits: serde_json reads them to the last bit but one.
fn same(a: &Value, b: &Value) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()));
            a.values().zip(b.values()).for_each(|(a, b)| same(a, b));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).for_each(|(a, b)| same(a, b));
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => assert!((a - b).abs() <= 1e-12 * a.abs().max(1.0), "{a} {b}"),
            _ => assert_eq!(a, b),
        },
    }
}

#[test]
fn the_page_is_self_contained_and_says_what_changed() {
    let evaluation = evaluation();
    assert_eq!(evaluation.metrics.len(), 9);
    let page = evaluation.to_html();
    if let Some(path) = std::env::var_os("CAIRN_REPORT") {
        std::fs::write(path, &page).unwrap();
    }
    for outside in ["<script", "http:", "https:", "<link", "<img", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("&lt;script&gt;alert") && page.contains("a language &amp; a &quot;tree&quot;"));
    for metric in &evaluation.metrics {
        assert!(page.contains(&metric.sentence()));
    }
    assert_eq!(evaluation.metrics[0].verdict(), Verdict::Better);
    assert!(page.contains("falls from 25.7 to 15.6: the adapter is better."), "{}", evaluation.metrics[0].sentence());
    assert!(page.contains("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp") && page.contains("489 MB"));
    for tag in ["svg", "section", "article", "table", "div", "p", "span", "pre"] {
        let count = |mark: &str| page.matches(mark).count();
        let opened = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
        assert_eq!(opened, count(&format!("</{tag}>")), "{tag}");
    }
}

#[test]
fn a_page_of_next_to_nothing_still_stands() {
    let empty = Evaluation {
        metrics: Vec::new(),
        training_loss: vec![LossPoint { step: 1, loss: f64::NAN }],
        evaluation_loss: Vec::new(),
        memory: None,
        throughput: Throughput::default(),
        samples: Vec::new(),
        configuration: Vec::new(),
        ..evaluation()
    };
    let page = empty.to_html();
    assert!(!page.contains("NaN") && page.ends_with("</html>\n"));
}

#[test]
fn a_base_alone_has_no_verdicts() {
    let mut evaluation = evaluation();
    for metric in &mut evaluation.metrics {
        (metric.adapter, metric.difference) = (None, None);
    }
    evaluation.samples[0].adapter = None;
    let page = evaluation.to_html();
    for absent in ["with the adapter</h4>", "class=\"verdicts\"", "the adapter is better"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("The base alone,"));
    let json = serde_json::to_string(&evaluation).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation);
}
