//! What adapters cost, from pairs: two measurements a moment apart, in alternating order, of which only the difference or the
//! ratio counts. Whatever else the machine does falls on both.

use std::time::Instant;

use crate::{
    Compare,
    cases::{FIRST_BASE, FIRST_HOT, Gateways, Seeds, mixed},
    client::Server,
    lane::{Lane, Spent},
    samples::{Engine, Found},
};

/// Names of the pairs, as `report` looks them up.
pub(crate) const ADDED_HOT: &str = "added to the first token by an adapter in memory, ms";
pub(crate) const ADDED_COLD: &str = "added to the first token by an adapter not in memory, ms";
pub(crate) const ADDED_FIRST: &str = "the same, the adapter's first use since the start, ms";
pub(crate) const LEASE_HOT: &str = "of it: lease, and the adapter found in memory, ms";
pub(crate) const LEASE_COLD: &str = "of it: lease, and the adapter read from the store and attached, ms";
pub(crate) const UNUSED: &str = "rate of the base, 8 adapters in memory and unused, to a gateway without adapters";

pub(crate) fn cost(adapters: usize) -> String {
    format!("rate of 8 at once on {adapters} adapter{}, to the base's", if adapters == 1 { "" } else { "s" })
}

/// Case c: a short prompt on the base and on an adapter.
pub(crate) async fn first_tokens(
    compare: &Compare,
    gateways: &Gateways,
    found: &mut Found,
    seeds: &mut Seeds,
) -> anyhow::Result<()> {
    // Nothing of an adapter is in the memory of either now.
    let full = &gateways.full.server;
    for adapter in 0..8 {
        pair(full, adapter, adapter % 2 == 0, [None, None], ADDED_FIRST, found, seeds).await?;
    }
    for turn in 0..compare.turns {
        for adapter in 0..8 {
            let names = [Some(FIRST_BASE), Some(FIRST_HOT)];
            let before = Lane::read(full).await?;
            pair(full, adapter, (adapter + turn) % 2 == 0, names, ADDED_HOT, found, seeds).await?;
            attached(&Lane::read(full).await?.since(&before), 0, LEASE_HOT, found);
        }
    }
    // With room for two, the one that was used longest ago is gone.
    let small = &gateways.small.server;
    for adapter in 0..8 {
        small.ask(&seeds.ask(16, Some(adapter), 2)).await?; // its first use since the start
    }
    for turn in 0..compare.turns {
        for adapter in 0..8 {
            let before = Lane::read(small).await?;
            pair(small, adapter, (adapter + turn) % 2 == 0, [None, None], ADDED_COLD, found, seeds).await?;
            attached(&Lane::read(small).await?.since(&before), 1, LEASE_COLD, found);
        }
    }
    Ok(())
}

/// The base and an adapter, in either order.
async fn pair(
    server: &Server,
    adapter: usize,
    base_first: bool,
    names: [Option<&str>; 2],
    difference: &str,
    found: &mut Found,
    seeds: &mut Seeds,
) -> anyhow::Result<()> {
    let mut ms = [0.0; 2];
    for which in if base_first { [0, 1] } else { [1, 0] } {
        let ask = seeds.ask(16, (which == 1).then_some(adapter), 2);
        ms[which] = server.ask(&ask).await?.first_ms();
        if let Some(name) = names[which] {
            found.add(name, Engine::Cairn, ms[which]);
        }
    }
    found.pair(difference, ms[1] - ms[0]);
    Ok(())
}

/// The time of one request from asking for the lease to the adapter's being ready, where it was loaded so often.
fn attached(spent: &Lane, loads: u32, name: &str, found: &mut Found) {
    if spent.leases == 1.0 && spent.loads == f64::from(loads) {
        found.pair(name, (spent.leasing + spent.attaching) * 1e3);
    }
}

/// Cases b and e: 8 requests of different lengths at once. A turn is one batch of each kind, in one order or the reverse; the
/// first two are the base's without and with adapters in memory, so those are always neighbours.
pub(crate) async fn batches(
    compare: &Compare,
    gateways: &Gateways,
    found: &mut Found,
    seeds: &mut Seeds,
) -> anyhow::Result<()> {
    let (plain, full) = (&gateways.plain.server, &gateways.full.server);
    full.ask_all(&seeds.batch(8, 2)).await?; // all eight are in memory from here on
    let kinds: Vec<(&Server, usize)> =
        std::iter::once((plain, 0)).chain(compare.mixes().into_iter().map(|adapters| (full, adapters))).collect();
    for turn in 0..compare.turns {
        let mut rates = vec![0.0; kinds.len()];
        let mut order: Vec<usize> = (0..kinds.len()).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (server, adapters) = kinds[at];
            let asks = seeds.batch(adapters, compare.tokens);
            let (before, started) = (Lane::read(server).await?, Instant::now());
            rates[at] = server.ask_all(&asks).await?.rate();
            let wall = started.elapsed();
            if at > 0 {
                let name = mixed(adapters);
                found.add(&name, Engine::Cairn, rates[at]);
                found.spend(name.trim_end_matches(": tokens/s"), Spent::new(wall, &before, &Lane::read(server).await?));
            }
        }
        found.pair(UNUSED, rates[1] / rates[0]);
        for (at, (_, adapters)) in kinds.iter().enumerate().skip(2) {
            found.pair(&cost(*adapters), rates[at] / rates[1]);
        }
    }
    Ok(())
}
