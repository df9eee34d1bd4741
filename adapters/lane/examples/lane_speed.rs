//! How fast the lane is: `cargo run --example lane_speed MODEL_DIRECTORY [threads] [form]`.
//!
//! One stream's prefill and decode, and 8 sequences of different lengths decoding together on the base and on 1 to 8 random
//! adapters (r = 16 on all linear layers). Each figure is the best of many single steps, because other programs may
//! share the cores; beside it are the median step's and where the best one's time went.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use cairn_lane::{Attached, Decoder, Form, Options, Profile, Row, Sequence, Wanted};

#[path = "random/mod.rs"]
mod random;

const RANK: usize = 16;
const ROWS: usize = 8;
const PROMPT: usize = 512;
/// A prompt whose time is that of a first token.
const SHORT: usize = 16;
/// Tokens before each of the 8 sequences' new ones.
const LENGTHS: [usize; ROWS] = [70, 97, 130, 150, 200, 250, 300, 390];
/// How long each figure is measured.
const BUDGET: Duration = Duration::from_millis(1500);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("which directory is the model in?")?);
    let threads = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let forms = match arguments.next() {
        Some(form) => vec![form.parse()?],
        None => vec![Form::Q8_0, Form::F32],
    };
    for form in forms {
        let decoder = Decoder::open(&directory, &Options { form: Some(form), threads })?;
        println!(
            "{form}, {threads} threads: {:.0} MB of weights, {} bytes of keys and values a token",
            decoder.weights_bytes() as f64 / 1e6,
            decoder.kv_bytes_per_token()
        );
        measure(&decoder)?;
    }
    Ok(())
}

fn measure(decoder: &Decoder) -> anyhow::Result<()> {
    let started = Instant::now();
    let adapters = (0..ROWS as u32)
        .map(|seed| random::adapter(decoder.config(), RANK, seed))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let made = started.elapsed();
    let started = Instant::now();
    let attached = adapters
        .iter()
        .map(|adapter| Ok((Arc::new(decoder.attach(adapter)?), 1.0)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let each = started.elapsed() / ROWS as u32;
    let bytes = attached[0].0.resident_bytes() as f64 / 1e6;
    println!(
        "  attaching one adapter {:.1} ms, {bytes:.1} MB (made in memory in {made:.0?})",
        each.as_secs_f64() * 1e3
    );

    let one = &attached[..1];
    for length in [SHORT, PROMPT] {
        prefill(decoder, &format!("prefill, {length} tokens, base"), length, &[])?;
        prefill(decoder, &format!("prefill, {length} tokens, 1 adapter"), length, one)?;
    }
    decode(decoder, "decode, 1 stream, base", &[&[]])?;
    decode(decoder, "decode, 1 stream, 1 adapter", &[one])?;
    decode(decoder, "decode, 8 rows, base", &[&[] as &[Weighted]; ROWS])?;
    for different in [1, 2, 4, 8] {
        let rows: Vec<&[Weighted]> = (0..ROWS).map(|row| std::slice::from_ref(&attached[row % different])).collect();
        decode(decoder, &format!("decode, 8 rows on {different} adapters"), &rows)?;
    }
    Ok(())
}

type Weighted = (Arc<Attached>, f32);

/// Whole prompts, one at a time.
fn prefill(decoder: &Decoder, name: &str, length: usize, adapters: &[Weighted]) -> anyhow::Result<()> {
    let prompt = tokens(decoder, length);
    let mut logits = Vec::new();
    report(decoder, name, length, || {
        let mut sequence = decoder.sequence();
        logits.clear();
        let row = Row { tokens: &prompt, sequence: &mut sequence, adapters, wanted: Wanted::Last };
        Ok(decoder.step(&mut [row], &mut logits)?)
    })
}

/// One new token for every row, at the same lengths again and again.
fn decode(decoder: &Decoder, name: &str, rows: &[&[Weighted]]) -> anyhow::Result<()> {
    let mut logits = Vec::new();
    let mut sequences: Vec<Sequence> = Vec::new();
    for (adapters, length) in rows.iter().zip(LENGTHS) {
        let mut sequence = decoder.sequence();
        let prompt = tokens(decoder, length);
        let row = Row { tokens: &prompt, sequence: &mut sequence, adapters, wanted: Wanted::None };
        decoder.step(&mut [row], &mut logits)?;
        sequences.push(sequence);
    }
    report(decoder, name, rows.len(), || {
        for (sequence, length) in sequences.iter_mut().zip(LENGTHS) {
            sequence.truncate(length);
        }
        logits.clear();
        let mut step: Vec<Row<'_>> = sequences
            .iter_mut()
            .zip(rows)
            .map(|(sequence, adapters)| Row { tokens: &[17], sequence, adapters, wanted: Wanted::Last })
            .collect();
        Ok(decoder.step(&mut step, &mut logits)?)
    })
}

fn report(
    decoder: &Decoder,
    name: &str,
    tokens: usize,
    mut step: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    step()?;
    let start = Instant::now();
    let mut steps: Vec<(Duration, Profile)> = Vec::new();
    while start.elapsed() < BUDGET || steps.len() < 3 {
        let (began, before) = (Instant::now(), decoder.profile());
        step()?;
        steps.push((began.elapsed(), decoder.profile() - before));
    }
    steps.sort_by_key(|(time, _)| *time);
    let ((best, spent), median) = (steps[0], steps[steps.len() / 2].0);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "  {name:30} {:7.1} tokens/s ({:7.1} median) | {:8.2} ms: matrices {:.2}, with adapters {:.2}, attention {:.2}, rest {:.2}",
        tokens as f64 / best.as_secs_f64(),
        tokens as f64 / median.as_secs_f64(),
        ms(best),
        ms(spent.matrices),
        ms(spent.adapted),
        ms(spent.attention),
        ms(best.saturating_sub(spent.matrices + spent.adapted + spent.attention)),
    );
    Ok(())
}

fn tokens(decoder: &Decoder, count: usize) -> Vec<u32> {
    (0..count).map(|i| (i * 7919 % decoder.config().vocab_size) as u32).collect()
}
