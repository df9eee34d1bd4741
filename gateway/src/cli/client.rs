//! A gateway, as the command line talks to it.

use anyhow::{Context, bail};
use cairn_openapi::error::ErrorEnvelope;
use reqwest::{Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};

use super::Global;

/// A gateway's address and a credential.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Client {
    /// Takes what the options say, else what the configuration and the data directory hold.
    pub(crate) fn new(global: &Global) -> anyhow::Result<Self> {
        let config = global.config()?;
        let base = global.url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
        let key = match &global.api_key {
            Some(key) => key.clone(),
            None => {
                let path = config.admin_key();
                std::fs::read_to_string(&path).with_context(|| {
                    format!("no --api-key was given and {} cannot be read; `cairn init` makes it", path.display())
                })?
            }
        };
        let http = reqwest::Client::builder().user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION"))).build()?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), key: key.trim().to_owned() })
    }

    /// A request with the credential.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key)
    }

    /// Sends a request; an answer that is not a success becomes an error with the gateway's message.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request
            .send()
            .await
            .with_context(|| format!("no gateway answers at {}; start one with `cairn serve`", self.base))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        match serde_json::from_str::<ErrorEnvelope>(&body) {
            Ok(envelope) => bail!("{}", envelope.error.message),
            Err(_) => bail!("the gateway answered {status}: {body}"),
        }
    }

    /// GET, as `T`.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        Ok(self.send(self.request(Method::GET, path)).await?.json().await?)
    }

    /// A request with a JSON body, as `T`.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        Ok(self.send(self.request(method, path).json(body)).await?.json().await?)
    }
}

/// The payloads of `data:` lines, as they come.
pub(crate) struct Events {
    response: Response,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn new(response: Response) -> Self {
        Self { response, buffer: Vec::new() }
    }

    /// The next payload; none when the stream has ended.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let event = String::from_utf8(event).context("the gateway sent an event that is not UTF-8")?;
                if let Some(data) = event.strip_prefix("data: ") {
                    return Ok(Some(data.trim_end().to_owned()));
                }
                continue;
            }
            match self.response.chunk().await.context("the connection was lost")? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
