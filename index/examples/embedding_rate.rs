//! How fast texts are embedded: `cargo run --example embedding_rate -- MODEL_DIR TEXTS [THREADS] [q8_0]`.
//!
//! `TEXTS` holds a JSON string a line. Prints one JSON object: texts and tokens a second for all of them (bulk lane), the median
//! latency of the first 50 one by one as queries of at most 12 words (interactive lane), and the first vectors, to compare.
//! `./loadtest/run embedding` runs it beside sentence-transformers.

use std::path::PathBuf;
use std::time::Instant;

use cairn_index::{Embedder, EmbedderOptions, MiniLm, Precision};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(texts)) = (args.next(), args.next()) else {
        return Err("usage: embedding_rate MODEL_DIR TEXTS [THREADS] [q8_0]".into());
    };
    let threads = args.next().map_or(Ok(0), |n| n.parse())?;
    let texts = std::fs::read_to_string(texts)?;
    let texts: Vec<String> = texts.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let precision = if args.next().as_deref() == Some("q8_0") { Precision::Q8 } else { Precision::F32 };
    let embedder =
        Embedder::start(MiniLm::load_in(&PathBuf::from(model), precision)?, &EmbedderOptions { threads, queue: 0 })?;
    embedder.embed_bulk(texts.iter().take(64).cloned().collect()).await?;
    let begun = Instant::now();
    let embedded = embedder.embed_bulk(texts.clone()).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for text in texts.iter().take(50) {
        let query = text.split_whitespace().take(12).collect::<Vec<_>>().join(" ");
        let begun = Instant::now();
        embedder.embed(vec![query]).await?;
        times.push(begun.elapsed());
    }
    times.sort();
    let found = json!({
        "texts_per_s": texts.len() as f64 / seconds,
        "tokens_per_s": embedded.tokens as f64 / seconds,
        "query_ms": times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1e3),
        "vectors": &embedded.vectors[..embedded.vectors.len().min(20)],
    });
    println!("{found}");
    Ok(())
}
