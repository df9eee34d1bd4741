//! Fine-tuning runs against PEFT and torch.

use std::{path::Path, sync::Arc};

use cairn_trainer::{Adapter, BaseForm, Batch, Example, Method, Model, Schedule, Session, TrainOptions};
use serde::Deserialize;

use crate::support::{adapter, golden, json};

#[derive(Deserialize)]
struct Trace {
    base: String,
    optimizer: Settings,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Settings {
    betas: [f64; 2],
    eps: f64,
    lr: f64,
    weight_decay: f64,
    schedule: Schedule,
    warmup_steps: usize,
    max_grad_norm: f64,
}

#[derive(Deserialize)]
struct Step {
    micro_batches: Vec<MicroBatch>,
    supervised_tokens: usize,
    loss: f64,
    grad_norm: f64,
    lr: f64,
}

#[derive(Deserialize)]
struct MicroBatch {
    input_ids: Vec<Vec<u32>>,
    labels: Vec<Vec<i64>>,
}

impl MicroBatch {
    fn batch(&self) -> Batch {
        let examples: Vec<Example> = self
            .input_ids
            .iter()
            .zip(&self.labels)
            .map(|(tokens, labels)| {
                let supervised = labels.iter().map(|label| *label >= 0).collect();
                Example { tokens: tokens.clone(), supervised, row: String::new() }
            })
            .collect();
        Batch::new(&examples)
    }
}

#[test]
fn lora_on_all_linear_layers_trains_as_in_peft() {
    follow("llama-lora-all-linear");
}

#[test]
fn rslora_trains_as_in_peft() {
    follow("llama-rslora-qv");
}

#[test]
fn dora_trains_as_in_peft() {
    follow("qwen2-dora");
}

/// Every loss, gradient norm and rate of a run, and the adapter at its end; with and without gradient checkpointing.
fn follow(case: &str) {
    let dir = golden().join("training").join(case);
    let trace: Trace = json(&dir.join("trace.json"));
    let base = golden().join("peft").join(&trace.base).join("base");
    let model = Arc::new(Model::open(&base, BaseForm::F32).unwrap());
    for checkpointing in [true, false] {
        run(&dir, &trace, &model, checkpointing);
    }
}

fn run(dir: &Path, trace: &Trace, model: &Arc<Model>, checkpointing: bool) {
    let settings = &trace.optimizer;
    let options = TrainOptions {
        method: Method::Lora,
        adam_betas: settings.betas,
        adam_eps: settings.eps,
        weight_decay: settings.weight_decay,
        max_grad_norm: Some(settings.max_grad_norm),
        gradient_checkpointing: checkpointing,
        ..TrainOptions::default()
    };
    let start = Adapter::from_peft(model, &adapter(&dir.join("init")), 0.0).unwrap();
    let mut session = Session::new(Arc::clone(model), start, &options);
    for (i, step) in trace.steps.iter().enumerate() {
        let batches: Vec<Batch> = step.micro_batches.iter().map(MicroBatch::batch).collect();
        let window: usize = batches.iter().map(Batch::supervised).sum();
        assert_eq!(window, step.supervised_tokens, "step {i}");
        let loss = batches.iter().map(|batch| session.accumulate(batch, window)).sum::<f64>() / window as f64;
        let lr = settings.lr * settings.schedule.factor(i, settings.warmup_steps, trace.steps.len());
        let norm = session.apply(lr).unwrap();
        assert!((loss - step.loss).abs() < 1e-4, "step {i}: loss {loss}, not {}", step.loss);
        assert!((norm - step.grad_norm).abs() < 1e-3, "step {i}: gradient norm {norm}, not {}", step.grad_norm);
        assert!((lr - step.lr).abs() < 1e-9, "step {i}: rate {lr}, not {}", step.lr);
    }
    let (actual, expected) = (session.adapter().to_peft(), adapter(&dir.join("final")));
    assert_eq!(actual.layers.len(), expected.layers.len());
    for (path, expected) in &expected.layers {
        let actual = &actual.layers[path];
        let none = Vec::new();
        for (what, a, b) in [
            ("A", &actual.a.data, &expected.a.data),
            ("B", &actual.b.data, &expected.b.data),
            ("m", actual.magnitude.as_ref().unwrap_or(&none), expected.magnitude.as_ref().unwrap_or(&none)),
        ] {
            assert_eq!(a.len(), b.len(), "{path} {what}");
            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-4, "{path} {what} is off by {off}");
        }
    }
}
