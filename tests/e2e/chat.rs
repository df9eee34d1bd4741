//! `/v1/chat/completions` and `/v1/completions`: OpenAI's shapes, sampling, and errors.

use cairn_tests::{MODEL, copy, shared};
use serde_json::{Value, json};

/// A question whose greedy answer is long enough to cut.
const COUNT: &str = "Name the days of the week in order.";

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().expect("an answer has content")
}

#[tokio::test]
async fn an_answer_has_openais_fields() {
    let answer = shared().await.admin().chat(json!({"ask": COUNT})).await;
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")), "{answer:#}");
    assert!(answer["created"].as_i64().is_some_and(|created| created > 1_700_000_000), "{answer:#}");
    assert_eq!(answer["model"], MODEL);
    assert!(answer["system_fingerprint"].as_str().is_some_and(|it| it.starts_with("fp_")), "{answer:#}");
    let choice = &answer["choices"][0];
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["message"]["role"], "assistant");
    assert!(choice["message"]["refusal"].is_null(), "{choice:#}");
    assert_eq!(choice["message"]["annotations"], json!([]));
    assert!(choice["logprobs"].is_null(), "{choice:#}");
    let usage = &answer["usage"];
    let tokens = |name: &str| usage[name].as_u64().unwrap_or_else(|| panic!("{name} of {usage}"));
    assert_eq!(tokens("prompt_tokens") + tokens("completion_tokens"), tokens("total_tokens"));
    assert!(tokens("prompt_tokens") > 5 && (1..=16).contains(&tokens("completion_tokens")), "{usage}");
    // Nothing was retrieved, and it is recorded all the same.
    assert_eq!(answer["attribution"]["datapoints"], json!([]));
    assert!(answer["attribution"]["receipt"]["index"].is_u64(), "{answer:#}");
}

#[tokio::test]
async fn streaming_gives_the_same_answer() {
    // A gateway of its own: the numbers of a batch may differ in the last bit with what else is in it.
    let gateway = copy().await;
    let client = gateway.admin();
    let request = json!({"ask": COUNT, "max_tokens": 24, "stream_options": {"include_usage": true}});
    let whole = client.chat(json!({"ask": COUNT, "max_tokens": 24})).await;
    let streamed = client.chat_streamed(request).await;
    assert!(streamed.done, "the stream ends with [DONE]");
    assert_eq!(streamed.text(0), content(&whole));
    assert_eq!(streamed.finish_reason(0), whole["choices"][0]["finish_reason"].as_str());
    let deltas = streamed.chunks.iter().filter(|chunk| chunk["choices"][0]["delta"]["content"].is_string()).count();
    assert!(deltas > 3, "the answer came in {deltas} parts");
    for chunk in &streamed.chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], streamed.chunks[0]["id"]);
        assert_eq!(chunk["model"], MODEL);
    }
    assert_eq!(streamed.chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let last = streamed.chunks.last().expect("there are chunks");
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]), "the usage chunk is the last");
    assert_eq!(streamed.attribution()["id"], streamed.chunks[0]["id"]);
    let without = client.chat_streamed(json!({"ask": COUNT, "max_tokens": 2})).await;
    assert!(without.chunks.iter().all(|chunk| chunk.get("usage").is_none()), "usage came without being asked for");
}

#[tokio::test]
async fn a_seed_reproduces_an_answer() {
    let gateway = copy().await;
    let client = gateway.admin();
    let ask = async |seed: i64| {
        let answer =
            client.chat(json!({"ask": "Tell me a story.", "temperature": 1, "seed": seed, "max_tokens": 20})).await;
        content(&answer).to_owned()
    };
    let (first, again, other) = (ask(7).await, ask(7).await, ask(-8).await);
    assert_eq!(first, again, "the same seed");
    assert_ne!(first, other, "another seed");
}

