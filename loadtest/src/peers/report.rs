//! What was found, as docs/benchmarks.md.

use std::{fmt::Write, path::Path};

use anyhow::Context;

use crate::{
    Compare,
    cases::{DECODE, FIRST_BASE, FIRST_HOT, MIXES, PREFILL, mixed},
    limits, machine,
    pairs::{ADDED_COLD, ADDED_FIRST, ADDED_HOT, LEASE_COLD, LEASE_HOT, UNUSED, cost},
    samples::{
        Engine::{self, Cairn, Llama, Mistral},
        Found,
    },
    shape::Shape,
    tenants::{P95, RATE},
};

/// Prints the tables and writes them to the report's file.
pub(crate) fn write(compare: &Compare, shape: &Shape, found: &Found) -> anyhow::Result<()> {
    let text = render(compare, shape, found)?;
    println!("\n{text}");
    let path = &compare.report;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    let before = if compare.append { read(path)? + "\n" } else { String::new() };
    std::fs::write(path, before + &text).with_context(|| format!("{} cannot be written", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read, to be added to", path.display()))
}

fn render(compare: &Compare, shape: &Shape, found: &Found) -> anyhow::Result<String> {
    let mut text = format!("# Benchmarks: Cairn beside its peers, {}\n\n", compare.weights);
    writeln!(text, "Written by {}; run it to get your machine's.\n", compare.command)?;
    for warning in &found.warnings {
        writeln!(text, "> **Warning.** {warning}\n")?;
    }
    text += &figures(compare, found)?;
    text += &pairs(found)?;
    let aims: Vec<Aim> = aims(found).into_iter().flatten().collect();
    if !aims.is_empty() {
        text += "## Aims\n\n| | Measured | Aim | |\n| --- | --- | --- | --- |\n";
    }
    for Aim { what, measured, aim, met } in aims {
        writeln!(text, "| {what} | {measured} | {aim} | {} |", if met { "met" } else { "**not met**" })?;
    }
    text += "\n";
    text += &limits::render(compare, shape, found)?;
    text += &how(compare, found)?;
    text += "## Machine and versions\n\n";
    for (name, value) in machine::surroundings(compare) {
        writeln!(text, "- {name}: {value}")?;
    }
    Ok(text)
}

/// The engines beside each other.
fn figures(compare: &Compare, found: &Found) -> anyhow::Result<String> {
    let mut rows: Vec<(String, usize)> = [PREFILL, DECODE].map(|figure| (figure.to_owned(), 0)).into();
    rows.extend(MIXES.map(|adapters| (mixed(adapters), 0)));
    rows.extend([FIRST_BASE, FIRST_HOT].map(|figure| (figure.to_owned(), 1)));
    rows.extend(RATE.into_iter().zip(P95).flat_map(|(rate, p95)| [(rate.to_owned(), 0), (p95.to_owned(), 0)]));
    let mut text = format!(
        "## Figures\n\nMedian (smallest-largest) over {} rounds; in each the engines take turns, one at a time.\n\n\
         | | Cairn | llama.cpp | mistral.rs | Cairn / llama.cpp | Cairn / mistral.rs |\n| --- | --- | --- | --- | --- | --- |\n",
        compare.rounds
    );
    for (figure, decimals) in rows {
        let samples = |engine| found.samples(&figure, engine);
        if samples(Cairn).median().is_none() {
            continue;
        }
        let ratio = |engine| match samples(Cairn).median().zip(samples(engine).median()) {
            Some((ours, theirs)) => format!("{:.2}", ours / theirs),
            None => "-".into(),
        };
        let shown = |engine| samples(engine).shown(decimals);
        let (ours, llama, mistral) = (shown(Cairn), shown(Llama), shown(Mistral));
        writeln!(text, "| {figure} | {ours} | {llama} | {mistral} | {} | {} |", ratio(Llama), ratio(Mistral))?;
    }
    Ok(text + "\n")
}

/// What adapters cost.
fn pairs(found: &Found) -> anyhow::Result<String> {
    let mut rows: Vec<(String, usize)> =
        [ADDED_HOT, LEASE_HOT, ADDED_COLD, LEASE_COLD, ADDED_FIRST].map(|figure| (figure.to_owned(), 2)).into();
    rows.push((UNUSED.to_owned(), 3));
    rows.extend(MIXES.into_iter().skip(1).map(|adapters| (cost(adapters), 3)));
    let mut text = String::from(
        "## What adapters cost\n\nFrom pairs of measurements a moment apart, in alternating order: median (first to third \
         quartile) of the differences or ratios.\n\n| | Cairn | pairs |\n| --- | --- | --- |\n",
    );
    for (figure, decimals) in rows {
        let samples = found.pairs(&figure);
        if samples.len() > 0 {
            writeln!(text, "| {figure} | {} | {} |", samples.middle(decimals), samples.len())?;
        }
    }
    Ok(text + "\n")
}

struct Aim {
    what: &'static str,
    measured: String,
    aim: &'static str,
    met: bool,
}

/// Each aim that there are measurements for.
fn aims(found: &Found) -> Vec<Option<Aim>> {
    let median = |figure: &str, engine: Engine| found.samples(figure, engine).median();
    let ours = |figure: &str| median(figure, Cairn);
    // mistral.rs takes no adapters here; it could not be faster with them than on the base.
    let best_peer = || [median(&mixed(8), Llama), median(&mixed(0), Mistral)].into_iter().flatten().reduce(f64::max);
    let times = |what, ours: Option<f64>, theirs: Option<f64>, aim, least: f64| {
        let ratio = ours? / theirs?;
        Some(Aim { what, measured: format!("{ratio:.2} times"), aim, met: ratio >= least })
    };
    let added = |what, pairs: &str, aim, most: f64| {
        let ms = found.pairs(pairs).median()?;
        Some(Aim { what, measured: format!("{ms:.2} ms"), aim, met: ms < most })
    };
    let cost = |what, pairs: &str, aim, most: f64| {
        let percent = 100.0 * (1.0 - found.pairs(pairs).median()?);
        Some(Aim { what, measured: format!("{percent:.1} %"), aim, met: percent < most })
    };
    let p95 = || {
        let ratio = ours(P95[1])? / ours(P95[0])?;
        let measured = format!("{ratio:.2} times");
        let what = "Zipf: 95th percentile with 64 in memory, to all";
        Some(Aim { what, measured, aim: "at most 3 times", met: ratio <= 3.0 })
    };
    vec![
        times("prefill, to llama.cpp", ours(PREFILL), median(PREFILL, Llama), "2 times", 2.0),
        times("decode, to llama.cpp", ours(DECODE), median(DECODE, Llama), "1.5 times", 1.5),
        times("prefill, to mistral.rs", ours(PREFILL), median(PREFILL, Mistral), "at the least 1", 1.0),
        times("decode, to mistral.rs", ours(DECODE), median(DECODE, Mistral), "at the least 1", 1.0),
        times("8 adapters, to the better peer", ours(&mixed(8)), best_peer(), "4 times (at the least 2)", 4.0),
        added("added by an adapter in memory", ADDED_HOT, "under 1 ms", 1.0),
        added("added by an adapter not in memory", ADDED_COLD, "under 25 ms", 25.0),
        added("added by an adapter's first use since the start", ADDED_FIRST, "under 25 ms", 25.0),
        p95(),
        cost("cost to the base of adapters in memory, unused", UNUSED, "under 2 %", 2.0),
        cost("cost of 8 adapters in the batch", &crate::pairs::cost(8), "under 15 %", 15.0),
    ]
}

fn how(compare: &Compare, found: &Found) -> anyhow::Result<String> {
    let mut text = String::from("## How it was measured\n\n");
    for note in &found.notes {
        writeln!(text, "- {note}")?;
    }
    writeln!(
        text,
        "- Weights: {}, one GGUF file for all engines. Two threads each, bound to two cores; the load generator runs on the \
         same cores. Greedy.\n\
         - One stream: {} prompt tokens, then {}. Prefill is the prompt over the time to the first token, HTTP included; decode is \
         all tokens but the first over the time from the first to the last. mistral.rs: the time of a request for one token, \
         and the rest.\n\
         - 8 at once: prompts of 12 to 150 tokens, {} generated tokens each; all generated tokens over the time until the \
         last answer's end. Adapters: r = 16 on all linear layers, random. Cairn's time includes a record of each answer in \
         its transparency log.",
        compare.weights, compare.prompt, compare.stream, compare.tokens
    )?;
    if !compare.short {
        text += "- Cairn's pairs come from three gateways that run at once, of which one answers at a time: one without any adapter, one \
                 with 8 and room for them, one with 8 and room for two. First tokens: 16 prompt tokens on the base and on an adapter. \
                 Not in memory: evicted, so that its files are in the operating system's cache and were checked against the \
                 generation's name before; the first use since the start checks them. llama.cpp loads all adapters at its start, and has \
                 no such figure. Lease: until the alias is resolved and the generation pinned.\n";
    }
    Ok(text + "- No prompt is sent twice, and the peers' prefix caches are off.\n\n")
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    #[test]
    fn ratios_and_aims_of_known_values() {
        let mut found = Found::default();
        for (engine, rate) in [(Cairn, 300.0), (Llama, 100.0), (Mistral, 400.0)] {
            found.add(PREFILL, engine, rate);
        }
        for ms in [98.0, 100.0, 130.0] {
            found.pair(ADDED_COLD, ms);
        }
        found.pair(UNUSED, 0.99);
        found.warnings.push("busy".into());
        let mut arguments: Vec<&str> = vec!["compare"];
        for option in ["cairn", "llama", "python", "mistral", "gguf", "adapters", "work", "report", "weights"] {
            arguments.extend([Box::leak(format!("--{option}").into_boxed_str()), "no-such-file"]);
        }
        let command = Compare::augment_args(clap::Command::new("compare"));
        let compare = Compare::from_arg_matches(&command.get_matches_from(arguments)).unwrap();
        let text = render(&compare, &crate::shape::tests::small(), &found).unwrap();
        let has = |line: &str| assert!(text.contains(line), "no {line:?} in\n{text}");
        has("| one stream: prefill, tokens/s | 300 (300-300) | 100 (100-100) | 400 (400-400) | 3.00 | 0.75 |");
        has("| prefill, to llama.cpp | 3.00 times | 2 times | met |");
        has("| prefill, to mistral.rs | 0.75 times | at the least 1 | **not met** |");
        has("| added to the first token by an adapter not in memory, ms | 100.00 (100.00 to 130.00) | 3 |");
        has("| added by an adapter not in memory | 100.00 ms | under 25 ms | **not met** |");
        has("| cost to the base of adapters in memory, unused | 1.0 % | under 2 % | met |");
        has("> **Warning.** busy");
        assert!(!text.contains("decode, to"), "an aim without measurements");
    }
}
