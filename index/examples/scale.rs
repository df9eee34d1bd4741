//! How a datanet grows: ingest, search and memory from ten thousand rows to a million.
//!
//! ```text
//! cargo run --example scale -- MODEL_DIR DICTIONARY_DIR WORK_DIR [ROWS] [ROWS_FOR_THE_PEER]
//! ```
//!
//! The rows are made up, by a seed: a vector lies around the embedding of one of 4,000 entries of FOLDOC, and its text is that
//! entry's beginning with words of others. They are staged, so that no time goes into embedding them, and ingested a hundred
//! thousand at a time. At each size a process of its own opens the datanet and searches: what it holds in memory is what serving
//! takes. Recall is against a comparison with every row. Prints a JSON object for each size; for a peer it leaves the first rows as files.

#[path = "support/questions.rs"]
mod questions;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cairn_index::readers::{ReadLimits, dictd};
use cairn_index::{
    DatanetName, Draft, Embedder, EmbedderOptions, Index, IndexOptions, IngestDefaults, IngestOptions, MiniLm,
    NearDuplicates, Precision, Query, RetrievalMode,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use self::questions::percentile;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, dictionary, work, rest @ ..] = args.as_slice() else {
        return Err("usage: scale MODEL_DIR DICTIONARY_DIR WORK_DIR [ROWS] [ROWS_FOR_THE_PEER]".into());
    };
    let work = Path::new(work);
    let index = open(Path::new(model), work).await?;
    let world = World::new(&index, Path::new(dictionary), work).await?;
    if let [word] = rest
        && word == "--measure"
    {
        println!("{}", measure(&index, &world).await?);
        return Ok(());
    }
    let number = |at: usize, default: u64| rest.get(at).map_or(Ok(default), |rows| rows.parse::<u64>());
    let (rows, for_peer) = (number(0, 1_000_000)?, number(1, 100_000)?);
    world.write_for_peer(for_peer.min(rows), &work.join("peer"))?;
    let mut index = Some(index);
    let mut first = 0;
    for upto in steps(rows) {
        let open_index = match index.take() {
            Some(index) => index,
            None => open(Path::new(model), work).await?,
        };
        let grown = grow(&open_index, &world, first..upto, work).await?;
        first = upto;
        drop(open_index);
        if upto != rows && !MEASURED.contains(&upto) {
            println!("{}", json!({"rows": upto, "ingest": grown}));
            continue;
        }
        let measured = Command::new(std::env::current_exe()?).args(&args[..3]).arg("--measure").output()?;
        if !measured.status.success() {
            return Err(String::from_utf8_lossy(&measured.stderr).into());
        }
        let measured: Value = serde_json::from_slice(&measured.stdout)?;
        println!("{}", json!({"rows": upto, "ingest": grown, "search": measured}));
    }
    Ok(())
}

/// Sizes that the datanet has in turn.
fn steps(rows: u64) -> Vec<u64> {
    let mut steps = vec![10_000.min(rows)];
    steps.extend((1..=rows / 100_000).map(|step| step * 100_000));
    if steps.last() != Some(&rows) {
        steps.push(rows);
    }
    steps
}

async fn open(model: &Path, work: &Path) -> Result<Index, Failure> {
    let embedder = Embedder::start(MiniLm::load_in(model, Precision::Q8)?, &EmbedderOptions::default())?;
    let uri = work.join("lance").to_string_lossy().into_owned();
    Ok(Index::open(IndexOptions { cache_bytes: 0, ..IndexOptions::new(uri, embedder) }).await?)
}

/// What rows are made of.
struct World {
    name: DatanetName,
    texts: Vec<String>,
    centres: Vec<Vec<f32>>,
}

