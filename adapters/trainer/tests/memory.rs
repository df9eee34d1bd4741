//! What a step takes, beside what was predicted: in a process of its own, because the system measures processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

use std::sync::Arc;

use cairn_lane::{Biases, Config, Family, Rope};
use cairn_trainer::{Adapter, Batch, Example, Model, Session, TrainOptions, memory};

/// Layers half as wide as those of Llama-2-7B, in the same proportions, and few of them: `seven_billion` is the same step on all.
fn config() -> Config {
    Config {
        family: Family::Llama,
        vocab_size: 16_000,
        hidden_size: 2048,
        intermediate_size: 5504,
        layers: 3,
        heads: 16,
        kv_heads: 16,
        head_dim: 128,
        context_length: 4096,
        norm_eps: 1e-5,
        rope: Rope { inverse_frequencies: (0..64).map(|i| 10_000f32.powf(-f32::from(i as u8) / 64.0)).collect() },
        windows: vec![None; 3],
        tied: false,
        biases: Biases::default(),
        qk_norm: false,
    }
}

#[test]
fn a_step_takes_what_was_predicted() {
    const LENGTH: usize = 384;
    let config = config();
    let options = TrainOptions { batch_size: 1, max_length: LENGTH, ..TrainOptions::default() };
    let [linear, outer] = memory::parameters(&config);
    let trained = memory::trained(&config, &options).unwrap();
    let predicted = memory::Memory::predict(&config, &options, trained, LENGTH, 2 * (linear + outer) as u64);
    // Weights are what the model then holds, to the byte but for rounding.
    let model = Arc::new(Model::random(config, 1));
    let weights = predicted.weights as f64 / model.bytes() as f64;
    assert!((weights - 1.0).abs() < 0.01, "{} predicted, {} held", predicted.weights, model.bytes());

    let adapter = Adapter::new(&model, &options, "random").unwrap();
    assert_eq!(adapter.parameters(), trained);
    let mut session = Session::new(model, adapter, &options);
    let example = Example {
        tokens: (0..LENGTH as u32).map(|i| (i * 7919) % 16_000).collect(),
        supervised: vec![true; LENGTH],
        row: "random".into(),
    };
    let batch = Batch::new([&example]);
    session.accumulate(&batch, batch.supervised());
    session.apply(options.lr).unwrap();
    let [_, peak] = memory::resident().unwrap();
    let ratio = peak as f64 / predicted.total() as f64;
    println!("predicted {:.0} MB, measured {:.0} MB", predicted.total() as f64 / 1e6, peak as f64 / 1e6);
    assert!((0.8..1.15).contains(&ratio), "predicted {predicted:?}, measured {peak}: {ratio:.2} of it");
}
