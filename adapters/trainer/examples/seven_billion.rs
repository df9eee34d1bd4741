//! QLoRA's headline, as a command: one optimizer step on random weights of exactly Llama-2-7B's shapes, in NF4 with double
//! quantization, r = 16 on all linear layers, one row of 512 tokens. Weights are made layer by layer, so no more than one matrix
//! is ever in f32. `seven_billion [layers] [length]`

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use cairn_lane::{Biases, Config, Family, Rope};
use cairn_trainer::{Adapter, Batch, Example, Model, Session, TrainOptions, memory};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| args.next().map_or(Ok(default), |text| text.parse());
    let (layers, length) = (number(32)?, number(512)?);
    let config = Config {
        family: Family::Llama,
        vocab_size: 32_000,
        hidden_size: 4096,
        intermediate_size: 11_008,
        layers,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        context_length: 4096,
        norm_eps: 1e-5,
        rope: Rope { inverse_frequencies: (0..64).map(|i| 10_000f32.powf(-f32::from(i as u8) / 64.0)).collect() },
        windows: vec![None; layers],
        tied: false,
        biases: Biases::default(),
        qk_norm: false,
    };
    let options = TrainOptions { batch_size: 1, max_length: length, ..TrainOptions::default() };
    let gigabytes = |bytes: usize| bytes as f64 / 1e9;
    let [linear, outer] = memory::parameters(&config);
    let trained = memory::trained(&config, &options)?;
    let predicted = memory::Memory::predict(&config, &options, trained, length, 2 * (linear + outer) as u64);
    let half = predicted.with_half_weights(&config);
    println!("{:.2} billion weights, {:.2} GB in 16 bits", (linear + outer) as f64 / 1e9, gigabytes(half.weights));
    println!("predicted {:.2} GB: {predicted:?}", gigabytes(predicted.total()));
    println!("beside weights in 16 bits it would be {:.2} GB", gigabytes(half.total()));
    println!("training all weights, {:.2} GB", gigabytes(predicted.of_full_fine_tuning(&config).total()));

    let start = Instant::now();
    let model = Arc::new(Model::random(config, 1));
    println!("made {:.2} GB of weights in {:.0} s", gigabytes(model.bytes()), start.elapsed().as_secs_f64());
    let adapter = Adapter::new(&model, &options, "random-7b")?;
    let mut session = Session::new(model, adapter, &options);
    let example = Example {
        tokens: (0..length as u32).map(|i| (i * 7919) % 32_000).collect(),
        supervised: vec![true; length],
        row: "random".into(),
    };
    let batch = Batch::new([&example]);
    let start = Instant::now();
    let loss = session.accumulate(&batch, batch.supervised()) / batch.supervised() as f64;
    let norm = session.apply(options.lr)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "one step: loss {loss:.3}, gradient norm {norm:.3e}, {seconds:.0} s, {:.2} tokens/s",
        length as f64 / seconds
    );
    let [now, peak] = memory::resident().unwrap_or_default().map(|bytes| bytes as f64 / 1e9);
    println!("resident {now:.2} GB, at most {peak:.2} GB (VmHWM)");
    Ok(())
}
