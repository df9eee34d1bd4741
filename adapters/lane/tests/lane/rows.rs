//! Rows do not touch one another: the same bits alone, among others, and in parts.

use std::sync::Arc;

use cairn_adapters::peft::{Adapter, Limits};
use cairn_lane::{Decoder, Form, Row, Sequence, StepError, Wanted};

use crate::support::{Case, Weighted, all_logits, attached, cases, golden, open};

const ADAPTERS: [&str; 4] = ["qv", "all-linear-rslora", "dora", "patterns"];

fn decoder(family: &str, form: Form) -> (Decoder, Vec<Vec<Weighted>>) {
    let dir = golden().join("peft").join(family);
    let decoder = open(&dir.join("base"), form);
    let mut adapters: Vec<Vec<Weighted>> = ADAPTERS.iter().map(|name| attached(&decoder, &dir.join(name))).collect();
    adapters.push(vec![(adapters[0][0].0.clone(), 0.5), (adapters[2][0].0.clone(), 0.75)]);
    adapters.push(Vec::new());
    (decoder, adapters)
}

fn prompts(family: &str) -> Vec<Vec<u32>> {
    let path = golden().join("peft").join(family).join("base.golden.json");
    cases::<Case>(&path).into_iter().map(|case| [case.input_ids, case.greedy].concat()).collect()
}

#[test]
fn a_row_gets_the_same_bits_alone_and_among_fifteen_others() {
    for (family, form) in [
        ("llama", Form::F32),
        ("llama3-rope", Form::F16),
        ("mistral", Form::Q8_0),
        ("qwen2", Form::F32),
        ("qwen3", Form::F32),
        ("qwen3", Form::Q8_0),
    ] {
        let (decoder, adapters) = decoder(family, form);
        let prompts = prompts(family);
        let jobs: Vec<(&[u32], &[Weighted])> =
            (0..16).map(|i| (&prompts[i % prompts.len()][..5 + i], adapters[i % adapters.len()].as_slice())).collect();
        let alone: Vec<Vec<f32>> =
            jobs.iter().map(|(tokens, adapters)| all_logits(&decoder, tokens, adapters)).collect();
        let mut sequences: Vec<Sequence> = jobs.iter().map(|_| decoder.sequence()).collect();
        // Prompts of different lengths first, all but the last token; then one token each.
        let mut together: Vec<Vec<f32>> = vec![Vec::new(); jobs.len()];
        for part in 0..2 {
            let mut rows: Vec<Row<'_>> = jobs
                .iter()
                .zip(&mut sequences)
                .map(|((tokens, adapters), sequence)| {
                    let (head, last) = tokens.split_at(tokens.len() - 1);
                    Row { tokens: if part == 0 { head } else { last }, sequence, adapters, wanted: Wanted::All }
                })
                .collect();
            let mut logits = Vec::new();
            decoder.step(&mut rows, &mut logits).unwrap();
            let mut logits = logits.as_slice();
            for (row, together) in rows.iter().zip(&mut together) {
                let (own, rest) = logits.split_at(row.tokens.len() * decoder.config().vocab_size);
                together.extend_from_slice(own);
                logits = rest;
            }
        }
        for (i, (alone, together)) in alone.iter().zip(&together).enumerate() {
            assert!(alone == together, "{family} row {i} differs among others");
        }
    }
}

#[test]
fn a_prompt_in_parts_and_from_a_shared_beginning_equals_the_whole() {
    for family in ["llama", "mistral", "qwen3"] {
        let (decoder, adapters) = decoder(family, Form::F32);
        let prompt = prompts(family).concat()[..100].to_vec();
        let whole = all_logits(&decoder, &prompt, &adapters[1]);
        let mut sequence = decoder.sequence();
        let mut logits = Vec::new();
        for part in prompt.chunks(7) {
            let row = Row { tokens: part, sequence: &mut sequence, adapters: &adapters[1], wanted: Wanted::All };
            decoder.step(&mut [row], &mut logits).unwrap();
        }
        assert!(whole == logits, "{family} in parts of 7");
        let mut shared = sequence.prefix(99);
        assert_eq!((shared.len(), sequence.len()), (96, 100));
        let mut rest = Vec::new();
        let row = Row { tokens: &prompt[96..], sequence: &mut shared, adapters: &adapters[1], wanted: Wanted::All };
        decoder.step(&mut [row], &mut rest).unwrap();
        assert!(whole[96 * decoder.config().vocab_size..] == rest, "{family} after a shared beginning");
        sequence.truncate(50);
        let mut again = Vec::new();
        let row = Row { tokens: &prompt[50..], sequence: &mut sequence, adapters: &adapters[1], wanted: Wanted::All };
        decoder.step(&mut [row], &mut again).unwrap();
        assert!(whole[50 * decoder.config().vocab_size..] == again, "{family} after truncation");
    }
}

#[test]
fn an_adapter_of_zeros_is_the_base_and_an_attached_one_equals_a_merged_one() {
    let dir = golden().join("peft/llama");
    let (decoder, adapters) = decoder("llama", Form::F32);
    let prompt = &prompts("llama")[0];
    let mut zeros = Adapter::read(&dir.join("all-linear-rslora"), &Limits::default()).unwrap();
    zeros.layers.values_mut().for_each(|delta| delta.b.data.fill(0.0));
    let zeros = vec![(Arc::new(decoder.attach(&zeros).unwrap()), 1.0)];
    let base = all_logits(&decoder, prompt, &[]);
    assert!(base == all_logits(&decoder, prompt, &zeros));
    // Half of it twice is the whole; its weight 0 is the base.
    let whole = all_logits(&decoder, prompt, &adapters[1]);
    let half = (adapters[1][0].0.clone(), 0.5);
    let twice = all_logits(&decoder, prompt, &[half.clone(), half]);
    let off = whole.iter().zip(&twice).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-3, "off by {off}");
    assert!(whole != base);
    let none = all_logits(&decoder, prompt, &[(adapters[1][0].0.clone(), 0.0)]);
    assert!(none.iter().zip(&base).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (decoder, _) = decoder("llama", Form::F32);
    let config = decoder.config().clone();
    let mut sequence = decoder.sequence();
    let mut step = |tokens: &[u32]| {
        decoder
            .step(&mut [Row { tokens, sequence: &mut sequence, adapters: &[], wanted: Wanted::Last }], &mut Vec::new())
    };
    let vocabulary = config.vocab_size;
    assert_eq!(step(&[vocabulary as u32]), Err(StepError::Token { token: vocabulary as u32, vocabulary }));
    let tokens = config.context_length + 1;
    assert_eq!(step(&vec![1; tokens]), Err(StepError::Context { tokens, context: config.context_length }));
    assert!(sequence.is_empty());
    let other = Adapter::read(&golden().join("smollm2/adapter"), &Limits::default()).unwrap();
    let refused = decoder.attach(&other).unwrap_err().to_string();
    assert!(refused.contains("model.layers."), "{refused}");
}
