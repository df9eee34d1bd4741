//! `cairn recompute`: measures again what a proof says about influence, on this machine's copy of the weights.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, bail};
use cairn_adapters::{peft, store};
use cairn_base::BaseModels;
use cairn_influence::Method;
use cairn_proof::{
    Bundle, Trust,
    canonical::from_canonical,
    datapoint::Field,
    influence::{InfluenceEntry, InfluenceMethod},
    verify_with,
};
use clap::Args;
use serde_json::{Value, json};

use super::Global;
use crate::{
    convert,
    influence::measure::{Case, measure},
    lanes::{Lanes, Source},
};

#[derive(Args)]
pub(crate) struct Recompute {
    /// The proof bundle, with its request, response and passages disclosed
    bundle: PathBuf,
    /// The log's public key, from a source that you trust [default: the one in the data directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// An adapter that answered, as PEFT saves it; repeat for several
    #[arg(long, value_name = "DIR")]
    adapter: Vec<PathBuf>,
    /// Largest difference from the proof's numbers, in nats a token
    #[arg(long, default_value_t = 0.01, value_name = "NATS")]
    tolerance: f64,
    /// Compute sampled values exactly, from all 2^n sets of passages, and say how near they were
    #[arg(long)]
    exact: bool,
}

pub(crate) async fn run(global: &Global, command: Recompute) -> anyhow::Result<ExitCode> {
    let config = global.config()?;
    let key = command.key.clone().unwrap_or_else(|| config.public_key());
    let bytes =
        std::fs::read(&command.bundle).with_context(|| format!("{} cannot be read", command.bundle.display()))?;
    if let Err(error) = verify_with(&bytes, &Trust::load(&key)?) {
        println!("NOT PROVED\n\n  {error}\n\nWhat does not verify is not worth repeating.");
        return Ok(ExitCode::from(1));
    }
    let bundle: Bundle = from_canonical(bytes.strip_suffix(b"\n").unwrap_or(&bytes))?;
    let Some(claimed) = bundle.influence.as_ref().map(|influence| influence.entry.clone()) else {
        bail!("the proof says nothing about influence; it was fetched before that was measured, or it never was");
    };
    let given = Arc::new(adapters(&command.adapter)?);
    let lanes = Lanes { adapters: Source::Files(given.clone()), config: config.adapters.clone() };
    let models = BaseModels::open_beside(convert::base_config(&config), Arc::new(lanes))?;
    let case = case(bundle, &claimed)?;
    let named = case.record.adapters.iter().flatten().map(|share| &share.generation);
    if let Some(missing) = named.chain(&case.record.adapter_generation).find(|one| !given.contains_key(*one)) {
        bail!("adapter generation {missing} answered; give its directory with --adapter");
    }
    let method = match claimed.method {
        InfluenceMethod::SampledShapley if command.exact && claimed.passages.len() <= MOST_EXACT => Method::Exact,
        _ if command.exact => bail!("--exact is for sampled values of at most {MOST_EXACT} passages"),
        InfluenceMethod::LeaveOneOut => Method::LeaveOneOut,
        InfluenceMethod::Shapley | InfluenceMethod::SampledShapley => Method::Shapley,
    };
    eprintln!("scoring the answer again, on the weights {} …", case.record.base_weights);
    let found = measure(&models, &case, method).await.map_err(|error| anyhow::anyhow!(error.message))?;
    if command.exact {
        return agreement(&claimed, &found, global.json);
    }
    let worst = worst(&claimed, &found)?;
    let same = worst <= command.tolerance;
    if global.json {
        println!("{:#}", json!({"same": same, "worst": worst, "tolerance": command.tolerance, "recomputed": found}));
    } else {
        println!("{}\n", if same { "REPEATED" } else { "NOT REPEATED" });
        for (place, n) in claimed.passages.iter().enumerate() {
            let (then, now) = (claimed.totals()?[place], found.totals()?[place]);
            println!("  passage {n}: the proof says {then:.4} nats, measured here {now:.4}");
        }
        println!("\n  largest difference: {worst:.6} nats a token; tolerance {}", command.tolerance);
    }
    Ok(ExitCode::from(u8::from(!same)))
}

