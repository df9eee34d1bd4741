//! Case d: many registered adapters, traffic whose popularity follows Zipf's law, and room for a few.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    Compare,
    adapter::Random,
    cases::{Seeds, register},
    client::{Ask, Server},
    engine,
    samples::{Engine, Found, Samples},
};

/// Names of the figures, as `report` looks them up.
pub(crate) const RATE: [&str; 2] = ["Zipf, all in memory: tokens/s", "Zipf, 64 in memory: tokens/s"];
pub(crate) const P95: [&str; 2] =
    ["Zipf, all in memory: 95th percentile, ms", "Zipf, 64 in memory: 95th percentile, ms"];

/// Runs the same traffic with room for all adapters and with room for 64, twice in turn.
pub(crate) async fn compare(compare: &Compare, found: &mut Found) -> anyhow::Result<()> {
    let one = Random { seed: 0, rank: RANK }.weight_bytes() as u64;
    let mib = |adapters: u64| (adapters * one).div_ceil(1 << 20);
    let data = format!("cairn-{}", compare.registered);
    let marker = compare.work.join(&data).join("registered");
    if !marker.exists() {
        println!("registering {} adapters of {:.1} MB", compare.registered, one as f64 / 1e6);
        let running = engine::cairn(compare, &data, 64).await?;
        for seed in 0..compare.registered as u64 {
            register(&running.server, Random { seed, rank: RANK }).await?;
        }
        running.stop().await?;
        std::fs::write(marker, "")?;
    }
    let popularity = Zipf::new(compare.registered);
    let mut random = StdRng::seed_from_u64(7);
    let traffic: Vec<usize> = (0..REQUESTS).map(|_| popularity.sample(&mut random)).collect();
    let distinct = traffic.iter().collect::<BTreeSet<_>>().len();
    found.notes.push(format!(
        "The Zipf traffic (exponent 1): {REQUESTS} requests over {} registered adapters (r = {RANK}, {:.1} MB each), of \
         which {distinct} different ones are asked for; {CLIENTS} clients, 24 prompt tokens and {TOKENS} generated ones a request.",
        compare.registered,
        one as f64 / 1e6
    ));
    let mut seeds = Seeds(1 << 32);
    for _ in 0..2 {
        // An adapter weighs a little more in memory than its numbers; half of one more leaves room for that, not for a 65th.
        for (which, resident) in [(0, mib(compare.registered as u64 + 1) + 64), (1, mib(64) + one.div_ceil(2 << 20))] {
            let running = engine::cairn(compare, &data, resident).await?;
            // Once through, so that what fits is in memory; then timed.
            send(&running.server, &traffic, &mut seeds).await?;
            let started = Instant::now();
            let times = send(&running.server, &traffic, &mut seeds).await?;
            let rate = (times.len() as u32 * TOKENS) as f64 / started.elapsed().as_secs_f64();
            found.add(RATE[which], Engine::Cairn, rate);
            let mut all = Samples::default();
            times.iter().for_each(|time| all.push(time.as_secs_f64() * 1e3));
            found.add(P95[which], Engine::Cairn, all.quantile(0.95).unwrap_or(f64::NAN));
            running.stop().await?;
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
const TOKENS: u32 = 16;
const REQUESTS: usize = 300;

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
