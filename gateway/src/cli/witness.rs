//! `cairn witness`: a witness of other logs, beside or without a gateway.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use tracing_subscriber::EnvFilter;

#[derive(Args)]
pub(crate) struct Witness {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the key and the state of a new witness; prints the key line that those who rely on it need
    Keygen {
        /// The witness's own configuration; docs/operations.md shows one
        file: PathBuf,
    },
    /// Serve add-checkpoint; one line of JSON a request on standard error
    Serve {
        /// The witness's own configuration
        file: PathBuf,
    },
}

pub(crate) async fn run(command: Witness) -> anyhow::Result<ExitCode> {
    match command.command {
        Command::Keygen { file } => println!("{}", cairn_witness::init(&cairn_witness::Config::load(&file)?)?),
        Command::Serve { file } => {
            let config = cairn_witness::Config::load(&file)?;
            let filter = EnvFilter::new("info,actix_server=warn");
            let logs = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter);
            logs.with_writer(std::io::stderr).init();
            cairn_witness::run(config).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
