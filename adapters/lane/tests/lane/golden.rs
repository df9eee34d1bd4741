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

/// In f32 every token; in Q8_0 what its rounding of activations to bytes leaves certain.
#[test]
fn smollm2_from_its_gguf_equals_the_reference_with_and_without_an_adapter() {
    let dir = std::env::var_os("CAIRN_TEST_MODELS").expect("CAIRN_TEST_MODELS: the directory of pulled models");
    let dir = PathBuf::from(dir).join("smollm2-135m-instruct/original");
    let (exact, rounded) = (open(&dir, Form::F32), open(&dir, Form::Q8_0));
    let of = |decoder: &Decoder| attached(decoder, &golden().join("smollm2/adapter"));
    let (on_exact, on_rounded) = (of(&exact), of(&rounded));
    let base = smollm2("base.golden.json", (&exact, &[]), (&rounded, &[]));
    let adapted = smollm2("adapter.golden.json", (&exact, &on_exact), (&rounded, &on_rounded));
    // The adapter is as exact as what it stands beside.
    assert!(adapted < 1.25 * base, "logits in q8_0 are off by {adapted} with the adapter, by {base} without");
}

/// Checks both; returns how far the logits of the second are from those of the first, relative to their size.
fn smollm2(
    file: &str,
    (exact, on_exact): (&Decoder, &[Weighted]),
    (rounded, on_rounded): (&Decoder, &[Weighted]),
) -> f32 {
    let vocabulary = exact.config().vocab_size;
    let (mut off, mut size) = (0.0, 0.0);
    for case in cases::<SmolCase>(&golden().join("smollm2").join(file)) {
        let whole: Vec<u32> = case.input_ids.iter().chain(&case.greedy).copied().collect();
        let logits = all_logits(exact, &whole, on_exact);
        let last = &logits[(case.input_ids.len() - 1) * vocabulary..][..vocabulary];
        let tops = case.top_ids.iter().zip(&case.top_logits);
        let most = tops.map(|(id, logit)| (last[*id as usize] - logit).abs()).fold(0.0, f32::max);
        assert!(most < 1e-3, "{file}: one of the largest logits is off by {most}");
        let least = case.top_logits.iter().copied().fold(f32::INFINITY, f32::min);
        let above = last.iter().filter(|logit| **logit > least + 1e-3).count();
        assert!(above < case.top_ids.len(), "{file}: {above} logits are above the least of the largest");
        assert_eq!(greedy(exact, &case.input_ids, on_exact, case.greedy.len()), case.greedy, "{file}");

        // The reference itself has a place where the second token is 0.015 below the first. So each of its tokens, after
        // those before it, is the most probable one or nearly that, and nearly all are the most probable.
        let found = all_logits(rounded, &whole, on_rounded);
        let mut second = 0;
        for (t, token) in case.greedy.iter().enumerate() {
            let logits = &found[(case.input_ids.len() + t - 1) * vocabulary..][..vocabulary];
            let below = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) - logits[*token as usize];
            assert!(below < 0.5, "{file}: token {t} is {below} below the most probable one");
            second += usize::from(below > 0.0);
        }
        assert!(second * 8 <= case.greedy.len(), "{file}: {second} of {} tokens", case.greedy.len());
        off += logits.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        size += logits.iter().map(|logit| logit * logit).sum::<f32>();
    }
    (off / size).sqrt()
}
