//! Case d: many registered adapters, traffic whose popularity follows Zipf's law, and room for a few.
//!
//! Two gateways answer the same traffic in blocks, in turn: one has all adapters in memory, the other has room for 64.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    Compare,
    adapter::Random,
    cases::{Seeds, load, register},
    client::{Ask, Server},
    engine::{self, Running},
    lane::Lane,
    samples::{Engine, Found, Samples},
    shape::Shape,
};

/// Names of the figures, as `report` looks them up.
pub(crate) const RATE: [&str; 2] = ["Zipf, all in memory: tokens/s", "Zipf, 64 in memory: tokens/s"];
pub(crate) const P95: [&str; 2] =
    ["Zipf, all in memory: 95th percentile, ms", "Zipf, 64 in memory: 95th percentile, ms"];

/// Runs the same traffic with room for all adapters and with room for 64, block by block.
pub(crate) async fn compare(compare: &Compare, shape: &Shape, found: &mut Found) -> anyhow::Result<()> {
    let numbers = Random { seed: 0, rank: RANK, shape }.weight_bytes() as u64;
    // An adapter weighs a little more in memory than its numbers.
    let enough = (compare.registered as u64 * numbers * 5 / 4).div_ceil(1 << 20) + 64;
    let (all, some) = (format!("all-{}", compare.registered), format!("some-{}", compare.registered));
    register_all(compare, shape, &all, &some).await?;
    let gateways: [Running; 2] = {
        let all = engine::cairn(compare, &all, enough).await?;
        load(&all.server, 0).await?;
        let each = Lane::read(&all.server).await?.resident;
        println!("an adapter takes {:.2} MB in memory", each / 1e6);
        // Half of one more leaves no room for a 65th.
        let room = (each * 64.5 / f64::from(1 << 20)).ceil() as u64;
        [all, engine::cairn(compare, &some, room).await?]
    };
    let popularity = Zipf::new(compare.registered);
    let traffic = |seed, requests| -> Vec<usize> {
        let mut random = StdRng::seed_from_u64(seed);
        (0..requests).map(|_| popularity.sample(&mut random)).collect()
    };
    let mut seeds = Seeds(1 << 32);
    for adapter in 0..compare.registered {
        load(&gateways[0].server, adapter).await?;
    }
    for gateway in &gateways {
        send(&gateway.server, &traffic(6, WARM_UP), &mut seeds).await?;
    }
    let measured = traffic(7, REQUESTS);
    let (mut times, mut seconds, mut loads) = ([Vec::new(), Vec::new()], [0.0; 2], [0.0; 2]);
    for (block, traffic) in measured.chunks(BLOCK).enumerate() {
        for which in if block % 2 == 0 { [0, 1] } else { [1, 0] } {
            let server = &gateways[which].server;
            let (before, started) = (Lane::read(server).await?, Instant::now());
            let took = send(server, traffic, &mut seeds).await?;
            let spent = started.elapsed().as_secs_f64();
            found.add(RATE[which], Engine::Cairn, f64::from(traffic.len() as u32 * TOKENS) / spent);
            loads[which] += Lane::read(server).await?.since(&before).loads;
            seconds[which] += spent;
            times[which].extend(took);
        }
    }
    for (which, times) in times.iter().enumerate() {
        let mut samples = Samples::default();
        times.iter().for_each(|time| samples.push(time.as_secs_f64() * 1e3));
        found.add(P95[which], Engine::Cairn, samples.quantile(0.95).unwrap_or(f64::NAN));
    }
    found.notes.push(format!(
        "The Zipf traffic (exponent 1): after a warm-up of {WARM_UP} other requests, {REQUESTS} requests over {} registered \
         adapters (r = {RANK}, {:.1} MB each), of which {} different ones were asked for, to each gateway in blocks of {BLOCK}, in \
         turn; {CLIENTS} clients, 24 prompt tokens and {TOKENS} generated ones a request. Reads from the store meanwhile: {:.0} \
         with all in memory, {:.0} with 64. {:.0} and {:.0} requests a second.",
        compare.registered,
        numbers as f64 / 1e6,
        measured.iter().collect::<BTreeSet<_>>().len(),
        loads[0],
        loads[1],
        REQUESTS as f64 / seconds[0],
        REQUESTS as f64 / seconds[1],
    ));
    for gateway in gateways {
        gateway.stop().await?;
    }
    Ok(())
}

/// Uploads all adapters to one data directory, once, and makes the other a copy of it.
async fn register_all(compare: &Compare, shape: &Shape, one: &str, other: &str) -> anyhow::Result<()> {
    let (from, to) = (compare.work.join(one), compare.work.join(other));
    if to.join("complete").exists() {
        return Ok(());
    }
    println!("registering {} adapters, once", compare.registered);
    let running = engine::cairn(compare, one, 64).await?;
    for seed in 0..compare.registered as u64 {
        register(&running.server, Random { seed, rank: RANK, shape }).await?;
    }
    running.stop().await?;
    copy(&from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
    std::fs::write(to.join("complete"), "")?;
    Ok(())
}

/// Copies a directory; what never changes (the weights, which are named by their content) is linked.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else if from.components().any(|part| part.as_os_str() == "objects") {
            let _ = std::fs::remove_file(&to);
            std::fs::hard_link(&from, &to)?;
        } else {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

/// Sends the traffic, `CLIENTS` at a time; each request's time.
async fn send(server: &Server, traffic: &[usize], seeds: &mut Seeds) -> anyhow::Result<Vec<Duration>> {
    let asks: Vec<Ask> = traffic.iter().map(|&adapter| seeds.ask(24, Some(adapter), TOKENS)).collect();
    let times = asks.iter().map(|ask| async move { anyhow::Ok(server.ask(ask).await?.end) });
    stream::iter(times).buffer_unordered(CLIENTS).try_collect().await
}

/// The n-th most popular of all is asked for in proportion to 1 / n.
struct Zipf {
    /// Running sums of 1 / n.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(all: usize) -> Self {
        let mut sum = 0.0;
        let mut next = |n: usize| {
            sum += 1.0 / n as f64;
            sum
        };
        Self { sums: (1..=all).map(&mut next).collect() }
    }

    fn sample(&self, random: &mut StdRng) -> usize {
        let last = self.sums.last().copied().unwrap_or_default();
        let at = random.random_range(0.0..last);
        self.sums.partition_point(|&sum| sum <= at)
    }
}

const RANK: usize = 8;
const CLIENTS: usize = 8;
const TOKENS: u32 = 8;
const WARM_UP: usize = 300;
const REQUESTS: usize = 1_500;
/// Requests to one gateway before the other's turn.
const BLOCK: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popularity_falls_as_zipf_says() {
        let (zipf, mut random) = (Zipf::new(1_000), StdRng::seed_from_u64(1));
        let mut counts = vec![0_u32; 1_000];
        (0..100_000).for_each(|_| counts[zipf.sample(&mut random)] += 1);
        // 1 / H(1000) = 0.1336.
        assert!((12_800..14_000).contains(&counts[0]), "{}", counts[0]);
        assert!((6_200..7_200).contains(&counts[1]), "{}", counts[1]);
        assert!(counts[900..].iter().sum::<u32>() > 500);
    }
}
