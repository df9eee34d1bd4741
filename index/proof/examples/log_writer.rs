//! A process that appends to a log, to be killed or to have its system calls fail: tests/faults.rs runs it.
//!
//! ```text
//! log_writer hammer DIR GUARD CLIENTS   appends from so many threads until it is killed
//! log_writer steps DIR GUARD            opens, appends a few batches and ends
//! log_writer rotate DIR GUARD           the same, with a rotation of the key in between
//! ```
//!
//! After entries are acknowledged a line `<index> <leaf hash>` for each goes to standard output. The key's seed is 32 bytes
//! of 42, after the rotation of 43.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_proof::log::{Batching, Draft, Sequencer};
use cairn_proof::{Hash, Log, Origin, SigningKey, leaf_hash};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["hammer", dir, guard, clients] => hammer(open(dir, guard)?, clients.parse()?),
        ["steps", dir, guard] => steps(open(dir, guard)?, false),
        ["rotate", dir, guard] => steps(open(dir, guard)?, true),
        _ => Err("usage: log_writer hammer DIR GUARD CLIENTS | steps DIR GUARD | rotate DIR GUARD".into()),
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn open(dir: &str, guard: &str) -> cairn_proof::Result<Log> {
    let origin = Origin::new("cairn.example.com/log")?;
    let open = |seed| {
        Log::open_guarded(Path::new(dir), SigningKey::from_seed([seed; 32]), origin.clone(), &PathBuf::from(guard))
    };
    match open(42) {
        Err(cairn_proof::Error::KeyRotated { .. }) => open(43),
        opened => opened,
    }
}

/// Each thread appends entries of its own, one after the other.
fn hammer(log: Log, clients: u64) -> Outcome {
    let start = log.size();
    let batching = Batching { interval: Duration::from_millis(2), entries: 64, queue: 4096 };
    let sequencer = Sequencer::start(log, batching)?;
    std::thread::scope(|scope| {
        for client in 0..clients {
            let sequencer = &sequencer;
            scope.spawn(move || {
                for number in 0u64.. {
                    let entry = format!("{start} {client} {number} {}", "x".repeat((number % 700) as usize));
                    let Ok(placed) = sequencer.append(Draft::Entry(entry.into_bytes())) else { return };
                    acknowledge([(placed.index, placed.leaf)]);
                }
            });
        }
    });
    Ok(())
}

/// Batches that stay in a tile, complete it and begin the next.
fn steps(mut log: Log, rotate: bool) -> Outcome {
    let start = log.size();
    for (number, count) in [2, 252, 3].into_iter().enumerate() {
        let entries: Vec<Vec<u8>> = (0..count).map(|i| format!("{start} {number}.{i}").into_bytes()).collect();
        let range = log.append(&entries)?;
        acknowledge(range.zip(entries.iter().map(|entry| leaf_hash(entry))));
        if rotate && number == 0 {
            let rotation = log.rotate(SigningKey::from_seed([43; 32]), "2026-01-02T03:04:05Z".to_owned())?;
            acknowledge([(rotation.size, rotation.leaf()?)]);
        }
    }
    Ok(())
}

/// Says which entries are acknowledged. What cannot be said is not: then the process ends.
fn acknowledge(entries: impl IntoIterator<Item = (u64, Hash)>) {
    let lines: String = entries.into_iter().map(|(index, leaf)| format!("{index} {leaf}\n")).collect();
    if std::io::stdout().lock().write_all(lines.as_bytes()).is_err() {
        std::process::exit(1);
    }
}
