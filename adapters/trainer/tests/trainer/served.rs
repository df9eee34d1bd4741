//! What was trained is what is served: the trainer's forward pass against PEFT's numbers and against the lane's.

use std::{fs, path::PathBuf, sync::Arc};

use cairn_lane::{Decoder, Form, Options, Row, Wanted};
use cairn_trainer::{
    Adapter, BaseForm, Batch, Example, Method, Model, Session, TargetModules, TrainOptions, logits, score,
};
use serde::Deserialize;

use crate::support::{adapter, golden, json};

#[derive(Deserialize)]
struct Case {
    input_ids: Vec<u32>,
    last_logits: Vec<f32>,
    token_nll: Vec<f32>,
}

fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Each family, the base and each adapter that has no module trained whole.
#[test]
fn every_family_and_adapter_equals_the_reference() {
    for family in ["llama", "llama3-rope", "mistral", "qwen2", "qwen3"] {
        let dir = golden().join("peft").join(family);
        let model = Model::open(&dir.join("base"), BaseForm::F32).unwrap();
        let adapters = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let adapters: Vec<PathBuf> = adapters.filter(|path| path.join("adapter_config.json").exists()).collect();
        assert!(adapters.len() >= 4, "{adapters:?}");
        for path in std::iter::once(dir.join("base")).chain(adapters) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let loaded = (name != "base").then(|| Adapter::from_peft(&model, &adapter(&path), 0.0));
            if name == "save-head" {
                assert!(matches!(&loaded, Some(Err(error)) if error.to_string().contains("lm_head")));
                continue;
            }
            let loaded = loaded.map(Result::unwrap);
            for case in json::<Vec<Case>>(&dir.join(format!("{name}.golden.json"))) {
                let all = logits(&model, loaded.as_ref(), &case.input_ids);
                let last = &all[all.len() - case.last_logits.len()..];
                let off = greatest_difference(last, &case.last_logits);
                assert!(off < 1e-3, "{family} {name}: a last logit is off by {off}");
                let example =
                    Example { supervised: vec![true; case.input_ids.len()], tokens: case.input_ids, row: name.clone() };
                let scores = score(&model, loaded.as_ref(), &[example], 4096);
                let nll: f64 = case.token_nll.iter().map(|nll| f64::from(*nll)).sum();
                assert_eq!(scores[0].tokens, case.token_nll.len());
                assert!(
                    (scores[0].nll - nll).abs() < 1e-3 * scores[0].tokens as f64,
                    "{family} {name}: {}",
                    scores[0].nll
                );
            }
        }
    }
}

/// Trains a little, exports, and reads the directory with the lane.
#[test]
fn an_exported_adapter_gives_the_lane_the_trainers_logits() {
    let cases = [
        ("llama", "all-linear", false, false),
        ("qwen2", ".*\\.(q_proj|down_proj)", false, true),
        ("mistral", "all-linear", true, false),
    ];
    for (family, targets, use_rslora, use_dora) in cases {
        let base = golden().join("peft").join(family).join("base");
        let model = Arc::new(Model::open(&base, BaseForm::F32).unwrap());
        let options = TrainOptions {
            method: Method::Lora,
            r: 4,
            lr: 0.02,
            use_rslora,
            use_dora,
            target_modules: TargetModules::Pattern(targets.into()),
            ..TrainOptions::default()
        };
        let fresh = Adapter::new(&model, &options, family).unwrap();
        let tokens: Vec<u32> = (0..40).map(|i| (i * 31 + 7) % 500).collect();
        assert!(greatest_difference(&logits(&model, Some(&fresh), &tokens), &logits(&model, None, &tokens)) < 1e-4);
        let mut session = Session::new(Arc::clone(&model), fresh, &options);
        let example = Example { supervised: vec![true; 40], tokens: tokens.clone(), row: String::new() };
        let batch = Batch::new([&example]);
        let losses: Vec<f64> = (0..6)
            .map(|_| {
                let loss = session.accumulate(&batch, batch.supervised());
                session.apply(options.lr).unwrap();
                loss
            })
            .collect();
        assert!(losses[5] < 0.9 * losses[0], "{family}: {losses:?}");

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trained");
        session.adapter().export(&path).unwrap();
        let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
        let decoder = Decoder::open(&base, &Options { form: Some(Form::F32), threads: 2 }).unwrap();
        let attached = vec![(Arc::new(decoder.attach(&adapter(&path)).unwrap()), 1.0)];
        let (mut sequence, mut served) = (decoder.sequence(), Vec::new());
        let row = Row { tokens: &tokens, sequence: &mut sequence, adapters: &attached, wanted: Wanted::All };
        decoder.step(&mut [row], &mut served).unwrap();
        let off = greatest_difference(&logits(&model, Some(session.adapter()), &tokens), &served);
        assert!(off < 1e-3, "{family}: {off}");
    }
}
