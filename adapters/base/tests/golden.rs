//! LLaMA, Mistral, Qwen and DeepSeek through mistral.rs give the tokens that transformers gives, in float32.

use std::path::{Path, PathBuf};

use cairn_adapters::{Completion, Event, ModelName, Sampling};
use cairn_base::{
    BaseConfig, BaseModels, Prompt, WhenLoading,
    pull::{PullOptions, pull},
};
use futures::StreamExt;
use serde::Deserialize;

#[derive(Deserialize)]
struct Row {
    input_ids: Vec<u32>,
    greedy: Vec<u32>,
}

fn golden(family: &str) -> (PathBuf, Vec<Row>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/peft").join(family);
    let text = std::fs::read(directory.join("base.golden.json")).unwrap();
    (directory.join("base"), serde_json::from_slice(&text).unwrap())
}

fn config(models_dir: &Path) -> BaseConfig {
    BaseConfig {
        models_dir: models_dir.to_owned(),
        memory_budget: 1 << 30,
        when_loading: WhenLoading::Wait,
        retry_after: std::time::Duration::from_secs(1),
        max_in_flight: 16,
        quantize: None,
    }
}

/// The tokens that the model generates after each prompt, beside those that it should.
async fn generated(family: &str) -> Vec<(Row, Vec<u32>)> {
    let (base, rows) = golden(family);
    let dir = tempfile::tempdir().unwrap();
    let name: ModelName = family.parse().unwrap();
    pull(&base.to_string_lossy(), Some(name.clone()), dir.path(), &PullOptions::default(), &|_| {}).await.unwrap();
    let models = BaseModels::open(config(dir.path())).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_file(base.join("tokenizer.json")).unwrap();
    let mut out = Vec::new();
    for row in rows {
        // Log-probabilities name each token; text alone could hide a difference.
        let sampling =
            Sampling { temperature: 0.0, max_tokens: Some(row.greedy.len()), logprobs: Some(1), ..Sampling::default() };
        let mut events = models.generate_from(&name, Prompt::Tokens(row.input_ids.clone()), sampling).await.unwrap();
        let mut texts = Vec::new();
        while let Some(event) = events.next().await {
            if let Event::Delta { logprobs, .. } = event.unwrap() {
                texts.extend(logprobs.into_iter().map(|it| it.chosen.token));
            }
        }
        let ids = expected_ids(&tokenizer, &row.greedy, &texts);
        out.push((row, ids));
    }
    out
}

/// Ids of generated tokens: the expected id wherever the text agrees, else `u32::MAX`.
fn expected_ids(tokenizer: &tokenizers::Tokenizer, expected: &[u32], texts: &[String]) -> Vec<u32> {
    let text_of = |id: u32| tokenizer.decode(&[id], false).unwrap();
    texts
        .iter()
        .enumerate()
        .map(|(place, text)| expected.get(place).copied().filter(|id| text_of(*id) == *text).unwrap_or(u32::MAX))
        .collect()
}

