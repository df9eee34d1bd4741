//! The PEFT format against adapters that PEFT itself wrote, and against broken ones.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod common;

use cairn_adapters::peft::{Adapter, FormatError, Limits};
use common::{f32s, golden, golden_adapters, small, write};
use safetensors::Dtype;
use serde_json::json;

fn read(dir: &std::path::Path) -> Result<Adapter, FormatError> {
    Adapter::read(dir, &Limits::default())
}

#[test]
fn every_golden_adapter_reads_and_survives_a_round_trip() {
    for dir in golden_adapters() {
        let adapter = read(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let copy = tempfile::tempdir().unwrap();
        adapter.write(copy.path()).unwrap();
        let again = read(copy.path()).unwrap();
        assert_eq!(again.layers, adapter.layers, "{}", dir.display());
        assert_eq!(again.saved, adapter.saved);
        assert_eq!(again.config.raw, adapter.config.raw);
        // Golden tensors are F32, so the files' data sections are equal in size.
        let original = std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
        let header = u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
        assert_eq!(adapter.resident_bytes(), original.len() - 8 - header);
    }
}

#[test]
fn golden_scales_ranks_and_parts_are_as_configured() {
    let peft = golden().join("peft");
    let patterns = read(&peft.join("llama/patterns")).unwrap();
    assert_eq!(patterns.layers["model.layers.0.self_attn.q_proj"].scale, 2.0);
    assert_eq!(patterns.layers["model.layers.1.self_attn.q_proj"].r(), 16);
    assert_eq!(patterns.layers["model.layers.1.self_attn.q_proj"].scale, 0.5);
    assert_eq!(patterns.layers["model.layers.2.mlp.up_proj"].scale, 8.0);
    let rslora = read(&peft.join("qwen2/all-linear-rslora")).unwrap();
    assert_eq!(rslora.layers["model.layers.0.mlp.down_proj"].scale, 4.0);
    let dora = read(&peft.join("mistral/dora")).unwrap();
    assert_eq!(dora.layers["model.layers.0.mlp.down_proj"].magnitude.as_ref().unwrap().len(), 64);
    let head = read(&peft.join("mistral/save-head")).unwrap();
    assert_eq!(head.saved["lm_head.weight"].shape, [512, 64]);
}

#[test]
fn half_precision_widens_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (config, mut tensors) = small(0.0);
    let a = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".to_owned();
    let b = a.replace("lora_A", "lora_B");
    // 1.5 is 0x3E00 in F16 and 0x3FC0 in BF16.
    tensors.insert(a, (Dtype::F16, vec![2, 64], [0x00, 0x3E].repeat(128)));
    tensors.insert(b, (Dtype::BF16, vec![64, 2], [0xC0, 0x3F].repeat(128)));
    write(dir.path(), &config, &tensors);
    let adapter = read(dir.path()).unwrap();
    let delta = &adapter.layers["model.layers.0.self_attn.q_proj"];
    assert!(delta.a.data.iter().chain(&delta.b.data).all(|value| *value == 1.5));
}

#[test]
fn embeddings_biases_and_base_layers_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, mut tensors) = small(0.0);
    config["target_modules"] = json!(["q_proj", "embed_tokens"]);
    config["bias"] = json!("all");
    config["lora_bias"] = json!(true);
    let root = "base_model.model.model";
    for (name, shape) in [
        ("embed_tokens.lora_embedding_A", vec![2, 512]),
        ("embed_tokens.lora_embedding_B", vec![64, 2]),
        ("embed_tokens.base_layer.weight", vec![512, 64]),
        ("layers.0.self_attn.q_proj.lora_B.bias", vec![64]),
        ("layers.0.self_attn.q_proj.base_layer.bias", vec![64]),
        ("layers.0.self_attn.k_proj.bias", vec![32]),
    ] {
        tensors.insert(format!("{root}.{name}"), f32s(&shape, 0.5));
    }
    write(dir.path(), &config, &tensors);
    let adapter = read(dir.path()).unwrap();
    let embedding = &adapter.layers["model.embed_tokens"];
    assert!(embedding.embedding && embedding.inputs() == 512 && embedding.outputs() == 64);
    let q = &adapter.layers["model.layers.0.self_attn.q_proj"];
    assert!(q.lora_bias.is_some() && q.bias.is_some());
    let saved: Vec<_> = adapter.saved.keys().map(String::as_str).collect();
    assert_eq!(saved, ["model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.bias"]);
    let copy = tempfile::tempdir().unwrap();
    adapter.write(copy.path()).unwrap();
    let again = read(copy.path()).unwrap();
    assert_eq!((again.layers, again.saved), (adapter.layers, adapter.saved));
}

