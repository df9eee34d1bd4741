//! Every golden case: each family, the base and each adapter.

use std::{fs, path::PathBuf};

use cairn_lane::{Decoder, Form};
use serde::Deserialize;

use crate::support::{Case, Weighted, all_logits, attached, cases, golden, greedy, open};

#[test]
fn llama_equals_the_reference() {
    family("llama");
}

#[test]
fn llama_with_scaled_rope_equals_the_reference() {
    family("llama3-rope");
}

#[test]
fn mistral_with_its_sliding_window_equals_the_reference() {
    family("mistral");
}

#[test]
fn qwen2_equals_the_reference() {
    family("qwen2");
}

#[test]
fn qwen3_equals_the_reference() {
    family("qwen3");
}

fn family(name: &str) {
    let dir = golden().join("peft").join(name);
    let decoder = open(&dir.join("base"), Form::F32);
    compare(&decoder, &dir.join("base.golden.json"), &[]);
    let adapters = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let adapters: Vec<PathBuf> = adapters.filter(|path| path.join("adapter_config.json").exists()).collect();
    assert!(adapters.len() >= 4, "{adapters:?}");
    for path in adapters {
        let adapters = attached(&decoder, &path);
        compare(
            &decoder,
            &path.with_file_name(format!("{}.golden.json", path.file_name().unwrap().display())),
            &adapters,
        );
    }
}

fn compare(decoder: &Decoder, path: &std::path::Path, adapters: &[Weighted]) {
    let vocabulary = decoder.config().vocab_size;
    for (i, case) in cases::<Case>(path).iter().enumerate() {
        let at = format!("{} row {i}", path.display());
        let logits = all_logits(decoder, &case.input_ids, adapters);
        let last = &logits[logits.len() - vocabulary..];
        let off = last.iter().zip(&case.last_logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{at}: a last logit is off by {off}");
        for (t, (logits, nll)) in logits.chunks(vocabulary).zip(&case.token_nll).enumerate() {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = logits.iter().map(|x| (x - max).exp()).sum();
            let actual = max + sum.ln() - logits[case.input_ids[t + 1] as usize];
            assert!((actual - nll).abs() < 1e-3, "{at}: token {t} has {actual} nats instead of {nll}");
        }
        assert_eq!(greedy(decoder, &case.input_ids, adapters, case.greedy.len()), case.greedy, "{at}");
    }
}

#[derive(Debug, Deserialize)]
struct SmolCase {
    input_ids: Vec<u32>,
    /// The most probable tokens after the prompt, and their logits.
    top_ids: Vec<u32>,
    top_logits: Vec<f32>,
    greedy: Vec<u32>,
}

#[test]
fn smollm2_from_its_gguf_equals_the_reference_with_and_without_an_adapter() {
    let dir = std::env::var_os("CAIRN_TEST_MODELS").expect("CAIRN_TEST_MODELS: the directory of pulled models");
    let dir = PathBuf::from(dir).join("smollm2-135m-instruct/original");
    for (form, exact) in [(Form::F32, usize::MAX), (Form::Q8_0, 8)] {
        let decoder = open(&dir, form);
        let adapter = attached(&decoder, &golden().join("smollm2/adapter"));
        for (file, adapters) in [("base.golden.json", &[][..]), ("adapter.golden.json", &adapter)] {
            for case in cases::<SmolCase>(&golden().join("smollm2").join(file)) {
                if form == Form::F32 {
                    let logits = all_logits(&decoder, &case.input_ids, adapters);
                    let last = &logits[logits.len() - decoder.config().vocab_size..];
                    let tops = case.top_ids.iter().zip(&case.top_logits);
                    let off = tops.map(|(id, logit)| (last[*id as usize] - logit).abs()).fold(0.0, f32::max);
                    assert!(off < 1e-3, "{file}: one of the largest logits is off by {off}");
                    let least = case.top_logits.iter().copied().fold(f32::INFINITY, f32::min);
                    let above = last.iter().filter(|logit| **logit > least + 1e-3).count();
                    assert!(above < case.top_ids.len(), "{file}: {above} logits are above the least of the largest");
                }
                let count = exact.min(case.greedy.len());
                assert_eq!(greedy(&decoder, &case.input_ids, adapters, count), case.greedy[..count], "{form} {file}");
            }
        }
    }
}
