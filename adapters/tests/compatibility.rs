//! Compatibility reports of the golden adapters on their own bases, on others', and on altered ones.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod common;

use std::collections::BTreeMap;

use cairn_adapters::{
    compatibility::{Check, Outcome, Report, Stated, report},
    peft::{Adapter, Limits},
};
use common::{golden, golden_base, write};
use serde_json::{Value, json};

fn adapter(family: &str, name: &str) -> Adapter {
    Adapter::read(&golden().join("peft").join(family).join(name), &Limits::default()).unwrap()
}

fn outcomes(report: &Report) -> BTreeMap<&str, Outcome> {
    report
        .tensors
        .iter()
        .filter(|tensor| tensor.outcome != Outcome::Matched)
        .map(|tensor| (tensor.name.as_str(), tensor.outcome))
        .collect()
}

#[test]
fn every_golden_adapter_fits_its_own_base() {
    for family in ["llama", "llama3-rope", "mistral", "qwen2"] {
        let base = golden_base(family);
        for name in ["qv", "all-linear-rslora", "dora", "patterns", "save-head"] {
            if (family, name) == ("llama", "save-head") {
                continue; // its head is tied
            }
            let adapter = adapter(family, name);
            let report = report(&adapter, &Stated::default(), &base);
            assert!(report.accepted, "{family}/{name}: {:?}", report.reasons);
            assert_eq!(report.targeted, Some(report.adapted), "{family}/{name}");
            assert_eq!(report.architecture, Check::NotStated);
            assert_eq!(report.tensors.len(), adapter.layers.len() + adapter.saved.len());
            let json = serde_json::to_string(&report).unwrap();
            assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        }
    }
}

#[test]
fn a_base_of_another_size_is_named_tensor_by_tensor() {
    let mut base = golden_base("mistral");
    let q = "model.layers.1.self_attn.q_proj";
    base.linears.insert(q.into(), [128, 64]);
    base.linears.insert("lm_head".into(), [640, 64]);
    base.linears.remove("model.layers.2.self_attn.v_proj");
    base.linears.insert("model.layers.3.self_attn.v_proj".into(), [32, 64]);
    let report = report(&adapter("mistral", "save-head"), &Stated::default(), &base);
    assert!(!report.accepted);
    assert_eq!(
        outcomes(&report),
        BTreeMap::from([
            (q, Outcome::WrongShape),
            ("lm_head.weight", Outcome::WrongShape),
            ("model.layers.2.self_attn.v_proj", Outcome::NotInBase),
            ("model.layers.3.self_attn.v_proj", Outcome::Missing),
        ])
    );
    assert!(report.reasons.iter().any(|reason| reason.contains("vocabulary was resized")), "{:?}", report.reasons);
    assert_eq!(report.reasons.len(), 4);
}

#[test]
fn what_the_directory_states_is_compared() {
    let base = golden_base("qwen2");
    let golden_base = golden().join("peft/qwen2/base");
    let dir = tempfile::tempdir().unwrap();
    let adapter = adapter("qwen2", "qv");
    for name in ["tokenizer.json", "chat_template.jinja", "config.json"] {
        std::fs::copy(golden_base.join(name), dir.path().join(name)).unwrap();
    }
    let same = report(&adapter, &Stated::read(dir.path(), &adapter.config.raw), &base);
    assert_eq!(
        (same.architecture, same.tokenizer, same.chat_template),
        (Check::Matched, Check::Matched, Check::Matched)
    );
    assert!(same.accepted);

    // Saved again by a trainer that pads: still the same tokenizer. One token more: another one.
    let mut tokenizer: Value =
        serde_json::from_slice(&std::fs::read(golden_base.join("tokenizer.json")).unwrap()).unwrap();
    tokenizer["padding"] = json!({"strategy": "BatchLongest", "pad_id": 0});
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    assert_eq!(Stated::read(dir.path(), &adapter.config.raw).tokenizer_hash, base.tokenizer_hash);
    tokenizer["added_tokens"].as_array_mut().unwrap().push(json!({"id": 9999, "content": "<new>"}));
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(dir.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    let mut raw = adapter.config.raw.clone();
    raw.insert("auto_mapping".into(), json!({"parent_library": "transformers.models.llama.modeling_llama"}));
    let other = report(&adapter, &Stated::read(dir.path(), &raw), &base);
    assert_eq!((other.architecture, other.tokenizer), (Check::Differs, Check::Differs));
    assert_eq!(other.chat_template, Check::Differs);
    assert_eq!((other.reasons.len(), other.notes.len()), (2, 1), "{other:?}");
}

#[test]
fn all_linear_means_every_layer_but_the_output() {
    let base = golden_base("llama");
    let dir = tempfile::tempdir().unwrap();
    let original = adapter("llama", "all-linear-rslora");
    let mut config = Value::Object(original.config.raw.clone());
    config["target_modules"] = json!("all-linear");
    let golden_weights = golden().join("peft/llama/all-linear-rslora/adapter_model.safetensors");
    write(dir.path(), &config, &BTreeMap::new());
    std::fs::copy(&golden_weights, dir.path().join("adapter_model.safetensors")).unwrap();
    let adapter = Adapter::read(dir.path(), &Limits::default()).unwrap();
    let whole = report(&adapter, &Stated::default(), &base);
    assert!(whole.accepted, "{:?}", whole.reasons);
    assert_eq!(whole.targeted, Some(21));

    let mut missing = adapter;
    missing.layers.remove("model.layers.1.mlp.gate_proj");
    let report = report(&missing, &Stated::default(), &base);
    assert_eq!(outcomes(&report), BTreeMap::from([("model.layers.1.mlp.gate_proj", Outcome::Missing)]));
}