#[test]
fn what_is_broken_is_refused_by_the_tensors_name() {
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let a = format!("{q}.lora_A.weight");
    let b = format!("{q}.lora_B.weight");
    let nan = (Dtype::F32, vec![2, 64], [f32::NAN.to_le_bytes(), 1f32.to_le_bytes()].concat().repeat(64));
    let infinite = (Dtype::BF16, vec![64, 2], [0x80, 0x7F].repeat(128));
    let cases = [
        (a.clone(), Some(nan), "NaN"),
        (b.clone(), Some(infinite), "inf"),
        (a.clone(), Some((Dtype::I8, vec![2, 64], vec![0; 128])), "I8"),
        (a.clone(), Some(f32s(&[4, 64], 0.0)), "[2, in]"),
        (a.clone(), Some(f32s(&[128], 0.0)), "[2, in]"),
        (b.clone(), Some(f32s(&[64, 4], 0.0)), "[out, 2]"),
        (b.clone(), None, "missing"),
        (a, None, "missing"),
        (format!("{q}.lora_magnitude_vector"), Some(f32s(&[64], 1.0)), "use_dora"),
        (format!("{q}.bias"), Some(f32s(&[64], 1.0)), "bias"),
        ("base_model.model.lm_head.bias".into(), Some(f32s(&[512], 1.0)), "bias"),
        ("base_model.model.model.norm.weight".into(), Some(f32s(&[64], 1.0)), "modules_to_save"),
        (b.replace("q_proj", "k_proj"), Some(f32s(&[64, 2], 1.0)), "target_modules"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight".into(), Some(f32s(&[2, 64], 1.0)), "save_pretrained"),
        (format!("{q}.lora_A.default.weight"), Some(f32s(&[2, 64], 1.0)), "save_pretrained"),
    ];
    for (name, tensor, hint) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (config, mut tensors) = small(0.0);
        match tensor {
            Some(tensor) => drop(tensors.insert(name.clone(), tensor)),
            None => drop(tensors.remove(&name)),
        }
        write(dir.path(), &config, &tensors);
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&name) && error.contains(hint), "{name}, {hint}: {error}");
    }
}

#[test]
fn pickles_missing_files_and_oversized_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(read(dir.path()), Err(FormatError::MissingFile { file: "adapter_config.json" })));
    let (config, tensors) = small(0.0);
    write(dir.path(), &config, &tensors);
    let small = Limits { max_weights_bytes: 1024, ..Limits::default() };
    assert!(matches!(Adapter::read(dir.path(), &small), Err(FormatError::TooLarge { limit: 1024, .. })));
    let few = Limits { max_tensors: 1, ..Limits::default() };
    assert!(matches!(Adapter::read(dir.path(), &few), Err(FormatError::TooManyTensors { actual: 2, limit: 1 })));
    let weights = dir.path().join("adapter_model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(read(dir.path()), Err(FormatError::Damaged(_))));
    std::fs::rename(&weights, dir.path().join("adapter_model.bin")).unwrap();
    assert!(matches!(read(dir.path()), Err(FormatError::Pickle { file }) if file == "adapter_model.bin"));
}
