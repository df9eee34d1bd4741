//! `cairn access`: terms, requests, reviews, grants.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use anyhow::Context;
use cairn_openapi::access::{
    AccessRequest, AccessRequestList, AccessStatistics, Grant, GrantList, NewAbsence, NewAppeal, NewVote,
    PublishedTerms, SimulationRequest, SimulationResult, TermsVersions,
};
use cairn_policy::{Actor, Answer, Application, Purpose, Terms};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;

use super::{Global, client::Client, table};

#[derive(Args)]
pub(crate) struct Access {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a datanet's terms, in words
    Terms {
        /// The datanet
        datanet: String,
        /// Every version, with what changed
        #[arg(long)]
        versions: bool,
    },
    /// Publish terms for a datanet you own (a TOML file; an empty one is valid, and careful)
    Publish {
        /// The datanet
        datanet: String,
        /// The terms
        file: PathBuf,
    },
    /// See who would be granted under terms, before publishing them
    Simulate {
        /// The datanet
        datanet: String,
        /// The terms
        file: PathBuf,
    },
    /// Ask for access
    Request(Request),
    /// What became of your requests
    Requests {
        /// Those of others for this datanet, as its owner, reviewer or auditor
        #[arg(long)]
        datanet: Option<String>,
    },
    /// Requests that you may decide now
    Inbox,
    /// Show one request, with what each clause of the terms says to it
    Show {
        /// The request
        id: String,
    },
    /// Say yes to a request
    Approve {
        /// The request
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Say no to a request
    Deny {
        /// The request
        id: String,
        /// Why; the requester reads it
        #[arg(long)]
        reason: String,
    },
    /// Appeal against what people denied; others decide
    Appeal {
        /// The request
        id: String,
        /// What the reviewers should know
        #[arg(long, default_value = "")]
        statement: String,
    },
    /// Ask again for the same, under the terms of today
    Renew {
        /// The request
        id: String,
    },
    /// Take a waiting request back
    Withdraw {
        /// The request
        id: String,
    },
    /// Your grants
    Grants {
        /// Those of everyone on this datanet, as its owner or an auditor
        #[arg(long)]
        datanet: Option<String>,
    },
    /// How requests for a datanet were decided, and how fast
    Statistics {
        /// The datanet
        datanet: String,
    },
    /// Name who decides for you while you are away
    Away {
        /// Who
        #[arg(long, required_unless_present = "back")]
        delegate: Option<String>,
        /// Until when, such as 2026-01-31T12:00:00Z
        #[arg(long, required_unless_present = "back")]
        until: Option<String>,
        /// You are back
        #[arg(long, conflicts_with_all = ["delegate", "until"])]
        back: bool,
    },
}

#[derive(Args)]
struct Request {
    /// The datanet
    datanet: String,
    /// For what; repeat for several
    #[arg(long, value_enum, default_value = "retrieval")]
    purpose: Vec<PurposeArgument>,
    /// What kind of user you are
    #[arg(long, value_enum)]
    actor: ActorArgument,
    /// It serves a commercial end
    #[arg(long)]
    commercial: bool,
    /// The country where the data will be used, such as CH
    #[arg(long)]
    region: Option<String>,
    /// For how many days [default: as long as the terms allow]
    #[arg(long)]
    days: Option<u32>,
    /// Affirm what the terms ask for, by its id; repeat for several
    #[arg(long, value_name = "ID")]
    affirm: Vec<String>,
    /// What it is for
    #[arg(long, default_value = "")]
    statement: String,
    /// Only these rows, a filter such as 'metadata.topic = "storage"'
    #[arg(long, value_name = "FILTER")]
    rows: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PurposeArgument {
    Retrieval,
    Training,
    Evaluation,
}

#[derive(Clone, Copy, ValueEnum)]
enum ActorArgument {
    Individual,
    Academic,
    Nonprofit,
    Company,
    Government,
}

pub(crate) async fn run(global: &Global, command: Access) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    match command.command {
        Command::Terms { datanet, versions: false } => {
            show_terms(global, client.get(&format!("/v1/datanets/{datanet}/terms")).await?)?;
        }
        Command::Terms { datanet, versions: true } => {
            let versions: TermsVersions = client.get(&format!("/v1/datanets/{datanet}/terms/versions")).await?;
            for terms in versions.data {
                show_terms(global, terms)?;
            }
        }
        Command::Publish { datanet, file } => {
            let path = format!("/v1/datanets/{datanet}/terms");
            show_terms(global, client.json(Method::PUT, &path, &read_terms(&file)?).await?)?;
        }
        Command::Simulate { datanet, file } => {
            let request = SimulationRequest { terms: read_terms(&file)?, applications: Vec::new() };
            let path = format!("/v1/datanets/{datanet}/terms/simulate");
            show_simulation(global, &client.json::<SimulationResult>(Method::POST, &path, &request).await?)?;
        }
        Command::Request(request) => {
            let path = format!("/v1/datanets/{}/requests", request.datanet);
            let application = Application::from(request);
            show(global, &client.json::<AccessRequest>(Method::POST, &path, &application).await?)?;
        }
        Command::Requests { datanet } => {
            let path = datanet.map_or("/v1/access_requests".to_owned(), |name| format!("/v1/datanets/{name}/requests"));
            list(global, &client, &path).await?;
        }
        Command::Inbox => list(global, &client, "/v1/access_requests/inbox").await?,
        Command::Show { id } => show(global, &client.get(&format!("/v1/access_requests/{id}")).await?)?,
        Command::Approve { id, reason } => vote(global, &client, &id, NewVote { approve: true, reason }).await?,
        Command::Deny { id, reason } => vote(global, &client, &id, NewVote { approve: false, reason }).await?,
        Command::Appeal { id, statement } => {
            let path = format!("/v1/access_requests/{id}/appeal");
            show(global, &client.json::<AccessRequest>(Method::POST, &path, &NewAppeal { statement }).await?)?;
        }
        Command::Renew { id } => {
            let path = format!("/v1/access_requests/{id}/renew");
            show(global, &client.json::<AccessRequest>(Method::POST, &path, &()).await?)?;
        }
        Command::Withdraw { id } => {
            client.send(client.request(Method::DELETE, &format!("/v1/access_requests/{id}"))).await?;
            eprintln!("{id} is withdrawn");
        }
        Command::Grants { datanet } => {
            let path = datanet.map_or("/v1/grants".to_owned(), |name| format!("/v1/datanets/{name}/grants"));
            show_grants(global, &client.get::<GrantList>(&path).await?.data)?;
        }
        Command::Statistics { datanet } => {
            let found: AccessStatistics = client.get(&format!("/v1/datanets/{datanet}/requests/statistics")).await?;
            show_statistics(global, &found)?;
        }
        Command::Away { delegate: Some(delegate), until: Some(until), .. } => {
            let absence = NewAbsence { delegate, from: None, until };
            client.send(client.request(Method::PUT, "/v1/absence").json(&absence)).await?;
            eprintln!("{} decides for you until {}", absence.delegate, absence.until);
        }
        Command::Away { .. } => {
            client.send(client.request(Method::DELETE, "/v1/absence")).await?;
            eprintln!("you decide for yourself again");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Requests asked for at once.
const PAGE: usize = 200;

/// Shows a list of requests, page by page to its end.
async fn list(global: &Global, client: &Client, path: &str) -> anyhow::Result<()> {
    let mut found: Vec<AccessRequest> = Vec::new();
    loop {
        let after = found.last().map(|last| format!("&after={}", last.id)).unwrap_or_default();
        let page = client.get::<AccessRequestList>(&format!("{path}?limit={PAGE}{after}")).await?;
        found.extend(page.data);
        if !page.has_more {
            break;
        }
    }
    if global.json {
        println!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    let row = |it: &AccessRequest| {
        let purposes: Vec<&str> = it.application.purposes.iter().map(|purpose| purpose.name()).collect();
        let status = serde_json::to_value(it.status).ok().and_then(|status| status.as_str().map(str::to_owned));
        vec![
            it.id.clone(),
            it.datanet.clone(),
            it.subject.clone(),
            purposes.join(","),
            status.unwrap_or_default(),
            it.decided_by.clone().unwrap_or_else(|| it.reviewers.join(", ")),
            it.created_at.clone(),
        ]
    };
    table(
        &["REQUEST", "DATANET", "SUBJECT", "FOR", "STATUS", "BY", "SINCE"],
        &found.iter().map(row).collect::<Vec<_>>(),
    );
    Ok(())
}

async fn vote(global: &Global, client: &Client, id: &str, vote: NewVote) -> anyhow::Result<()> {
    show(global, &client.json::<AccessRequest>(Method::POST, &format!("/v1/access_requests/{id}/votes"), &vote).await?)
}

fn read_terms(file: &PathBuf) -> anyhow::Result<Terms> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not valid", file.display()))
}

fn show_terms(global: &Global, terms: PublishedTerms) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(&terms)?);
        return Ok(());
    }
    let entry = terms.log_index.map_or(String::new(), |index| format!(" (entry {index} of the log)"));
    println!("Terms of {}, version {}, since {}{entry}", terms.datanet, terms.version, terms.published_at);
    for line in terms.in_words.iter().chain(&terms.changes) {
        println!("  {line}");
    }
    Ok(())
}

fn show_simulation(global: &Global, result: &SimulationResult) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(result)?);
        return Ok(());
    }
    for line in result.in_words.iter().chain(&result.changes) {
        println!("{line}");
    }
    let row = |it: &cairn_policy::Simulated| {
        let purposes: Vec<&str> = it.application.purposes.iter().map(|purpose| purpose.name()).collect();
        let commercial = if it.application.commercial { "commercial" } else { "" };
        let against = it.evaluation.findings.iter().filter(|finding| finding.answer != Answer::Allow);
        let against: Vec<&str> = against.map(|finding| finding.reason.as_str()).collect();
        let (actor, outcome) = (it.application.actor.name(), it.evaluation.outcome.name());
        vec![actor.into(), purposes.join(","), commercial.into(), outcome.into(), against.join("; ")]
    };
    let rows: Vec<_> = result.applicants.each.iter().map(row).collect();
    println!();
    table(&["WHO", "FOR", "", "OUTCOME", "WHY"], &rows);
    let all = &result.requests;
    println!(
        "\nOf the last {} requests: {} granted, {} referred, {} denied; {} otherwise than under the terms in force.",
        all.each.len(),
        all.granted,
        all.referred,
        all.denied,
        result.differently.len()
    );
    Ok(())
}

