//! `cairn adapters`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use cairn_openapi::adapters::{
    AdapterAlias, AdapterList, AdapterVisibility, AliasChange, AliasHistory, Canary, UploadQuery, UploadedAdapter,
};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::{Method, multipart};

use super::{Global, adapter_details, client::Client, ingest::part, table};

#[derive(Args)]
pub(crate) struct Adapters {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List aliases on a base
    List {
        /// The base model
        base: String,
    },
    /// Upload a PEFT adapter; with --name, publish it at once
    Push {
        /// The directory that PEFT saved, or a tar, tar.gz or zip of it
        path: PathBuf,
        /// The base model it was trained for
        #[arg(long)]
        base: String,
        /// The alias to publish it under
        #[arg(long)]
        name: Option<String>,
        /// Only report how it fits the base
        #[arg(long)]
        dry_run: bool,
    },
    /// Point an alias at a generation
    Publish {
        #[command(flatten)]
        alias: Alias,
        /// The generation; 12 digits suffice
        generation: String,
    },
    /// Point an alias at what it meant before
    Rollback(Alias),
    /// Give a part of an alias's traffic to a second generation
    Canary {
        #[command(flatten)]
        alias: Alias,
        /// The generation; 12 digits suffice
        generation: String,
        /// Its part in percent; 0 ends the trial
        percent: u8,
    },
    /// Choose who may use an alias
    Share {
        #[command(flatten)]
        alias: Alias,
        /// Who
        visibility: Visibility,
    },
    /// Let a subject use an alias that is shared with those it is granted to
    Grant {
        #[command(flatten)]
        alias: Alias,
        /// The subject of a key or of a JWT
        subject: String,
    },
    /// Take a grant back
    Revoke {
        #[command(flatten)]
        alias: Alias,
        /// The subject
        subject: String,
    },
    /// List who an alias is granted to
    Grants(Alias),
    /// List who uses an alias
    Uses(Alias),
    /// List stored adapters, also those that no alias means
    Generations(adapter_details::Generations),
    /// Show how much owners may store, or set it
    Quota(adapter_details::Quota),
    /// Show what an alias has meant, latest first
    History(Alias),
    /// Bring what an alias means into memory, so that the next request need not wait
    Load(Alias),
    /// Remove an alias; its generations stay
    Unpublish(Alias),
    /// Delete a generation that no alias means
    Delete {
        /// The base model
        base: String,
        /// The generation, in full
        generation: String,
    },
}

#[derive(Args)]
struct Alias {
    /// The base model
    base: String,
    /// The alias
    name: String,
}

