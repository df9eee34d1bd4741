//! `cairn models`.

use std::process::ExitCode;

use cairn_openapi::models::{Model, ModelList};
use clap::{Args, Subcommand};
use reqwest::Method;

use super::{Global, table};

#[derive(Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List models (the default)
    List,
    /// Load a model now; the least recently used make room
    Load {
        /// The model
        model: String,
    },
    /// Unload a model; answers under way are finished
    Unload {
        /// The model
        model: String,
    },
}

pub(crate) async fn run(global: &Global, command: Models) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let models = match command.command.unwrap_or(Command::List) {
        Command::List => client.get::<ModelList>("/v1/models").await?.data,
        Command::Load { model } => vec![client.json(Method::POST, &format!("/v1/models/{model}/load"), &()).await?],
        Command::Unload { model } => vec![client.json(Method::POST, &format!("/v1/models/{model}/unload"), &()).await?],
    };
    if global.json {
        println!("{}", serde_json::to_string_pretty(&models)?);
    } else {
        table(&["MODEL", "KIND", "STATUS", "MEMORY", "CONTEXT", "FROM"], &models.iter().map(row).collect::<Vec<_>>());
    }
    Ok(ExitCode::SUCCESS)
}

fn row(model: &Model) -> Vec<String> {
    let status = match &model.reason {
        Some(reason) => format!("{}: {reason}", model.status),
        None => model.status.clone(),
    };
    vec![
        model.id.clone(),
        model.kind.clone(),
        status,
        indicatif::HumanBytes(model.memory_bytes).to_string(),
        model.context_length.to_string(),
        model.owned_by.clone(),
    ]
}