fn show(global: &Global, request: &AccessRequest) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(request)?);
        return Ok(());
    }
    let status = serde_json::to_value(request.status)?;
    let by = request.decided_by.as_ref().map_or(String::new(), |by| format!(" by {by}"));
    println!(
        "{}: {} asks for {}: {}{by}",
        request.id,
        request.subject,
        request.datanet,
        status.as_str().unwrap_or("?")
    );
    for finding in &request.findings {
        let mark = match finding.answer {
            Answer::Allow => "ok    ",
            Answer::Refer => "people",
            Answer::Deny => "no    ",
        };
        println!("  {mark}  {:<13} {}", finding.clause.name(), finding.reason);
    }
    for vote in &request.votes {
        let said = if vote.approve { "yes" } else { "no" };
        println!("  {} said {said} at {}: {}", vote.reviewer, vote.at, vote.reason);
    }
    if !request.reviewers.is_empty() {
        let deadline = request.deadline.as_deref().unwrap_or("any time");
        println!(
            "  To be decided by {} until {deadline}; it takes {}.",
            request.reviewers.join(", "),
            request.required
        );
    }
    if let Some(grant) = &request.grant {
        println!("  Grant {grant}");
    }
    Ok(())
}

fn show_grants(global: &Global, grants: &[Grant]) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(grants)?);
        return Ok(());
    }
    let row = |it: &Grant| {
        let purposes: Vec<&str> = it.purposes.iter().map(|purpose| purpose.name()).collect();
        let until = it.revoked_at.as_ref().map(|at| format!("revoked {at}"));
        vec![
            it.id.clone(),
            it.datanet.clone(),
            it.subject.clone(),
            purposes.join(","),
            it.rows.clone().unwrap_or_else(|| "all".into()),
            it.granted_by.clone(),
            until.or_else(|| it.expires_at.clone()).unwrap_or_else(|| "-".into()),
        ]
    };
    table(&["GRANT", "DATANET", "SUBJECT", "FOR", "ROWS", "BY", "UNTIL"], &grants.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn show_statistics(global: &Global, found: &AccessStatistics) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string_pretty(found)?);
        return Ok(());
    }
    println!(
        "{}: {} requests, {} granted, {} denied, {} waiting",
        found.datanet, found.requests, found.granted, found.denied, found.waiting
    );
    if let (Some(part), Some(median), Some(p95)) = (found.automatic, found.median_seconds, found.p95_seconds) {
        println!(
            "{:.0}% decided by the terms alone; time to a decision: median {median:.1} s, p95 {p95:.1} s",
            100.0 * part
        );
    }
    for clause in &found.clauses {
        println!("  {:<13} denied {}, referred {}", clause.clause, clause.denied, clause.referred);
    }
    Ok(())
}

impl From<Request> for Application {
    fn from(request: Request) -> Self {
        let purpose = |purpose: &PurposeArgument| match purpose {
            PurposeArgument::Retrieval => Purpose::Retrieval,
            PurposeArgument::Training => Purpose::Training,
            PurposeArgument::Evaluation => Purpose::Evaluation,
        };
        Self {
            purposes: request.purpose.iter().map(purpose).collect::<BTreeSet<_>>(),
            actor: match request.actor {
                ActorArgument::Individual => Actor::Individual,
                ActorArgument::Academic => Actor::Academic,
                ActorArgument::Nonprofit => Actor::Nonprofit,
                ActorArgument::Company => Actor::Company,
                ActorArgument::Government => Actor::Government,
            },
            commercial: request.commercial,
            region: request.region,
            days: request.days,
            affirmed: request.affirm.into_iter().collect(),
            statement: request.statement,
            rows: request.rows,
        }
    }
}
