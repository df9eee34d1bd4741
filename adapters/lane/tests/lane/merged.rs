//! Attached equals merged: the same adapter computed beside the base, and written into a checkpoint of its own.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use cairn_adapters::peft::{Adapter, Array, Delta, Limits};
use cairn_lane::{Form, names};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::support::{Weighted, all_logits, golden, open};

pub(crate) type Tensors = BTreeMap<String, Array>;

/// Low-rank changes of linear layers, the embeddings and the head, and norms trained whole.
#[test]
fn every_kind_of_change_equals_the_merged_checkpoint() {
    for family in ["llama3-rope", "qwen2"] {
        let base = golden().join("peft").join(family).join("base");
        let mut tensors = read(&base.join("model.safetensors"));
        let mut adapter =
            Adapter::read(&golden().join("peft").join(family).join("all-linear-rslora"), &Limits::default()).unwrap();
        adapter.layers.insert(names::HEAD.into(), delta(512, 64, false));
        adapter.layers.insert(names::EMBEDDINGS.into(), delta(64, 512, true));
        for norm in [
            "model.norm.weight",
            "model.layers.1.input_layernorm.weight",
            "model.layers.2.post_attention_layernorm.weight",
        ] {
            let own = Array { shape: vec![64], data: numbers(64, 7).iter().map(|x| 1.0 + x).collect() };
            adapter.saved.insert(norm.into(), own);
        }
        if family == "qwen2" {
            let own = Array { shape: vec![64], data: numbers(64, 8) };
            adapter.layers.get_mut("model.layers.1.self_attn.q_proj").unwrap().bias = Some(own.data.clone());
            tensors.insert("model.layers.1.self_attn.q_proj.bias".into(), own);
            // A bias of a layer without a delta, and one of B.
            adapter.layers.remove("model.layers.0.self_attn.v_proj");
            let own = Array { shape: vec![32], data: numbers(32, 9) };
            adapter.saved.insert("model.layers.0.self_attn.v_proj.bias".into(), own);
            let of_b = adapter.layers.get_mut("model.layers.2.self_attn.k_proj").unwrap();
            of_b.lora_bias = Some(numbers(32, 10));
            let scale = of_b.scale;
            let bias = tensors.get_mut("model.layers.2.self_attn.k_proj.bias").unwrap();
            bias.data.iter_mut().zip(numbers(32, 10)).for_each(|(bias, of_b)| *bias += scale * of_b);
        }
        merge(&mut tensors, &adapter);
        let dir = tempfile::tempdir().unwrap();
        fs::copy(base.join("config.json"), dir.path().join("config.json")).unwrap();
        write(&dir.path().join("model.safetensors"), &tensors);

        let (plain, merged) = (open(&base, Form::F32), open(dir.path(), Form::F32));
        let prompt: Vec<u32> = (0..40).map(|i| i * 37 % 512).collect();
        let attached: Vec<Weighted> = vec![(Arc::new(plain.attach(&adapter).unwrap()), 1.0)];
        let expected = all_logits(&merged, &prompt, &[]);
        let found = all_logits(&plain, &prompt, &attached);
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{family}: off by {off}");
        let base = all_logits(&plain, &prompt, &[]);
        let changed = base.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(changed > 0.5, "{family}: the adapter changes only {changed}");
    }
}

/// Embeddings and head trained whole; alone, half, and beside rows that keep the base's.
#[test]
fn saved_modules_equal_a_checkpoint_that_has_them() {
    let base = golden().join("peft/mistral/base");
    let mut tensors = read(&base.join("model.safetensors"));
    let mut adapter = Adapter::read(&golden().join("peft/mistral/qv"), &Limits::default()).unwrap();
    for (name, seed) in [("lm_head.weight", 11), ("model.embed_tokens.weight", 12)] {
        adapter.saved.insert(name.into(), Array { shape: vec![512, 64], data: numbers(512 * 64, seed) });
    }
    merge(&mut tensors, &adapter);
    let dir = tempfile::tempdir().unwrap();
    fs::copy(base.join("config.json"), dir.path().join("config.json")).unwrap();
    write(&dir.path().join("model.safetensors"), &tensors);
    let (plain, merged) = (open(&base, Form::F32), open(dir.path(), Form::F32));
    let prompt: Vec<u32> = (0..40).map(|i| i * 41 % 512).collect();
    let attached = Arc::new(plain.attach(&adapter).unwrap());
    let expected = all_logits(&merged, &prompt, &[]);
    let off = |adapters: &[Weighted]| {
        let found = all_logits(&plain, &prompt, adapters);
        found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(off(&[(attached.clone(), 1.0)]) < 1e-3);
    assert!(off(&[(attached.clone(), 0.25), (attached, 0.75)]) < 2e-3);
    assert!(off(&[]) > 0.5);
}

/// A random change of rank 3.
fn delta(outputs: usize, inputs: usize, embedding: bool) -> Delta {
    let array = |rows: usize, columns: usize, seed: u32| Array {
        shape: vec![rows, columns],
        data: numbers(rows * columns, seed),
    };
    Delta {
        a: array(3, inputs, 1),
        b: array(outputs, 3, 2),
        scale: 0.5,
        magnitude: None,
        lora_bias: None,
        bias: None,
        embedding,
    }
}

/// W += scale · B A, and what was trained whole instead of what was there.
fn merge(tensors: &mut Tensors, adapter: &Adapter) {
    for (path, delta) in &adapter.layers {
        let (inputs, r) = (delta.inputs(), delta.r());
        let weight = tensors.get_mut(&format!("{path}.weight")).unwrap();
        let at = |o: usize, i: usize| -> f64 {
            let product = |k: usize| f64::from(delta.b.data[o * r + k]) * f64::from(delta.a.data[k * inputs + i]);
            f64::from(delta.scale) * (0..r).map(product).sum::<f64>()
        };
        let columns = weight.shape[1];
        for (j, value) in weight.data.iter_mut().enumerate() {
            // An embedding's table is [vocabulary, hidden], its delta the transpose of that.
            let change = if delta.embedding { at(j % columns, j / columns) } else { at(j / columns, j % columns) };
            *value = (f64::from(*value) + change) as f32;
        }
    }
    for (name, array) in &adapter.saved {
        tensors.insert(name.clone(), array.clone());
    }
}

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let array = |view: &TensorView<'_>| Array {
        shape: view.shape().to_vec(),
        data: view.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
    };
    file.tensors().iter().map(|(name, view)| (name.clone(), array(view))).collect()
}

pub(crate) fn write(path: &Path, tensors: &Tensors) {
    let bytes: BTreeMap<&String, Vec<u8>> =
        tensors.iter().map(|(name, array)| (name, array.data.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
    let views = tensors
        .iter()
        .map(|(name, array)| (name, TensorView::new(Dtype::F32, array.shape.clone(), &bytes[name]).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Reproducible numbers from -0.5 to 0.5.
pub(crate) fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}
