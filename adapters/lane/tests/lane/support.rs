//! Golden files, and greedy decoding.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_adapters::peft::{Adapter, Limits};
use cairn_lane::{Attached, Decoder, Form, Options, Row, Wanted};
use serde::Deserialize;

/// An adapter with its weight, as rows take them.
pub(crate) type Weighted = (Arc<Attached>, f32);

/// Where the golden files are: `CAIRN_GOLDEN`, or `tests/golden` of the workspace.
pub(crate) fn golden() -> PathBuf {
    std::env::var_os("CAIRN_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"), PathBuf::from)
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    pub(crate) input_ids: Vec<u32>,
    pub(crate) last_logits: Vec<f32>,
    pub(crate) token_nll: Vec<f32>,
    pub(crate) greedy: Vec<u32>,
}

pub(crate) fn cases<T: for<'a> Deserialize<'a>>(path: &Path) -> Vec<T> {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

pub(crate) fn open(dir: &Path, form: Form) -> Decoder {
    Decoder::open(dir, &Options { form: Some(form), threads: 2 }).unwrap()
}

pub(crate) fn attached(decoder: &Decoder, dir: &Path) -> Vec<Weighted> {
    let adapter = Adapter::read(dir, &Limits::default()).unwrap();
    vec![(Arc::new(decoder.attach(&adapter).unwrap()), 1.0)]
}

/// The logits after each token: [tokens, vocabulary].
pub(crate) fn all_logits(decoder: &Decoder, tokens: &[u32], adapters: &[Weighted]) -> Vec<f32> {
    let (mut sequence, mut logits) = (decoder.sequence(), Vec::new());
    let row = Row { tokens, sequence: &mut sequence, adapters, wanted: Wanted::All };
    decoder.step(&mut [row], &mut logits).unwrap();
    logits
}

/// The most probable token, the lowest of equal ones.
pub(crate) fn best(logits: &[f32]) -> u32 {
    let best =
        logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, x)| if *x > best.1 { (i, *x) } else { best });
    best.0 as u32
}

/// Greedy tokens after a prompt.
pub(crate) fn greedy(decoder: &Decoder, prompt: &[u32], adapters: &[Weighted], count: usize) -> Vec<u32> {
    let (mut sequence, mut tokens, mut new) = (decoder.sequence(), Vec::new(), prompt.to_vec());
    while tokens.len() < count {
        let mut logits = Vec::new();
        let row = Row { tokens: &new, sequence: &mut sequence, adapters, wanted: Wanted::Last };
        decoder.step(&mut [row], &mut logits).unwrap();
        new = vec![best(&logits)];
        tokens.extend(&new);
    }
    tokens
}
