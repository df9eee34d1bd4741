//! probe
#![allow(missing_docs, clippy::unwrap_used)]
use cairn_adapters::{Completion, Sampling};
use cairn_base::{BaseConfig, BaseModels, Prompt, WhenLoading, pull::{PullOptions, pull}};
#[tokio::test(flavor = "multi_thread")]
async fn batch() {
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read("../../tests/golden/peft/llama/base.golden.json").unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let name: cairn_adapters::ModelName = "llama".parse().unwrap();
    pull("../../tests/golden/peft/llama/base", Some(name.clone()), dir.path(), &PullOptions::default(), &|_| {}).await.unwrap();
    let models = BaseModels::open(BaseConfig { models_dir: dir.path().into(), memory_budget: 1 << 30, when_loading: WhenLoading::Wait, retry_after: std::time::Duration::from_secs(1), max_in_flight: 16, quantize: None }).unwrap();
    let ids = |i: usize| -> Vec<u32> { serde_json::from_value(rows[i]["input_ids"].clone()).unwrap() };
    let prompt = vec![52u32, 405, 272];
    let run = async |seed: u64, n: usize| { let s = Sampling { seed: Some(seed), n, max_tokens: Some(12), logprobs: Some(0), ..Sampling::default() };
      let c = Completion::collect(models.generate_from(&name, Prompt::Tokens(prompt.clone()), s).await.unwrap()).await.unwrap(); c.choices.iter().map(|c| c.logprobs.iter().map(|l| format!("{}:{}", l.chosen.token, (l.chosen.logprob * 1000.) as i32)).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n   ") };
    println!("1 {}", run(1, 1).await);
    println!("1 {}", run(1, 1).await);
    println!("2 {}", run(2, 1).await);
    println!("3 {}", run(3, 1).await);
    println!("1n3 {}", run(1, 3).await);
    println!("1n3 {}", run(1, 3).await);
    let (a, b, c) = tokio::join!(run(1, 1), run(2, 1), run(3, 1));
    println!("1 {a}\n2 {b}\n3 {c}");
    let _ = ids;
}
