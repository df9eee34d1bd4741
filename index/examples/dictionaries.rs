//! Three dictionaries at once: how fast they are ingested, how well known items are found among all of them, and how fast while
//! an ingest runs.
//!
//! ```text
//! cargo run --example dictionaries -- MODEL_DIR DICTIONARY_DIR WORK_DIR [GCIDE_ENTRIES] [SECONDS] [QUESTIONS]
//! ```
//!
//! `DICTIONARY_DIR` holds FOLDOC, the Jargon File and GCIDE as Debian packages them; of GCIDE every n-th entry is taken, so that
//! there are about `GCIDE_ENTRIES` (0: all). The last part of them is ingested while searches go on for `SECONDS` with one client and as
//! long with sixteen. `QUESTIONS` a dictionary are drawn by a seed, and all three datanets are searched for the answer. Prints
//! one JSON object.

#[path = "support/questions.rs"]
mod questions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_index::readers::{ReadLimits, dictd};
use cairn_index::{
    DatanetName, Datapoint, Draft, Embedder, EmbedderOptions, Index, IndexOptions, IngestDefaults, IngestOptions,
    IngestReport, MiniLm, NearDuplicates, Precision, Query, RetrievalMode,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::{Map, Value, json};

use self::questions::{Found, first_definition, first_sentence, percentile};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, dictionaries, work, rest @ ..] = args.as_slice() else {
        return Err(
            "usage: dictionaries MODEL_DIR DICTIONARY_DIR WORK_DIR [GCIDE_ENTRIES] [SECONDS] [QUESTIONS]".into()
        );
    };
    let number = |at: usize, default: usize| rest.get(at).map_or(Ok(default), |number| number.parse());
    let (entries, seconds, questions) = (number(0, 0)?, number(1, 30)?, number(2, 200)?);
    let embedder = Embedder::start(MiniLm::load_in(Path::new(model), Precision::Q8)?, &EmbedderOptions::default())?;
    let work = PathBuf::from(work);
    let uri = work.join("lance").to_string_lossy().into_owned();
    let index = Index::open(IndexOptions { cache_bytes: 0, ..IndexOptions::new(uri, embedder) }).await?;

    let mut printed = Map::new();
    let mut names = Vec::new();
    let mut late = Vec::new();
    for name in ["foldoc", "jargon", "gcide"] {
        let mut drafts = read(Path::new(dictionaries), name)?;
        if name == "gcide" {
            if entries > 0 && entries < drafts.len() {
                let step = drafts.len().div_ceil(entries);
                drafts = drafts.into_iter().step_by(step).collect();
            }
            late = drafts.split_off(drafts.len() - (drafts.len() / 8).min(LATE));
        }
        let datanet: DatanetName = name.parse()?;
        index.create(&datanet).await?;
        let begun = Instant::now();
        let report = ingest(&index, &datanet, drafts, &work).await?;
        let searchable = begun.elapsed().as_secs_f64();
        index.indexed(&datanet).await?;
        eprintln!("{name}: {} in {searchable:.0} s", report.added);
        let rates = json!({
            "added": report.added,
            "rejected": report.rejected_total,
            "near_duplicates": report.near_duplicates_total,
            "tokens": report.tokens,
            "searchable_s": searchable,
            "indexed_s": begun.elapsed().as_secs_f64(),
        });
        printed.insert(name.to_owned(), rates);
        names.push(datanet);
    }

    // Texts to ask for while the load runs, and in which nothing is known to be right.
    let sample = index.page(&names[0], 0, 4000, None).await?;
    let asked: Arc<Vec<String>> = Arc::new(sample.iter().filter_map(first_sentence).collect());
    printed.insert("calm_1".to_owned(), load(&index, &names, &asked, 1, seconds / 3).await?);
    printed.insert("calm_16".to_owned(), load(&index, &names, &asked, 16, seconds / 3).await?);
    let count = late.len();
    let ingesting = tokio::spawn({
        let (index, gcide, work) = (index.clone(), names[2].clone(), work.clone());
        async move { ingest(&index, &gcide, late, &work).await }
    });
    printed.insert("ingesting_1".to_owned(), load(&index, &names, &asked, 1, seconds).await?);
    printed.insert("ingesting_16".to_owned(), load(&index, &names, &asked, 16, seconds).await?);
    // Whether the ingest lasted as long as the searches.
    printed.insert("still_ingesting".to_owned(), json!(!ingesting.is_finished()));
    let report = ingesting.await??;
    if report.added + report.skipped_duplicates + report.rejected_total != count as u64 {
        return Err(format!("{count} entries were ingested late, but {report:?}").into());
    }
    index.indexed(&names[2]).await?;
    for name in &names {
        printed.insert(format!("{name}_known"), known(&index, name, &names, questions).await?);
    }
    println!("{}", Value::Object(printed));
    Ok(())
}

