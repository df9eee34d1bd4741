//! A GGUF file made of a golden checkpoint, as llama.cpp writes them: pulled, rewritten and served.

use std::{fs::File, path::Path};

use cairn_base::{
    BaseModels, Format, Prompt,
    pull::{PullOptions, pull},
};
use mistralrs_candle::{
    Device, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value},
    },
    safetensors,
};

use crate::support::{Vocabulary, bytes, complete, config, golden, greedy, name};

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const LAYERS: usize = 3;

/// Writes the golden llama with matrices of a type. llama.cpp's RoPE is interleaved, so rows of q and k change places.
fn write(to: &Path, of: GgmlDType) {
    let (base, _) = golden("llama");
    let mut weights = safetensors::load(base.join("model.safetensors"), &Device::Cpu).unwrap();
    let mut tensors = Vec::new();
    let mut put = |name: String, tensor: Tensor| {
        let of = if tensor.rank() == 1 { GgmlDType::F32 } else { of };
        tensors.push((name, QTensor::quantize(&tensor, of).unwrap()));
    };
    put("token_embd.weight".into(), weights.remove("model.embed_tokens.weight").unwrap());
    put("output_norm.weight".into(), weights.remove("model.norm.weight").unwrap());
    for layer in 0..LAYERS {
        for (theirs, ours) in NAMES {
            let tensor = weights.remove(&format!("model.layers.{layer}.{theirs}.weight")).unwrap();
            let tensor = match ours {
                "attn_q" => interleaved(&tensor, HEADS),
                "attn_k" => interleaved(&tensor, KV_HEADS),
                _ => tensor,
            };
            put(format!("blk.{layer}.{ours}.weight"), tensor);
        }
    }
    let metadata = metadata(&base);
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut File::create(to).unwrap(), &metadata, &tensors).unwrap();
}

const NAMES: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// w: [heads (2 half), in] -> [heads (half 2), in]
fn interleaved(w: &Tensor, heads: usize) -> Tensor {
    let (rows, width) = w.dims2().unwrap();
    let w = w.reshape((heads, 2, rows / heads / 2, width)).unwrap().transpose(1, 2).unwrap();
    w.contiguous().unwrap().reshape((rows, width)).unwrap()
}

fn metadata(base: &Path) -> Vec<(&'static str, Value)> {
    let read = |file: &str| std::fs::read(base.join(file)).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&read("config.json")).unwrap();
    let tokenizer: serde_json::Value = serde_json::from_slice(&read("tokenizer.json")).unwrap();
    let number = |field: &str| Value::U32(config[field].as_u64().unwrap() as u32);
    let text = |text: &str| Value::String(text.to_owned());
    let mut tokens: Vec<(u64, String)> = tokenizer["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(token, id)| (id.as_u64().unwrap(), token.clone()))
        .collect();
    tokens.sort();
    let special = |token: &str| tokenizer["added_tokens"].as_array().unwrap().iter().any(|it| it["content"] == token);
    let types = tokens.iter().map(|(_, token)| Value::I32(if special(token) { 3 } else { 1 })).collect();
    let merge = |merge: &serde_json::Value| match merge.as_array() {
        Some(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        None => merge.as_str().unwrap().to_owned(),
    };
    let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(|it| text(&merge(it))).collect();
    vec![
        ("general.architecture", text("llama")),
        ("general.license", text("apache-2.0")),
        ("llama.block_count", Value::U32(LAYERS as u32)),
        ("llama.context_length", number("max_position_embeddings")),
        ("llama.embedding_length", number("hidden_size")),
        ("llama.feed_forward_length", number("intermediate_size")),
        ("llama.attention.head_count", Value::U32(HEADS as u32)),
        ("llama.attention.head_count_kv", Value::U32(KV_HEADS as u32)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(config["rms_norm_eps"].as_f64().unwrap() as f32)),
        ("llama.rope.dimension_count", number("head_dim")),
        ("llama.rope.freq_base", Value::F32(config["rope_theta"].as_f64().unwrap() as f32)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|(_, token)| text(token)).collect())),
        ("tokenizer.ggml.token_type", Value::Array(types)),
        ("tokenizer.ggml.merges", Value::Array(merges)),
        ("tokenizer.ggml.bos_token_id", Value::U32(1)),
        ("tokenizer.ggml.eos_token_id", Value::U32(2)),
        ("tokenizer.chat_template", text(&String::from_utf8(read("chat_template.jinja")).unwrap())),
    ]
}

async fn served(of: GgmlDType) -> (tempfile::TempDir, cairn_base::Manifest) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tiny.gguf");
    write(&file, of);
    let models = dir.path().join("models");
    let manifest = pull(&file.to_string_lossy(), None, &models, &PullOptions::default(), &|_| {}).await.unwrap();
    (dir, manifest)
}

#[tokio::test]
async fn a_gguf_file_gives_what_its_checkpoint_gives() {
    let (dir, manifest) = served(GgmlDType::F32).await;
    assert_eq!(manifest.format, Format::Gguf { file: "tiny.gguf".into() });
    assert_eq!((manifest.dtype.as_str(), manifest.licence.as_deref()), ("F32", Some("apache-2.0")));
    let (base, rows) = golden("llama");
    let vocabulary = Vocabulary::of(&base);
    let models = BaseModels::open(config(&dir.path().join("models"))).unwrap();
    for row in rows {
        let prompt = Prompt::Tokens(row.input_ids.clone());
        let completion = complete(&models, &name("tiny"), prompt, greedy(row.greedy.len())).await.unwrap();
        assert_eq!(bytes(&completion), vocabulary.bytes(&row.greedy), "prompt of {} tokens", row.input_ids.len());
    }
    // The tokenizer made of the metadata is the checkpoint's own.
    let own = tokenizers::Tokenizer::from_file(base.join("tokenizer.json")).unwrap();
    let made = tokenizers::Tokenizer::from_file(dir.path().join("models/tiny/serving/tokenizer.json")).unwrap();
    for text in ["hello there", "  two  spaces\n", "<|im_start|>user\nit's 2026<|im_end|>", "naïve — ü"] {
        let ids = |of: &tokenizers::Tokenizer| of.encode(text, false).unwrap().get_ids().to_vec();
        assert_eq!(ids(&made), ids(&own), "{text:?}");
    }
}

#[tokio::test]
async fn a_small_quantized_file_is_served_in_float32_and_the_original_is_kept() {
    let (dir, manifest) = served(GgmlDType::Q4_0).await;
    assert_eq!(manifest.dtype, "F32");
    assert!(manifest.changes.iter().any(|change| change.contains("float32")), "{:?}", manifest.changes);
    assert_ne!(manifest.original_hash, manifest.serving_hash);
    let place = dir.path().join("models/tiny");
    assert_eq!(
        std::fs::read(place.join("original/tiny.gguf")).unwrap(),
        std::fs::read(dir.path().join("tiny.gguf")).unwrap()
    );
    let models = BaseModels::open(config(&dir.path().join("models"))).unwrap();
    let say = cairn_adapters::ChatMessage::new(cairn_adapters::Role::User, "hello");
    let chat = Prompt::Input(cairn_adapters::Input::Chat(vec![say]));
    complete(&models, &name("tiny"), chat, greedy(4)).await.unwrap();
}