#[tokio::test]
async fn an_answer_ends_before_a_stop_string() {
    let client = shared().await.admin();
    let whole = client.chat(json!({"ask": COUNT, "max_tokens": 24})).await;
    let whole = content(&whole);
    // The third word, wherever it stands first.
    let word = whole.split_whitespace().nth(2).unwrap_or_else(|| panic!("the answer is too short: {whole:?}"));
    let expected = &whole[..whole.find(word).expect("a word of the answer is in it")];
    for stop in [json!(word), json!(["no such text", word])] {
        let stopped = client.chat(json!({"ask": COUNT, "max_tokens": 24, "stop": stop})).await;
        assert_eq!(content(&stopped), expected, "stop {stop} of {whole:?}");
        assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    }
    let streamed = client.chat_streamed(json!({"ask": COUNT, "max_tokens": 24, "stop": word})).await;
    assert_eq!(streamed.text(0), expected, "nothing of the stop string is streamed");
}

#[tokio::test]
async fn max_tokens_bounds_an_answer() {
    let client = shared().await.admin();
    for field in ["max_tokens", "max_completion_tokens"] {
        let answer = client.chat(json!({"ask": COUNT, "max_tokens": null, field: 5})).await;
        assert_eq!(answer["choices"][0]["finish_reason"], "length", "{field}");
        assert_eq!(answer["usage"]["completion_tokens"], 5, "{field}");
    }
}

#[tokio::test]
async fn logprobs_are_those_of_the_tokens() {
    let client = shared().await.admin();
    let answer = client.chat(json!({"ask": COUNT, "max_tokens": 6, "logprobs": true, "top_logprobs": 3})).await;
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().expect("logprobs were asked for");
    assert_eq!(tokens.len() as u64, answer["usage"]["completion_tokens"].as_u64().expect("usage"));
    let text: String = tokens.iter().filter_map(|token| token["token"].as_str()).collect();
    assert_eq!(text, content(&answer), "the tokens are the answer");
    for token in tokens {
        let logprob = token["logprob"].as_f64().expect("a token has a logprob");
        assert!(logprob <= 0.0, "ln P of {token:#}");
        let top = token["top_logprobs"].as_array().expect("alternatives were asked for");
        assert_eq!(top.len(), 3, "{token:#}");
        let values: Vec<f64> = top.iter().filter_map(|it| it["logprob"].as_f64()).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "the most probable first: {token:#}");
        assert_eq!(
            (&top[0]["token"], &top[0]["logprob"]),
            (&token["token"], &token["logprob"]),
            "greedy takes the first"
        );
        let bytes = token["bytes"].as_array().expect("a token has bytes");
        assert_eq!(bytes.len(), token["token"].as_str().expect("a token has text").len());
    }
    let error = client.post(
        "/v1/chat/completions",
        json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}),
    );
    assert_eq!(error.await.error(400, "invalid_request")["param"], "top_logprobs");
}

