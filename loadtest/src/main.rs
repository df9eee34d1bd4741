//! Load on a running gateway: answers with and without retrieval, and retrieval alone, side by side in one run.
//!
//! ```text
//! CAIRN_API_KEY=… cargo run --package cairn-loadtest -- --host http://127.0.0.1:8080 -u 4 -t 60s
//! ```
//!
//! Goose prints the distribution of each request's time; the ratio of the two chat requests is what retrieval,
//! attribution and the record's proof cost. Options: `--help`. The environment chooses the model (`CAIRN_MODEL`), the
//! datanet (`CAIRN_DATANET`) and the answer's length (`CAIRN_MAX_TOKENS`).

use goose::prelude::*;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), GooseError> {
    GooseAttack::initialize()?
        .register_scenario(scenario!("answers").register_transaction(transaction!(plain)))
        .register_scenario(scenario!("cited answers").register_transaction(transaction!(cited)))
        .register_scenario(scenario!("retrieval").register_transaction(transaction!(search)))
        .execute()
        .await?;
    Ok(())
}

async fn plain(user: &mut GooseUser) -> TransactionResult {
    post(user, "/v1/chat/completions", "chat", &chat(json!([]))).await
}

async fn cited(user: &mut GooseUser) -> TransactionResult {
    post(user, "/v1/chat/completions", "chat with retrieval", &chat(json!([setting("CAIRN_DATANET", "foldoc")]))).await
}

async fn search(user: &mut GooseUser) -> TransactionResult {
    let body = json!({"query": question(), "datanets": [setting("CAIRN_DATANET", "foldoc")]});
    post(user, "/v1/search", "search", &body).await
}

fn chat(datanets: Value) -> Value {
    json!({
        "model": setting("CAIRN_MODEL", "smollm2-135m-instruct"),
        "messages": [{"role": "user", "content": question()}],
        "datanets": datanets,
        "temperature": 0,
        "max_tokens": setting("CAIRN_MAX_TOKENS", "32").parse::<u32>().unwrap_or(32),
    })
}

/// A different question each time, so that no cache answers.
fn question() -> String {
    let topics = ["a B-tree", "a compiler", "garbage collection", "a daemon", "a hash function", "a mutex", "Unicode"];
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    format!("What is {}? (question {now})", topics[now as usize % topics.len()])
}

async fn post(user: &mut GooseUser, path: &str, name: &str, body: &Value) -> TransactionResult {
    let request = user
        .get_request_builder(&GooseMethod::Post, path)?
        .header("Authorization", format!("Bearer {}", setting("CAIRN_API_KEY", "")))
        .json(body);
    let goose_request = GooseRequest::builder().set_request_builder(request).name(name).build();
    user.request(goose_request).await?;
    Ok(())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
