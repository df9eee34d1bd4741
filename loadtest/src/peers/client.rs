//! One request to an OpenAI-compatible server, streamed and timed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, future::try_join_all};
use serde_json::{Value, json};

/// A server that speaks `/v1/completions`.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) dialect: Dialect,
}

/// What differs between servers.
#[derive(Clone)]
pub(crate) enum Dialect {
    Cairn { key: String, model: String },
    Llama,
}

/// What to ask.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) prompt: String,
    pub(crate) adapter: Option<usize>,
    pub(crate) tokens: u32,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// To the first text.
    pub(crate) first: Duration,
    /// To the last text.
    pub(crate) last: Duration,
    /// To the end of the stream.
    pub(crate) end: Duration,
    pub(crate) prompt_tokens: u64,
    pub(crate) tokens: u64,
}

impl Answer {
    /// Prompt tokens a second, to the first text.
    pub(crate) fn prefill_rate(&self) -> f64 {
        self.prompt_tokens as f64 / self.first.as_secs_f64()
    }

    /// Milliseconds to the first text.
    pub(crate) fn first_ms(&self) -> f64 {
        self.first.as_secs_f64() * 1e3
    }

    /// Tokens a second, from the first text to the last.
    pub(crate) fn decode_rate(&self) -> f64 {
        self.tokens.saturating_sub(1) as f64 / (self.last - self.first).as_secs_f64()
    }
}

/// A batch that ran at once.
pub(crate) struct Batch {
    pub(crate) answers: Vec<Answer>,
    pub(crate) wall: Duration,
}

impl Batch {
    /// Generated tokens a second, over all requests.
    pub(crate) fn rate(&self) -> f64 {
        self.answers.iter().map(|answer| answer.tokens).sum::<u64>() as f64 / self.wall.as_secs_f64()
    }
}

impl Server {
    pub(crate) fn new(url: String, dialect: Dialect) -> anyhow::Result<Self> {
        // A connection for each request: llama.cpp's server closes them as it likes, and a request that meets that fails.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        Ok(Self { http, url, dialect })
    }

    /// A request with the credential.
    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}{path}", self.url));
        match &self.dialect {
            Dialect::Cairn { key, .. } => request.bearer_auth(key),
            Dialect::Llama => request,
        }
    }

    /// As [`Self::post`].
    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.get(format!("{}{path}", self.url));
        match &self.dialect {
            Dialect::Cairn { key, .. } => request.bearer_auth(key),
            Dialect::Llama => request,
        }
    }

    /// Streams one answer. An answer without a token, or cut short, is an error.
    pub(crate) async fn ask(&self, ask: &Ask) -> anyhow::Result<Answer> {
        let started = Instant::now();
        let response = self.post("/v1/completions").json(&self.body(ask)).send().await?;
        let status = response.status();
        if !status.is_success() {
            bail!("the server answered {status}: {}", response.text().await.unwrap_or_default());
        }
        let mut seen = Stream::default();
        let mut bytes = response.bytes_stream();
        while let Some(part) = bytes.next().await {
            seen.take(&part?, started.elapsed())?;
        }
        let end = started.elapsed();
        let (prompt_tokens, tokens) = seen.usage.context("the stream ended without a usage")?;
        let (first, last) = seen.first.zip(seen.last).context("the stream held no text")?;
        ensure!(tokens == u64::from(ask.tokens), "{tokens} tokens came, {} were asked for", ask.tokens);
        Ok(Answer { text: seen.text, first, last, end, prompt_tokens, tokens })
    }

    /// Sends all at once, and waits for all.
    pub(crate) async fn ask_all(&self, asks: &[Ask]) -> anyhow::Result<Batch> {
        let started = Instant::now();
        let answers = try_join_all(asks.iter().map(|ask| self.ask(ask))).await?;
        Ok(Batch { answers, wall: started.elapsed() })
    }

    /// Greedy, and as many tokens as asked for: the tokens that end a text are forbidden. llama.cpp's own prefix cache is
    /// off; no prompt is ever sent twice, so Cairn's does not help either.
    fn body(&self, ask: &Ask) -> Value {
        let mut body = json!({
            "prompt": ask.prompt, "max_tokens": ask.tokens, "temperature": 0, "stream": true,
            "stream_options": {"include_usage": true},
        });
        match &self.dialect {
            Dialect::Cairn { model, .. } => {
                body["model"] = json!(model);
                body["logit_bias"] = json!({"0": -100, "2": -100}); // <|endoftext|>, <|im_end|>
                if let Some(adapter) = ask.adapter {
                    body["adapter"] = json!(alias(adapter));
                }
            }
            Dialect::Llama => {
                body["ignore_eos"] = json!(true);
                body["cache_prompt"] = json!(false);
                if let Some(adapter) = ask.adapter {
                    body["lora"] = json!([{"id": adapter, "scale": 1.0}]);
                }
            }
        }
        body
    }
}

/// The alias of an adapter at Cairn.
pub(crate) fn alias(adapter: usize) -> String {
    format!("bench-{adapter}")
}

/// Server-sent events as they come in.
#[derive(Default)]
struct Stream {
    pending: Vec<u8>,
    text: String,
    first: Option<Duration>,
    last: Option<Duration>,
    usage: Option<(u64, u64)>,
}

impl Stream {
    fn take(&mut self, part: &[u8], now: Duration) -> anyhow::Result<()> {
        self.pending.extend_from_slice(part);
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8(line).context("the stream is not UTF-8")?;
            let Some(data) = line.trim().strip_prefix("data:").map(str::trim) else {
                continue;
            };
            if data != "[DONE]" {
                self.event(&serde_json::from_str(data).with_context(|| format!("not JSON: {data}"))?, now)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Value, now: Duration) -> anyhow::Result<()> {
        ensure!(event["error"].is_null(), "the stream broke off: {}", event["error"]);
        if let Some(text) = event["choices"][0]["text"].as_str().filter(|text| !text.is_empty()) {
            self.first.get_or_insert(now);
            self.last = Some(now);
            self.text += text;
        }
        let count = |name: &str| event["usage"][name].as_u64();
        if let Some(usage) = count("prompt_tokens").zip(count("completion_tokens")) {
            self.usage = Some(usage);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let whole = b"data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"b\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
        for size in 1..whole.len() {
            let mut stream = Stream::default();
            for (at, part) in whole.chunks(size).enumerate() {
                stream.take(part, Duration::from_millis(at as u64)).unwrap();
            }
            assert_eq!((stream.text.as_str(), stream.usage), ("ab", Some((3, 2))), "parts of {size}");
            assert!(stream.first <= stream.last);
        }
    }

    #[test]
    fn an_error_in_the_stream_is_an_error() {
        let mut stream = Stream::default();
        assert!(stream.take(b"data: {\"error\":{\"message\":\"no\"}}\n", Duration::ZERO).is_err());
    }
}
