//! `cairn sessions`, in this machine's data directory; a running gateway sees the change within seconds.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::{Global, table};
use crate::store::Store;

#[derive(Args)]
pub(crate) struct Sessions {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List who is signed in, and until when
    List,
    /// End every session of somebody, who may have left or lost a role
    End {
        /// Whom, as `cairn sessions list` shows them: oidc:…
        subject: String,
    },
}

pub(crate) async fn run(global: &Global, command: Sessions) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    if !config.signing_key().exists() {
        bail!("{} is not a data directory; `cairn init` makes one", config.data_dir.display());
    }
    let store = Store::open(&config.database).await?;
    store.belongs_to(&config.data_dir).await?;
    match command.command {
        Command::List => {
            let sessions = store.sessions().await?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&sessions)?);
            } else {
                let rows: Vec<Vec<String>> = sessions
                    .into_iter()
                    .map(|session| {
                        let roles: Vec<String> =
                            session.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
                        vec![session.subject, roles.join(","), session.created_at, session.expires_at]
                    })
                    .collect();
                table(&["SUBJECT", "ROLES", "SINCE", "UNTIL"], &rows);
            }
        }
        Command::End { subject } => {
            let ended = store.end_sessions_of(&subject).await?;
            if ended == 0 {
                bail!("{subject:?} is not signed in; `cairn sessions list` shows who is");
            }
            eprintln!("ended {ended} of {subject}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
