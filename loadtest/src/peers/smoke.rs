//! Proof in seconds that the load generator works against a running gateway. It judges no speed.

use anyhow::{Context, ensure};
use clap::Args;

use crate::{
    client::{Ask, Dialect, Server},
    prompt::{LENGTHS, prompt},
};

/// Options of `smoke`.
#[derive(Args)]
pub(crate) struct Smoke {
    /// The gateway
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "CAIRN_URL")]
    url: String,
    /// An API key
    #[arg(long, env = "CAIRN_API_KEY", hide_env_values = true)]
    api_key: String,
    /// The model to ask
    #[arg(long, default_value = "smollm2-135m-instruct", env = "CAIRN_MODEL")]
    model: String,
}

/// One request, then 8 at once; then the same request again, which must say the same.
pub(crate) async fn smoke(options: &Smoke) -> anyhow::Result<()> {
    let dialect = Dialect::Cairn { key: options.api_key.clone(), model: options.model.clone() };
    let server = Server::new(options.url.trim_end_matches('/').to_owned(), dialect)?;
    let ask = |seed: u64, length: usize| Ask { prompt: prompt(seed, length), adapter: None, tokens: 8 };
    let alone = server.ask(&ask(1, 24)).await.with_context(|| format!("asking {} failed", options.url))?;
    ensure!(alone.first <= alone.last && alone.last <= alone.end, "events came out of order");
    ensure!(alone.prompt_tokens > 0, "the prompt has no tokens");
    let asks: Vec<Ask> = LENGTHS.iter().enumerate().map(|(at, &length)| ask(2 + at as u64, length)).collect();
    let batch = server.ask_all(&asks).await?;
    let again = server.ask(&ask(1, 24)).await?;
    ensure!(again.text == alone.text, "the same greedy request said {:?}, then {:?}", alone.text, again.text);
    println!(
        "the load generator works: first token after {:.0} ms, 8 at once {:.0} tokens/s",
        alone.first.as_secs_f64() * 1e3,
        batch.rate()
    );
    Ok(())
}