#[tokio::test]
async fn several_choices_are_several_answers() {
    let client = shared().await.admin();
    let request = json!({"ask": "Tell me a story.", "temperature": 1, "seed": 3, "n": 2, "max_tokens": 12});
    let answer = client.chat(request.clone()).await;
    let choices = answer["choices"].as_array().expect("choices");
    assert_eq!(choices.iter().map(|choice| choice["index"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert_ne!(choices[0]["message"]["content"], choices[1]["message"]["content"]);
    let used = answer["usage"]["completion_tokens"].as_u64().expect("usage");
    assert!((13..=24).contains(&used), "both answers count: {used}");
    let streamed = client.chat_streamed(request).await;
    assert!(!streamed.text(0).is_empty() && !streamed.text(1).is_empty(), "{streamed:#?}");
    assert!(streamed.finish_reason(0).is_some() && streamed.finish_reason(1).is_some(), "both end");
}

#[tokio::test]
async fn completions_continue_a_text() {
    let client = shared().await.admin();
    let prompt = "The capital of France is";
    let complete = async |fields: Value| {
        let mut request = json!({"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 5});
        request.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        client.post("/v1/completions", request).await.ok()
    };
    let plain = complete(json!({})).await;
    assert_eq!(plain["object"], "text_completion");
    assert_eq!(plain["usage"]["completion_tokens"], 5);
    assert_eq!(plain["choices"][0]["finish_reason"], "length");
    let text = plain["choices"][0]["text"].as_str().expect("text");
    assert!(text.contains("Paris"), "{prompt}{text}");
    assert!(plain["attribution"]["receipt"]["index"].is_u64(), "{plain:#}");
    let echoed = complete(json!({"echo": true, "logprobs": 2})).await;
    assert_eq!(echoed["choices"][0]["text"], format!("{prompt}{text}"));
    let logprobs = &echoed["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().map(Vec::len), Some(5), "{logprobs:#}");
    assert_eq!(logprobs["text_offset"][0], prompt.chars().count(), "offsets count the echo");
    let request = json!({"model": MODEL, "prompt": [prompt], "temperature": 0, "max_tokens": 5, "stream": true});
    let events = client.events(client.request(reqwest::Method::POST, "/v1/completions").json(&request)).await;
    let streamed = events.collect().await.expect("the stream holds");
    assert!(streamed.done);
    assert_eq!(streamed.text(0), text);
}

#[tokio::test]
async fn an_unknown_model_is_404() {
    let client = shared().await.admin();
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}]})),
        ("/v1/completions", json!({"model": "gpt-4", "prompt": "hi"})),
        ("/v1/embeddings", json!({"model": "gpt-4", "input": "hi"})),
    ] {
        let error = client.post(path, body).await.error(404, "model_not_found");
        assert_eq!(error["param"], "model", "{path}");
        assert!(error["message"].as_str().is_some_and(|it| it.contains("gpt-4")), "{path}: {error}");
    }
    client.get("/v1/models/gpt-4").await.error(404, "model_not_found");
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let client = shared().await.admin();
    let post = async |field: &str, value: Value| {
        let body =
            json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, field: value});
        client.post("/v1/chat/completions", body).await
    };
    for (field, value) in [("functions", json!([{"name": "f"}])), ("audio", json!({"voice": "x"}))] {
        assert_eq!(post(field, value).await.error(400, "unsupported_parameter")["param"], field);
    }
    for (field, value) in [
        ("temperature", json!(3)),
        ("top_p", json!(-0.5)),
        ("n", json!(0)),
        ("max_tokens", json!(0)),
        ("presence_penalty", json!(2.5)),
        ("stop", json!(["a", "b", "c", "d", "e"])),
        ("logit_bias", json!({"not a token": 1})),
        ("messages", json!([])),
        ("retrieval", json!({"top_k": 3})),
    ] {
        assert_eq!(post(field, value).await.error(400, "invalid_request")["param"], field);
    }
    let tool = json!([{"role": "tool", "content": "x"}]);
    assert_eq!(post("messages", tool).await.error(400, "invalid_request")["param"], "messages.0");
    // What OpenAI ignores, or what changes nothing, is ignored here too.
    for (field, value) in [("store", json!(true)), ("tools", json!([])), ("response_format", json!({"type": "text"}))] {
        let reply = post(field, value).await;
        assert_eq!(reply.status, 200, "{field}: {reply}");
    }
}

#[tokio::test]
async fn every_error_has_openais_envelope() {
    let client = shared().await.admin();
    let raw = async |method: reqwest::Method, path: &str, body: &'static str| {
        let request = client.request(method, path).header("content-type", "application/json").body(body);
        client.send(request).await
    };
    use reqwest::Method;
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/search", "/v1/datanets", "/v1/keys"]
    {
        raw(Method::POST, path, "{not json").await.error(400, "invalid_request");
        raw(Method::POST, path, "[]").await.error(400, "invalid_request");
        raw(Method::DELETE, path, "").await.error(405, "method_not_allowed");
    }
    client.get("/v1/nothing").await.error(404, "not_found");
    client.get("/v1/datanets/foldoc/datapoints?limit=many").await.error(400, "invalid_request");
    client.get("/v1/jobs/job_none").await.error(404, "not_found");
    client.get("/v1/attributions/chatcmpl-none").await.error(404, "not_found");
    let long = "word ".repeat(20_000);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": long}]});
    client.post("/v1/chat/completions", body).await.error(400, "context_length_exceeded");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let gateway = cairn_tests::Setup::new().set("server.body_limit_kib", "64").start();
    let client = gateway.admin();
    let long = "x".repeat(65 * 1024);
    for (path, body) in [
        ("/v1/chat/completions", json!({"model": MODEL, "messages": [{"role": "user", "content": long}]})),
        ("/v1/search", json!({"query": long})),
    ] {
        client.post(path, body).await.error(413, "request_too_large");
    }
}
