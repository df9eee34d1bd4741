//! `cairn verify`.

use std::{path::PathBuf, process::ExitCode};

use cairn_proof::{
    Trust, WitnessKey,
    anchor::{Fixed, Pins},
    report,
};
use clap::Args;

use super::Global;

#[derive(Args)]
pub(crate) struct Verify {
    /// The proof bundle
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
    let outcome = report::verify_file(&command.bundle, &trust)?;
    if global.json {
        println!("{:#}", outcome.to_json());
    } else {
        print!("{}", outcome.to_text());
    }
    Ok(ExitCode::from(outcome.exit_code()))
}
