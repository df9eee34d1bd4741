//! `cairn anchor`: the account and the contract for anchors, and how far they are. Works on this machine's files.

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use cairn_anchor::{AccountKey, Saved};
use clap::{Args, Subcommand};

use super::Global;

#[derive(Args)]
pub(crate) struct Anchor {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the key of the account that pays (anchor.key_file) and print its address; send it money, and use it for
    /// nothing else
    Keygen,
    /// Deploy the CheckpointAnchor contract and print its address, for anchor.contract
    Deploy {
        /// How long to wait for its block
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        patience_s: u64,
    },
    /// Show the last anchor and what is under way
    Status,
}

pub(crate) async fn run(global: &Global, command: Anchor) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    let anchor = config.anchor.as_ref().context("anchors are off: set anchor.rpc_url and anchor.chain_id")?;
    match command.command {
        Command::Keygen => {
            let key = AccountKey::generate()?;
            key.save(&anchor.key_file)?;
            println!("{}", key.address());
            eprintln!("the key is in {}", anchor.key_file.display());
        }
        Command::Deploy { patience_s } => {
            println!("{}", cairn_anchor::deploy(anchor, Duration::from_secs(patience_s)).await?);
        }
        Command::Status => {
            let saved = Saved::load(&config.anchors_dir())?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&saved)?);
            } else {
                match saved {
                    None => println!("nothing was anchored yet"),
                    Some(saved) => print(&saved),
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(saved: &Saved) {
    println!("log {} on chain {}", saved.log, saved.chain_id);
    println!("contract {}, account {}", saved.contract, saved.sender);
    match saved.anchored {
        None => println!("no anchor is final yet"),
        Some(last) => {
            println!("{} entries, root {}, in block {} ({})", last.size, last.root, last.block_number, last.block_hash);
        }
    }
    println!("{} proofs are kept", saved.proofs);
    for hash in &saved.in_flight {
        println!("under way: transaction {hash}");
    }
}
