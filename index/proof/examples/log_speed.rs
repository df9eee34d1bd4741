//! How fast the log is: `cargo run --example log_speed -p cairn-proof -- [DIR]` prints tables in Markdown.
//!
//! Appends are durable: each is acknowledged only after its tiles and checkpoint are fsynced in DIR (default: the
//! temporary directory), so the figures are those of DIR's disk. Proofs are timed on trees of 1 k and 1 M leaves held in
//! memory, and on a synthetic one of 100 M leaves, of which nothing is held: what a path needs is hashed when it is asked
//! for. Its leaves repeat every 65,536, which changes no proof's length or cost and spares hashing 200 M times first.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use cairn_proof::log::{Batching, Draft, Sequencer};
use cairn_proof::merkle::{verify_consistency, verify_inclusion};
use cairn_proof::{Hash, Log, Origin, SigningKey, Tree, leaf_hash, node_hash};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The size of a record with four candidates, about.
const ENTRY: usize = 2000;

fn main() -> Outcome {
    let dir = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    println!("Appends of {ENTRY}-byte entries, durable, in {}\n", dir.display());
    println!("| clients | interval | guard | appends/s | p50 | p95 | entries a checkpoint | bytes an entry on disk |");
    println!("|---|---|---|---|---|---|---|---|");
    for (clients, interval, guarded) in [
        (1, 0, false),
        (1, 0, true),
        (64, 0, false),
        (64, 0, true),
        (64, 200, true),
        (1000, 0, true),
        (1000, 200, true),
    ] {
        appends(&dir, clients, Duration::from_millis(interval), guarded)?;
    }
    println!("\nProofs\n");
    println!("| leaves | inclusion, prove | verify | consistency, prove | verify | hashes of a path | memory |");
    println!("|---|---|---|---|---|---|---|");
    for size in [1_000, 1_000_000] {
        proofs(size)?;
    }
    lazy_proofs(100_000_000)
}

