//! What was found, as docs/benchmarks.md.

use std::{fmt::Write, path::Path, process::Command};

use anyhow::Context;

use crate::{
    Compare,
    cases::{DECODE, FIRST_BASE, FIRST_COLD, FIRST_HOT, MIXES, PREFILL, UNUSED, mixed},
    samples::{
        Engine::{self, Cairn, Llama, Mistral},
        Found,
    },
    tenants::{P95, RATE},
};

/// Prints the tables and writes them to the report's file.
pub(crate) fn write(compare: &Compare, found: &Found) -> anyhow::Result<()> {
    let text = render(compare, found)?;
    println!("\n{text}");
    let path = &compare.report;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

fn render(compare: &Compare, found: &Found) -> anyhow::Result<String> {
    let mut text = String::from("# Benchmarks: Cairn beside its peers\n\n");
    writeln!(text, "Written by `./loadtest/run peers`; run it to get your machine's. Median (smallest-largest) over ")?;
    writeln!(text, "{} rounds; in each the engines take turns, one at a time.\n", compare.rounds)?;
    text += "## Figures\n\n| | Cairn | llama.cpp | mistral.rs | Cairn / llama.cpp | Cairn / mistral.rs |\n| --- | --- | --- | --- | --- | --- |\n";
    for (figure, decimals) in figures() {
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
    text += "\n## Aims\n\n| | Measured | Aim | |\n| --- | --- | --- | --- |\n";
    for aim in aims(found).into_iter().flatten() {
        let met = if aim.met { "met" } else { "**not met**" };
        writeln!(text, "| {} | {} | {} | {met} |", aim.what, aim.measured, aim.aim)?;
    }
    text += "\n## What limits\n\n";
    if let Some(rate) = found.samples(DECODE, Cairn).median() {
        let bytes = std::fs::metadata(&compare.gguf)?.len() as f64;
        writeln!(
            text,
            "- Decoding one stream reads all weights ({:.0} MB) for each token: Cairn's {rate:.0} tokens/s are {:.1} GB/s. \
             What the two cores read at most is the ceiling.",
            bytes / 1e6,
            bytes * rate / 1e9
        )?;
    }
    if let Some(rate) = found.samples(PREFILL, Cairn).median() {
        writeln!(
            text,
            "- A prompt costs two operations for each of {:.0} million weights and token: Cairn's {rate:.0} tokens/s are {:.0} \
             billion operations a second, attention not counted.",
            LAYER_WEIGHTS / 1e6,
            2.0 * LAYER_WEIGHTS * rate / 1e9
        )?;
    }
    text += "- llama.cpp's server never puts two sets of adapters into one batch: requests on different adapters wait for each other.\n\
             - mistral.rs' Python Runner takes one call at a time: its figures for 8 at once are those of 8 in turn. On a CPU its \
             engine would batch only sequences of equal length. It refuses adapters on a Llama GGUF, so that its only figures are the \
             base's; the aim for 8 adapters takes its base's for what it could reach at best.\n\
             - llama.cpp's AMX path is off (it is known to crash on some processors); AVX-512 and VNNI are on.\n\n";
    text += "## How it was measured\n\n";
    for note in &found.notes {
        writeln!(text, "- {note}")?;
    }
    writeln!(
        text,
        "- Weights: SmolLM2-135M-Instruct, every matrix in Q8_0, one GGUF file for all engines. Two threads each, bound to two \
         cores; the load generator runs on the same cores. Greedy.\n\
         - One stream: 512 prompt tokens, then 128. Prefill is 512 over the time to the first token, HTTP included; decode is \
         127 over the time from the first to the last. mistral.rs: the time of a request for one token, and the rest.\n\
         - 8 at once: prompts of 12 to 150 tokens, {} generated tokens each; all generated tokens over the time until the \
         last answer's end. Adapters: r = 16 on all linear layers, random. Cairn's time includes a record of each answer in \
         its transparency log.\n\
         - Time to first token: 16 prompt tokens. Not in memory: the first request on an adapter after the gateway's restart \
         (its files may be in the operating system's cache). llama.cpp loads all adapters at its start, and has no such figure.\n\
         - No prompt is sent twice, and the peers' prefix caches are off.\n",
        compare.tokens
    )?;
    text += "## Machine and versions\n\n";
    for (name, value) in surroundings(compare) {
        writeln!(text, "- {name}: {value}")?;
    }
    Ok(text)
}

/// The table's rows, with their decimals.
fn figures() -> Vec<(String, usize)> {
    let mut figures: Vec<(String, usize)> = [PREFILL, DECODE, UNUSED].map(|figure| (figure.to_owned(), 0)).into();
    figures.extend(MIXES.map(|adapters| (mixed(adapters), 0)));
    figures.extend([FIRST_BASE, FIRST_HOT, FIRST_COLD].map(|figure| (figure.to_owned(), 1)));
    figures.extend(RATE.into_iter().zip(P95).flat_map(|(rate, p95)| [(rate.to_owned(), 0), (p95.to_owned(), 0)]));
    figures
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
    let added = |what, figure: &str, aim, most: f64| {
        let ms = ours(figure)? - ours(FIRST_BASE)?;
        Some(Aim { what, measured: format!("{ms:.1} ms"), aim, met: ms < most })
    };
    let cost = |what, with: &str, without: &str, aim, most: f64| {
        let percent = 100.0 * (1.0 - ours(with)? / ours(without)?);
        Some(Aim { what, measured: format!("{percent:.1} %"), aim, met: percent < most })
    };
    let (base, eight) = (mixed(0), mixed(8));
    let p95 = || {
        let ratio = ours(P95[1])? / ours(P95[0])?;
        let measured = format!("{ratio:.2} times");
        Some(Aim {
            what: "Zipf: 95th percentile with 64 in memory, to all",
            measured,
            aim: "at most 3 times",
            met: ratio <= 3.0,
        })
    };
    vec![
        times("prefill, to llama.cpp", ours(PREFILL), median(PREFILL, Llama), "2 times", 2.0),
        times("decode, to llama.cpp", ours(DECODE), median(DECODE, Llama), "1.5 times", 1.5),
        times("prefill, to mistral.rs", ours(PREFILL), median(PREFILL, Mistral), "at the least 1", 1.0),
        times("decode, to mistral.rs", ours(DECODE), median(DECODE, Mistral), "at the least 1", 1.0),
        times("8 adapters, to the better peer", ours(&eight), best_peer(), "4 times (at the least 2)", 4.0),
        added("added by an adapter in memory", FIRST_HOT, "under 1 ms", 1.0),
        added("added by an adapter not in memory", FIRST_COLD, "under 25 ms", 25.0),
        p95(),
        cost("cost to the base of adapters in memory, unused", &base, UNUSED, "under 2 %", 2.0),
        cost("cost of 8 adapters in the batch", &eight, &base, "under 15 %", 15.0),
    ]
}

/// Versions, machine and date.
fn surroundings(compare: &Compare) -> Vec<(&'static str, String)> {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown".into(), |(_, value)| value.trim().to_owned())
    };
    let said = |program: &Path, arguments: &[&str]| match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let both = [output.stdout, output.stderr].concat();
            let both = String::from_utf8_lossy(&both).into_owned();
            both.lines().find(|line| line.contains(|c: char| c.is_ascii_digit())).unwrap_or("unknown").trim().to_owned()
        }
        Err(error) => format!("unknown ({error})"),
    };
    let installed = "from importlib.metadata import version; print(version('mistralrs'))";
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("Date", chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string()),
        ("Processor", format!("{}, {cores} cores visible", field(&file("/proc/cpuinfo"), "model name"))),
        ("Memory", field(&file("/proc/meminfo"), "MemTotal")),
        ("Load average at the end (1, 5, 15 minutes; the run itself makes about 2)", {
            file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
        }),
        ("Cairn", said(&compare.cairn, &["--version"])),
        ("llama.cpp", format!("{} (from the sdist of llama-cpp-python 0.3.36)", said(&compare.llama, &["--version"]))),
        ("mistral.rs", format!("{} (PyPI)", said(&compare.python, &["-c", installed]))),
        ("Command", "`./loadtest/run peers`".into()),
    ]
}

