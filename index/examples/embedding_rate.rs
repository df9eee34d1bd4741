//! How fast texts are embedded: `cargo run --example embedding_rate -- MODEL_DIR [THREADS]`.
//!
//! Prints texts and tokens a second for texts of several lengths (bulk lane), and the latency of a single query
//! (interactive lane, nothing else running).

use std::path::PathBuf;
use std::time::Instant;

use cairn_index::{Embedder, EmbedderOptions, MiniLm};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let model = PathBuf::from(args.next().ok_or("usage: embedding_rate MODEL_DIR [THREADS]")?);
    let threads = args.next().map_or(Ok(0), |n| n.parse())?;
    let embedder = Embedder::start(MiniLm::load(&model)?, &EmbedderOptions { threads, queue: 0 })?;
    println!("| tokens a text | texts/s | tokens/s |\n| --- | --- | --- |");
    for words in [10, 50, 120, 240] {
        let texts: Vec<String> = (0..40_000 / words).map(|n| format!("{n} {}", "tree ".repeat(words))).collect();
        let (count, begun) = (texts.len() as f64, Instant::now());
        let tokens = embedder.embed_bulk(texts).await?.tokens as f64;
        let seconds = begun.elapsed().as_secs_f64();
        println!("| {:.0} | {:.0} | {:.0} |", tokens / count, count / seconds, tokens / seconds);
    }
    let mut times = Vec::new();
    for n in 0..50 {
        let begun = Instant::now();
        embedder.embed(vec![format!("{n}: how does a balanced tree stay balanced?")]).await?;
        times.push(begun.elapsed());
    }
    times.sort();
    println!("\none query of 13 tokens: median {:.1} ms", times[25].as_secs_f64() * 1e3);
    Ok(())
}
