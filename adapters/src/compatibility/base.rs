//! [`Base`] and [`Stated`]: what is known of a base model, and what an adapter says about the base it was trained on.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// A base model, as its engine describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Base {
    /// The name callers use.
    pub name: String,
    /// `model_type` of its config.json, such as `llama` or `qwen2`.
    pub architecture: String,
    /// Every linear layer by path (`model.layers.0.self_attn.q_proj`), as `[out, in]`; with `lm_head`, tied or not.
    pub linears: BTreeMap<String, [usize; 2]>,
    /// Every embedding by path (`model.embed_tokens`), as `[vocab, dim]`.
    pub embeddings: BTreeMap<String, [usize; 2]>,
    /// Every other tensor by name: norms (`model.norm.weight`) and biases (`….q_proj.bias`).
    pub others: BTreeMap<String, Vec<usize>>,
    /// [`tokenizer_hash`] of its tokenizer, where known.
    pub tokenizer_hash: Option<String>,
    /// [`template_hash`] of its chat template, where known.
    pub chat_template_hash: Option<String>,
}

/// What the files beside an adapter say about its base. Trainers copy the tokenizer there; PEFT alone does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stated {
    /// `model_type`.
    pub architecture: Option<String>,
    /// [`tokenizer_hash`] of tokenizer.json.
    pub tokenizer_hash: Option<String>,
    /// [`template_hash`] of chat_template.jinja, or of the template inside tokenizer_config.json.
    pub chat_template_hash: Option<String>,
}

/// The largest side file that is opened; tokenizers of real models stay below 40 MB.
const SIDE_FILE_LIMIT: u64 = 64 << 20;

impl Stated {
    /// Reads the side files of an adapter's directory. What is missing or unreadable counts as not stated.
    #[must_use]
    pub fn read(dir: &Path, adapter_config: &serde_json::Map<String, Value>) -> Self {
        let json = |name: &str| side_file(dir, name).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let template = side_file(dir, "chat_template.jinja")
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .or_else(|| json("tokenizer_config.json")?.get("chat_template")?.as_str().map(str::to_owned));
        // "transformers.models.qwen2.modeling_qwen2"
        let library = adapter_config.get("auto_mapping").and_then(|mapping| mapping.get("parent_library"));
        let family = library.and_then(Value::as_str).and_then(|path| path.strip_prefix("transformers.models."));
        Self {
            architecture: json("config.json")
                .and_then(|config| config.get("model_type")?.as_str().map(str::to_owned))
                .or_else(|| family?.split('.').next().map(str::to_owned)),
            tokenizer_hash: side_file(dir, "tokenizer.json").and_then(|bytes| tokenizer_hash(&bytes)),
            chat_template_hash: template.map(|text| template_hash(&text)),
        }
    }
}

/// SHA-256 (hex) of what decides which text becomes which token ids: vocabulary, merges and added tokens of a
/// tokenizer.json. Padding, truncation and the file's formatting, which trainers change when they save it, are left out.
#[must_use]
pub fn tokenizer_hash(tokenizer_json: &[u8]) -> Option<String> {
    let file: Value = serde_json::from_slice(tokenizer_json).ok()?;
    let model = file.get("model")?;
    // Merges are "a b" in older files and ["a", "b"] in newer ones.
    let merges: Vec<Value> = match model.get("merges") {
        Some(Value::Array(merges)) => merges
            .iter()
            .map(|merge| match merge.as_str().and_then(|text| text.split_once(' ')) {
                Some((left, right)) => serde_json::json!([left, right]),
                None => merge.clone(),
            })
            .collect(),
        _ => Vec::new(),
    };
    let added: Vec<Value> = file
        .get("added_tokens")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|token| serde_json::json!([token.get("id"), token.get("content")]))
        .collect();
    let parts = serde_json::json!({"vocab": model.get("vocab"), "merges": merges, "added": added});
    let bytes = serde_json_canonicalizer::to_vec(&parts).ok()?;
    Some(hex::encode(Sha256::digest(bytes)))
}

/// SHA-256 (hex) of a chat template, without the white space around it.
#[must_use]
pub fn template_hash(template: &str) -> String {
    hex::encode(Sha256::digest(template.trim().as_bytes()))
}

fn side_file(dir: &Path, name: &str) -> Option<Vec<u8>> {
    let path = dir.join(name);
    let about = fs::symlink_metadata(&path).ok()?;
    (about.is_file() && about.len() <= SIDE_FILE_LIMIT).then(|| fs::read(&path).ok())?
}
