//! `cairn audit` and `cairn monitor`: the whole log, checked by someone who trusts only its key.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use cairn_proof::{
    audit::{Fetch, LocalLog, audit},
    monitor::look,
    rotation::KeyHistory,
};
use clap::Args;
use reqwest::{Method, StatusCode};

use super::{Global, client::Client};

/// Reads the whole log and checks every tile, entry and the checkpoint's signature. Exit codes: 0 sound, 1 not, 2 unknown.
#[derive(Args)]
pub(crate) struct Audit {
    /// A directory that holds the log [default: the gateway's, over the network]
    log: Option<PathBuf>,
    /// The log's public key [default: cairn.pub in the data directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A checkpoint seen before, from which the log must go on
    #[arg(long, value_name = "FILE")]
    earlier: Option<PathBuf>,
    /// Also say which weights this alias of an adapter meant, as the log has it
    #[arg(long, value_name = "BASE:NAME", value_parser = alias)]
    alias: Option<(String, String)>,
    /// When; RFC 3339, such as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", requires = "alias", value_parser = time)]
    at: Option<String>,
}

fn alias(text: &str) -> Result<(String, String), String> {
    let (base, name) = text.split_once(':').ok_or("give the base and the alias with a colon between them")?;
    Ok((base.to_owned(), name.to_owned()))
}

/// In UTC, as the log writes it.
fn time(text: &str) -> Result<String, String> {
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| error.to_string())?;
    Ok(time.to_utc().to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

pub(crate) async fn run(global: &Global, command: Audit) -> anyhow::Result<ExitCode> {
    let keys = keys(global, command.key.as_deref())?;
    let log = log(global, command.log)?;
    let earlier = match &command.earlier {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let opened =
                keys.open(&text).with_context(|| format!("{} is not a checkpoint of this log", path.display()))?;
            Some(opened.signed().clone())
        }
    };
    let report = tokio::task::spawn_blocking(move || {
        let open = |text: &str| keys.open(text).map(|checkpoint| checkpoint.signed().clone());
        audit(log.as_ref(), &open, earlier.as_ref())
    });
    match report.await? {
        Ok(report) => {
            let at = command.at.unwrap_or_else(crate::store::now);
            let asked =
                command.alias.map(|(base, name)| (report.adapters.meant(&base, &name, &at), format!("{base}:{name}")));
            if global.json {
                let mut json = report.to_json();
                if let Some((meant, alias)) = &asked {
                    json["alias"] = serde_json::json!({"alias": alias, "at": at, "meant": meant});
                }
                println!("{json}");
            } else {
                println!("{}", report.to_text());
                match &asked {
                    None => {}
                    Some((None, alias)) => println!("At {at} the log knew no adapter {alias}."),
                    Some((Some(meant), alias)) => println!("At {at} {alias} meant {}.", meant.to_text()),
                }
            }
            Ok(ExitCode::from(report.exit_code()))
        }
        Err(error) => {
            eprintln!("error: {:#}", anyhow::Error::from(error));
            Ok(ExitCode::from(2))
        }
    }
}

/// Follows the log, and alarms when it shrinks or tells two stories. Exit codes: 0 consistent, 1 alarm, 2 unknown.
#[derive(Args)]
pub(crate) struct Monitor {
    /// A directory that holds the log [default: the gateway's, over the network]
    log: Option<PathBuf>,
    /// The log's public key [default: cairn.pub in the data directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the last checkpoint is kept
    #[arg(long, value_name = "FILE", default_value = "cairn.seen")]
    state: PathBuf,
    /// Seconds between looks; without it one look is taken
    #[arg(long, value_name = "SECONDS")]
    every: Option<u64>,
}

pub(crate) async fn monitor(global: &Global, command: Monitor) -> anyhow::Result<ExitCode> {
    let keys = std::sync::Arc::new(keys(global, command.key.as_deref())?);
    let log: std::sync::Arc<dyn Fetch + Send + Sync> = log(global, command.log)?.into();
    loop {
        let (keys, log, state) = (keys.clone(), log.clone(), command.state.clone());
        let seen = tokio::task::spawn_blocking(move || {
            let open = |text: &str| keys.open(text).map(|checkpoint| checkpoint.signed().clone());
            look(log.as_ref(), &open, &state)
        });
        let code = match seen.await? {
            Ok(sighting) => {
                if global.json {
                    println!("{}", sighting.to_json());
                } else {
                    println!("{}", sighting.to_text());
                }
                if sighting.is_alarm() {
                    return Ok(ExitCode::from(sighting.exit_code()));
                }
                sighting.exit_code()
            }
            Err(error) => {
                eprintln!("error: {:#}", anyhow::Error::from(error));
                2
            }
        };
        match command.every {
            None => return Ok(ExitCode::from(code)),
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds.max(1))).await,
        }
    }
}

fn keys(global: &Global, given: Option<&Path>) -> anyhow::Result<KeyHistory> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => global.config()?.public_key(),
    };
    let key = cairn_proof::VerifyingKey::load(&path);
    Ok(key.with_context(|| format!("{} is not a log's public key", path.display()))?.into())
}

fn log(global: &Global, directory: Option<PathBuf>) -> anyhow::Result<Box<dyn Fetch + Send + Sync>> {
    Ok(match directory {
        Some(directory) => Box::new(LocalLog(directory)),
        None => Box::new(Served { client: global.client()?, runtime: tokio::runtime::Handle::current() }),
    })
}

/// The log as a gateway serves it; read on a thread that may block.
struct Served {
    client: Client,
    runtime: tokio::runtime::Handle,
}

impl Fetch for Served {
    fn fetch(&self, path: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        self.runtime.block_on(async {
            let response = self.client.request(Method::GET, &format!("/v1/log/{path}")).send().await?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(None),
                status if status.is_success() => Ok(Some(response.bytes().await?.to_vec())),
                status => {
                    let said = response.text().await.unwrap_or_default();
                    Err(format!("the gateway answered {status}: {said}").into())
                }
            }
        })
    }
}
