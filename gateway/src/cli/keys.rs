//! `cairn keys`, in this machine's data directory; a running gateway sees the change within seconds.

use std::process::ExitCode;

use anyhow::bail;
use cairn_openapi::keys::{Key, KeyChange, KeyLimits, NewKey, Role};
use clap::{Args, Subcommand};

use super::{Global, table};
use crate::{
    http,
    store::{Store, keys::KeyChanged},
};

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
        /// What it may do: admin, steward, contributor, trainer, app, auditor, replica; repeat for several
        #[arg(long, short, value_parser = role, default_value = "app")]
        role: Vec<Role>,
        /// Days until it expires
        #[arg(long, value_name = "DAYS")]
        expires_in_days: Option<u32>,
        #[command(flatten)]
        limits: Limits,
    },
    /// Change what a key may do, or how much
    Change {
        /// The key's id
        id: String,
        /// What it may do from now on; repeat for several
        #[arg(long, short, value_parser = role)]
        role: Vec<Role>,
        #[command(flatten)]
        limits: Limits,
        /// Without limits from now on
        #[arg(long, conflicts_with_all = ["requests_per_minute", "tokens_per_day"])]
        no_limits: bool,
    },
    /// List keys
    List,
    /// Revoke a key
    Revoke {
        /// The key's id
        id: String,
    },
}

#[derive(Args)]
struct Limits {
    /// Most requests in a minute
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Most tokens, read and written, in a day (UTC)
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<u64>,
}

impl From<Limits> for KeyLimits {
    fn from(limits: Limits) -> Self {
        Self { requests_per_minute: limits.requests_per_minute, tokens_per_day: limits.tokens_per_day }
    }
}

pub(crate) async fn run(global: &Global, command: Keys) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    if !config.signing_key().exists() {
        bail!("{} is not a data directory; `cairn init` makes one", config.data_dir.display());
    }
    let store = Store::open(&config.database).await?;
    store.belongs_to(&config.data_dir).await?;
    match command.command {
        Command::Create { subject, role, expires_in_days, limits } => {
            http::valid_subject(&subject).map_err(|error| anyhow::anyhow!("{error}"))?;
            let made =
                store.create_key(&NewKey { subject, roles: role, expires_in_days, limits: limits.into() }).await?;
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
                table(&["ID", "SUBJECT", "ROLES", "LIMITS", "CREATED", "STATE"], &rows);
            }
        }
        Command::Change { id, role, limits, no_limits } => {
            let limits = KeyLimits::from(limits);
            let change = KeyChange {
                roles: (!role.is_empty()).then_some(role),
                limits: (no_limits || limits != KeyLimits::default()).then_some(limits),
            };
            if change == KeyChange::default() {
                bail!("nothing is to change; give --role, a limit or --no-limits");
            }
            match store.change_key(&id, &change).await? {
                KeyChanged::Done(key) if global.json => println!("{}", serde_json::to_string_pretty(&key)?),
                KeyChanged::Done(key) => eprintln!("{}: {}", key.id, row(&key)[2..4].join("; ")),
                KeyChanged::Missing => {
                    bail!("there is no key {id:?} that is not revoked; `cairn keys list` shows them")
                }
                KeyChanged::LastAdministrator => {
                    bail!("{id} is the last valid key of an administrator; make another first")
                }
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
    let limits = [
        key.limits.requests_per_minute.map(|most| format!("{most} requests/min")),
        key.limits.tokens_per_day.map(|most| format!("{most} tokens/day")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let limits = if limits.is_empty() { "none".to_owned() } else { limits.join(", ") };
    vec![key.id.clone(), key.subject.clone(), roles.join(","), limits, key.created_at.clone(), state]
}

fn role(name: &str) -> Result<Role, String> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
        .map_err(|_| "use admin, steward, contributor, trainer, app, auditor or replica".to_owned())
}
