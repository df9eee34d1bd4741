//! The machine that is measured on: what it is, whether it was at rest, and how fast its cores read.

use std::{
    hint::black_box,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{Compare, samples::Found};

/// Looks whether the machine is at rest before anything is started.
pub(crate) fn look(found: &mut Found) {
    let load = load();
    let first = load.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(f64::NAN);
    found.notes.push(format!("Load average before the run (1, 5, 15 minutes): {load}."));
    if busy(first) {
        found.warnings.push(format!(
            "The machine was busy when the run began (load average {load}; at rest it is below {BUSY}): do not trust the \
             figures of one engine against another's. Pairs suffer less."
        ));
    }
}

fn busy(load: f64) -> bool {
    // Where there is no figure, nobody can say that it was at rest.
    load.is_nan() || load >= BUSY
}

/// A load average from which the machine counts as busy.
const BUSY: f64 = 0.6;

/// Bytes a second that two threads read from memory, at best of some tries.
pub(crate) fn read_bandwidth() -> f64 {
    let buffers: Vec<Vec<u64>> = (0..2).map(|fill| vec![fill + 1; WORDS]).collect();
    let once = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for words in &buffers {
                scope.spawn(move || {
                    // Eight sums, so that no addition waits for the last.
                    let mut sums = [0_u64; 8];
                    for words in words.as_chunks::<8>().0 {
                        for (sum, word) in sums.iter_mut().zip(words) {
                            *sum = sum.wrapping_add(*word);
                        }
                    }
                    black_box(sums);
                });
            }
        });
        started.elapsed()
    };
    let best = (0..8).map(|_| once()).min().unwrap_or(Duration::MAX);
    (buffers.len() * WORDS * 8) as f64 / best.as_secs_f64()
}

/// Numbers of a buffer that no cache holds.
const WORDS: usize = 64 << 20;

/// Versions, machine and date.
pub(crate) fn surroundings(compare: &Compare) -> Vec<(&'static str, String)> {
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
        ("Load average at the end (1, 5, 15 minutes; the run itself makes about 2)", load()),
        ("Cairn", said(&compare.cairn, &["--version"])),
        ("llama.cpp", format!("{} (from the sdist of llama-cpp-python 0.3.36)", said(&compare.llama, &["--version"]))),
        ("mistral.rs", format!("{} (PyPI)", said(&compare.python, &["-c", installed]))),
        ("Command", compare.command.clone()),
    ]
}

fn load() -> String {
    file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or("unknown".into(), |(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_load_counts_as_busy() {
        assert!(busy(2.0) && busy(f64::NAN) && !busy(0.2));
    }
}
