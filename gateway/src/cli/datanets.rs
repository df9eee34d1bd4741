//! `cairn datanets`.

use std::process::ExitCode;

use cairn_openapi::datanets::{Datanet, DatanetList, Grant, NewDatanet, Visibility};
use clap::{Args, Subcommand};
use reqwest::Method;

use super::{Global, table};

#[derive(Args)]
pub(crate) struct Datanets {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List datanets that you may use (the default)
    List,
    /// Create a datanet
    Create {
        /// 1 to 64 of a-z, 0-9, `_`, `-`
        name: String,
        /// For people
        #[arg(long, default_value = "")]
        title: String,
        /// What it holds
        #[arg(long, default_value = "")]
        description: String,
        /// Licence of datapoints that name none
        #[arg(long, default_value = "")]
        licence: String,
        /// Everyone with a credential may retrieve
        #[arg(long)]
        public: bool,
    },
    /// Let a subject retrieve from a datanet
    Grant {
        /// The datanet
        name: String,
        /// The subject of a key or of a JWT
        subject: String,
    },
    /// Take a grant back
    Revoke {
        /// The datanet
        name: String,
        /// The subject
        subject: String,
    },
}

pub(crate) async fn run(global: &Global, command: Datanets) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let datanets = match command.command.unwrap_or(Command::List) {
        Command::List => client.get::<DatanetList>("/v1/datanets").await?.data,
        Command::Create { name, title, description, licence, public } => {
            let visibility = if public { Visibility::Public } else { Visibility::Private };
            let new = NewDatanet { name, title, description, licence, visibility };
            vec![client.json::<Datanet>(Method::POST, "/v1/datanets", &new).await?]
        }
        Command::Grant { name, subject } => {
            let grant: Grant = client.json(Method::PUT, &format!("/v1/datanets/{name}/grants/{subject}"), &()).await?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&grant)?);
            } else {
                println!("{} may retrieve from {} since {}", grant.subject, grant.datanet, grant.granted_at);
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Revoke { name, subject } => {
            client.send(client.request(Method::DELETE, &format!("/v1/datanets/{name}/grants/{subject}"))).await?;
            eprintln!("{subject} may no longer retrieve from {name}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if global.json {
        println!("{}", serde_json::to_string_pretty(&datanets)?);
    } else {
        let row = |it: &Datanet| {
            let visibility = if it.visibility == Visibility::Public { "public" } else { "private" };
            vec![it.name.clone(), it.snapshot.size.to_string(), visibility.into(), it.licence.clone(), it.title.clone()]
        };
        table(
            &["DATANET", "DATAPOINTS", "VISIBILITY", "LICENCE", "TITLE"],
            &datanets.iter().map(row).collect::<Vec<_>>(),
        );
    }
    Ok(ExitCode::SUCCESS)
}
