//! Adapters that were trained here, as Hugging Face PEFT loads them: `tests/golden/trained` has our exports and what PEFT then
//! says of held-out rows (`make.py` there). Our own perplexity must be PEFT's within 0.1 %, by the trainer and by the lane, and
//! what is exported today must be what PEFT was given.

use std::{path::Path, sync::Arc};

use cairn_lane::{Decoder, Form, Options, Row, Wanted};
use cairn_trainer::{Adapter, BaseForm, Model};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    cases::{Case, Scored, cases, data, scored, train},
    support::{adapter, golden, json},
};

#[derive(Deserialize)]
struct Golden {
    base_perplexity: f64,
    rows: Vec<GoldenRow>,
}

#[derive(Deserialize)]
struct GoldenRow {
    input_ids: Vec<u32>,
    token_nll: Vec<f64>,
}

impl Golden {
    fn read(case: &Case) -> Self {
        json(&golden().join(format!("trained/{}.golden.json", case.name)))
    }

    fn perplexity(&self) -> f64 {
        let all = || self.rows.iter().flat_map(|row| &row.token_nll);
        Scored { nll: all().sum(), tokens: all().count() }.perplexity()
    }
}

fn same(what: &str, ours: f64, peft: f64) {
    assert!((ours / peft - 1.0).abs() < 1e-3, "{what}: perplexity {ours}, and by PEFT {peft}");
}

/// The lane's own forward pass, which serves it.
fn served(base: &Path, trained: &Path) -> f64 {
    let decoder = Decoder::open(base, &Options { form: Some(Form::F32), threads: 2 }).unwrap();
    let attached = vec![(Arc::new(decoder.attach(&adapter(trained)).unwrap()), 1.0)];
    let mut all = Scored { nll: 0.0, tokens: 0 };
    for example in data().held_out {
        let (mut sequence, mut logits) = (decoder.sequence(), Vec::new());
        let row = Row { tokens: &example.tokens, sequence: &mut sequence, adapters: &attached, wanted: Wanted::All };
        decoder.step(&mut [row], &mut logits).unwrap();
        let width = logits.len() / example.tokens.len();
        for (row, next) in logits.chunks(width).zip(&example.tokens[1..]) {
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            all.nll += sum.ln() - f64::from(row[*next as usize]);
            all.tokens += 1;
        }
    }
    all.perplexity()
}

#[test]
fn peft_gives_a_trained_adapter_the_same_perplexity() {
    for case in cases() {
        let (golden_file, base) = (Golden::read(&case), golden().join(format!("peft/{}/base", case.family)));
        let rows = data().held_out;
        assert!(golden_file.rows.iter().map(|row| &row.input_ids).eq(rows.iter().map(|row| &row.tokens)));
        let trained = golden().join("trained").join(case.name);
        let model = Model::open(&base, BaseForm::F32).unwrap();
        let loaded = Adapter::from_peft(&model, &adapter(&trained), 0.0).unwrap();
        let (peft, alone) = (golden_file.perplexity(), scored(&model, None).perplexity());
        same(&format!("{} without an adapter", case.family), alone, golden_file.base_perplexity);
        // An adapter that changed nothing would agree as well.
        assert!(peft < 0.9 * alone, "{}: it has learnt nothing: {peft} and {alone}", case.name);
        same(&format!("{} by the trainer", case.name), scored(&model, Some(&loaded)).perplexity(), peft);
        same(&format!("{} by the lane", case.name), served(&base, &trained), peft);
    }
}

#[test]
fn what_is_exported_today_is_what_peft_loaded() {
    for case in cases() {
        let (dir, base) = (tempfile::tempdir().unwrap(), golden().join(format!("peft/{}/base", case.family)));
        let fresh = dir.path().join("fresh");
        let now = train(&case, &base, &fresh).unwrap();
        let then = golden().join("trained").join(case.name);
        let config = |dir: &Path| json::<Value>(&dir.join("adapter_config.json"));
        assert_eq!(config(&fresh), config(&then), "{}", case.name);
        let tensors = |dir: &Path| {
            let bytes = std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            let mut all: Vec<_> =
                tensors.iter().map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec())).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert_eq!(tensors(&fresh), tensors(&then), "{}", case.name);
        // Other processors sum in another order, and no more than that may differ.
        same(&format!("{} trained anew", case.name), now.perplexity(), Golden::read(&case).perplexity());
    }
}
