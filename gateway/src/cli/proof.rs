//! `cairn proof`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use reqwest::Method;

use super::{Global, client::Client};

#[derive(Args)]
pub(crate) struct Proof {
    /// The attribution's id, from the answer; or a fine-tuning job's, with --row
    id: String,
    /// Prove that this row was used in the training run: datanet/id, or "line N" of a file
    #[arg(long)]
    row: Option<String>,
    /// Where to write the bundle [default: ID.cairn.json]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, command: Proof) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let path = command.output.unwrap_or_else(|| PathBuf::from(format!("{}.cairn.json", command.id)));
    match command.row {
        None => fetch(&client, &command.id, &path).await?,
        Some(row) => {
            let url = format!("/v1/fine_tuning/jobs/{}/provenance/proof", command.id);
            write(client.send(client.request(Method::GET, &url).query(&[("row", row)])).await?, &path).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fetches a proof into a file.
pub(crate) async fn fetch(client: &Client, id: &str, path: &Path) -> anyhow::Result<()> {
    write(client.send(client.request(Method::GET, &format!("/v1/attributions/{id}/proof"))).await?, path).await
}

async fn write(response: reqwest::Response, path: &Path) -> anyhow::Result<()> {
    let bytes = response.bytes().await?;
    std::fs::write(path, &bytes).with_context(|| format!("{} cannot be written", path.display()))?;
    eprintln!("wrote {} ({} bytes); check it offline: cairn verify {}", path.display(), bytes.len(), path.display());
    Ok(())
}
