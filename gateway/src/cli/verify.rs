//! `cairn verify`.

use std::{path::PathBuf, process::ExitCode};

use cairn_proof::report;
use clap::Args;

use super::Global;

#[derive(Args)]
pub(crate) struct Verify {
    /// The proof bundle
    bundle: PathBuf,
    /// The log's public key, from a source that you trust [default: the one in the data directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, command: &Verify) -> anyhow::Result<ExitCode> {
    let key = match &command.key {
        Some(key) => key.clone(),
        None => global.config()?.public_key(),
    };
    let outcome = report::verify_files(&command.bundle, &key)?;
    if global.json {
        println!("{:#}", outcome.to_json());
    } else {
        print!("{}", outcome.to_text());
    }
    Ok(ExitCode::from(outcome.exit_code()))
}
