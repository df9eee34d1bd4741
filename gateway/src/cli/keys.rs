//! `cairn keys`, in this machine's data directory; a running gateway sees the change within seconds.

use std::process::ExitCode;

use anyhow::bail;
use cairn_openapi::keys::{Key, NewKey, Role};
use clap::{Args, Subcommand};

use super::{Global, table};
use crate::{http, store::Store};

#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key; its secret is printed this once
    Create {
        /// Whom it stands for; grants are given to this name
        subject: String,
        /// What it may do: admin, steward, contributor, trainer, app, auditor; repeat for several
        #[arg(long, short, value_parser = role, default_value = "app")]
        role: Vec<Role>,
        /// Days until it expires
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
    },
    /// List keys
    List,
    /// Revoke a key
    Revoke {
        /// The key's id
        id: String,
    },
}

pub(crate) async fn run(global: &Global, command: Keys) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    if !config.signing_key().exists() {
        bail!("{} is not a data directory; `cairn init` makes one", config.data_dir.display());
    }
    let store = Store::open(&config.database).await?;
    store.belongs_to(&config.data_dir).await?;
    match command.command {
        Command::Create { subject, role, expires_in_days } => {
            http::valid_subject(&subject).map_err(|error| anyhow::anyhow!("{error}"))?;
            let made = store.create_key(&NewKey { subject, roles: role, expires_in_days }).await?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&made)?);
            } else {
                println!("{}", made.secret);
                eprintln!("key {} for {}; its secret is not kept and not shown again", made.key.id, made.key.subject);
            }
        }
        Command::List => {
            let keys = store.keys().await?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&keys)?);
            } else {
                let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
                table(&["ID", "SUBJECT", "ROLES", "CREATED", "STATE"], &rows);
            }
        }
        Command::Revoke { id } => {
            if !store.revoke_key(&id).await? {
                bail!("there is no key {id:?}; `cairn keys list` shows them");
            }
            eprintln!("revoked {id}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(key: &Key) -> Vec<String> {
    let roles: Vec<String> = key.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
    let state = match (&key.revoked_at, &key.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) => format!("expires {at}"),
        (None, None) => "valid".to_owned(),
    };
    vec![key.id.clone(), key.subject.clone(), roles.join(","), key.created_at.clone(), state]
}

fn role(name: &str) -> Result<Role, String> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
        .map_err(|_| "use admin, steward, contributor, trainer, app or auditor".to_owned())
}
