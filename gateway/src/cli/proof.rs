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
    /// The attribution's id, from the answer
    id: String,
    /// Where to write the bundle [default: ID.cairn.json]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(global: &Global, command: Proof) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let path = command.output.unwrap_or_else(|| PathBuf::from(format!("{}.cairn.json", command.id)));
    fetch(&client, &command.id, &path).await?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches a proof into a file.
pub(crate) async fn fetch(client: &Client, id: &str, path: &Path) -> anyhow::Result<()> {
    let response = client.send(client.request(Method::GET, &format!("/v1/attributions/{id}/proof"))).await?;
    let bytes = response.bytes().await?;
    std::fs::write(path, &bytes).with_context(|| format!("{} cannot be written", path.display()))?;
    eprintln!("wrote {} ({} bytes); check it offline: cairn verify {}", path.display(), bytes.len(), path.display());
    Ok(())
}
