//! The lane as callers see it: streams of events, on the real decoder with tiny golden checkpoints and SmolLM2.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cairn_adapters::{
    AdapterGeneration, ChatMessage, Choice, Completion, Event, FinishReason, GenerateError, Input, ResponseFormat,
    Role, Sampling, Tool, ToolChoice,
    peft::{Adapter, Limits},
};
use cairn_lane::{Lane, LaneAdapter, LaneOptions, LaneRequest, Prompt};
use futures::{StreamExt, future::join_all};
use serde_json::{Value, json};

fn golden() -> PathBuf {
    let given = std::env::var_os("CAIRN_GOLDEN").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"))
}

fn tiny(family: &str, options: LaneOptions) -> Lane {
    Lane::open(&golden().join("peft").join(family).join("base"), options).unwrap()
}

fn attached(lane: &Lane, path: &Path) -> LaneAdapter {
    let adapter = Adapter::read(path, &Limits::default()).unwrap();
    let generation = AdapterGeneration(path.to_string_lossy().into_owned());
    LaneAdapter { generation, attached: Arc::new(lane.attach(&adapter).unwrap()), weight: 1.0 }
}

fn text(prompt: &str, sampling: Sampling) -> LaneRequest {
    LaneRequest { sampling, ..LaneRequest::new(Prompt::Input(Input::Text(prompt.into()))) }
}

fn chat(question: &str, sampling: Sampling) -> LaneRequest {
    let messages = vec![ChatMessage::new(Role::User, question)];
    LaneRequest { sampling, ..LaneRequest::new(Prompt::Input(Input::Chat(messages))) }
}

async fn whole(lane: &Lane, request: LaneRequest) -> Completion {
    Completion::collect(lane.generate(request).await.unwrap()).await.unwrap()
}

async fn only(lane: &Lane, request: LaneRequest) -> Choice {
    whole(lane, request).await.choices.swap_remove(0)
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling { temperature: 0.0, max_tokens: Some(max_tokens), ..Sampling::default() }
}

/// Answers of tiny checkpoints that do not end by themselves.
fn endless(sampling: Sampling) -> Sampling {
    Sampling { logit_bias: BTreeMap::from([(2, -100.0), (4, -100.0)]), ..sampling }
}