/// How near sampled values are to exact ones.
fn agreement(sampled: &InfluenceEntry, exact: &InfluenceEntry, json: bool) -> anyhow::Result<ExitCode> {
    let (mut values, mut within, mut off, mut spread) = (0_u32, 0_u32, 0.0, 0.0);
    for (sampled, exact) in sampled.sentences.iter().zip(&exact.sentences) {
        for (sampled, exact) in sampled.passages.iter().zip(&exact.passages) {
            let (Some(value), Some(error), Some(exact)) = (&sampled.shapley, &sampled.error, &exact.shapley) else {
                continue;
            };
            let (value, error, exact): (f64, f64, f64) = (value.parse()?, error.parse()?, exact.parse()?);
            values += 1;
            within += u32::from((value - exact).abs() <= 2.0 * error + 1e-6);
            off += (value - exact).abs();
            spread += exact.abs();
        }
    }
    if values == 0 {
        bail!("the proof has no sampled values");
    }
    let best = |entry: &InfluenceEntry| -> anyhow::Result<Option<usize>> {
        let totals = entry.totals()?.into_iter().enumerate();
        Ok(totals.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(place, _)| place))
    };
    let same_best = best(sampled)? == best(exact)?;
    let (off, spread) = (off / f64::from(values), spread / f64::from(values));
    if json {
        let found = json!({"values": values, "within_two_errors": within, "mean_difference": off, "mean_size": spread, "same_best": same_best});
        println!("{found:#}");
    } else {
        for (place, n) in sampled.passages.iter().enumerate() {
            println!(
                "  passage {n}: sampled {:.4} nats, exactly {:.4}",
                sampled.totals()?[place],
                exact.totals()?[place]
            );
        }
        println!(
            "\n  {within} of {values} values are within two standard errors; they are off by {off:.4} nats on average,"
        );
        println!(
            "  of {spread:.4}; the most influential passage is {}",
            if same_best { "the same" } else { "another" }
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Most passages whose sets are all scored: 1,024 prompts.
const MOST_EXACT: usize = 10;

fn adapters(directories: &[PathBuf]) -> anyhow::Result<BTreeMap<String, peft::Files>> {
    let mut found = BTreeMap::new();
    for directory in directories {
        let unreadable = || format!("the adapter {} cannot be read", directory.display());
        let files = peft::Files::read(directory, &peft::Limits::default()).with_context(unreadable)?;
        let generation = store::generation(&files).with_context(unreadable)?;
        found.insert(generation.0, files);
    }
    Ok(found)
}

/// The answer as the bundle discloses it.
fn case(bundle: Bundle, claimed: &InfluenceEntry) -> anyhow::Result<Case> {
    let opened = |what: &str, opening: Option<cairn_proof::Opening>| {
        opening.map(|opening| opening.value).with_context(|| format!("the proof does not disclose the {what}"))
    };
    let Value::String(request) = opened("request", bundle.openings.request)? else {
        bail!("the disclosed request is not text");
    };
    let response = opened("response", bundle.openings.response)?;
    let mut passages = BTreeMap::new();
    for datapoint in &bundle.datapoints {
        let Some(n) = datapoint.n else { continue };
        let text = datapoint.disclosed.iter().find(|(field, _)| *field == Field::Text);
        let text = text.and_then(|(_, opening)| opening.value.as_str());
        passages.insert(n, text.with_context(|| format!("the proof does not disclose passage {n}"))?.to_owned());
    }
    let passage_chars = usize::try_from(claimed.passage_chars)?;
    Ok(Case { record: bundle.record, request, response, passages, passage_chars })
}

/// The largest difference of any two numbers of the same name, in nats a token of their sentence.
fn worst(then: &InfluenceEntry, now: &InfluenceEntry) -> anyhow::Result<f64> {
    if then.sentences.len() != now.sentences.len() {
        bail!("the answer has {} sentences here, and {} in the proof", now.sentences.len(), then.sentences.len());
    }
    let mut worst: f64 = 0.0;
    for (then, now) in then.sentences.iter().zip(&now.sentences) {
        if [then.choice, then.start, then.end, then.tokens] != [now.choice, now.start, now.end, now.tokens] {
            bail!("the sentence {}..{} of the proof has other tokens here", then.start, then.end);
        }
        let mut pairs = vec![(&then.closed_book, &now.closed_book), (&then.with_all, &now.with_all)];
        for (then, now) in then.passages.iter().zip(&now.passages) {
            pairs.extend([(&then.necessity, &now.necessity), (&then.sufficiency, &now.sufficiency)]);
            pairs.extend(then.shapley.iter().zip(&now.shapley));
        }
        for (then_value, now_value) in pairs {
            let difference = then_value.parse::<f64>()? - now_value.parse::<f64>()?;
            worst = worst.max(difference.abs() / then.tokens.max(1) as f64);
        }
    }
    Ok(worst)
}
