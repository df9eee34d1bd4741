//! Every form that weights may be kept in, through the whole decoder: what it rounds is the weights and, where they are
//! quantized, the activations; nothing else.

use std::{fs, path::Path, sync::Arc};

use cairn_adapters::peft::{Adapter, Array, Config, Delta, Limits};
use cairn_lane::{Decoder, Form, Row, Sequence, Wanted, names::Projection};
use serde_json::json;

use crate::{
    merged::{Tensors, numbers, write},
    support::{Weighted, all_logits, best, greedy, open},
};

const VOCABULARY: usize = 320;
const HIDDEN: usize = 256;
const FFN: usize = 512;
const KV: usize = 128;
const LAYERS: usize = 3;

/// A random llama whose every row divides into blocks of 256.
fn checkpoint(directory: &Path, round: impl Fn(&mut [f32])) {
    let config = json!({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": FFN,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "hidden_act": "silu",
    });
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let mut tensors = Tensors::new();
    let mut seed = 1;
    let mut matrix = |tensors: &mut Tensors, name: String, outputs: usize, inputs: usize, size: f32| {
        seed += 1;
        let mut data: Vec<f32> = numbers(outputs * inputs, seed).iter().map(|x| x * size).collect();
        round(&mut data);
        tensors.insert(name, Array { shape: vec![outputs, inputs], data });
    };
    matrix(&mut tensors, "model.embed_tokens.weight".into(), VOCABULARY, HIDDEN, 2.0);
    matrix(&mut tensors, "lm_head.weight".into(), VOCABULARY, HIDDEN, 1.0);
    for layer in 0..LAYERS {
        for of in Projection::ALL {
            let [outputs, inputs] = shape(of);
            matrix(&mut tensors, format!("{}.weight", of.path(layer)), outputs, inputs, 0.25);
        }
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            let data = numbers(HIDDEN, 7).iter().map(|x| 1.0 + 0.2 * x).collect();
            tensors.insert(format!("model.layers.{layer}.{norm}.weight"), Array { shape: vec![HIDDEN], data });
        }
    }
    tensors.insert("model.norm.weight".into(), Array { shape: vec![HIDDEN], data: vec![1.0; HIDDEN] });
    write(&directory.join("model.safetensors"), &tensors);
}

fn shape(of: Projection) -> [usize; 2] {
    match of {
        Projection::Q | Projection::O => [HIDDEN, HIDDEN],
        Projection::K | Projection::V => [KV, HIDDEN],
        Projection::Gate | Projection::Up => [FFN, HIDDEN],
        Projection::Down => [HIDDEN, FFN],
    }
}

