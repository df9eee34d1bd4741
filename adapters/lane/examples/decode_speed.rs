//! What adapters cost a batch: `cargo run --example decode_speed MODEL_DIRECTORY [form] [rounds] [threads]`.
//!
//! Eight rows decode together on the base, then all on one adapter, then on 2, 4 and 8 different ones (random, r = 16 on all
//! linear layers), one step of each in turn: a program beside this one then slows all of them alike. Ratios are to the base's
//! step of the same round.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use cairn_lane::{Attached, Decoder, Form, Options, Profile, Row, Sequence, Wanted};

#[path = "random/mod.rs"]
mod random;

const ROWS: usize = 8;
/// How many different adapters the rows use.
const DIFFERENT: [usize; 5] = [0, 1, 2, 4, 8];
/// Tokens before each row's new one.
const LENGTHS: [usize; ROWS] = [30, 40, 50, 60, 70, 80, 90, 100];

type Weighted = (Arc<Attached>, f32);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("which directory is the model in?")?);
    let form: Form = arguments.next().map_or(Ok(Form::Q8_0), |form| form.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(200), |rounds| rounds.parse())?;
    let threads = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let decoder = Decoder::open(&directory, &Options { form: Some(form), threads })?;
    let adapters = (0..ROWS as u32)
        .map(|seed| Ok((Arc::new(decoder.attach(&random::adapter(decoder.config(), 16, seed)?)?), 1.0)))
        .collect::<anyhow::Result<Vec<Weighted>>>()?;
    println!(
        "{form}, {threads} threads, {rounds} rounds: {:.0} MB of weights, {:.1} MB an adapter",
        decoder.weights_bytes() as f64 / 1e6,
        adapters[0].0.resident_bytes() as f64 / 1e6
    );

    let mut sequences = Vec::new();
    for (row, length) in LENGTHS.into_iter().enumerate() {
        let mut sequence = decoder.sequence();
        let prompt: Vec<u32> = (0..length).map(|at| ((at * 7919 + row) % decoder.config().vocab_size) as u32).collect();
        let row = Row { tokens: &prompt, sequence: &mut sequence, adapters: &[], wanted: Wanted::None };
        decoder.step(&mut [row], &mut Vec::new())?;
        sequences.push(sequence);
    }
    let mut spent: Vec<Vec<(Duration, Profile)>> = vec![Vec::new(); DIFFERENT.len()];
    for round in 0..rounds + 3 {
        for (different, spent) in DIFFERENT.into_iter().zip(&mut spent) {
            let rows: Vec<&[Weighted]> =
                (0..ROWS).map(|row| if different == 0 { &[][..] } else { &adapters[row % different..][..1] }).collect();
            let step = step(&decoder, &mut sequences, &rows)?;
            if round >= 3 {
                spent.push(step);
            }
        }
    }
    for (different, steps) in DIFFERENT.into_iter().zip(&spent) {
        let mut ratios: Vec<f64> =
            steps.iter().zip(&spent[0]).map(|((time, _), (base, _))| time.as_secs_f64() / base.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let mut steps = steps.clone();
        steps.sort_by_key(|(time, _)| *time);
        let ((best, parts), (median, _)) = (steps[0], steps[steps.len() / 2]);
        let best_base = spent[0].iter().map(|(time, _)| *time).min().unwrap_or_default();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "  {different} adapters: median {:6.2} ms, best {:6.2} (matrices {:.2}, with adapters {:.2}, attention {:.2}); to the base: median of rounds {:.3}, best {:.3}",
            ms(median),
            ms(best),
            ms(parts.matrices),
            ms(parts.adapted),
            ms(parts.attention),
            ratios[ratios.len() / 2],
            best.as_secs_f64() / best_base.as_secs_f64()
        );
    }
    Ok(())
}

/// One new token for every row, at the same lengths again and again.
fn step(decoder: &Decoder, sequences: &mut [Sequence], rows: &[&[Weighted]]) -> anyhow::Result<(Duration, Profile)> {
    for (sequence, length) in sequences.iter_mut().zip(LENGTHS) {
        sequence.truncate(length);
    }
    let mut rows: Vec<Row<'_>> = sequences
        .iter_mut()
        .zip(rows)
        .map(|(sequence, adapters)| Row { tokens: &[17], sequence, adapters, wanted: Wanted::Last })
        .collect();
    let (before, mut logits) = (decoder.profile(), Vec::with_capacity(ROWS * decoder.config().vocab_size));
    let start = Instant::now();
    decoder.step(&mut rows, &mut logits)?;
    Ok((start.elapsed(), decoder.profile() - before))
}
