//! The cases that all engines run: one stream, batches with adapters, attaching.
//!
//! Every prompt is new (its seed counts on), so that no engine's prefix cache can answer.

use anyhow::{Context, ensure};
use reqwest::multipart::{Form, Part};

use crate::{
    Compare, Peer,
    adapter::Random,
    client::{Ask, Server, alias},
    engine::{self, MODEL},
    mistral,
    prompt::{LENGTHS, prompt},
    samples::{Engine, Found},
    tenants,
};

/// Names of the figures, as `report` looks them up.
pub(crate) const PREFILL: &str = "one stream: prefill, tokens/s";
pub(crate) const DECODE: &str = "one stream: decode, tokens/s";
pub(crate) const FIRST_BASE: &str = "time to first token, base, ms";
pub(crate) const FIRST_HOT: &str = "time to first token, adapter in memory, ms";
pub(crate) const FIRST_COLD: &str = "time to first token, adapter not in memory, ms";
pub(crate) const UNUSED: &str = "8 at once, base, before any adapter was used: tokens/s";

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
pub(crate) async fn compare(compare: &Compare) -> anyhow::Result<Found> {
    std::fs::create_dir_all(&compare.work).with_context(|| format!("{} cannot be made", compare.work.display()))?;
    let (mut found, mut seeds) = (Found::default(), Seeds(0));
    prepare(compare).await?;
    let beside = |peer| compare.peers.contains(&peer);
    if beside(Peer::Llama) {
        agreement(compare, &mut found, &mut seeds).await?;
    }
    for round in 1..=compare.rounds {
        println!("round {round} of {}", compare.rounds);
        cairn_round(compare, &mut found, &mut seeds).await?;
        if beside(Peer::Llama) {
            llama_round(compare, &mut found, &mut seeds).await?;
        }
        if beside(Peer::Mistral) {
            mistral_round(compare, &mut found, &mut seeds).await?;
        }
    }
    if compare.registered > 0 {
        tenants::compare(compare, &mut found).await?;
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
    fn batch(&mut self, adapters: usize, tokens: u32) -> Vec<Ask> {
        let row = |(row, &length)| self.ask(length, (adapters > 0).then(|| row % adapters.max(1)), tokens);
        LENGTHS.iter().enumerate().map(row).collect()
    }
}

/// Uploads the 8 adapters to Cairn; the second time they are there already.
async fn prepare(compare: &Compare) -> anyhow::Result<()> {
    let running = engine::cairn(compare, "cairn", 256).await?;
    for seed in 0..8 {
        register(&running.server, Random { seed, rank: 16 }).await?;
    }
    running.stop().await
}

/// Uploads an adapter and publishes it.
pub(crate) async fn register(server: &Server, adapter: Random) -> anyhow::Result<()> {
    let file = Part::bytes(adapter.archive()?).file_name("adapter.tar");
    let path = format!("/v1/adapters?base={MODEL}&alias={}", alias(adapter.seed as usize));
    let answer = server.post(&path).multipart(Form::new().part("file", file)).send().await?;
    ensure!(answer.status().is_success(), "adapter {} was refused: {}", adapter.seed, answer.text().await?);
    Ok(())
}

/// Do Cairn and llama.cpp say the same? Greedy texts of the base and of each adapter, 16 tokens each. They need not agree
/// to the last token (their sums round differently), but adapters that were converted wrongly would agree on none.
async fn agreement(compare: &Compare, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    let base = seeds.ask(32, None, 16);
    let on = |adapter| Ask { adapter, ..base.clone() };
    let asks: Vec<Ask> = std::iter::once(None).chain((0..8).map(Some)).map(on).collect();
    let mut texts = Vec::new();
    for engine in [Engine::Cairn, Engine::Llama] {
        let running = match engine {
            Engine::Cairn => engine::cairn(compare, "cairn", 256).await?,
            _ => engine::llama(compare, 8).await?,
        };
        let mut said = Vec::new();
        for ask in &asks {
            said.push(running.server.ask(ask).await?.text);
        }
        texts.push(said);
        running.stop().await?;
    }
    let same = texts[0].iter().zip(&texts[1]).filter(|(ours, theirs)| ours.trim() == theirs.trim()).count();
    let start = |text: &str| text.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    let alike = texts[0].iter().zip(&texts[1]).filter(|(ours, theirs)| start(ours) == start(theirs)).count();
    let different: std::collections::BTreeSet<&String> = texts[0].iter().collect();
    found.notes.push(format!(
        "Before the measurements Cairn and llama.cpp continued one prompt on the base and on each of the 8 adapters, \
         greedily, for 16 tokens: {same} of 9 texts were equal to the last character, {alike} of 9 in their first four \
         words; Cairn's 9 texts were {} different ones.",
        different.len()
    ));
    Ok(())
}

async fn cairn_round(compare: &Compare, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    let running = engine::cairn(compare, "cairn", 256).await?;
    let server = &running.server;
    server.ask(&seeds.ask(64, None, 8)).await?; // the first request after a start pays for pages and caches
    one_stream(server, Engine::Cairn, found, seeds).await?;
    found.add(UNUSED, Engine::Cairn, server.ask_all(&seeds.batch(0, compare.tokens)).await?.rate());
    // Nothing of an adapter is in memory now: the first request on each is a cold one.
    first_token(server, Engine::Cairn, found, seeds, FIRST_COLD).await?;
    first_token(server, Engine::Cairn, found, seeds, FIRST_HOT).await?;
    batches(server, Engine::Cairn, found, seeds, compare.tokens).await?;
    running.stop().await
}

async fn llama_round(compare: &Compare, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    let running = engine::llama(compare, 0).await?;
    running.server.ask(&seeds.ask(64, None, 8)).await?;
    one_stream(&running.server, Engine::Llama, found, seeds).await?;
    running.stop().await?;
    let running = engine::llama(compare, 8).await?;
    running.server.ask(&seeds.ask(64, None, 8)).await?;
    first_token(&running.server, Engine::Llama, found, seeds, FIRST_HOT).await?;
    batches(&running.server, Engine::Llama, found, seeds, compare.tokens).await?;
    running.stop().await
}

/// Case a.
async fn one_stream(server: &Server, engine: Engine, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    for _ in 0..2 {
        let answer = server.ask(&seeds.ask(PROMPT, None, STREAM)).await?;
        ensure!(answer.prompt_tokens == PROMPT as u64, "the prompt has {} tokens", answer.prompt_tokens);
        found.add(PREFILL, engine, answer.prefill_rate());
        found.add(DECODE, engine, answer.decode_rate());
    }
    Ok(())
}

/// Case c: a short prompt on the base and on each adapter in turn.
async fn first_token(
    server: &Server,
    engine: Engine,
    found: &mut Found,
    seeds: &mut Seeds,
    figure: &str,
) -> anyhow::Result<()> {
    for adapter in 0..8 {
        let ms = |answer: crate::client::Answer| answer.first.as_secs_f64() * 1e3;
        found.add(FIRST_BASE, engine, ms(server.ask(&seeds.ask(16, None, 2)).await?));
        found.add(figure, engine, ms(server.ask(&seeds.ask(16, Some(adapter), 2)).await?));
    }
    Ok(())
}

/// Cases b and e.
async fn batches(
    server: &Server,
    engine: Engine,
    found: &mut Found,
    seeds: &mut Seeds,
    tokens: u32,
) -> anyhow::Result<()> {
    for adapters in MIXES {
        found.add(&mixed(adapters), engine, server.ask_all(&seeds.batch(adapters, tokens)).await?.rate());
    }
    Ok(())
}

/// Everything for mistral.rs, on the base alone: it refuses adapters on a Llama GGUF. Its Runner takes one call at a time
/// and does not stream completions, so the time to the first token is the time of a request for one token.
async fn mistral_round(compare: &Compare, found: &mut Found, seeds: &mut Seeds) -> anyhow::Result<()> {
    let mut lists = vec![vec![seeds.ask(64, None, 8)]]; // not counted: the first request pays for pages and caches
    for _ in 0..2 {
        let prompt = seeds.ask(PROMPT, None, 1);
        lists.push(vec![prompt.clone()]);
        lists.push(vec![Ask { tokens: STREAM, ..prompt }]);
    }
    lists.extend((0..4).map(|_| vec![seeds.ask(16, None, 1)]));
    lists.push(seeds.batch(0, compare.tokens));
    let measured = mistral::run(compare, &lists).await?;
    for pair in measured[1..5].chunks_exact(2) {
        ensure!(pair[1].tokens == f64::from(STREAM), "mistral.rs made {} tokens", pair[1].tokens);
        found.add(PREFILL, Engine::Mistral, pair[0].prompt_tokens / pair[0].seconds);
        found.add(DECODE, Engine::Mistral, (pair[1].tokens - 1.0) / (pair[1].seconds - pair[0].seconds));
    }
    for short in &measured[5..9] {
        found.add(FIRST_BASE, Engine::Mistral, short.seconds * 1e3);
    }
    found.add(&mixed(0), Engine::Mistral, measured[9].tokens / measured[9].seconds);
    Ok(())
}

/// Tokens of the long prompt.
const PROMPT: usize = 512;
/// Tokens generated after it.
const STREAM: u32 = 128;
