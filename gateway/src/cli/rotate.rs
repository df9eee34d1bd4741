//! `cairn rotate-key`: a new signing key for the log. Both keys sign the change, which is an entry of the log.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use cairn_proof::{Log, Origin, SigningKey};
use clap::Args;

use super::Global;
use crate::{config::Config, state, store::now};

#[derive(Args)]
pub(crate) struct RotateKey {}

pub(crate) fn run(global: &Global, _: &RotateKey) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    let _lock = state::lock(&config)?;
    let origin = Origin::new(config.origin.clone()).context("log.origin is not valid")?;
    let next_path = next_path(&config);
    // Durable before it signs anything; one that an interrupted run left is the one to go on with.
    if !next_path.exists() {
        SigningKey::generate()?.save(&next_path)?;
    }
    let next = SigningKey::load(&next_path)?;
    let verifying = next.verifying_key(&origin);
    let open = |key: SigningKey| match &config.guard {
        Some(guard) => Log::open_guarded(&config.log_dir(), key, origin.clone(), guard),
        None => Log::open(&config.log_dir(), key, origin.clone()),
    };
    let size = match open(SigningKey::load(&config.signing_key())?) {
        Ok(mut log) => log.rotate(next, now()).context("the change of key could not be logged")?.size,
        // A run that was interrupted after its checkpoint: the log signs with the next key already.
        Err(cairn_proof::Error::KeyRotated { .. }) => open(next)?.rotations().last().map_or(0, |last| last.size),
        Err(error) => return Err(error).context("the log cannot be opened"),
    };
    fs::rename(&next_path, config.signing_key()).context("the new key cannot take its place")?;
    let written = format!("{verifying}\n");
    fs::write(config.public_key(), written).context("the new public key cannot be written")?;
    sync(&config.data_dir)?;
    if global.json {
        println!("{}", serde_json::json!({"entry": size, "public_key": verifying.to_string()}));
    } else {
        println!("The log signs with a new key from entry {size} on:");
        println!("  {verifying}");
        println!(
            "Publish it beside the old one. Who trusts the old key need do nothing: proofs made from now on carry the"
        );
        println!("change, signed by both. Witnesses must be told the new key.");
    }
    Ok(ExitCode::SUCCESS)
}

fn next_path(config: &Config) -> PathBuf {
    config.signing_key().with_extension("key.next")
}

fn sync(directory: &Path) -> anyhow::Result<()> {
    Ok(File::open(directory)?.sync_all()?)
}