async fn agrees(family: &str) {
    for (row, generated) in generated(family).await {
        // Special tokens end or are left out of the text; all others must be the same.
        let expected = &row.greedy[..generated.len().min(row.greedy.len())];
        assert!(generated.len() + 1 >= row.greedy.len(), "{family}: only {} tokens", generated.len());
        assert_eq!(generated, expected, "{family}, prompt of {} tokens", row.input_ids.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn llama() {
    agrees("llama").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn llama3_with_scaled_rope_as_transformers_5_writes_it() {
    agrees("llama3-rope").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qwen2() {
    agrees("qwen2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deepseek_v3() {
    agrees("deepseek-v3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deepseek_v3_with_values_as_wide_as_keys() {
    agrees("deepseek-v3-equal").await;
}

/// mistral.rs 0.8.1 keeps one key more than the sliding window: equal while the sequence is shorter than the window,
/// different beyond. When this fails because all rows agree, the engine was mended: then say so in docs/operations.md.
#[tokio::test(flavor = "multi_thread")]
async fn mistral_is_right_within_its_window_and_off_by_one_beyond() {
    const WINDOW: usize = 16;
    let mut beyond_differs = false;
    for (row, generated) in generated("mistral").await {
        let within = WINDOW.saturating_sub(row.input_ids.len()).min(generated.len());
        assert_eq!(generated[..within], row.greedy[..within], "within the window");
        beyond_differs |= generated != row.greedy[..generated.len()];
    }
    assert!(beyond_differs, "mistral.rs no longer differs beyond the window");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_swapped_under_a_budget_and_a_request_in_flight_finishes() {
    let dir = tempfile::tempdir().unwrap();
    for family in ["llama", "qwen2"] {
        let (base, _) = golden(family);
        pull(&base.to_string_lossy(), Some(family.parse().unwrap()), dir.path(), &PullOptions::default(), &|_| {})
            .await
            .unwrap();
    }
    let bytes = |models: &BaseModels, name: &str| models.get(&name.parse().unwrap()).unwrap().manifest.memory_bytes;
    let probe = BaseModels::open(config(dir.path())).unwrap();
    let budget = bytes(&probe, "llama").max(bytes(&probe, "qwen2"));
    let models = BaseModels::open(BaseConfig { memory_budget: budget, ..config(dir.path()) }).unwrap();
    let (llama, qwen): (ModelName, ModelName) = ("llama".parse().unwrap(), "qwen2".parse().unwrap());
    let long = Sampling { temperature: 0.0, max_tokens: Some(150), ..Sampling::default() };
    let prompt = || Prompt::Tokens(vec![52, 405, 272]);

    let alone = Completion::collect(models.generate_from(&llama, prompt(), long.clone()).await.unwrap()).await.unwrap();
    let under_way = models.generate_from(&llama, prompt(), long.clone()).await.unwrap();
    models.unload(&llama).unwrap();
    // There is room for one: qwen2 waits for llama's last request.
    let other = tokio::time::timeout(std::time::Duration::from_secs(120), async {
        let (first, second) =
            tokio::join!(Completion::collect(under_way), models.generate_from(&qwen, prompt(), long.clone()));
        assert_eq!(first.unwrap().choices, alone.choices, "the request in flight was disturbed");
        Completion::collect(second.unwrap()).await.unwrap()
    });
    assert_ne!(other.await.unwrap().weights, alone.weights);
    assert!(models.memory_used() <= budget);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_leaves_the_others_serving() {
    let dir = tempfile::tempdir().unwrap();
    let (base, _) = golden("llama");
    for name in ["good", "bad"] {
        pull(&base.to_string_lossy(), Some(name.parse().unwrap()), dir.path(), &PullOptions::default(), &|_| {})
            .await
            .unwrap();
    }
    let weights = dir.path().join("bad/serving/model.safetensors");
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, b"not what was pulled").unwrap();
    let models = BaseModels::open(config(dir.path())).unwrap();
    let (good, bad): (ModelName, ModelName) = ("good".parse().unwrap(), "bad".parse().unwrap());
    let few = Sampling { temperature: 0.0, max_tokens: Some(4), ..Sampling::default() };
    let prompt = || Prompt::Tokens(vec![52, 405, 272]);
    models.generate_from(&good, prompt(), few.clone()).await.unwrap();
    let error = models.load(&bad).await.unwrap_err().to_string();
    assert!(error.contains("not those that were pulled"), "{error}");
    Completion::collect(models.generate_from(&good, prompt(), few).await.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_gives_the_same_text_whatever_runs_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (base, _) = golden("llama");
    let name: ModelName = "llama".parse().unwrap();
    pull(&base.to_string_lossy(), Some(name.clone()), dir.path(), &PullOptions::default(), &|_| {}).await.unwrap();
    let models = BaseModels::open(config(dir.path())).unwrap();
    let text = async |seed: u64| {
        let sampling = Sampling { seed: Some(seed), max_tokens: Some(40), ..Sampling::default() };
        let events = models.generate_from(&name, Prompt::Tokens(vec![52, 405, 272]), sampling).await.unwrap();
        Completion::collect(events).await.unwrap().choices.remove(0).text
    };
    let alone = text(1).await;
    let (beside, other, third) = tokio::join!(text(1), text(2), text(3));
    assert_eq!(alone, beside);
    assert_ne!(other, third);
}
