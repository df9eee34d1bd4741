//! Golden files, and adapters built in memory, for the tests of this crate.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its own part; a panic here is a failed test")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cairn_adapters::{
    compatibility::{Base, template_hash, tokenizer_hash},
    store::{AliasName, Caller, Objects, Source, Store, StoreOptions, Upload, Uploaded},
};
use cairn_database::{Database, testing};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

/// The directory of golden files.
pub(crate) fn golden() -> PathBuf {
    std::env::var_os("CAIRN_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden"), PathBuf::from)
}

/// Every golden adapter that PEFT wrote.
pub(crate) fn golden_adapters() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![golden().join("peft"), golden().join("smollm2"), golden().join("training")];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            if path.join("adapter_config.json").exists() { found.push(path) } else { open.push(path) }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no golden adapters under {}", golden().display());
    found
}

/// A tensor to be written: type, shape, bytes.
pub(crate) type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// An F32 tensor whose numbers count up from `first`.
pub(crate) fn f32s(shape: &[usize], first: f32) -> Tensor {
    let count: usize = shape.iter().product();
    let bytes = (0..count).flat_map(|index| (first + index as f32 / 1024.0).to_le_bytes()).collect();
    (Dtype::F32, shape.to_vec(), bytes)
}

/// Writes an adapter's two files.
pub(crate) fn write(dir: &Path, config: &Value, tensors: &BTreeMap<String, Tensor>) {
    std::fs::create_dir_all(dir).unwrap();
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    std::fs::write(dir.join("adapter_model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
}

/// A rank-2 adapter on q_proj of layer 0 of a 64-wide base, and its configuration.
pub(crate) fn small(first: f32) -> (Value, BTreeMap<String, Tensor>) {
    let config = json!({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4,
        "target_modules": ["q_proj"], "base_model_name_or_path": "base"});
    let path = "base_model.model.model.layers.0.self_attn.q_proj";
    let tensors = BTreeMap::from([
        (format!("{path}.lora_A.weight"), f32s(&[2, 64], first)),
        (format!("{path}.lora_B.weight"), f32s(&[64, 2], first + 1.0)),
    ]);
    (config, tensors)
}

/// Describes a golden checkpoint from its own files.
pub(crate) fn golden_base(family: &str) -> Base {
    let dir = golden().join("peft").join(family).join("base");
    let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap();
    let weights = std::fs::read(dir.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let mut base = Base {
        name: family.into(),
        architecture: config["model_type"].as_str().unwrap().into(),
        tokenizer_hash: tokenizer_hash(&std::fs::read(dir.join("tokenizer.json")).unwrap()),
        chat_template_hash: Some(template_hash(&std::fs::read_to_string(dir.join("chat_template.jinja")).unwrap())),
        ..Base::default()
    };
    for (name, view) in file.iter() {
        match (name.strip_suffix(".weight"), view.shape()) {
            (Some(path), &[rows, columns]) if path.contains("embed_tokens") => {
                base.embeddings.insert(path.into(), [rows, columns]);
            }
            (Some(path), &[rows, columns]) => drop(base.linears.insert(path.into(), [rows, columns])),
            (_, shape) => drop(base.others.insert(name.into(), shape.to_vec())),
        }
    }
    base
}

/// The base that [`small`] fits.
pub(crate) fn small_base() -> Base {
    Base {
        name: "base".into(),
        architecture: "llama".into(),
        linears: BTreeMap::from([("model.layers.0.self_attn.q_proj".into(), [64, 64])]),
        ..Base::default()
    }
}

/// Options with everything under `dir`.
pub(crate) fn options(dir: &Path) -> StoreOptions {
    StoreOptions::new(dir.join("staging"))
}

/// Opens a store with everything under `dir`, its database as the gateway opens it.
pub(crate) async fn open_with(dir: &Path, options: StoreOptions) -> Store {
    open_on(dir, Objects::local(dir.join("objects")).unwrap(), options).await
}

/// Opens a store whose objects lie elsewhere.
pub(crate) async fn open_on(dir: &Path, objects: Objects, options: StoreOptions) -> Store {
    let database = database(dir).await;
    // What a killed process had sent to a server is over then.
    drop(database.hold().await.unwrap().expect("nobody else has the database"));
    Store::open(database, objects, options).await.unwrap()
}

/// The database under `dir`, or the one that stands for it.
pub(crate) async fn database(dir: &Path) -> Database {
    Database::open(&testing::settings(&dir.join("cairn.db")).await.unwrap()).await.unwrap()
}

/// Opens a store with the default options.
pub(crate) async fn open(dir: &Path) -> Store {
    open_with(dir, options(dir)).await
}

/// Uploads [`small`]`(first)` as `owner`.
pub(crate) async fn upload(store: &Store, first: f32, owner: &str) -> Uploaded {
    let dir = tempfile::tempdir().unwrap();
    let (config, tensors) = small(first);
    write(dir.path(), &config, &tensors);
    let source = Source::Directory(dir.path().to_owned());
    let upload = Upload { source, base: small_base(), owner: owner.into() };
    store.upload(upload, &Caller::new(owner)).await.unwrap()
}

/// An alias's name.
pub(crate) fn name(text: &str) -> AliasName {
    text.parse().unwrap()
}

/// The generations whose objects are there, whole or not.
pub(crate) fn stored_objects(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir.join("objects")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
