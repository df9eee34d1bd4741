//! Adapters for the comparison with PEFT, one of each kind that is trained here, and what they are trained and scored on. Shared
//! with the example `trained`, which writes the golden files: so a fresh export can be held against them.

use std::{error::Error, path::Path, sync::Arc};

use cairn_trainer::{
    Adapter, BaseForm, Control, Data, Example, Method, Model, Run, TargetModules, TrainOptions, score,
};

/// A kind of adapter: its name, the tiny base that its golden files are for, and how it is trained.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    pub(crate) options: TrainOptions,
}

/// What held-out rows are worth.
pub(crate) struct Scored {
    /// Nats of all tokens but the first of each row.
    pub(crate) nll: f64,
    pub(crate) tokens: usize,
}

impl Scored {
    pub(crate) fn perplexity(&self) -> f64 {
        (self.nll / self.tokens as f64).exp()
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let names = |names: &[&str]| TargetModules::Names(names.iter().map(|name| (*name).to_owned()).collect());
    let plain = TrainOptions {
        method: Method::Lora,
        base_form: BaseForm::F32,
        r: 4,
        alpha: 8.0,
        lr: 1e-2,
        max_steps: Some(12),
        batch_size: 4,
        gradient_accumulation: 1,
        max_length: 32,
        ..TrainOptions::default()
    };
    let rslora = TrainOptions { r: 8, use_rslora: true, target_modules: names(&["q_proj", "v_proj"]), ..plain.clone() };
    let dora =
        TrainOptions { use_dora: true, target_modules: names(&["q_proj", "v_proj", "down_proj"]), ..plain.clone() };
    let qlora = TrainOptions { method: Method::Qlora, base_form: BaseForm::Stored, ..plain.clone() };
    [("lora", "llama", plain), ("rslora", "mistral", rslora), ("dora", "qwen2", dora), ("qlora", "llama", qlora)]
        .map(|(name, family, options)| Case { name, family, options })
        .into()
}

/// Lines that count up in different steps: the held-out ones go on as the others do, so an adapter that learnt these predicts
/// them better.
pub(crate) fn data() -> Data {
    let example = |i: u32| {
        let length = 10 + i * 5 % 19;
        let tokens = (0..length).map(|at| (20 + i + at * (1 + i % 3)) % 512).collect();
        Example { supervised: vec![true; length as usize], tokens, row: format!("row {i}") }
    };
    Data { train: (0..32).map(example).collect(), held_out: (32..40).map(example).collect() }
}

/// Trains a case on the model in `base`, exports it to `into`, and says what the held-out rows are worth with it on that base
/// in 32 bits, as PEFT has it.
pub(crate) fn train(case: &Case, base: &Path, into: &Path) -> Result<Scored, Box<dyn Error>> {
    let model = Arc::new(Model::open(base, case.options.form())?);
    let dir = tempfile::tempdir()?;
    let mut run = Run::new(model, case.options.clone(), case.family, data(), dir.path())?;
    run.train(&Control::default(), &mut |_| ())?;
    let adapter = run.adapter()?;
    adapter.export(into)?;
    let whole = Model::open(base, BaseForm::F32)?;
    Ok(scored(&whole, Some(&Adapter::from_peft(&whole, &adapter.to_peft(), 0.0)?)))
}

/// What the held-out rows are worth.
pub(crate) fn scored(model: &Model, adapter: Option<&Adapter>) -> Scored {
    let scores = score(model, adapter, &data().held_out, 4096);
    Scored { nll: scores.iter().map(|it| it.nll).sum(), tokens: scores.iter().map(|it| it.tokens).sum() }
}
