//! `cairn adapters`: generations, grants, uses and quotas.

use std::process::ExitCode;

use cairn_openapi::adapters::{AdapterGrants, AdapterQuotas, AdapterUses, GenerationList, QuotaLimits};
use clap::Args;
use reqwest::Method;

use super::{Global, client::Client, table};

#[derive(Args)]
pub(crate) struct Generations {
    /// The base model
    base: String,
    /// Whose [default: your own]
    #[arg(long)]
    owner: Option<String>,
}

#[derive(Args)]
pub(crate) struct Quota {
    /// The owner whose quota is set; without one all are shown
    owner: Option<String>,
    /// Most generations
    #[arg(long, requires = "owner", requires = "gib")]
    generations: Option<u64>,
    /// Most bytes of their files, in GiB
    #[arg(long, requires = "owner", requires = "generations")]
    gib: Option<u64>,
    /// The default again
    #[arg(long, requires = "owner", conflicts_with_all = ["generations", "gib"])]
    default: bool,
}

/// Lists stored adapters, also those that no alias means.
pub(crate) async fn generations(global: &Global, client: &Client, which: Generations) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("base", which.base.clone()), ("limit", "200".to_owned())];
        query.extend(which.owner.clone().map(|owner| ("owner", owner)));
        query.extend(after.map(|after| ("after", after)));
        let request = client.request(Method::GET, "/v1/adapter_generations").query(&query);
        let page: GenerationList = client.send(request).await?.json().await?;
        all.extend(page.data);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if global.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|it| {
            let names = if it.aliases.is_empty() { "-".to_owned() } else { it.aliases.join(",") };
            let from = it.training.map_or_else(|| "uploaded".to_owned(), |run| format!("trained by {}", run.job));
            vec![it.generation, names, format!("{} KiB", it.bytes.div_ceil(1024)), it.created_at, from]
        })
        .collect();
    table(&["GENERATION", "ALIASES", "SIZE", "SINCE", "FROM"], &rows);
    Ok(ExitCode::SUCCESS)
}

/// Lists who an alias is granted to.
pub(crate) async fn grants(global: &Global, client: &Client, path: &str) -> anyhow::Result<ExitCode> {
    let grants: AdapterGrants = client.get(&format!("{path}/grants")).await?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&grants.data)?);
    } else {
        let rows: Vec<_> = grants.data.into_iter().map(|subject| vec![subject]).collect();
        table(&["SUBJECT"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists who uses an alias.
pub(crate) async fn uses(global: &Global, client: &Client, path: &str) -> anyhow::Result<ExitCode> {
    let uses: AdapterUses = client.get(&format!("{path}/uses")).await?;
    if global.json {
        println!("{}", serde_json::to_string_pretty(&uses.data)?);
    } else {
        let row = |it: cairn_openapi::adapters::AdapterUse| {
            vec![it.subject, it.answers.to_string(), it.last_at, it.generation]
        };
        table(&["SUBJECT", "ANSWERS", "LAST", "GENERATION"], &uses.data.into_iter().map(row).collect::<Vec<_>>());
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows quotas, or sets one.
pub(crate) async fn quota(global: &Global, client: &Client, quota: Quota) -> anyhow::Result<ExitCode> {
    if let Some(owner) = &quota.owner {
        let path = format!("/v1/adapter_quotas/{owner}");
        if quota.default {
            client.send(client.request(Method::DELETE, &path)).await?;
            eprintln!("{owner} has the default quota");
            return Ok(ExitCode::SUCCESS);
        }
        if let (Some(max_generations), Some(gib)) = (quota.generations, quota.gib) {
            let limits = QuotaLimits { max_generations, max_bytes: gib.saturating_mul(1 << 30) };
            client.send(client.request(Method::PUT, &path).json(&limits)).await?;
            eprintln!("{owner} may store {max_generations} adapters, {gib} GiB in all");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let mut quotas: AdapterQuotas = client.get("/v1/adapter_quotas").await?;
    quotas.data.retain(|it| quota.owner.as_ref().is_none_or(|owner| *owner == it.owner));
    if global.json {
        println!("{}", serde_json::to_string_pretty(&quotas)?);
        return Ok(ExitCode::SUCCESS);
    }
    let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30));
    let rows: Vec<Vec<String>> = quotas
        .data
        .into_iter()
        .map(|it| {
            let kind = if it.own { "own" } else { "default" };
            vec![
                it.owner,
                format!("{} of {}", it.generations, it.limits.max_generations),
                format!("{} of {}", gib(it.bytes), gib(it.limits.max_bytes)),
                kind.to_owned(),
            ]
        })
        .collect();
    table(&["OWNER", "ADAPTERS", "SIZE", "QUOTA"], &rows);
    Ok(ExitCode::SUCCESS)
}
