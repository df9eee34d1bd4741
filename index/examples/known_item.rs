//! Known-item retrieval: how well vectors, full text and their fusion find a dictionary entry by its first sentence.
//!
//! ```text
//! cargo run --example known_item -- MODEL_DIR DICTIONARY_DIR [NAME] [SEED] [COUNT] [q8_0] [CROSS_ENCODER_DIR]
//! ```
//!
//! `DICTIONARY_DIR` holds `NAME.index` and `NAME.dict.dz` (default `foldoc`). `COUNT` entries (default 500) are drawn with
//! `SEED` (default 1), and each is searched twice: with its first sentence without headword and aliases, and with "What is
//! HEADWORD?". The entry is the one right answer. With `q8_0` texts and queries are embedded in eight bits. Prints a Markdown
//! table each.
//!
//! Weights and settings were chosen on the Jargon File and on other draws from FOLDOC; the published figures are those of
//! `foldoc 1 500`.

#[path = "support/questions.rs"]
mod questions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cairn_index::readers::{ReadLimits, dictd};
use cairn_index::{
    CrossEncoder, DatanetName, Embedder, EmbedderOptions, Index, IndexOptions, IngestDefaults, IngestOptions, MiniLm,
    Precision, Query, Rerank, RetrievalMode,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use self::questions::{Found, first_sentence};

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1).peekable();
    let (Some(model), Some(dictionary)) = (args.next(), args.next()) else {
        return Err(
            "usage: known_item MODEL_DIR DICTIONARY_DIR [NAME] [SEED] [COUNT] [q8_0] [CROSS_ENCODER_DIR]".into()
        );
    };
    let name = args.next().unwrap_or_else(|| "foldoc".to_owned());
    let seed: u64 = args.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let count: usize = args.next().unwrap_or_else(|| "500".to_owned()).parse()?;

    let precision = if args.next_if_eq("q8_0").is_some() { Precision::Q8 } else { Precision::F32 };
    let cross_encoder = args.next().map(|dir| CrossEncoder::load(&PathBuf::from(dir)).map(Arc::new)).transpose()?;

    let embedder = Embedder::start(MiniLm::load_in(&PathBuf::from(model), precision)?, &EmbedderOptions::default())?;
    let home = std::env::temp_dir().join(format!("cairn-known-item-{precision:?}"));
    let uri = home.join("lance").to_string_lossy().into_owned();
    let reads_again = cross_encoder.is_some();
    let options = IndexOptions { cache_bytes: 0, cross_encoder, ..IndexOptions::new(uri, embedder) };
    let index = Index::open(options).await?;
    let datanet: DatanetName = name.parse()?;
    ingest(&index, &datanet, &PathBuf::from(dictionary), &home).await?;

    let (mut entries, size) = (Vec::new(), index.snapshot(&datanet)?.size);
    while (entries.len() as u64) < size {
        entries.extend(index.page(&datanet, entries.len() as u64, 2000, None).await?);
    }
    let mut questions: Vec<(u64, String)> =
        entries.iter().filter_map(|entry| Some((entry.seq, first_sentence(entry)?))).collect();
    questions.shuffle(&mut StdRng::seed_from_u64(seed));
    questions.truncate(count);

    let named = |seq: u64| format!("What is {}?", entries[seq as usize].title().unwrap_or_default());
    let names: Vec<(u64, String)> = questions.iter().map(|(seq, _)| (*seq, named(*seq))).collect();
    for (kind, questions) in [("first sentences", questions), ("\"What is HEADWORD?\"", names)] {
        println!("\n{name}: {size} entries, {} {kind}, seed {seed}\n", questions.len());
        println!("| mode | recall@1 | recall@5 | recall@20 | MRR | median | p95 |");
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        for mode in [RetrievalMode::Vector, RetrievalMode::FullText, RetrievalMode::Hybrid] {
            measure(&index, &datanet, mode, None, &questions).await?;
        }
        measure(&index, &datanet, RetrievalMode::Hybrid, Some(Rerank::LateInteraction), &questions).await?;
        if reads_again {
            measure(&index, &datanet, RetrievalMode::Hybrid, Some(Rerank::CrossEncoder), &questions).await?;
        }
    }
    for question in ["What is a B-tree?", "How does a hash table resolve collisions?"] {
        let found = index.retrieve(Query::new(question, vec![datanet.clone()])).await?;
        let titles = found.passages().iter().map(|c| c.datapoint.title().unwrap_or_default());
        println!("\n{question} -> {}", titles.collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}

async fn ingest(
    index: &Index,
    datanet: &DatanetName,
    dir: &std::path::Path,
    home: &std::path::Path,
) -> Result<(), Failure> {
    match index.snapshot(datanet) {
        Ok(snapshot) if snapshot.size > 0 => return Ok(()),
        Ok(_) => {} // an earlier run was interrupted: its vectors are staged
        Err(_) => drop(index.create(datanet).await?),
    }
    let (index_file, dict) = (dir.join(format!("{datanet}.index")), dir.join(format!("{datanet}.dict.dz")));
    let drafts = Box::new(dictd(&index_file, &dict, &ReadLimits::default())?);
    let defaults = IngestDefaults { contributor: Some("its editors".to_owned()), ..IngestDefaults::default() };
    let begun = Instant::now();
    let options = IngestOptions { defaults, ..IngestOptions::new(home.join("staging")) };
    let report = index.ingest(datanet, drafts, options).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let rates = (report.embedded as f64 / seconds, report.tokens as f64 / seconds);
    println!(
        "ingested {} in {seconds:.1} s: {} vectors computed, {} resumed; {:.0} texts/s, {:.0} tokens/s",
        report.added, report.embedded, report.resumed, rates.0, rates.1
    );
    if report.is_rejected() {
        return Err(format!("rejected: {:?}", report.rejected).into());
    }
    Ok(())
}

/// A row of the table.
async fn measure(
    index: &Index,
    datanet: &DatanetName,
    mode: RetrievalMode,
    rerank: Option<Rerank>,
    questions: &[(u64, String)],
) -> Result<(), Failure> {
    let (mut ranks, mut times) = (Vec::new(), Vec::new());
    for (seq, question) in questions {
        let begun = Instant::now();
        let query = Query { mode, rerank, ..Query::new(question.clone(), vec![datanet.clone()]) };
        let found = index.retrieve(query).await?;
        times.push(begun.elapsed());
        ranks.push(found.candidates.iter().find(|c| c.datapoint.seq == *seq).map(|c| c.rank));
    }
    let name = rerank.map_or_else(|| format!("{mode:?}"), |rerank| format!("{mode:?}, {rerank:?}"));
    report(&name, &Found::new(ranks, times));
    Ok(())
}

fn report(name: &str, found: &Found) {
    println!(
        "| {name} | {:.1}% | {:.1}% | {:.1}% | {:.4} | {:.1} ms | {:.1} ms |",
        found.recall(1),
        found.recall(5),
        found.recall(20),
        found.mrr(),
        found.time(0.5),
        found.time(0.95)
    );
}
