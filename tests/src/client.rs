//! One caller of a gateway, over HTTP.

use std::path::{Path, PathBuf};

use reqwest::{Method, RequestBuilder, Response, header::HeaderMap, multipart};
use serde_json::{Value, json};

use crate::{gateway::tail, inputs::MODEL};

/// A caller with its credential.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    credential: Option<String>,
    /// The gateway's log, for messages.
    log: PathBuf,
}

/// A whole answer.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    asked: String,
    log: PathBuf,
}

/// An answer that streams as server-sent events.
pub struct Events {
    response: Response,
    buffer: Vec<u8>,
}

/// A streamed answer that was received to its end.
#[derive(Debug)]
pub struct Streamed {
    /// Every event but `[DONE]`.
    pub chunks: Vec<Value>,
    /// Whether `[DONE]` was the last event.
    pub done: bool,
}

impl Client {
    pub(crate) fn new(base: &str, credential: Option<&str>, log: &Path) -> Self {
        // A connection of its own a request, because tests stop gateways.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build();
        Self {
            http: http.expect("an HTTP client can be made"),
            base: base.to_owned(),
            credential: credential.map(str::to_owned),
            log: log.to_owned(),
        }
    }

    /// The credential, for another client after a restart.
    ///
    /// # Panics
    /// It has none.
    pub fn credential(&self) -> &str {
        self.credential.as_deref().expect("the client has a credential")
    }

