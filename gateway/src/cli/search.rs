//! `cairn search`.

use std::process::ExitCode;

use cairn_openapi::retrieval::{Rerank, RetrievalMode, SearchRequest, SearchResponse};
use clap::{Args, ValueEnum};
use reqwest::Method;

use super::Global;

#[derive(Args)]
pub(crate) struct Search {
    /// What to search for
    #[arg(required = true)]
    query: Vec<String>,
    /// Datanets to search [default: all that you may]
    #[arg(long, short, value_name = "NAME")]
    datanet: Vec<String>,
    /// How many results
    #[arg(long, short = 'k', default_value_t = 5)]
    top_k: usize,
    /// How they are found
    #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
    mode: Mode,
    /// Only these rows, such as 'metadata.topic = "storage" and contributed_at >= "2024"'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Only what was contributed at this moment or later
    #[arg(long, value_name = "DATE")]
    since: Option<String>,
    /// Only what was contributed before this moment
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// At most so many results of one contributor
    #[arg(long, value_name = "N")]
    per_contributor: Option<usize>,
    /// Read the best 20 once more beside the query [without a value: late-interaction]
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, default_missing_value = "late-interaction")]
    rerank: Option<Reading>,
    /// Leave out what scores less
    #[arg(long, value_name = "SCORE")]
    minimum_score: Option<f64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Vector and full text, fused
    Hybrid,
    /// Embedding similarity alone
    Vector,
    /// Full text alone
    FullText,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reading {
    /// Token by token, with the embedding model
    LateInteraction,
    /// By the gateway's cross-encoder
    CrossEncoder,
}

pub(crate) async fn run(global: &Global, command: Search) -> anyhow::Result<ExitCode> {
    let request = SearchRequest {
        query: command.query.join(" "),
        datanets: command.datanet,
        top_k: Some(command.top_k),
        mode: match command.mode {
            Mode::Hybrid => RetrievalMode::Hybrid,
            Mode::Vector => RetrievalMode::Vector,
            Mode::FullText => RetrievalMode::FullText,
        },
        rerank: match command.rerank {
            None => Rerank::None,
            Some(Reading::LateInteraction) => Rerank::LateInteraction,
            Some(Reading::CrossEncoder) => Rerank::CrossEncoder,
        },
        filter: command.filter,
        since: command.since,
        until: command.until,
        per_contributor: command.per_contributor,
        minimum_score: command.minimum_score,
    };
    let found: SearchResponse = global.client()?.json(Method::POST, "/v1/search", &request).await?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    if found.data.is_empty() {
        println!("nothing was found");
    }
    for result in &found.data {
        let why = &result.why;
        let part = |score: Option<f64>, rank: Option<usize>| match (score, rank) {
            (Some(score), Some(rank)) => format!("{score:.3} (#{rank})"),
            (Some(score), None) => format!("{score:.3}"),
            _ => "-".to_owned(),
        };
        println!(
            "{}. {}: {}   vector {}  text {}{}  words {}",
            why.rank,
            result.datanet,
            result.id,
            part(why.vector_score, why.vector_rank),
            part(why.text_score, why.text_rank),
            why.rerank_score.map(|score| format!("  rerank {score:.3}")).unwrap_or_default(),
            why.matched_terms.join(" ")
        );
        println!("   {}, {}, {}", result.contributor, result.contributed_at, result.licence);
        println!("   {}\n", excerpt(result.text.as_deref().unwrap_or_default(), 240));
    }
    Ok(ExitCode::SUCCESS)
}

/// The beginning of a text on one line.
pub(crate) fn excerpt(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let head: String = line.chars().take(max).collect();
    format!("{head} …")
}