impl World {
    /// Entries and their embeddings, computed once.
    async fn new(index: &Index, dictionary: &Path, work: &Path) -> Result<Self, Failure> {
        let (words, dict) = (dictionary.join("foldoc.index"), dictionary.join("foldoc.dict.dz"));
        let entries = dictd(&words, &dict, &ReadLimits::default())?;
        let texts = entries.filter_map(|entry| entry.ok().map(|entry| entry.text.replace('\n', " ")));
        let texts: Vec<String> = texts.filter(|text| text.len() > 80).step_by(3).take(CENTRES).collect();
        let kept = work.join("centres.json");
        let centres = match fs::read(&kept) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(_) => {
                let embedded = index.embedder().embed_bulk(texts.clone()).await?.vectors;
                fs::create_dir_all(work)?;
                fs::write(&kept, serde_json::to_vec(&embedded)?)?;
                embedded
            }
        };
        Ok(Self { name: "scale".parse()?, texts, centres })
    }

    /// A vector around a centre: at a cosine of about 0.86 to it.
    fn vector(&self, centre: usize, random: &mut StdRng) -> Vec<f32> {
        let centre = &self.centres[centre % self.centres.len()];
        // Twelve draws from 0 to 1 are nearly normal, with variance 1.
        let noise = |random: &mut StdRng| (0..12).map(|_| random.random::<f32>()).sum::<f32>() - 6.0;
        let spread = 0.6 / (centre.len() as f32).sqrt();
        let mut vector: Vec<f32> = centre.iter().map(|x| x + spread * noise(random)).collect();
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= norm);
        vector
    }

    fn row(&self, number: u64) -> (Draft, Vec<f32>) {
        let mut random = StdRng::seed_from_u64(number);
        let own = number as usize % self.texts.len();
        let mut text: String = self.texts[own].chars().take(160).collect();
        for _ in 0..6 {
            let other = &self.texts[random.random_range(0..self.texts.len())];
            let words: Vec<&str> = other.split_whitespace().collect();
            text.push(' ');
            text.push_str(words[random.random_range(0..words.len())]);
        }
        let draft = Draft {
            line: number + 1,
            id: Some(format!("row-{number}")),
            text: format!("{text} ({number})"),
            contributor: Some(format!("contributor-{}", number % 1000)),
            metadata: [("tenth".to_owned(), json!(number % 10))].into_iter().collect(),
            ..Draft::default()
        };
        (draft, self.vector(own, &mut random))
    }

    /// A query that is no row.
    fn question(&self, number: usize) -> Vec<f32> {
        let mut random = StdRng::seed_from_u64(u64::MAX - number as u64);
        self.vector(random.random_range(0..self.centres.len()), &mut random)
    }

    /// The first rows and the queries: vectors as they are in memory, texts as JSON Lines.
    fn write_for_peer(&self, rows: u64, dir: &Path) -> Result<(), Failure> {
        fs::create_dir_all(dir)?;
        let create = |name: &str| File::create(dir.join(name)).map(BufWriter::new);
        let (mut vectors, mut texts, mut queries) =
            (create("vectors.f32")?, create("texts.jsonl")?, create("queries.f32")?);
        let write = |file: &mut BufWriter<File>, vector: &[f32]| {
            vector.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()))
        };
        for number in 0..rows {
            let (draft, vector) = self.row(number);
            write(&mut vectors, &vector)?;
            writeln!(texts, "{}", json!({"text": draft.text, "contributor": draft.contributor}))?;
        }
        for number in 0..QUESTIONS {
            write(&mut queries, &self.question(number))?;
        }
        for file in [&mut vectors, &mut texts, &mut queries] {
            file.flush()?;
        }
        Ok(())
    }
}

/// Adds rows, and waits for their indices.
async fn grow(index: &Index, world: &World, rows: std::ops::Range<u64>, work: &Path) -> Result<Value, Failure> {
    if index.snapshot(&world.name).is_err() {
        index.create(&world.name).await?;
    }
    let staging: PathBuf = work.join("staging");
    let count = rows.end - rows.start;
    let (mut drafts, mut vectors) = (Vec::new(), Vec::new());
    for number in rows {
        let (draft, vector) = world.row(number);
        vectors.push((draft.text.clone(), vector));
        drafts.push(Ok(draft));
    }
    index.stage(&world.name, &staging, vectors).await?;
    let options = IngestOptions {
        near_duplicates: NearDuplicates::Ignore,
        defaults: IngestDefaults::default(),
        ..IngestOptions::new(staging)
    };
    let begun = Instant::now();
    let report = index.ingest(&world.name, Box::new(drafts.into_iter()), options).await?;
    let searchable = begun.elapsed();
    if report.added != count || report.embedded != 0 {
        return Err(format!("{} of {count} rows were added, {} embedded", report.added, report.embedded).into());
    }
    index.indexed(&world.name).await?;
    let indexed = begun.elapsed();
    Ok(json!({"rows": count, "searchable_s": searchable.as_secs_f64(), "indexed_s": indexed.as_secs_f64()}))
}

