//! `cairn ledger`.

use std::{io::Write, process::ExitCode};

use cairn_openapi::ledger::{Ledger as Lines, LedgerFormat, LedgerQuery};
use clap::Args;
use reqwest::Method;

use super::{Global, table};

#[derive(Args)]
pub(crate) struct Ledger {
    /// Of this datanet only
    #[arg(long)]
    datanet: Option<String>,
    /// Of this contributor only
    #[arg(long)]
    contributor: Option<String>,
    /// From this moment on: RFC 3339 in UTC, or its beginning, such as 2026-11
    #[arg(long)]
    from: Option<String>,
    /// Before this moment
    #[arg(long)]
    to: Option<String>,
    /// Print every line as CSV instead of what they add up to
    #[arg(long)]
    csv: bool,
}

pub(crate) async fn run(global: &Global, command: Ledger) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let mut query = LedgerQuery {
        datanet: command.datanet,
        contributor: command.contributor,
        from: command.from,
        to: command.to,
        after: None,
        format: if command.csv { LedgerFormat::Csv } else { LedgerFormat::Json },
    };
    let mut all: Option<Lines> = None;
    loop {
        if command.csv {
            // The lines are needed too, to know whether there are more.
            let text = client.send(client.request(Method::GET, "/v1/ledger").query(&query)).await?.text().await?;
            let text = if query.after.is_some() { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
            std::io::stdout().write_all(text.as_bytes())?;
        }
        let json = LedgerQuery { format: LedgerFormat::Json, ..query.clone() };
        let page: Lines = client.send(client.request(Method::GET, "/v1/ledger").query(&json)).await?.json().await?;
        let (more, last) = (page.has_more, page.lines.last().map(|line| line.answer.clone()));
        match &mut all {
            None => all = Some(page),
            Some(all) => {
                all.lines.extend(page.lines);
                for total in page.totals {
                    let same = |known: &&mut cairn_openapi::ledger::LedgerTotal| {
                        (&known.month, &known.datanet, &known.contributor)
                            == (&total.month, &total.datanet, &total.contributor)
                    };
                    match all.totals.iter_mut().find(same) {
                        Some(known) => {
                            known.answers += total.answers;
                            known.measured += total.measured;
                            known.share += total.share;
                            known.nats += total.nats;
                        }
                        None => all.totals.push(total),
                    }
                }
            }
        }
        if !more || last.is_none() {
            break;
        }
        query.after = last;
    }
    let all = all.map(|all| Lines { has_more: false, ..all });
    if global.json && !command.csv {
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else if !command.csv {
        let rows: Vec<Vec<String>> = all
            .iter()
            .flat_map(|all| &all.totals)
            .map(|total| {
                vec![
                    total.month.clone(),
                    total.datanet.clone(),
                    total.contributor.clone(),
                    total.answers.to_string(),
                    total.measured.to_string(),
                    format!("{:.3}", total.share),
                    format!("{:.2}", total.nats),
                ]
            })
            .collect();
        table(&["MONTH", "DATANET", "CONTRIBUTOR", "ANSWERS", "MEASURED", "SHARE", "NATS"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}
