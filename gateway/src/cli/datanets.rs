//! `cairn datanets`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use cairn_openapi::{
    access::{Grant, GrantQuery, RevocationQuery},
    datanets::{
        Datanet, DatanetList, DatanetQuery, Erasure, ErasureRequest, NewDatanet, TrainedOnEntry, TrainedOnList,
        TrainedOnQuery, Visibility,
    },
};
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
    /// List those as well that you may ask for
    Catalogue,
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
        /// Let it train on the datanet as well
        #[arg(long)]
        training: bool,
        /// Let it evaluate adapters on the datanet as well
        #[arg(long)]
        evaluation: bool,
        /// Only these rows, a filter such as 'metadata.topic = "storage"'
        #[arg(long, value_name = "FILTER")]
        rows: Option<String>,
        /// For so many days [default: until it is revoked]
        #[arg(long)]
        days: Option<u32>,
        /// At most so many retrievals a day
        #[arg(long, value_name = "N")]
        retrievals_per_day: Option<u64>,
    },
    /// List the adapters that were trained on a datanet
    Trainings {
        /// The datanet
        name: String,
        /// Only those that used this datapoint
        #[arg(long, value_name = "ID")]
        datapoint: Option<String>,
        /// Only those that used this contributor's datapoints
        #[arg(long)]
        contributor: Option<String>,
    },
    /// Fetch the proof that a datanet's creation was registered on a chain, for `cairn verify`
    Registration {
        /// The datanet
        name: String,
        /// Where to write it [default: NAME.registration.json]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Erase datapoints for good, or everything of a contributor
    Erase {
        /// The datanet
        name: String,
        /// A datapoint; repeat for several
        #[arg(long, value_name = "ID", required_unless_present = "contributor", conflicts_with = "contributor")]
        datapoint: Vec<String>,
        /// A contributor, all of whose datapoints go
        #[arg(long)]
        contributor: Option<String>,
    },
    /// Take a grant back
    Revoke {
        /// The datanet
        name: String,
        /// The subject
        subject: String,
        /// Why, for its holder
        #[arg(long, default_value = "")]
        reason: String,
    },
}

pub(crate) async fn run(global: &Global, command: Datanets) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let datanets = match command.command.unwrap_or(Command::List) {
        Command::Catalogue => {
            let query = DatanetQuery { on_request: true };
            let request = client.request(Method::GET, "/v1/datanets").query(&query);
            client.send(request).await?.json::<DatanetList>().await?.data
        }
        Command::List => client.get::<DatanetList>("/v1/datanets").await?.data,
        Command::Create { name, title, description, licence, public } => {
            let visibility = if public { Visibility::Public } else { Visibility::Private };
            let new = NewDatanet { name, title, description, licence, visibility };
            vec![client.json::<Datanet>(Method::POST, "/v1/datanets", &new).await?]
        }
        Command::Grant { name, subject, training, evaluation, rows, days, retrievals_per_day } => {
            let query = GrantQuery { training, evaluation, rows, days, retrievals_per_day };
            let path = format!("/v1/datanets/{name}/grants/{subject}");
            let grant: Grant = client.send(client.request(Method::PUT, &path).query(&query)).await?.json().await?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&grant)?);
            } else {
                let what = match (training, evaluation) {
                    (false, false) => "retrieve from",
                    (true, false) => "retrieve from and train on",
                    (false, true) => "retrieve from and evaluate on",
                    (true, true) => "retrieve from, train on and evaluate on",
                };
                println!("{} may {what} {} since {}", grant.subject, grant.datanet, grant.granted_at);
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Trainings { name, datapoint, contributor } => {
            let query = TrainedOnQuery { datapoint, contributor };
            let request = client.request(Method::GET, &format!("/v1/datanets/{name}/trainings")).query(&query);
            let found: TrainedOnList = client.send(request).await?.json().await?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&found.data)?);
                return Ok(ExitCode::SUCCESS);
            }
            let row = |it: &TrainedOnEntry| {
                let generation = it.generation.clone().unwrap_or_default();
                let adapter = format!("{}:{}", it.base, it.alias);
                vec![
                    it.job.clone(),
                    adapter,
                    generation,
                    it.learnt.to_string(),
                    it.held_out.to_string(),
                    it.owner.clone(),
                ]
            };
            table(
                &["JOB", "ADAPTER", "GENERATION", "LEARNT", "HELD OUT", "OWNER"],
                &found.data.iter().map(row).collect::<Vec<_>>(),
            );
            return Ok(ExitCode::SUCCESS);
        }
        Command::Registration { name, output } => {
            let output = output.unwrap_or_else(|| PathBuf::from(format!("{name}.registration.json")));
            let request = client.request(Method::GET, &format!("/v1/datanets/{name}/registration"));
            let proof = client.send(request).await?.bytes().await?;
            std::fs::write(&output, &proof).with_context(|| format!("{} cannot be written", output.display()))?;
            println!("{}", output.display());
            return Ok(ExitCode::SUCCESS);
        }
        Command::Erase { name, datapoint, contributor } => {
            let request = ErasureRequest { datapoints: datapoint, contributor };
            let path = format!("/v1/datanets/{name}/erasures");
            let done: Erasure = client.json(Method::POST, &path, &request).await?;
            if global.json {
                println!("{}", serde_json::to_string_pretty(&done)?);
                return Ok(ExitCode::SUCCESS);
            }
            println!("{} datapoints of {} are erased since {}:", done.erased.len(), done.datanet, done.erased_at);
            for one in &done.erased {
                println!("  {}  (tombstone: entry {} of the log)", one.datapoint, one.log_index);
            }
            println!("{} answers had been given one of them; their proofs now say that it was erased.", done.answers);
            for adapter in &done.adapters {
                let generation = adapter.generation.as_deref().unwrap_or("not in the store");
                println!(
                    "Adapter {}:{} ({generation}) learnt from them; its owner is {}.",
                    adapter.base, adapter.alias, adapter.owner
                );
            }
            return Ok(ExitCode::SUCCESS);
        }
        Command::Revoke { name, subject, reason } => {
            let path = format!("/v1/datanets/{name}/grants/{subject}");
            client.send(client.request(Method::DELETE, &path).query(&RevocationQuery { reason })).await?;
            eprintln!("{subject} may no longer retrieve from {name}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if global.json {
        println!("{}", serde_json::to_string_pretty(&datanets)?);
    } else {
        let row = |it: &Datanet| {
            let visibility = if it.visibility == Visibility::Public { "public" } else { "private" };
            let access = serde_json::to_value(it.access).ok().and_then(|access| access.as_str().map(str::to_owned));
            let (size, access) = (it.snapshot.size.to_string(), access.unwrap_or_default());
            vec![it.name.clone(), size, visibility.into(), access, it.licence.clone(), it.title.clone()]
        };
        table(
            &["DATANET", "DATAPOINTS", "VISIBILITY", "YOUR ACCESS", "LICENCE", "TITLE"],
            &datanets.iter().map(row).collect::<Vec<_>>(),
        );
    }
    Ok(ExitCode::SUCCESS)
}
