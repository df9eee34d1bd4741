//! Golden checkpoints pulled into a temporary directory, and requests to them.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use cairn_adapters::{Completion, GenerateError, ModelName, Sampling};
use cairn_base::{
    BaseConfig, BaseModels, EngineName, Prompt, WhenLoading,
    pull::{PullOptions, pull},
};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) input_ids: Vec<u32>,
    pub(crate) last_logits: Vec<f32>,
    pub(crate) greedy: Vec<u32>,
}

/// A golden checkpoint and its reference outputs.
pub(crate) fn golden(family: &str) -> (PathBuf, Vec<Row>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/peft").join(family);
    let text = std::fs::read(directory.join("base.golden.json")).unwrap();
    (directory.join("base"), serde_json::from_slice(&text).unwrap())
}

pub(crate) fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

pub(crate) fn config(models_dir: &Path) -> BaseConfig {
    BaseConfig {
        models_dir: models_dir.to_owned(),
        memory_budget: 1 << 30,
        when_loading: WhenLoading::Wait,
        engine: EngineName::MistralRs,
        retry_after: Duration::from_secs(1),
        max_in_flight: 64,
        quantize: None,
    }
}

/// A model directory with golden checkpoints under names of the caller's choice.
pub(crate) async fn pulled(models: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (model, family) in models {
        let (base, _) = golden(family);
        let source = base.to_string_lossy();
        pull(&source, Some(name(model)), dir.path(), &PullOptions::default(), &|_| {}).await.unwrap();
    }
    dir
}

/// One model, served.
pub(crate) async fn serving(family: &str) -> (TempDir, BaseModels, ModelName) {
    let dir = pulled(&[(family, family)]).await;
    let models = BaseModels::open(config(dir.path())).unwrap();
    (dir, models, name(family))
}

pub(crate) fn greedy(max_tokens: usize) -> Sampling {
    Sampling { temperature: 0.0, max_tokens: Some(max_tokens), logprobs: Some(0), ..Sampling::default() }
}

/// Some tokens that every golden tokenizer has.
pub(crate) fn prompt() -> Prompt {
    Prompt::Tokens(vec![52, 405, 272])
}

pub(crate) async fn complete(
    models: &BaseModels,
    model: &ModelName,
    prompt: Prompt,
    sampling: Sampling,
) -> Result<Completion, GenerateError> {
    Completion::collect(models.generate_from(model, prompt, sampling).await?).await
}

/// The bytes of the tokens of the first answer. Log-probabilities were asked for.
pub(crate) fn bytes(completion: &Completion) -> Vec<Vec<u8>> {
    completion.choices[0].logprobs.iter().map(|it| it.chosen.bytes.clone().unwrap()).collect()
}

/// What each token of a byte-level tokenizer stands for, by GPT-2's own table rather than by the code under test.
pub(crate) struct Vocabulary(HashMap<u32, Vec<u8>>);

impl Vocabulary {
    pub(crate) fn of(base: &Path) -> Self {
        let tokenizer = tokenizers::Tokenizer::from_file(base.join("tokenizer.json")).unwrap();
        let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let mut table: HashMap<char, u8> = (0..=255).filter(printable).map(|byte| (char::from(byte), byte)).collect();
        let others = (0..=255_u8).filter(|byte| !printable(byte));
        table.extend(others.zip(256..).map(|(byte, code)| (char::from_u32(code).unwrap(), byte)));
        let bytes = |token: &str| token.chars().map(|it| table.get(&it).copied()).collect::<Option<Vec<u8>>>();
        let vocabulary = tokenizer.get_vocab(true);
        Self(vocabulary.into_iter().filter_map(|(token, id)| Some((id, bytes(&token)?))).collect())
    }

    pub(crate) fn bytes(&self, ids: &[u32]) -> Vec<Vec<u8>> {
        ids.iter().map(|id| self.0[id].clone()).collect()
    }
}

/// Waits until something is so; fails after a minute.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(std::time::Instant::now() < deadline, "waited a minute: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