#[tokio::test]
async fn events_come_in_order_and_their_texts_are_the_answer() {
    let lane = tiny("llama", LaneOptions::default());
    let sampling = Sampling { n: 3, logprobs: Some(2), seed: Some(5), ..endless(greedy(30)) };
    let sampling = Sampling { temperature: 1.0, ..sampling };
    let events: Vec<Event> =
        lane.generate(text("Once", sampling.clone())).await.unwrap().map(Result::unwrap).collect().await;
    assert!(matches!(events.first(), Some(Event::Started { adapter: None, .. })));
    let Some(Event::Done(usage)) = events.last() else { panic!("{events:?}") };
    assert_eq!((usage.completion_tokens, usage.prompt_tokens > 0), (90, true));
    let completion = whole(&lane, text("Once", sampling)).await;
    assert_eq!(completion.choices.len(), 3);
    assert!(completion.choices[0].text != completion.choices[1].text, "answers share their random numbers");
    for (index, choice) in completion.choices.iter().enumerate() {
        let streamed: String = events
            .iter()
            .filter_map(|event| match event {
                Event::Delta { index: of, text, .. } if *of == index => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(streamed, choice.text, "the same seed gave another text");
        assert_eq!((choice.finish_reason, choice.logprobs.len()), (FinishReason::Length, 30));
    }
}

#[tokio::test]
async fn logprobs_are_those_of_the_whole_distribution_and_their_bytes_are_the_text() {
    let lane = tiny("qwen2", LaneOptions::default());
    let sampling = Sampling { logprobs: Some(600), temperature: 0.7, top_p: 0.5, seed: Some(1), ..endless(greedy(20)) };
    let choice = only(&lane, text("Hello there, ", sampling)).await;
    let mut bytes = Vec::new();
    for token in &choice.logprobs {
        let sum: f64 = token.top.iter().map(|top| f64::from(top.logprob).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        assert!(token.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
        let same = token.top.iter().find(|top| top.bytes == token.chosen.bytes).unwrap();
        assert!((same.logprob - token.chosen.logprob).abs() < 1e-6);
        bytes.extend(token.chosen.bytes.clone().unwrap());
    }
    assert_eq!(choice.logprobs.len(), 20);
    // The text may begin within a character of the prompt, and skips special tokens.
    let spoken = String::from_utf8_lossy(&bytes).into_owned();
    let tail: String = choice.text.chars().filter(|it| it.is_ascii_alphanumeric()).collect();
    assert!(spoken.chars().filter(|it| it.is_ascii_alphanumeric()).collect::<String>().contains(&tail));
}

#[tokio::test]
async fn text_ends_before_a_stop_string_that_several_tokens_make() {
    let lane = tiny("llama", LaneOptions::default());
    let free = only(&lane, text("Once upon", endless(greedy(40)))).await;
    let characters: Vec<(usize, char)> = free.text.char_indices().collect();
    let mut cut_within_tokens = 0;
    for at in (4..characters.len() - 6).step_by(3) {
        let (from, to) = (characters[at].0, characters[at + 5].0);
        let stop = free.text[from..to].to_owned();
        let first = free.text.find(&stop).unwrap();
        let sampling = Sampling { stop: vec!["never to be seen".into(), stop], ..endless(greedy(40)) };
        let stream = lane.generate(text("Once upon", sampling)).await.unwrap();
        let events: Vec<Event> = stream.map(Result::unwrap).collect().await;
        let sent: String = events
            .iter()
            .filter_map(|it| if let Event::Delta { text, .. } = it { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(sent, free.text[..first]);
        assert!(events.iter().any(|event| matches!(event, Event::Finished { reason: FinishReason::Stop, .. })));
        let Some(Event::Done(usage)) = events.last() else { panic!("no end") };
        cut_within_tokens += usize::from(usage.completion_tokens < 40);
    }
    assert!(cut_within_tokens > 3, "generation went on after the stop strings");
}

#[tokio::test]
async fn random_weights_write_json_that_its_schema_accepts() {
    let lane = tiny("llama", LaneOptions::default());
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": {"enum": ["cat", "dog"]},
            "age": {"type": "integer", "minimum": 0, "maximum": 30},
            "name": {"type": "string", "maxLength": 8},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 2},
        },
        "required": ["kind", "age", "name", "tags"],
        "additionalProperties": false,
        "$defs": {"tag": {"type": "boolean"}},
    });
    let requests = (0..24).map(|seed| {
        let temperature = if seed == 0 { 0.0 } else { 1.0 };
        let sampling = Sampling { seed: Some(seed), temperature, ..Sampling::default() };
        let request = LaneRequest { format: ResponseFormat::JsonSchema(schema.clone()), ..chat("A pet", sampling) };
        only(&lane, request)
    });
    for choice in join_all(requests).await {
        assert_eq!(choice.finish_reason, FinishReason::Stop, "{}", choice.text);
        let pet: Value = serde_json::from_str(&choice.text).unwrap_or_else(|error| panic!("{error}: {}", choice.text));
        let fields: Vec<&String> = pet.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["kind", "age", "name", "tags"]);
        assert!(pet["kind"] == "cat" || pet["kind"] == "dog", "{pet}");
        assert!(pet["age"].as_u64().is_some_and(|age| age <= 30), "{pet}");
        assert!(pet["name"].as_str().is_some_and(|name| name.chars().count() <= 8), "{pet}");
        assert!(
            pet["tags"].as_array().is_some_and(|tags| tags.len() <= 2 && tags.iter().all(Value::is_boolean)),
            "{pet}"
        );
    }
}

#[tokio::test]
async fn a_json_object_is_one_as_far_as_it_was_written() {
    let lane = tiny("qwen2", LaneOptions::default());
    for seed in 0..8 {
        let sampling = Sampling { seed: Some(seed), max_tokens: Some(60), ..Sampling::default() };
        let choice = only(&lane, LaneRequest { format: ResponseFormat::JsonObject, ..chat("JSON", sampling) }).await;
        assert!(choice.text.trim_start().starts_with('{'), "{}", choice.text);
        if choice.finish_reason == FinishReason::Stop {
            assert!(serde_json::from_str::<Value>(&choice.text).unwrap().is_object());
        } else {
            let error = serde_json::from_str::<Value>(&choice.text).unwrap_err();
            assert!(error.is_eof(), "{error}: {}", choice.text);
        }
    }
}

#[tokio::test]
async fn a_schema_that_cannot_be_followed_is_refused_with_the_reason() {
    let lane = tiny("llama", LaneOptions::default());
    for schema in [json!(7), json!({"type": "nonsense"}), json!({"type": "string", "pattern": "("})] {
        let request = LaneRequest { format: ResponseFormat::JsonSchema(schema.clone()), ..chat("x", greedy(5)) };
        let refused = lane.generate(request).await.err();
        assert!(matches!(refused, Some(GenerateError::Unsupported(_))), "{schema}: {refused:?}");
    }
}

/// Tiny llama with a template that names functions in few tokens.
fn with_tools() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden().join("peft/llama/base")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
    }
    let template = "{% for tool in tools %}{{ tool.function.name }} {% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}";
    std::fs::write(directory.path().join("chat_template.jinja"), template).unwrap();
    directory
}

