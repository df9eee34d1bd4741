//! `cairn records` and `cairn export`: records found by what they are about, and many of them with their proofs.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use cairn_openapi::{
    ledger::{Ledger, LedgerFormat, LedgerQuery},
    log::LogKey,
    records::{AttributionList, AttributionQuery},
};
use cairn_proof::Rotation;
use clap::Args;
use reqwest::Method;

use super::{Global, client::Client, table};

/// Which records.
#[derive(Args)]
struct Which {
    /// Of this base, or of this model as it was asked for
    #[arg(long)]
    model: Option<String>,
    /// That this adapter answered: its alias, or 12 digits of its generation
    #[arg(long)]
    adapter: Option<String>,
    /// Asked by this subject
    #[arg(long)]
    subject: Option<String>,
    /// With passages of this contributor: a name, or a pseudonym of the log
    #[arg(long)]
    contributor: Option<String>,
    /// With passages of this datanet
    #[arg(long)]
    datanet: Option<String>,
    /// From this moment on: RFC 3339 in UTC, or its beginning, such as 2026-11
    #[arg(long)]
    from: Option<String>,
    /// Before this moment
    #[arg(long)]
    to: Option<String>,
}

impl From<Which> for AttributionQuery {
    fn from(which: Which) -> Self {
        let Which { model, adapter, subject, contributor, datanet, from, to } = which;
        Self { model, adapter, subject, contributor, datanet, from, to, after: None, limit: None }
    }
}

#[derive(Args)]
pub(crate) struct Records {
    #[command(flatten)]
    which: Which,
    /// Most of them to show
    #[arg(long, short = 'n', default_value_t = 50)]
    most: usize,
}

pub(crate) async fn run(global: &Global, command: Records) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let mut query = AttributionQuery::from(command.which);
    let mut found = Vec::new();
    while found.len() < command.most {
        query.limit = u32::try_from((command.most - found.len()).min(200)).ok();
        let request = client.request(Method::GET, "/v1/attributions").query(&query);
        let page: AttributionList = client.send(request).await?.json().await?;
        found.extend(page.data);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    if global.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        let rows: Vec<Vec<String>> = found
            .into_iter()
            .map(|it| {
                let question: String = it.question.chars().take(40).collect();
                vec![it.created_at, it.id, it.subject, it.model, it.datanets.join(","), question.replace('\n', " ")]
            })
            .collect();
        table(&["WHEN", "ID", "SUBJECT", "MODEL", "DATANETS", "QUESTION"], &rows);
        if query.after.is_some() {
            eprintln!("there are more; -n shows as many as you say");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the records of a period with their proofs, the ledger's lines of that period, and the log's key.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    which: Which,
    /// The directory to write records.jsonl, ledger.csv and cairn.pub into; it must not be there yet
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

pub(crate) async fn export(global: &Global, command: Export) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let Export { which, output } = command;
    let query = AttributionQuery::from(which);
    std::fs::create_dir(&output).with_context(|| format!("{} cannot be made", output.display()))?;
    let ledger = LedgerQuery {
        datanet: query.datanet.clone(),
        contributor: query.contributor.clone(),
        from: query.from.clone(),
        to: query.to.clone(),
        ..LedgerQuery::default()
    };
    let records = proofs(&client, query, &output).await?;
    let lines = lines(&client, ledger, &output).await?;
    let key: LogKey = client.get("/v1/log/key").await?;
    let mut trust = format!("{}\n", key.key);
    for rotation in key.rotations {
        // In the one spelling that is signed.
        let rotation: Rotation = serde_json::from_value(rotation).context("a change of the log's key is damaged")?;
        trust.push_str(&String::from_utf8(rotation.to_bytes()?)?);
        trust.push('\n');
    }
    std::fs::write(output.join("cairn.pub"), trust)?;
    if global.json {
        println!("{}", serde_json::json!({"records": records, "ledger_lines": lines}));
    } else {
        let directory = output.display();
        println!("{records} records and {lines} lines of the ledger are in {directory}. Check them offline:");
        println!("  cairn verify {directory}/records.jsonl --key cairn.pub   (the key from a source that you trust)");
    }
    Ok(ExitCode::SUCCESS)
}

/// Streams every bundle into `records.jsonl`, page after page; how many there are.
async fn proofs(client: &Client, mut query: AttributionQuery, output: &std::path::Path) -> anyhow::Result<u64> {
    let mut file = BufWriter::new(File::create(output.join("records.jsonl"))?);
    let mut written = 0;
    query.limit = Some(1_000);
    loop {
        let request = client.request(Method::GET, "/v1/attributions/export").query(&query);
        let mut response = client.send(request).await?;
        query.after = response.headers().get("x-cairn-next").and_then(|next| Some(next.to_str().ok()?.to_owned()));
        while let Some(chunk) = response.chunk().await.context("the export broke off; run it again")? {
            written += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
            file.write_all(&chunk)?;
        }
        if query.after.is_none() {
            file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
            return Ok(written);
        }
    }
}

/// Writes the ledger's lines into `ledger.csv`; how many there are.
async fn lines(client: &Client, mut query: LedgerQuery, output: &std::path::Path) -> anyhow::Result<u64> {
    let mut file = BufWriter::new(File::create(output.join("ledger.csv"))?);
    let mut written = 0;
    loop {
        // Of the same page the lines as a table, and what tells whether there is another.
        let csv = LedgerQuery { format: LedgerFormat::Csv, ..query.clone() };
        let text = client.send(client.request(Method::GET, "/v1/ledger").query(&csv)).await?.text().await?;
        let text = if query.after.is_some() { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        file.write_all(text.as_bytes())?;
        let page: Ledger = client.send(client.request(Method::GET, "/v1/ledger").query(&query)).await?.json().await?;
        written += page.lines.len() as u64;
        query.after = page.lines.last().map(|line| line.answer.clone());
        if !page.has_more || query.after.is_none() {
            file.flush()?;
            return Ok(written);
        }
    }
}
