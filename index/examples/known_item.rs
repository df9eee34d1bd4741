//! Known-item retrieval: how well vectors, full text and their fusion find a dictionary entry by its first sentence.
//!
//! ```text
//! cargo run --example known_item -- MODEL_DIR DICTIONARY_DIR [NAME] [SEED] [COUNT]
//! ```
//!
//! `DICTIONARY_DIR` holds `NAME.index` and `NAME.dict.dz` (default `foldoc`). `COUNT` entries (default 500) are drawn with
//! `SEED` (default 1), and each is searched twice: with its first sentence without headword and aliases, and with "What is
//! HEADWORD?". The entry is the one right answer. Prints a Markdown table each.
//!
//! Weights and settings were chosen on the Jargon File and on other draws from FOLDOC; the published figures are those of
//! `foldoc 1 500`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cairn_index::readers::{ReadLimits, dictd};
use cairn_index::{
    DatanetName, Datapoint, Embedder, EmbedderOptions, Index, IndexOptions, IngestDefaults, IngestOptions, MiniLm,
    Query, Rerank, RetrievalMode,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(dictionary)) = (args.next(), args.next()) else {
        return Err("usage: known_item MODEL_DIR DICTIONARY_DIR [NAME] [SEED] [COUNT]".into());
    };
    let name = args.next().unwrap_or_else(|| "foldoc".to_owned());
    let seed: u64 = args.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let count: usize = args.next().unwrap_or_else(|| "500".to_owned()).parse()?;

    let embedder = Embedder::start(MiniLm::load(&PathBuf::from(model))?, &EmbedderOptions::default())?;
    let home = std::env::temp_dir().join("cairn-known-item");
    let uri = home.join("lance").to_string_lossy().into_owned();
    let index =
        Index::open(IndexOptions { uri, storage_options: Default::default(), embedder, cache_bytes: 0 }).await?;
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

/// The first sentence after the headword, without headword and aliases; none if fewer than 5 words are left.
fn first_sentence(entry: &Datapoint) -> Option<String> {
    let (_, body) = entry.text.split_once("\n\n")?;
    let paragraph = body.split("\n\n").next()?.replace('\n', " ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    let mut sentence = paragraph[..end].to_owned();
    let aliases = entry.metadata["aliases"].as_array().into_iter().flatten().filter_map(|alias| alias.as_str());
    for word in entry.title().into_iter().chain(aliases).filter(|word| word.len() > 1) {
        let lower = sentence.to_lowercase();
        if lower.len() == sentence.len() {
            let places: Vec<usize> = lower.match_indices(&word.to_lowercase()).map(|(at, _)| at).collect();
            for at in places.into_iter().rev() {
                if sentence.is_char_boundary(at) && sentence.is_char_boundary(at + word.len()) {
                    sentence.replace_range(at..at + word.len(), " ");
                }
            }
        }
    }
    (sentence.split_whitespace().count() >= 5).then(|| sentence.split_whitespace().collect::<Vec<_>>().join(" "))
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
    report(&name, &ranks, times);
    Ok(())
}

fn report(name: &str, ranks: &[Option<usize>], mut times: Vec<Duration>) {
    let part = |most: usize| {
        100.0 * ranks.iter().filter(|rank| rank.is_some_and(|rank| rank <= most)).count() as f64 / ranks.len() as f64
    };
    let reciprocals: f64 = ranks.iter().flatten().map(|rank| 1.0 / *rank as f64).sum();
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "| {name} | {:.1}% | {:.1}% | {:.1}% | {:.4} | {:.1} ms | {:.1} ms |",
        part(1),
        part(5),
        part(20),
        reciprocals / ranks.len() as f64,
        at(0.5),
        at(0.95)
    );
}
