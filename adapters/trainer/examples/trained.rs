//! Trains a small adapter of each kind on a model and exports it, for PEFT to load: `trained BASE OUT [CASE…]`. `OUT` gets a
//! directory a case and `ours.json`: the held-out rows, and their perplexity by the trainer's own forward pass.
//!
//! `tests/golden/trained/make.py` writes the golden files with it, `./loadtest/run peft-loads` compares live.

#[path = "../tests/trainer/cases.rs"]
mod cases;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use cairn_trainer::{BaseForm, Model};
use serde_json::{Map, Value, json};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut dir = || args.next().map(PathBuf::from).context("usage: trained BASE OUT [CASE…]");
    let (base, out) = (dir()?, dir()?);
    let wanted: Vec<String> = args.collect();
    let alone = cases::scored(&Model::open(&base, BaseForm::F32)?, None);
    let mut found = Map::new();
    for case in cases::cases().iter().filter(|case| wanted.is_empty() || wanted.iter().any(|name| name == case.name)) {
        let scored =
            cases::train(case, &base, &out.join(case.name)).map_err(|error| anyhow!("{}: {error}", case.name))?;
        println!(
            "{}: perplexity {:.3} without the adapter, {:.3} with it",
            case.name,
            alone.perplexity(),
            scored.perplexity()
        );
        let said = json!({"family": case.family, "perplexity": scored.perplexity(), "tokens": scored.tokens});
        found.insert(case.name.to_owned(), said);
    }
    let rows: Vec<Value> = cases::data().held_out.into_iter().map(|row| json!(row.tokens)).collect();
    let ours = json!({"rows": rows, "base_perplexity": alone.perplexity(), "cases": found});
    std::fs::write(out.join("ours.json"), serde_json::to_vec_pretty(&ours)?)?;
    Ok(())
}
