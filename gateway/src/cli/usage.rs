//! `cairn usage`.

use std::process::ExitCode;

use cairn_openapi::usage::{UsageQuery, UsageReport};
use clap::Args;
use reqwest::Method;

use super::{Global, table};

#[derive(Args)]
pub(crate) struct Usage {
    /// From this day on (UTC), such as 2026-11-23 [default: 30 days ago]
    #[arg(long)]
    from: Option<String>,
    /// To this day, included
    #[arg(long)]
    to: Option<String>,
    /// Of this subject only
    #[arg(long)]
    subject: Option<String>,
    /// Of this model only
    #[arg(long)]
    model: Option<String>,
}

pub(crate) async fn run(global: &Global, command: Usage) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let Usage { from, to, subject, model } = command;
    let query = UsageQuery { from, to, subject, model };
    let found: UsageReport = client.send(client.request(Method::GET, "/v1/usage").query(&query)).await?.json().await?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = found
        .data
        .into_iter()
        .map(|line| {
            vec![
                line.day,
                line.subject,
                line.key.unwrap_or_else(|| "-".into()),
                line.model,
                line.requests.to_string(),
                line.prompt_tokens.to_string(),
                line.completion_tokens.to_string(),
            ]
        })
        .collect();
    table(&["DAY", "SUBJECT", "KEY", "MODEL", "REQUESTS", "TOKENS READ", "TOKENS WRITTEN"], &rows);
    if found.has_more {
        eprintln!("there are more; give fewer days with --from and --to");
    }
    Ok(ExitCode::SUCCESS)
}
