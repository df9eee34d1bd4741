//! mistral.rs, driven through its Python Runner, which takes one call at a time: lists of requests, one after the other.

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::{Compare, client::Ask, engine};

/// What one list of requests took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) prompt_tokens: f64,
    pub(crate) tokens: f64,
}

/// Starts the Runner once, and runs the lists in turn. All on the base.
pub(crate) async fn run(compare: &Compare, lists: &[Vec<Ask>]) -> anyhow::Result<Vec<Measured>> {
    let lists: Vec<Vec<Value>> = lists
        .iter()
        .map(|asks| {
            let json = |ask: &Ask| json!({"prompt": ask.prompt, "tokens": ask.tokens});
            asks.iter().map(json).collect()
        })
        .collect();
    let mut child = engine::on_two_cores(&compare.python)
        .arg(&compare.mistral)
        .arg(&compare.gguf)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(engine::log(compare, "mistralrs")?)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} cannot be started", compare.python.display()))?;
    let mut input = child.stdin.take().context("its standard input is piped")?;
    input.write_all(&serde_json::to_vec(&lists)?).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "mistral.rs failed; see {}", compare.work.join("mistralrs.log").display());
    let output = String::from_utf8_lossy(&output.stdout);
    let found = output.lines().last().context("mistral.rs printed nothing")?;
    let found: Value = serde_json::from_str(found).context("mistral.rs printed no result")?;
    let found: Vec<[f64; 3]> = serde_json::from_value(found["found"].clone())?;
    ensure!(found.len() == lists.len(), "mistral.rs answered {} of {} lists", found.len(), lists.len());
    Ok(found.into_iter().map(|[seconds, prompt_tokens, tokens]| Measured { seconds, prompt_tokens, tokens }).collect())
}