/// Searches, in a process that did nothing else.
async fn measure(index: &Index, world: &World) -> Result<Value, Failure> {
    let vectors: Vec<Vec<f32>> = (0..QUESTIONS).map(|number| world.question(number)).collect();
    let near = |vector: &[f32], filter: Option<&str>| Query {
        mode: RetrievalMode::Vector,
        vector: Some(vector.to_vec()),
        filter: filter.and_then(|filter| filter.parse().ok()),
        ..Query::new("a vector", vec![world.name.clone()])
    };
    let text = |number: usize| -> String {
        world.texts[number * 7 % world.texts.len()].split_whitespace().skip(3).take(10).collect::<Vec<_>>().join(" ")
    };
    let mut found = serde_json::Map::new();
    let snapshot = index.snapshot(&world.name)?;
    found.insert("size".to_owned(), json!(snapshot.size));
    // Twice: what is not in memory yet is read in the first round.
    let mut tops = Vec::new();
    for round in ["first", "vector"] {
        let mut times = Vec::new();
        tops.clear();
        for vector in &vectors {
            tops.push(places(index, near(vector, None), &mut times).await?);
        }
        insert_times(&mut found, round, times);
    }
    let (mut times, mut tens) = (Vec::new(), Vec::new());
    for vector in &vectors {
        let query = Query { candidates: 10, ..near(vector, None) };
        tens.push(places(index, query, &mut times).await?);
    }
    insert_times(&mut found, "ten", times);
    let filters = [("filter_thousandth", "contributor = \"contributor-7\""), ("filter_tenth", "metadata.tenth = 3")];
    let mut filtered = Vec::new();
    for (name, filter) in filters {
        let (mut times, mut tops) = (Vec::new(), Vec::new());
        for vector in vectors.iter().take(FILTERED) {
            tops.push(places(index, near(vector, Some(filter)), &mut times).await?);
        }
        insert_times(&mut found, name, times);
        filtered.push((name, tops));
    }
    for (name, mode) in [("embedded", RetrievalMode::Vector), ("hybrid", RetrievalMode::Hybrid)] {
        let mut times = Vec::new();
        for number in 0..FILTERED {
            let query = Query { mode, ..Query::new(text(number), vec![world.name.clone()]) };
            places(index, query, &mut times).await?;
        }
        insert_times(&mut found, name, times);
    }
    found.insert("resident_mib".to_owned(), json!(resident_mib()));
    let [all, thousandth, tenth] = nearest_of_all(world, snapshot.size, &vectors);
    found.insert("recall_10".to_owned(), json!(recall(&tops, &all)));
    found.insert("ten_recall_10".to_owned(), json!(recall(&tens, &all)));
    for ((name, tops), truth) in filtered.iter().zip([&thousandth, &tenth]) {
        found.insert(format!("{name}_recall"), json!(recall(tops, truth)));
    }
    let (mut times, mut scanned) = (Vec::new(), Vec::new());
    for vector in vectors.iter().take(SCANNED) {
        scanned.push(places(index, Query { exact: true, ..near(vector, None) }, &mut times).await?);
    }
    found.insert("exact_recall_10".to_owned(), json!(recall(&scanned, &all)));
    insert_times(&mut found, "exact", times);
    Ok(Value::Object(found))
}

async fn places(index: &Index, query: Query, times: &mut Vec<Duration>) -> Result<Vec<u64>, Failure> {
    let begun = Instant::now();
    let found = index.retrieve(query).await?;
    times.push(begun.elapsed());
    Ok(found.candidates.iter().map(|candidate| candidate.datapoint.seq).collect())
}

/// The ten rows nearest to each question, by comparing with every row: of all rows, of the thousandth and the tenth that the filters
/// leave. Rows are made anew, so the datanet's own scan has no part in it.
fn nearest_of_all(world: &World, size: u64, questions: &[Vec<f32>]) -> [Vec<Vec<u64>>; 3] {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let part = |core: u64| {
        let mut best: [Vec<Vec<(f32, u64)>>; 3] = std::array::from_fn(|_| vec![Vec::new(); questions.len()]);
        for number in (core..size).step_by(cores as usize) {
            let (_, row) = world.row(number);
            for (at, question) in questions.iter().enumerate() {
                let mut lanes = [0_f32; 16];
                for (a, b) in row.chunks_exact(16).zip(question.chunks_exact(16)) {
                    lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
                }
                let cosine: f32 = lanes.iter().sum();
                for (kind, belongs) in [true, number % 1000 == 7, number % 10 == 3].into_iter().enumerate() {
                    if belongs {
                        keep_ten(&mut best[kind][at], (cosine, number));
                    }
                }
            }
        }
        best
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let part = &part;
        let running: Vec<_> = (0..cores).map(|core| scope.spawn(move || part(core))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    std::array::from_fn(|kind| {
        let of_question = |at: usize| {
            let mut best = Vec::new();
            parts.iter().flat_map(|part| &part[kind][at]).for_each(|found| keep_ten(&mut best, *found));
            best.into_iter().map(|(_, number)| number).collect()
        };
        (0..questions.len()).map(of_question).collect()
    })
}

fn keep_ten(best: &mut Vec<(f32, u64)>, found: (f32, u64)) {
    if best.len() == 10 && best[9].0 >= found.0 {
        return;
    }
    let at = best.partition_point(|kept| kept.0 >= found.0);
    best.insert(at, found);
    best.truncate(10);
}

/// What part of the ten nearest stands among the first ten found.
fn recall(found: &[Vec<u64>], truth: &[Vec<u64>]) -> f64 {
    let (mut right, mut all) = (0, 0);
    for (found, truth) in found.iter().zip(truth) {
        right += found.iter().take(10).filter(|seq| truth.contains(seq)).count();
        all += truth.len();
    }
    right as f64 / all.max(1) as f64
}

fn insert_times(found: &mut serde_json::Map<String, Value>, name: &str, mut times: Vec<Duration>) {
    times.sort();
    found.insert(format!("{name}_p50_ms"), json!(percentile(&times, 0.5)));
    found.insert(format!("{name}_p99_ms"), json!(percentile(&times, 0.99)));
}

/// What the process holds in memory now.
fn resident_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Sizes at which it is searched, beside the last.
const MEASURED: [u64; 3] = [10_000, 100_000, 300_000];
/// Entries whose embeddings are centres.
const CENTRES: usize = 4000;
const QUESTIONS: usize = 200;
/// Questions of the slower kinds.
const FILTERED: usize = 60;
/// Questions that are answered by the datanet's own scan as well.
const SCANNED: usize = 8;
