//! Tokens a second through the whole engine, sampling and text included, and the share of the decoder in it.
//!
//! `cargo run --example serving_speed -p cairn-lane -- models/smollm2/serving q8_0 [ADAPTER_DIRECTORY]`

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_adapters::{
    AdapterGeneration, Completion, Event, Sampling,
    peft::{Adapter, Limits},
};
use cairn_lane::{Lane, LaneAdapter, LaneOptions, LaneRequest, Options, Prompt};
use futures::{StreamExt, future::join_all};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: serving_speed MODEL_DIRECTORY [FORM [ADAPTER_DIRECTORY]]")?;
    let form = arguments.next().map(|form| form.parse()).transpose()?;
    let decoder = Options { form, ..Options::default() };
    let lane = Lane::open(Path::new(&directory), LaneOptions { decoder, ..LaneOptions::default() })?;
    let adapters = match arguments.next() {
        None => Vec::new(),
        Some(path) => {
            let adapter = Adapter::read(Path::new(&path), &Limits::default())?;
            // As many copies as there are streams: different adapters to the engine.
            (0..8)
                .map(|copy| {
                    let generation = AdapterGeneration(format!("{copy}"));
                    Ok(LaneAdapter { generation, attached: Arc::new(lane.attach(&adapter)?), weight: 1.0 })
                })
                .collect::<Result<Vec<_>, cairn_lane::AttachError>>()?
        }
    };
    let vocabulary = lane.decoder().config().vocab_size as u32;
    let request = |stream: u32, prompt: u32, sampling: &Sampling| {
        let tokens = (0..prompt).map(|at| 1000 + (at * 7919 + stream * 104_729) % (vocabulary - 1000)).collect();
        let adapters = adapters.get(stream as usize % 8).cloned().into_iter().collect();
        // No end before the limit.
        let sampling = Sampling { logit_bias: [(0, -1e4), (1, -1e4), (2, -1e4)].into(), ..sampling.clone() };
        LaneRequest { adapters, sampling, ..LaneRequest::new(Prompt::Tokens(tokens)) }
    };
    let greedy = Sampling { temperature: 0.0, max_tokens: Some(128), ..Sampling::default() };
    let warm = Completion::collect(lane.generate(request(99, 64, &greedy)).await?).await?;
    println!("warm: {} tokens", warm.usage.completion_tokens);

    let once = Sampling { max_tokens: Some(1), ..greedy.clone() };
    let start = Instant::now();
    Completion::collect(lane.generate(request(50, 512, &once)).await?).await?;
    println!("prompt of 512: {:.0} tokens/s", 512.0 / start.elapsed().as_secs_f64());

    let drawn = Sampling { temperature: 0.8, top_p: 0.95, seed: Some(1), ..greedy.clone() };
    for (name, sampling) in [("greedy", &greedy), ("top_p", &drawn)] {
        for streams in [1_u32, 2, 4, 8, 16] {
            let (start, before) = (Instant::now(), lane.stats());
            let answers = join_all((0..streams).map(|stream| {
                let (lane, request) = (lane.clone(), request(stream + 100 * streams, 16 + 3 * stream, sampling));
                async move { timed(&lane, request).await }
            }))
            .await;
            let wall = start.elapsed().as_secs_f64();
            let firsts = answers.into_iter().collect::<Result<Vec<Duration>, _>>()?;
            let slowest = firsts.iter().max().copied().unwrap_or_default();
            let after = lane.stats();
            let (decoding, choosing) = (after.decoding - before.decoding, after.choosing - before.choosing);
            println!(
                "{name:<7} {streams:>2} streams: {:>6.1} tokens/s, first token after {:.0} ms at most, {:.1} % outside the decoder",
                f64::from(128 * streams) / wall,
                slowest.as_secs_f64() * 1e3,
                100.0 * choosing.as_secs_f64() / (choosing + decoding).as_secs_f64()
            );
        }
    }
    println!("{:?}", lane.stats());
    Ok(())
}

/// The time to the first text; returns after the last.
async fn timed(lane: &Lane, request: LaneRequest) -> Result<Duration, cairn_adapters::GenerateError> {
    let start = Instant::now();
    let mut first = None;
    let mut events = lane.generate(request).await?;
    while let Some(event) = events.next().await {
        if let Event::Delta { .. } = event? {
            first.get_or_insert_with(|| start.elapsed());
        }
    }
    Ok(first.unwrap_or_else(|| start.elapsed()))
}
