//! How fast a model is trained, and in how much memory: `train_speed MODEL [lora|qlora] [rows] [length] [steps]`.
//!
//! r = 16 on all linear layers, all tokens supervised, gradient checkpointing; the first step is not counted.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use cairn_trainer::{Adapter, Batch, Example, Method, Model, Session, TrainOptions, memory};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().context("the directory of a model is missing")?;
    let method = if args.next().as_deref() == Some("qlora") { Method::Qlora } else { Method::Lora };
    let mut number = |default: usize| args.next().map_or(Ok(default), |text| text.parse());
    let (rows, length, steps) = (number(4)?, number(256)?, number(5)?);
    let options = TrainOptions { method, batch_size: rows, max_length: length, ..TrainOptions::default() };

    let model = Arc::new(Model::open(dir.as_ref(), options.form())?);
    let config = model.config().clone();
    let adapter = Adapter::new(&model, &options, "model")?;
    let trained = adapter.parameters();
    let file: u64 = std::fs::read_dir(&dir)?.filter_map(|entry| entry.ok()?.metadata().ok()).map(|it| it.len()).sum();
    let predicted = memory::Memory::predict(&config, &options, trained, rows * length, file);
    println!("{trained} numbers are trained; predicted: {predicted:?}, {:.2} GB", predicted.total() as f64 / 1e9);

    let speed = memory::measured_speed();
    let operations = memory::operations(&config, &options, trained);
    let expected = 1.0 / memory::seconds(1, operations, speed);
    println!("{:.0} GFLOP/s, {:.0} MFLOP a token: predicted {expected:.0} tokens/s", speed / 1e9, operations / 1e6);

    let mut session = Session::new(model, adapter, &options);
    let example = |row: usize| Example {
        tokens: (0..length).map(|i| ((row * 7919 + i * 104_729) % config.vocab_size) as u32).collect(),
        supervised: vec![true; length],
        row: row.to_string(),
    };
    let examples: Vec<Example> = (0..rows).map(example).collect();
    let batch = Batch::new(&examples);
    let mut best = f64::INFINITY;
    let mut all = 0.0;
    for step in 0..=steps {
        let start = Instant::now();
        let loss = session.accumulate(&batch, batch.supervised()) / batch.supervised() as f64;
        let norm = session.apply(options.lr)?;
        let seconds = start.elapsed().as_secs_f64();
        println!("step {step}: loss {loss:.4}, norm {norm:.3}, {:.1} tokens/s", batch.tokens() as f64 / seconds);
        if step > 0 {
            best = best.min(seconds);
            all += seconds;
        }
    }
    let tokens = batch.tokens() as f64;
    let [now, peak] = memory::resident().unwrap_or_default().map(|bytes| bytes as f64 / 1e9);
    println!("mean {:.1} tokens/s, best {:.1}", tokens * steps as f64 / all, tokens / best);
    println!("resident {now:.2} GB, at most {peak:.2} GB");
    Ok(())
}
