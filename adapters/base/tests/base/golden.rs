//! Llama, Qwen, Mistral and DeepSeek through mistral.rs give what transformers gives, in float32.

use cairn_adapters::Sampling;
use cairn_base::Prompt;
use futures::future::join_all;

use crate::support::{Row, Vocabulary, bytes, complete, golden, greedy, serving};

/// Greedy tokens exactly; the distribution of the first within 1e-3. All rows at once: none may disturb another.
async fn agrees(family: &str) {
    let (base, rows) = golden(family);
    let vocabulary = Vocabulary::of(&base);
    let (_dir, models, model) = serving(family).await;
    let completions = rows.iter().map(|row| {
        let sampling = Sampling { logprobs: Some(20), ..greedy(row.greedy.len()) };
        complete(&models, &model, Prompt::Tokens(row.input_ids.clone()), sampling)
    });
    for (row, completion) in rows.iter().zip(join_all(completions).await) {
        let completion = completion.unwrap();
        let length = row.input_ids.len();
        assert_eq!(bytes(&completion), vocabulary.bytes(&row.greedy), "{family}, prompt of {length} tokens");
        assert_eq!(completion.usage.prompt_tokens, length);
        assert_eq!(completion.usage.completion_tokens, row.greedy.len());
        let expected = highest(row, 20);
        let top = &completion.choices[0].logprobs[0].top;
        assert_eq!(top.len(), 20);
        for (found, expected) in top.iter().zip(expected) {
            assert!((found.logprob - expected).abs() < 1e-3, "{family}: {} instead of {expected}", found.logprob);
        }
    }
}

/// The greatest log-probabilities after a row's prompt.
fn highest(row: &Row, count: usize) -> Vec<f32> {
    let sum: f64 = row.last_logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    let mut all: Vec<f32> = row.last_logits.iter().map(|logit| (f64::from(*logit) - sum.ln()) as f32).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.truncate(count);
    all
}

#[tokio::test]
async fn llama() {
    agrees("llama").await;
}

#[tokio::test]
async fn llama3_with_scaled_rope_as_transformers_5_writes_it() {
    agrees("llama3-rope").await;
}

#[tokio::test]
async fn qwen2() {
    agrees("qwen2").await;
}

#[tokio::test]
async fn deepseek_v3() {
    agrees("deepseek-v3").await;
}

#[tokio::test]
async fn deepseek_v3_with_values_as_wide_as_keys() {
    agrees("deepseek-v3-equal").await;
}

/// mistral.rs 0.8.1 keeps one key more than the sliding window: equal while the sequence is shorter than the window,
/// different beyond. When this fails because all rows agree, the engine was mended: then say so in docs/operations.md.
#[tokio::test]
async fn mistral_is_right_within_its_window_and_off_by_one_beyond() {
    const WINDOW: usize = 16;
    let (base, rows) = golden("mistral");
    let vocabulary = Vocabulary::of(&base);
    let (_dir, models, model) = serving("mistral").await;
    let mut compared = 0;
    let mut beyond_differs = false;
    for row in rows {
        let prompt = Prompt::Tokens(row.input_ids.clone());
        let found = bytes(&complete(&models, &model, prompt, greedy(row.greedy.len())).await.unwrap());
        let expected = vocabulary.bytes(&row.greedy);
        // The token at place p is computed from p tokens before it.
        let within = (WINDOW + 1).saturating_sub(row.input_ids.len()).min(found.len());
        assert_eq!(found[..within], expected[..within], "within the window");
        compared += within;
        beyond_differs |= found != expected;
    }
    assert!(compared > 10, "only {compared} tokens lay within the window");
    assert!(beyond_differs, "mistral.rs no longer differs beyond the window");
}