impl Alias {
    fn path(&self) -> String {
        format!("/v1/adapters/{}/{}", self.base, self.name)
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Visibility {
    /// Its owner
    Private,
    /// Its owner and those it is granted to
    Granted,
    /// Everyone with a credential
    Public,
}

pub(crate) async fn run(global: &Global, command: Adapters) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let changed = match command.command {
        Command::List { base } => return list(global, &client, &base).await,
        Command::Push { path, base, name, dry_run } => {
            return push(global, &client, &path, UploadQuery { base, alias: name, dry_run }).await;
        }
        Command::History(alias) => return history(global, &client, &alias).await,
        Command::Grants(alias) => return adapter_details::grants(global, &client, &alias.path()).await,
        Command::Uses(alias) => return adapter_details::uses(global, &client, &alias.path()).await,
        Command::Generations(which) => return adapter_details::generations(global, &client, which).await,
        Command::Quota(quota) => return adapter_details::quota(global, &client, quota).await,
        Command::Publish { alias, generation } => {
            change(&client, &alias, AliasChange { generation: Some(generation), ..AliasChange::default() }).await?
        }
        Command::Rollback(alias) => {
            change(&client, &alias, AliasChange { rollback: Some(true), ..AliasChange::default() }).await?
        }
        Command::Canary { alias, generation, percent } => {
            let canary = Some(Canary { generation, percent });
            change(&client, &alias, AliasChange { canary, ..AliasChange::default() }).await?
        }
        Command::Share { alias, visibility } => {
            let visibility = Some(match visibility {
                Visibility::Private => AdapterVisibility::Private,
                Visibility::Granted => AdapterVisibility::Granted,
                Visibility::Public => AdapterVisibility::Public,
            });
            change(&client, &alias, AliasChange { visibility, ..AliasChange::default() }).await?
        }
        Command::Grant { alias, subject } => {
            client.send(client.request(Method::PUT, &format!("{}/grants/{subject}", alias.path()))).await?;
            eprintln!("{subject} may use {}:{} while it is shared with those it is granted to", alias.base, alias.name);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Revoke { alias, subject } => {
            client.send(client.request(Method::DELETE, &format!("{}/grants/{subject}", alias.path()))).await?;
            eprintln!("{subject} may no longer use {}:{}", alias.base, alias.name);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Load(alias) => {
            client.send(client.request(Method::POST, &format!("{}/load", alias.path()))).await?;
            eprintln!("{}:{} is in memory", alias.base, alias.name);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Unpublish(alias) => {
            client.send(client.request(Method::DELETE, &alias.path())).await?;
            eprintln!("{}:{} is gone", alias.base, alias.name);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Delete { base, generation } => {
            let path = format!("/v1/adapters/{base}/generations/{generation}");
            client.send(client.request(Method::DELETE, &path)).await?;
            eprintln!("{generation} is deleted; requests that began with it finish with it");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if global.json {
        println!("{}", serde_json::to_string_pretty(&changed)?);
    } else {
        show(&[changed]);
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(client: &Client, alias: &Alias, change: AliasChange) -> anyhow::Result<AdapterAlias> {
    client.json(Method::PUT, &alias.path(), &change).await
}

async fn list(global: &Global, client: &Client, base: &str) -> anyhow::Result<ExitCode> {
    let mut aliases: Vec<AdapterAlias> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("base", base.to_owned()), ("limit", "200".to_owned())];
        query.extend(after.map(|after| ("after", after)));
        let request = client.request(Method::GET, "/v1/adapters").query(&query);
        let page: AdapterList = client.send(request).await?.json().await?;
        aliases.extend(page.data);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if global.json {
        println!("{}", serde_json::to_string_pretty(&aliases)?);
    } else {
        show(&aliases);
    }
    Ok(ExitCode::SUCCESS)
}

async fn push(global: &Global, client: &Client, path: &Path, query: UploadQuery) -> anyhow::Result<ExitCode> {
    let packed = if path.is_dir() { Some(pack(path)?) } else { None };
    let file = packed.as_ref().map_or(path, |packed| packed.path());
    let form = multipart::Form::new().part("file", part(file).await?.file_name("adapter.tar"));
    let request = client.request(Method::POST, "/v1/adapters").query(&query).multipart(form);
    let done: UploadedAdapter = client.send(request).await?.json().await?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&done)?);
        return Ok(ExitCode::SUCCESS);
    }
    let report = &done.report;
    println!(
        "{} of {} tensors fit {}; rank {}; tokenizer {}, chat template {}",
        report["tensors"].as_array().map_or(0, |all| all.iter().filter(|it| it["outcome"] == "matched").count()),
        report["tensors"].as_array().map_or(0, Vec::len),
        query.base,
        report["rank"],
        report["tokenizer"].as_str().unwrap_or_default().replace('_', " "),
        report["chat_template"].as_str().unwrap_or_default().replace('_', " "),
    );
    for line in ["reasons", "notes"].iter().filter_map(|part| report[part].as_array()).flatten() {
        println!("  {}", line.as_str().unwrap_or_default());
    }
    if let Some(generation) = &done.generation {
        println!("generation {generation}{}", if done.created { "" } else { " (it was there already)" });
    }
    if let Some(alias) = &done.alias {
        println!("published as {}:{}", alias.base, alias.name);
    }
    Ok(if report["accepted"] == true { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A tar of the files that an adapter consists of.
fn pack(dir: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    let config = dir.join("adapter_config.json");
    ensure!(config.exists(), "{} is missing; give the directory that PEFT saved", config.display());
    let file = tempfile::NamedTempFile::new().context("a temporary file cannot be made")?;
    let mut tar = tar::Builder::new(file.reopen()?);
    for name in FILES {
        let path = dir.join(name);
        if path.exists() {
            let mut part = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            tar.append_file(name, &mut part).with_context(|| format!("{} cannot be packed", path.display()))?;
        }
    }
    tar.finish()?;
    Ok(file)
}

/// What is sent of an adapter's directory. A pickle is sent too, so that the gateway can say why it is refused.
const FILES: [&str; 7] = [
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "chat_template.jinja",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

async fn history(global: &Global, client: &Client, alias: &Alias) -> anyhow::Result<ExitCode> {
    let steps: AliasHistory = client.get(&format!("{}/history", alias.path())).await?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&steps)?);
    } else {
        let rows: Vec<_> =
            steps.data.into_iter().map(|step| vec![step.at, step.action, step.actor, step.generation]).collect();
        table(&["WHEN", "WHAT", "BY", "GENERATION"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(aliases: &[AdapterAlias]) {
    let row = |it: &AdapterAlias| {
        let short = |generation: &str| generation.get(..12).unwrap_or(generation).to_owned();
        let canary = it.canary.as_ref();
        let canary = canary.map_or_else(|| "-".into(), |it| format!("{} {} %", short(&it.generation), it.percent));
        let visibility = format!("{:?}", it.visibility).to_lowercase();
        vec![format!("{}:{}", it.base, it.name), short(&it.generation), canary, visibility, it.owner.clone()]
    };
    table(&["ADAPTER", "GENERATION", "CANARY", "VISIBILITY", "OWNER"], &aliases.iter().map(row).collect::<Vec<_>>());
}
