//! The cases that all engines run, and the order of the run.
//!
//! Every prompt is new (its seed counts on), so that no engine's prefix cache can answer.

use std::time::Instant;

use anyhow::{Context, ensure};
use reqwest::multipart::{Form, Part};

use crate::{
    Compare, Peer,
    adapter::Random,
    agreement,
    client::{Ask, Dialect, Server, alias},
    engine,
    lane::{Lane, Spent},
    machine, mistral, pairs,
    prompt::{LENGTHS, prompt},
    samples::{Engine, Found},
    shape::Shape,
    tenants,
};

/// Names of the figures, as `report` looks them up.
pub(crate) const PREFILL: &str = "one stream: prefill, tokens/s";
pub(crate) const DECODE: &str = "one stream: decode, tokens/s";
pub(crate) const FIRST_BASE: &str = "time to first token, base, ms";
pub(crate) const FIRST_HOT: &str = "time to first token, adapter in memory, ms";
/// Cases whose time is told apart.
pub(crate) const PROMPT_CASE: &str = "one stream, a prompt";
pub(crate) const STREAM_CASE: &str = "one stream, an answer";

/// Different adapters in a batch of 8.
pub(crate) const MIXES: [usize; 5] = [0, 1, 2, 4, 8];

pub(crate) fn mixed(adapters: usize) -> String {
    match adapters {
        0 => "8 at once, base: tokens/s".into(),
        1 => "8 at once on the same adapter: tokens/s".into(),
        n => format!("8 at once on {n} adapters: tokens/s"),
    }
}

/// Runs everything: each engine in turn, `rounds` times.
pub(crate) async fn compare(compare: &Compare, shape: &Shape) -> anyhow::Result<Found> {
    std::fs::create_dir_all(&compare.work).with_context(|| format!("{} cannot be made", compare.work.display()))?;
    let (mut found, mut seeds) = (Found::default(), Seeds(0));
    machine::look(&mut found);
    prepare(compare, shape).await?;
    let beside = |peer| compare.peers.contains(&peer);
    if beside(Peer::Llama) {
        agreement::check(compare, &mut found, &mut seeds).await?;
    }
    for round in 1..=compare.rounds {
        println!("round {round} of {}", compare.rounds);
        cairn_round(compare, shape, &mut found, &mut seeds).await?;
        if beside(Peer::Llama) {
            llama_round(compare, &mut found, &mut seeds).await?;
        }
        if beside(Peer::Mistral) {
            mistral_round(compare, &mut found, &mut seeds).await?;
        }
    }
    if compare.registered > 0 {
        tenants::compare(compare, shape, &mut found).await?;
    }
    Ok(found)
}

/// The next prompt's seed.
pub(crate) struct Seeds(pub(crate) u64);

impl Seeds {
    pub(crate) fn ask(&mut self, length: usize, adapter: Option<usize>, tokens: u32) -> Ask {
        self.0 += 1;
        Ask { prompt: prompt(self.0, length), adapter, tokens }
    }

    /// 8 prompts of different lengths, on `adapters` different ones in turn.
    pub(crate) fn batch(&mut self, adapters: usize, tokens: u32) -> Vec<Ask> {
        let row = |(row, &length)| self.ask(length, (adapters > 0).then(|| row % adapters.max(1)), tokens);
        LENGTHS.iter().enumerate().map(row).collect()
    }
}

/// Cairn's gateways that a round uses. They run at once, so that what is compared is a second apart; whoever answers nothing
/// sleeps.
pub(crate) struct Gateways {
    /// Nobody ever uploaded an adapter to it.
    pub(crate) plain: engine::Running,
    /// 8 adapters, and room for them.
    pub(crate) full: engine::Running,
    /// 8 adapters, and room for two.
    pub(crate) small: engine::Running,
}

impl Gateways {
    async fn start(compare: &Compare, shape: &Shape) -> anyhow::Result<Self> {
        let mib = |adapters: f64| ((one(shape) as f64 * adapters) / f64::from(1 << 20)).ceil() as u64;
        let plain = engine::cairn(compare, "plain", mib(12.0)).await?;
        let full = engine::cairn(compare, "full", mib(12.0)).await?;
        let small = engine::cairn(compare, "small", mib(2.5)).await?;
        Ok(Self { plain, full, small })
    }

    async fn stop(self) -> anyhow::Result<()> {
        for running in [self.plain, self.full, self.small] {
            running.stop().await?;
        }
        Ok(())
    }
}

fn one(shape: &Shape) -> usize {
    Random { seed: 0, rank: 16, shape }.weight_bytes()
}

/// Uploads the 8 adapters to Cairn; the second time they are there already.
async fn prepare(compare: &Compare, shape: &Shape) -> anyhow::Result<()> {
    let gateways = Gateways::start(compare, shape).await?;
    for running in [&gateways.full, &gateways.small] {
        for seed in 0..8 {
            register(&running.server, Random { seed, rank: 16, shape }).await?;
        }
    }
    gateways.stop().await
}

