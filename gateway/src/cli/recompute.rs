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
        InfluenceMethod::LeaveOneOut => Method::LeaveOneOut,
        InfluenceMethod::Shapley | InfluenceMethod::SampledShapley => Method::Shapley,
    };
    eprintln!("scoring the answer again, on the weights {} …", case.record.base_weights);
    let found = measure(&models, &case, method).await.map_err(|error| anyhow::anyhow!(error.message))?;
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