fn appends(dir: &Path, clients: usize, interval: Duration, guarded: bool) -> Outcome {
    let place = dir.join(format!("log-speed-{}", std::process::id()));
    let (log_dir, guard) = (place.join("log"), place.join("guard"));
    let (key, origin) = (SigningKey::from_seed([1; 32]), Origin::new("example.com/speed")?);
    let log = match guarded {
        true => Log::open_guarded(&log_dir, key, origin, &guard)?,
        false => Log::open(&log_dir, key, origin)?,
    };
    let sequencer = Sequencer::start(log, Batching { interval, ..Batching::default() })?;
    let (start, limit) = (Instant::now(), Duration::from_secs(4));
    let (sender, received) = channel();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (sequencer, sender) = (&sequencer, sender.clone());
            scope.spawn(move || {
                for number in 0u64.. {
                    let mut entry = format!("{client} {number} ").into_bytes();
                    entry.resize(ENTRY, b'x');
                    let asked = Instant::now();
                    let Ok(placed) = sequencer.append(Draft::Entry(entry)) else { return };
                    let sent = sender.send((asked.elapsed(), placed.size));
                    if sent.is_err() || start.elapsed() > limit {
                        return;
                    }
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    drop((sequencer, sender));
    let (mut waits, mut sizes): (Vec<Duration>, Vec<u64>) = received.into_iter().unzip();
    waits.sort_unstable();
    sizes.sort_unstable();
    sizes.dedup();
    let count = waits.len();
    println!(
        "| {clients} | {} ms | {} | {:.0} | {:.1?} | {:.1?} | {:.1} | {:.0} |",
        interval.as_millis(),
        if guarded { "yes" } else { "no" },
        count as f64 / seconds,
        waits[count / 2],
        waits[count * 95 / 100],
        count as f64 / sizes.len() as f64,
        bytes_in(&log_dir)? as f64 / count as f64,
    );
    std::fs::remove_dir_all(place)?;
    Ok(())
}

/// Bytes of the files in a directory, as their lengths add up.
fn bytes_in(dir: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        sum += if entry.file_type()?.is_dir() { bytes_in(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}

fn proofs(size: u64) -> Outcome {
    let tree: Tree = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
    let root = tree.root();
    let indices: Vec<u64> = (0..1000).map(|i| i * 7919 % size).collect();
    let start = Instant::now();
    let paths = indices.iter().map(|index| tree.inclusion(*index, size)).collect::<Result<Vec<_>, _>>()?;
    let prove = start.elapsed() / 1000;
    let start = Instant::now();
    for (index, path) in indices.iter().zip(&paths) {
        verify_inclusion(&leaf_hash(&index.to_be_bytes()), *index, size, path, &root)?;
    }
    let verify = start.elapsed() / 1000;
    let olds: Vec<(u64, Hash)> =
        indices.iter().map(|old| Ok((*old, tree.root_at(*old)?))).collect::<cairn_proof::Result<_>>()?;
    let start = Instant::now();
    let consistent = olds.iter().map(|(old, _)| tree.consistency(*old, size)).collect::<Result<Vec<_>, _>>()?;
    let prove_consistency = start.elapsed() / 1000;
    let start = Instant::now();
    for ((old, old_root), proof) in olds.iter().zip(&consistent) {
        verify_consistency(*old, old_root, size, &root, proof)?;
    }
    let verify_both = start.elapsed() / 1000;
    let longest = paths.iter().map(Vec::len).max().unwrap_or_default();
    let memory = size as f64 * 32.0 * (1.0 + 1.0 / 255.0) / 1e6;
    println!(
        "| {size} | {prove:.1?} | {verify:.1?} | {prove_consistency:.1?} | {verify_both:.1?} | {longest} | {memory:.2} MB |"
    );
    Ok(())
}

/// A tree of which nothing is held: the root of a perfect subtree is computed from its leaves when it is asked for.
struct Lazy {
    size: u64,
    /// Root of each 65,536 leaves, as a level-2 tile holds it.
    big: Hash,
}

/// Leaves under one hash of a level-2 tile.
const BIG: u64 = 65_536;

impl Lazy {
    fn new(size: u64) -> Lazy {
        Lazy { size, big: perfect(0, BIG) }
    }

    /// `MTH(D[low:high])` of RFC 6962.
    fn range(&self, low: u64, high: u64) -> Hash {
        match high - low {
            BIG if low.is_multiple_of(BIG) => self.big,
            size if size < BIG && size.is_power_of_two() => perfect(low, size),
            size => {
                let middle = low + size.next_power_of_two() / 2;
                node_hash(&self.range(low, middle), &self.range(middle, high))
            }
        }
    }

    fn inclusion(&self, index: u64) -> Vec<Hash> {
        let (mut path, mut low, mut high) = (Vec::new(), 0, self.size);
        while high - low > 1 {
            let middle = low + (high - low).next_power_of_two() / 2;
            if index < middle {
                path.push(self.range(middle, high));
                high = middle;
            } else {
                path.push(self.range(low, middle));
                low = middle;
            }
        }
        path.reverse();
        path
    }
}

/// Root over `size` leaves, a power of two, from `low` on.
fn perfect(low: u64, size: u64) -> Hash {
    let mut level: Vec<Hash> = (low..low + size).map(synthetic).collect();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level[0]
}

/// The leaf of the synthetic tree at an index.
fn synthetic(index: u64) -> Hash {
    leaf_hash(&(index % BIG).to_be_bytes())
}

fn lazy_proofs(size: u64) -> Outcome {
    let tree = Lazy::new(size);
    let root = tree.range(0, size);
    let indices: Vec<u64> = (0..20).map(|i| i * 7_919_777 % size).collect();
    let start = Instant::now();
    let paths: Vec<Vec<Hash>> = indices.iter().map(|index| tree.inclusion(*index)).collect();
    let prove = start.elapsed() / 20;
    let start = Instant::now();
    for _ in 0..100 {
        for (index, path) in indices.iter().zip(&paths) {
            verify_inclusion(&synthetic(*index), *index, size, path, &root)?;
        }
    }
    let verify = start.elapsed() / 2000;
    let longest = paths.iter().map(Vec::len).max().unwrap_or_default();
    println!("| {size} (synthetic) | {prove:.1?} by hashing its leaves | {verify:.1?} | | | {longest} | none |");
    Ok(())
}