/// Uploads an adapter and publishes it.
pub(crate) async fn register(server: &Server, adapter: Random<'_>) -> anyhow::Result<()> {
    let Dialect::Cairn { model, .. } = &server.dialect else { return Ok(()) };
    let file = Part::bytes(adapter.archive()?).file_name("adapter.tar");
    let path = format!("/v1/adapters?base={model}&alias={}", alias(adapter.seed as usize));
    let answer = server.post(&path).multipart(Form::new().part("file", file)).send().await?;
    ensure!(answer.status().is_success(), "adapter {} was refused: {}", adapter.seed, answer.text().await?);
    Ok(())
}

/// Brings an adapter into memory before anybody asks for it.
pub(crate) async fn load(server: &Server, adapter: usize) -> anyhow::Result<()> {
    let Dialect::Cairn { model, .. } = &server.dialect else { return Ok(()) };
    let answer = server.post(&format!("/v1/adapters/{model}/{}/load", alias(adapter))).send().await?;
    ensure!(answer.status().is_success(), "adapter {adapter} was not loaded: {}", answer.text().await?);
    Ok(())
}

async fn cairn_round(compare: &Compare, shape: &Shape, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    let gateways = Gateways::start(compare, shape).await?;
    for running in [&gateways.plain, &gateways.full, &gateways.small] {
        // The first requests after a start pay for pages and caches.
        running.server.ask_all(&seeds.batch(0, 8)).await?;
    }
    one_stream(compare, &gateways.plain.server, Engine::Cairn, found, seeds).await?;
    told_apart(compare, &gateways.plain.server, found, seeds).await?;
    if !compare.short {
        pairs::first_tokens(compare, &gateways, found, seeds).await?;
    }
    pairs::batches(compare, &gateways, found, seeds).await?;
    gateways.stop().await
}

async fn llama_round(compare: &Compare, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    let running = engine::llama(compare, 0).await?;
    running.server.ask(&seeds.ask(64, None, 8)).await?;
    one_stream(compare, &running.server, Engine::Llama, found, seeds).await?;
    running.stop().await?;
    let running = engine::llama(compare, 8).await?;
    let server = &running.server;
    server.ask(&seeds.ask(64, None, 8)).await?;
    if !compare.short {
        for adapter in 0..8 {
            found.add(FIRST_BASE, Engine::Llama, server.ask(&seeds.ask(16, None, 2)).await?.first_ms());
            found.add(FIRST_HOT, Engine::Llama, server.ask(&seeds.ask(16, Some(adapter), 2)).await?.first_ms());
        }
    }
    for adapters in compare.mixes() {
        let rate = server.ask_all(&seeds.batch(adapters, compare.tokens)).await?.rate();
        found.add(&mixed(adapters), Engine::Llama, rate);
    }
    running.stop().await
}

/// Case a.
async fn one_stream(
    compare: &Compare,
    server: &Server,
    engine: Engine,
    found: &mut Found,
    seeds: &mut Seeds,
) -> anyhow::Result<()> {
    for _ in 0..2 {
        let answer = server.ask(&seeds.ask(compare.prompt, None, compare.stream)).await?;
        ensure!(answer.prompt_tokens == compare.prompt as u64, "the prompt has {} tokens", answer.prompt_tokens);
        found.add(PREFILL, engine, answer.prefill_rate());
        found.add(DECODE, engine, answer.decode_rate());
    }
    Ok(())
}

/// Where the time of case a goes: a prompt with one token after it, and an answer to a short prompt, each by itself.
async fn told_apart(compare: &Compare, server: &Server, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    for (case, ask) in
        [(PROMPT_CASE, seeds.ask(compare.prompt, None, 1)), (STREAM_CASE, seeds.ask(16, None, compare.stream))]
    {
        let (before, started) = (Lane::read(server).await?, Instant::now());
        server.ask(&ask).await?;
        let wall = started.elapsed();
        found.spend(case, Spent::new(wall, &before, &Lane::read(server).await?));
    }
    Ok(())
}

/// Everything for mistral.rs, on the base alone: it refuses adapters on a Llama GGUF. Its Runner takes one call at a time
/// and does not stream completions, so the time to the first token is the time of a request for one token.
async fn mistral_round(compare: &Compare, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    let mut lists = vec![vec![seeds.ask(64, None, 8)]]; // not counted: the first request pays for pages and caches
    for _ in 0..2 {
        let prompt = seeds.ask(compare.prompt, None, 1);
        lists.push(vec![prompt.clone()]);
        lists.push(vec![Ask { tokens: compare.stream, ..prompt }]);
    }
    lists.extend((0..4).map(|_| vec![seeds.ask(16, None, 1)]));
    lists.push(seeds.batch(0, compare.tokens));
    let measured = mistral::run(compare, &lists).await?;
    for pair in measured[1..5].chunks_exact(2) {
        ensure!(pair[1].tokens == f64::from(compare.stream), "mistral.rs made {} tokens", pair[1].tokens);
        found.add(PREFILL, Engine::Mistral, pair[0].prompt_tokens / pair[0].seconds);
        found.add(DECODE, Engine::Mistral, (pair[1].tokens - 1.0) / (pair[1].seconds - pair[0].seconds));
    }
    for short in &measured[5..9] {
        found.add(FIRST_BASE, Engine::Mistral, short.seconds * 1e3);
    }
    found.add(&mixed(0), Engine::Mistral, measured[9].tokens / measured[9].seconds);
    Ok(())
}