    /// A request with the credential.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.credential {
            Some(credential) => request.bearer_auth(credential),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn send(&self, request: RequestBuilder) -> Reply {
        let (client, request) = request.build_split();
        let request = request.expect("a request of this client is valid");
        let asked = format!("{} {}", request.method(), request.url().path());
        let outcome = async {
            let response = client.execute(request).await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, response.bytes().await?.to_vec()))
        };
        match outcome.await {
            Ok((status, headers, body)) => Reply { status, headers, body, asked, log: self.log.clone() },
            Err(error) => panic!("{asked}: no answer: {error:?}\nthe gateway's log ends:\n{}", tail(&self.log)),
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// PUT without a body.
    pub async fn put(&self, path: &str) -> Reply {
        self.send(self.request(Method::PUT, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// A chat completion with these fields; the model and temperature 0 unless they say otherwise.
    pub async fn chat(&self, fields: Value) -> Value {
        self.post("/v1/chat/completions", chat_request(fields)).await.ok()
    }

    /// A streamed chat completion, to its end.
    pub async fn chat_streamed(&self, fields: Value) -> Streamed {
        let events = self.chat_events(fields).await;
        events.collect().await.unwrap_or_else(|error| panic!("the stream broke off: {error:?}"))
    }

    /// A streamed chat completion, event by event.
    pub async fn chat_events(&self, fields: Value) -> Events {
        let mut body = chat_request(fields);
        body["stream"] = json!(true);
        self.events(self.request(Method::POST, "/v1/chat/completions").json(&body)).await
    }

    /// Any request whose answer streams.
    ///
    /// # Panics
    /// The answer is not a stream of events.
    pub async fn events(&self, request: RequestBuilder) -> Events {
        let response =
            request.send().await.unwrap_or_else(|error| panic!("no answer to a streamed request: {error:?}"));
        let status = response.status();
        if !status.is_success() {
            panic!("a streamed request was answered {status}: {}", response.text().await.unwrap_or_default());
        }
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert_eq!(kind, "text/event-stream", "content-type of a streamed answer");
        Events { response, buffer: Vec::new() }
    }

    /// Uploads files to ingest; the job's id.
    pub async fn ingest(&self, datanet: &str, query: &[(&str, &str)], files: &[&Path]) -> String {
        let mut form = multipart::Form::new();
        for path in files {
            let bytes =
                std::fs::read(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            form = form.part("file", multipart::Part::bytes(bytes).file_name(name));
        }
        let request =
            self.request(Method::POST, &format!("/v1/datanets/{datanet}/ingest")).query(query).multipart(form);
        let reply = self.send(request).await;
        assert_eq!(reply.status, 202, "an ingest is accepted: {reply}");
        reply.ok()["id"].as_str().expect("a job has an id").to_owned()
    }

    /// Uploads a text as one file; the job's id.
    pub async fn ingest_text(&self, datanet: &str, query: &[(&str, &str)], file: &str, text: &str) -> String {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = dir.path().join(file);
        std::fs::write(&path, text).expect("an upload can be written");
        self.ingest(datanet, query, &[&path]).await
    }

    /// Follows a job's events until `enough` says so or the job has ended; the job as it was then.
    ///
    /// # Panics
    /// The stream breaks off.
    pub async fn follow(&self, job: &str, mut enough: impl FnMut(&Value) -> bool) -> Value {
        let mut events = self.events(self.request(Method::GET, &format!("/v1/jobs/{job}/events"))).await;
        loop {
            let event = events.next().await.unwrap_or_else(|error| panic!("a job's events broke off: {error:?}"));
            let event = event.unwrap_or_else(|| panic!("the events of {job} ended before the job did"));
            let job: Value = serde_json::from_str(&event).unwrap_or_else(|error| panic!("{error}: {event}"));
            if enough(&job) || matches!(job["state"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
                return job;
            }
        }
    }

    /// Waits for a job's end, which must be a success; its result.
    ///
    /// # Panics
    /// It fails.
    pub async fn succeeded(&self, job: &str) -> Value {
        let ended = self.follow(job, |_| false).await;
        assert_eq!(ended["state"], "succeeded", "job {job}: {ended:#}\nthe gateway's log ends:\n{}", tail(&self.log));
        ended["result"].clone()
    }

    /// Waits for a job's end, which must be a failure; its message.
    ///
    /// # Panics
    /// It succeeds.
    pub async fn failed(&self, job: &str) -> String {
        let ended = self.follow(job, |_| false).await;
        assert_eq!(ended["state"], "failed", "job {job} should have failed: {ended:#}");
        ended["error"].as_str().expect("a failed job says why").to_owned()
    }

    /// A datanet with these datapoints, each an id and a text.
    pub async fn datanet(&self, name: &str, datapoints: &[(&str, &str)]) {
        self.post("/v1/datanets", json!({"name": name})).await.ok();
        let lines: String =
            datapoints.iter().map(|(id, text)| format!("{}\n", json!({"id": id, "text": text}))).collect();
        let job = self.ingest_text(name, &[("format", "jsonl"), ("contributor", "tests")], "it.jsonl", &lines).await;
        self.succeeded(&job).await;
    }

    /// The proof bundle of an answer.
    pub async fn proof(&self, id: &str) -> Vec<u8> {
        let reply = self.get(&format!("/v1/attributions/{id}/proof")).await;
        assert_eq!(reply.status, 200, "the proof of {id}: {reply}");
        reply.body
    }
}

/// A chat request: `fields`, and what they leave out.
fn chat_request(fields: Value) -> Value {
    let mut request = json!({"model": MODEL, "temperature": 0, "max_tokens": 16});
    let Value::Object(fields) = fields else { panic!("the fields of a request are an object: {fields}") };
    for (name, value) in fields {
        match name.as_str() {
            "ask" => request["messages"] = json!([{"role": "user", "content": value}]),
            _ => request[name] = value,
        }
    }
    request
}

impl Reply {
    /// The JSON of a success.
    ///
    /// # Panics
    /// It is none.
    pub fn ok(&self) -> Value {
        if !(200..300).contains(&self.status) {
            panic!("expected a success: {self}\nthe gateway's log ends:\n{}", tail(&self.log));
        }
        self.json()
    }

    /// The `error` of OpenAI's envelope, which must have this status and code.
    ///
    /// # Panics
    /// It is another, or no such envelope.
    pub fn error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "expected {status} {code}: {self}");
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "an error has a message: {self}");
        assert!(error["type"].is_string(), "an error has a type: {self}");
        assert!(error.get("param").is_some(), "an error has a param, if only null: {self}");
        assert_eq!(error["code"], code, "the error's code: {self}");
        error.clone()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("the body is not JSON ({error}): {self}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(2000).collect();
        write!(f, "{} was answered {}: {shown}", self.asked, self.status)
    }
}

impl Events {
    /// The next event's data; none when the stream has ended.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn next(&mut self) -> Result<Option<String>, reqwest::Error> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("an event is UTF-8");
                let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("not an event: {event:?}"));
                return Ok(Some(data.trim_end().to_owned()));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => {
                    assert!(self.buffer.is_empty(), "the stream ended within an event: {:?}", self.buffer);
                    return Ok(None);
                }
            }
        }
    }

    /// Everything that is left.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn collect(mut self) -> Result<Streamed, reqwest::Error> {
        let mut streamed = Streamed { chunks: Vec::new(), done: false };
        while let Some(data) = self.next().await? {
            assert!(!streamed.done, "something came after [DONE]: {data}");
            match data.as_str() {
                "[DONE]" => streamed.done = true,
                data => {
                    let chunk = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data}"));
                    streamed.chunks.push(chunk);
                }
            }
        }
        Ok(streamed)
    }
}

impl Streamed {
    /// The text of one choice, put together.
    pub fn text(&self, index: usize) -> String {
        let choices = self.chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten());
        let texts = choices
            .filter(|choice| choice["index"] == index)
            .map(|choice| choice["delta"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default());
        texts.collect()
    }

    /// The attribution, which exactly one chunk carries.
    ///
    /// # Panics
    /// None does, or several.
    pub fn attribution(&self) -> &Value {
        let mut found = self.chunks.iter().filter_map(|chunk| chunk.get("attribution"));
        let first =
            found.next().unwrap_or_else(|| panic!("no chunk carries the attribution: {:#?}", self.chunks.last()));
        assert!(found.next().is_none(), "several chunks carry an attribution");
        first
    }

    /// The reason that one choice ended for.
    pub fn finish_reason(&self, index: usize) -> Option<&str> {
        let choices = self.chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten());
        let mut reasons =
            choices.filter(|choice| choice["index"] == index).filter_map(|it| it["finish_reason"].as_str());
        reasons.next()
    }
}