fn read(dir: &Path, name: &str) -> Result<Vec<Draft>, Failure> {
    let (words, dict) = (dir.join(format!("{name}.index")), dir.join(format!("{name}.dict.dz")));
    // A few entries of GCIDE are not UTF-8.
    Ok(dictd(&words, &dict, &ReadLimits::default())?.filter_map(Result::ok).collect())
}

async fn ingest(
    index: &Index,
    datanet: &DatanetName,
    drafts: Vec<Draft>,
    work: &Path,
) -> Result<IngestReport, Failure> {
    let defaults = IngestDefaults { contributor: Some("its editors".to_owned()), ..IngestDefaults::default() };
    let options = IngestOptions {
        defaults,
        keep_good: true,
        near_duplicates: NearDuplicates::Report,
        ..IngestOptions::new(work.join("staging"))
    };
    let report = index.ingest(datanet, Box::new(drafts.into_iter().map(Ok)), options).await?;
    if report.is_rejected() {
        return Err(format!("rejected: {:?}", report.rejected.first()).into());
    }
    Ok(report)
}

/// Searches with so many clients, each asking again as soon as it is answered.
async fn load(
    index: &Index,
    names: &[DatanetName],
    asked: &Arc<Vec<String>>,
    clients: usize,
    seconds: usize,
) -> Result<Value, Failure> {
    let until = Instant::now() + Duration::from_secs(seconds as u64);
    let client = |client: usize| {
        let (index, names, asked) = (index.clone(), names.to_vec(), asked.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            let mut next = client * 97;
            while Instant::now() < until {
                let begun = Instant::now();
                index.retrieve(Query::new(asked[next % asked.len()].clone(), names.clone())).await?;
                times.push(begun.elapsed());
                next += 1;
            }
            Ok::<_, cairn_index::IndexError>(times)
        })
    };
    let running: Vec<_> = (0..clients).map(client).collect();
    let mut times = Vec::new();
    for client in running {
        times.extend(client.await??);
    }
    times.sort();
    Ok(json!({
        "clients": clients,
        "searches": times.len(),
        "per_s": times.len() as f64 / seconds.max(1) as f64,
        "p50_ms": percentile(&times, 0.5),
        "p99_ms": percentile(&times, 0.99),
    }))
}

/// How well the entries of one dictionary are found among those of all.
async fn known(index: &Index, of: &DatanetName, names: &[DatanetName], count: usize) -> Result<Value, Failure> {
    let (mut entries, size) = (Vec::<Datapoint>::new(), index.snapshot(of)?.size);
    while (entries.len() as u64) < size {
        entries.extend(index.page(of, entries.len() as u64, 4000, None).await?);
    }
    let sentence = if of.as_str() == "gcide" { first_definition } else { first_sentence };
    let mut drawn: Vec<(u64, String)> =
        entries.iter().filter_map(|entry| Some((entry.seq, sentence(entry)?))).collect();
    drawn.shuffle(&mut StdRng::seed_from_u64(1));
    drawn.truncate(count);
    let named = |seq: u64| format!("What is {}?", entries[seq as usize].title().unwrap_or_default());
    let names_of: Vec<(u64, String)> = drawn.iter().map(|(seq, _)| (*seq, named(*seq))).collect();
    let mut found = Map::new();
    for (kind, questions) in [("sentence", &drawn), ("name", &names_of)] {
        for (mode, name) in
            [(RetrievalMode::Vector, "vector"), (RetrievalMode::FullText, "text"), (RetrievalMode::Hybrid, "hybrid")]
        {
            let (mut ranks, mut times) = (Vec::new(), Vec::new());
            for (seq, question) in questions {
                let begun = Instant::now();
                let query = Query { mode, ..Query::new(question.clone(), names.to_vec()) };
                let candidates = index.retrieve(query).await?.candidates;
                times.push(begun.elapsed());
                let right = candidates.iter().find(|it| it.datapoint.datanet == *of && it.datapoint.seq == *seq);
                ranks.push(right.map(|candidate| candidate.rank));
            }
            found.insert(format!("{kind}_{name}"), Found::new(ranks, times).json());
        }
    }
    Ok(Value::Object(found))
}

/// Most entries that are ingested while searches go on.
const LATE: usize = 6000;