fn tools() -> Vec<Tool> {
    let town = json!({"type": "object", "properties": {"town": {"enum": ["Ulm", "Bonn"]}}, "required": ["town"], "additionalProperties": false});
    let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
    vec![
        Tool { name: "weather".into(), description: None, parameters: town },
        Tool { name: "time".into(), description: Some("What time it is".into()), parameters: none },
    ]
}

#[tokio::test]
async fn required_and_named_functions_are_called_with_arguments_that_fit() {
    let directory = with_tools();
    let lane = Lane::open(directory.path(), LaneOptions::default()).unwrap();
    let request = |tool_choice, seed| {
        let sampling = Sampling { seed: Some(seed), ..Sampling::default() };
        LaneRequest { tools: tools(), tool_choice, ..chat("?", sampling) }
    };
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let choice = only(&lane, request(ToolChoice::Required, seed)).await;
        assert_eq!((choice.finish_reason, choice.text.as_str()), (FinishReason::ToolCalls, ""));
        assert_eq!(choice.tool_calls.len(), 1);
        seen.insert(choice.tool_calls[0].name.clone());
        let named = only(&lane, request(ToolChoice::Named("weather".into()), seed)).await;
        let [call] = named.tool_calls.as_slice() else { panic!("{named:?}") };
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert!(call.name == "weather" && (arguments["town"] == "Ulm" || arguments["town"] == "Bonn"), "{call:?}");
        assert!(call.id.starts_with("call_"));
    }
    assert_eq!(seen.len(), 2, "only {seen:?} was ever called");
    let unknown = lane.generate(request(ToolChoice::Named("nothing".into()), 1)).await.err();
    assert!(matches!(unknown, Some(GenerateError::Unsupported(_))));
    // A model that makes no calls by itself answers in text.
    let auto = only(&lane, LaneRequest { tools: tools(), ..chat("?", endless(greedy(12))) }).await;
    assert_eq!((auto.tool_calls.len(), auto.finish_reason), (0, FinishReason::Length));
    assert!(!auto.text.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let lane = tiny("llama", LaneOptions { rows: 1, queue: 4, queue_per_tenant: 2, ..LaneOptions::default() });
    let of = |tenant: &str| LaneRequest { tenant: tenant.into(), ..text("Once", endless(greedy(200))) };
    // The one row is taken until this stream is dropped or has written 200 tokens.
    let outcomes = join_all((0..40).map(|at| {
        let (lane, request) = (lane.clone(), of(["a", "b", "c"][at % 3]));
        async move { Completion::collect(lane.generate(request).await?).await }
    }))
    .await;
    let (mut answered, mut refused) = (0, 0);
    for outcome in outcomes {
        match outcome {
            Ok(completion) => {
                assert_eq!(completion.usage.completion_tokens, 200);
                answered += 1;
            }
            Err(GenerateError::Overloaded { retry_after }) => {
                assert!((1..=60).contains(&retry_after.as_secs()));
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(answered >= 4 && refused >= 1, "{answered} answered, {refused} refused");
    assert_eq!((lane.stats().refused, lane.stats().finished), (refused, answered));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_streams_frees_the_engine_and_dropping_the_lane_ends_it() {
    let lane = tiny("llama", LaneOptions { rows: 2, ..LaneOptions::default() });
    for _ in 0..20 {
        let mut stream = lane.generate(text("Once", endless(greedy(240)))).await.unwrap();
        let _ = stream.next().await;
        let _ = stream.next().await;
    }
    // The two rows are free again as soon as the engine has looked.
    whole(&lane, text("Once", greedy(3))).await;
    let decoder = Arc::downgrade(lane.decoder());
    let last = lane.generate(text("Once", endless(greedy(20)))).await.unwrap();
    drop(lane);
    // The stream alone keeps the engine alive.
    assert_eq!(Completion::collect(last).await.unwrap().usage.completion_tokens, 20);
    let freed = async {
        while decoder.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.expect("the engine keeps the weights");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_at_once() {
    let lane = tiny("llama", LaneOptions::default());
    let long = LaneRequest::new(Prompt::Tokens(vec![7; 256]));
    assert!(matches!(
        lane.generate(long).await.err(),
        Some(GenerateError::PromptTooLong { tokens: 256, context: 256 })
    ));
    let empty = LaneRequest::new(Prompt::Tokens(Vec::new()));
    assert!(matches!(lane.generate(empty).await.err(), Some(GenerateError::Unsupported(_))));
    let unknown = LaneRequest::new(Prompt::Tokens(vec![512]));
    assert!(matches!(lane.generate(unknown).await.err(), Some(GenerateError::Unsupported(_))));
    let late = LaneRequest { deadline: Some(std::time::Instant::now()), ..text("Once", greedy(5)) };
    assert!(matches!(lane.generate(late).await.err(), Some(GenerateError::DeadlineExceeded)));
}

/// The pulled SmolLM2 of `./test`.
fn smollm2() -> Lane {
    let models = std::env::var_os("CAIRN_TEST_MODELS")
        .expect("CAIRN_TEST_MODELS names the directory of the pulled models; run ./test");
    let options = LaneOptions { kv_bytes: 1 << 30, ..LaneOptions::default() };
    Lane::open(&Path::new(&models).join("smollm2-135m-instruct/serving"), options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn smollm2_answers_as_transformers_does_with_and_without_its_adapter() {
    let lane = smollm2();
    let adapter = attached(&lane, &golden().join("smollm2/adapter"));
    for (name, adapters) in [("base", Vec::new()), ("adapter", vec![adapter])] {
        let file = std::fs::read(golden().join(format!("smollm2/{name}.golden.json"))).unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&file).unwrap();
        let answers = rows.iter().map(|row| {
            let request = chat(row["prompt"].as_str().unwrap(), greedy(32));
            whole(&lane, LaneRequest { adapters: adapters.clone(), ..request })
        });
        for (row, answer) in rows.iter().zip(join_all(answers).await) {
            assert_eq!(answer.usage.prompt_tokens, row["input_ids"].as_array().unwrap().len(), "the template");
            let ends = row["greedy"].as_array().unwrap().iter().any(|token| token == 2);
            let reason = if ends { FinishReason::Stop } else { FinishReason::Length };
            assert_eq!(answer.choices[0].finish_reason, reason);
            let expected = row["greedy_text"].as_str().unwrap().trim_end_matches("<|im_end|>");
            assert_eq!(answer.choices[0].text.trim(), expected.trim(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn smollm2_follows_a_schema_and_calls_a_function() {
    let lane = smollm2();
    let schema = json!({"type": "object", "properties": {"capital": {"type": "string", "maxLength": 20}, "population": {"type": "integer", "minimum": 0, "maximum": 99_999_999}}, "required": ["capital", "population"], "additionalProperties": false});
    let format = ResponseFormat::JsonSchema(schema);
    let asked = chat("Give the capital of France and its population as JSON.", greedy(80));
    let choice = only(&lane, LaneRequest { format, ..asked }).await;
    let answer: Value = serde_json::from_str(&choice.text).unwrap_or_else(|error| panic!("{error}: {}", choice.text));
    assert_eq!(answer["capital"], "Paris", "{answer}");
    let tool_choice = ToolChoice::Required;
    let asked = chat("How is the weather in Bonn?", greedy(80));
    let choice = only(&lane, LaneRequest { tools: tools(), tool_choice, ..asked }).await;
    assert_eq!((choice.finish_reason, choice.tool_calls[0].name.as_str()), (FinishReason::ToolCalls, "weather"));
}