/// Weights of SmolLM2-135M that each prompt token meets: all but the embedding, which only the last token's logits need.
const LAYER_WEIGHTS: f64 = 106.2e6;

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
        found.add(FIRST_BASE, Cairn, 30.0);
        found.add(FIRST_COLD, Cairn, 130.0);
        let arguments = [
            "compare",
            "--cairn",
            "no-such-program",
            "--llama",
            "no-such-program",
            "--python",
            "no-such-program",
            "--mistral",
            "x",
            "--gguf",
            "x",
            "--adapters",
            "x",
            "--work",
            "x",
            "--report",
            "x",
        ];
        let command = Compare::augment_args(clap::Command::new("compare"));
        let compare = Compare::from_arg_matches(&command.get_matches_from(arguments)).unwrap();
        let text = render(&compare, &found).unwrap();
        let has = |line: &str| assert!(text.contains(line), "no {line:?} in\n{text}");
        has("| one stream: prefill, tokens/s | 300 (300-300) | 100 (100-100) | 400 (400-400) | 3.00 | 0.75 |");
        has("| prefill, to llama.cpp | 3.00 times | 2 times | met |");
        has("| prefill, to mistral.rs | 0.75 times | at the least 1 | **not met** |");
        has("| added by an adapter not in memory | 100.0 ms | under 25 ms | **not met** |");
        assert!(!text.contains("decode, to"), "an aim without measurements");
    }
}