/// A random adapter on every linear layer.
fn adapter(decoder: &Decoder, rank: usize, seed: u32) -> Vec<Weighted> {
    let array = |rows: usize, columns: usize, seed: u32, size: f32| Array {
        shape: vec![rows, columns],
        data: numbers(rows * columns, seed).iter().map(|x| x * size).collect(),
    };
    let layers = (0..LAYERS).flat_map(|layer| {
        Projection::ALL.map(|of| {
            let ([outputs, inputs], seed) = (shape(of), seed + 10 * layer as u32 + of as u32);
            let delta = Delta {
                a: array(rank, inputs, seed, 0.1),
                b: array(outputs, rank, seed + 500, 0.3),
                scale: 1.0,
                magnitude: None,
                lora_bias: None,
                bias: None,
                embedding: false,
            };
            (of.path(layer), delta)
        })
    });
    let config =
        format!(r#"{{"peft_type": "LORA", "r": {rank}, "lora_alpha": {rank}, "target_modules": "all-linear"}}"#);
    let config = Config::parse(config.as_bytes(), &Limits::default()).unwrap();
    let adapter = Adapter { config, layers: layers.collect(), saved: Default::default() };
    vec![(Arc::new(decoder.attach(&adapter).unwrap()), 1.0)]
}

/// Against the same numbers in f32: the form's own rounding, done beforehand.
#[test]
fn a_decoder_of_each_form_equals_one_of_its_rounded_numbers_in_f32() {
    let stored = tempfile::tempdir().unwrap();
    checkpoint(stored.path(), |_| {});
    let prompt: Vec<u32> = (0..40).map(|i| i * 37 % VOCABULARY as u32).collect();
    // All round keys and values to f16, whose step is 0.001; the others also activations to 8 bits. Their bound is empirical:
    // 0.022 was measured.
    for (form, most) in [(Form::F16, 1e-3_f32), (Form::Q8_0, 0.05), (Form::Q4K, 0.05)] {
        let rounded = tempfile::tempdir().unwrap();
        checkpoint(rounded.path(), |numbers| {
            let bytes = form.encode(numbers);
            form.decode(&bytes, numbers);
        });
        let (decoder, reference) = (open(stored.path(), form), open(rounded.path(), Form::F32));
        for adapted in [false, true] {
            let of = |decoder: &Decoder| if adapted { adapter(decoder, 16, 90) } else { Vec::new() };
            let expected = all_logits(&reference, &prompt, &of(&reference));
            let found = all_logits(&decoder, &prompt, &of(&decoder));
            let size = (expected.iter().map(|x| x * x).sum::<f32>() / expected.len() as f32).sqrt();
            let off = expected.iter().zip(&found).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
            let off = (off / expected.len() as f32).sqrt() / size;
            // The adapter's factors are as exact as the base, and in f32 beside the reference.
            assert!(off < most, "{form}, adapter {adapted}: logits are off by {off} of their size");
            assert!(expected.iter().any(|x| x.abs() > 0.1), "{form}: logits of nothing");
        }
        let base = all_logits(&decoder, &prompt, &[]);
        assert_ne!(base, all_logits(&decoder, &prompt, &adapter(&decoder, 16, 90)), "{form}: the adapter does nothing");
    }
}

/// The same bits alone and among others, in the forms whose kernels differ, with ranks that fill no whole group.
#[test]
fn rows_of_each_form_get_the_same_bits_alone_and_among_others() {
    let stored = tempfile::tempdir().unwrap();
    checkpoint(stored.path(), |_| {});
    for form in [Form::F32, Form::F16, Form::Q8_0, Form::Q4K] {
        let decoder = open(stored.path(), form);
        let mut adapters: Vec<Vec<Weighted>> =
            [(16, 90), (5, 91), (33, 92)].map(|(rank, seed)| adapter(&decoder, rank, seed)).into();
        adapters.push(Vec::new());
        adapters.push(vec![(adapters[0][0].0.clone(), 0.5), (adapters[1][0].0.clone(), 1.5)]);
        let jobs: Vec<(Vec<u32>, &[Weighted])> = (0..16)
            .map(|i| {
                let prompt = (0..3 + 2 * i).map(|at| (at * 53 + i * 7) as u32 % VOCABULARY as u32).collect();
                (prompt, adapters[i % adapters.len()].as_slice())
            })
            .collect();
        let alone: Vec<Vec<u32>> = jobs.iter().map(|(prompt, of)| greedy(&decoder, prompt, of, 6)).collect();
        let mut sequences: Vec<Sequence> = jobs.iter().map(|_| decoder.sequence()).collect();
        let mut new: Vec<Vec<u32>> = jobs.iter().map(|(prompt, _)| prompt.clone()).collect();
        let mut together: Vec<Vec<u32>> = vec![Vec::new(); jobs.len()];
        for _ in 0..6 {
            let mut rows: Vec<Row<'_>> = jobs
                .iter()
                .zip(&mut sequences)
                .zip(&new)
                .map(|(((_, adapters), sequence), tokens)| Row { tokens, sequence, adapters, wanted: Wanted::Last })
                .collect();
            let mut logits = Vec::new();
            decoder.step(&mut rows, &mut logits).unwrap();
            drop(rows);
            for ((logits, new), together) in logits.chunks(VOCABULARY).zip(&mut new).zip(&mut together) {
                *new = vec![best(logits)];
                together.extend(&*new);
            }
        }
        assert_eq!(alone, together, "{form}");
    }
}
