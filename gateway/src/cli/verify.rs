//! `cairn verify`.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use cairn_proof::{
    Trust, WitnessKey,
    anchor::{Fixed, Pins},
    report, verify_with,
};
use clap::Args;

use super::Global;

#[derive(Args)]
pub(crate) struct Verify {
    /// The proof bundle; or many of them, a line each (.jsonl), as `cairn export` writes them
    bundle: PathBuf,
    /// The log's public key, from a source that you trust [default: the one in the data directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Keys of witnesses that you trust, one a line
    #[arg(long, value_name = "FILE")]
    witnesses: Option<PathBuf>,
    /// So many of them must have cosigned
    #[arg(long, value_name = "K", default_value_t = 0, requires = "witnesses")]
    require_witnesses: usize,
    /// The log must be anchored on a blockchain, with this record under the anchored root; each pin requires this too
    #[arg(long)]
    anchor: bool,
    /// The block's hash, as a block explorer or node that you trust shows it
    #[arg(long, value_name = "HASH", value_parser = Fixed::<32>::from_copied)]
    anchor_block: Option<Fixed<32>>,
    /// The contract that the log's operator has published
    #[arg(long, value_name = "ADDRESS", value_parser = Fixed::<20>::from_copied)]
    anchor_contract: Option<Fixed<20>>,
    /// The account that the log's operator has published
    #[arg(long, value_name = "ADDRESS", value_parser = Fixed::<20>::from_copied)]
    anchor_sender: Option<Fixed<20>>,
    /// The blockchain, by its EIP-155 number
    #[arg(long, value_name = "ID")]
    anchor_chain: Option<u64>,
}

pub(crate) fn run(global: &Global, command: &Verify) -> anyhow::Result<ExitCode> {
    let key = match &command.key {
        Some(key) => key.clone(),
        None => global.config()?.public_key(),
    };
    let witnesses = command.witnesses.as_deref().map(WitnessKey::load_all).transpose()?.unwrap_or_default();
    let mut trust = Trust::load(&key)?.with_witnesses(witnesses, command.require_witnesses)?;
    let pins = Pins {
        block_hash: command.anchor_block,
        chain_id: command.anchor_chain,
        contract: command.anchor_contract,
        sender: command.anchor_sender,
    };
    if command.anchor || pins != Pins::default() {
        trust = trust.with_anchor(pins);
    }
    if command.bundle.extension().is_some_and(|extension| extension == "jsonl") {
        return every_line(global, &command.bundle, &trust);
    }
    let outcome = report::verify_file(&command.bundle, &trust)?;
    if global.json {
        println!("{:#}", outcome.to_json());
    } else {
        print!("{}", outcome.to_text());
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

/// Checks an export: every line is a bundle of its own.
fn every_line(global: &Global, path: &Path, trust: &Trust) -> anyhow::Result<ExitCode> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut proved, mut failed) = (0_u64, Vec::new());
    for (number, line) in (1_u64..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("{} cannot be read", path.display()))?;
        // What the gateway could not prove any more it says instead of a bundle.
        let said: Option<Unproved> = serde_json::from_str(&line).ok();
        let error = match said {
            Some(said) => Some(format!("{}: {}", said.id, said.error)),
            None => verify_with(format!("{line}\n").as_bytes(), trust).err().map(|error| error.to_string()),
        };
        match error {
            None => proved += 1,
            Some(error) => failed.push((number, error)),
        }
    }
    if global.json {
        let failed: Vec<_> =
            failed.iter().map(|(line, error)| serde_json::json!({"line": line, "error": error})).collect();
        println!("{:#}", serde_json::json!({"proved": proved, "not_proved": failed}));
    } else {
        println!("{proved} proved, {} not", failed.len());
        for (line, error) in &failed {
            println!("  line {line}: {}", error.escape_debug());
        }
    }
    Ok(ExitCode::from(u8::from(!failed.is_empty())))
}

/// A line of an export whose record has no proof any more.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Unproved {
    id: String,
    error: String,
}
