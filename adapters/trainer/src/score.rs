//! How well a base, with an adapter or without, predicts examples.

use crate::{
    Adapter, Batch, Example, Model,
    buffers::Buffers,
    kernel::rms_norm,
    session::{evaluate, hidden},
    view::{View, ViewMut},
};

/// What one example was worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The example's row.
    pub row: String,
    /// Negative log-likelihood of all tokens that are learnt, in nats.
    pub nll: f64,
    /// Tokens that are learnt.
    pub tokens: usize,
}

/// Scores examples, as many at a time as have `tokens` tokens together.
#[must_use]
pub fn score(model: &Model, adapter: Option<&Adapter>, examples: &[Example], tokens: usize) -> Vec<Score> {
    match score_while(model, adapter, examples, tokens, || Ok::<_, std::convert::Infallible>(())) {
        Ok(scores) => scores,
    }
}

/// As [`score`]; asks before each batch whether to go on.
pub(crate) fn score_while<E>(
    model: &Model,
    adapter: Option<&Adapter>,
    examples: &[Example],
    tokens: usize,
    mut go_on: impl FnMut() -> Result<(), E>,
) -> Result<Vec<Score>, E> {
    let mut buffers = Buffers::default();
    let mut all = Vec::with_capacity(examples.len());
    let mut rest = examples;
    while !rest.is_empty() {
        go_on()?;
        let mut sum = 0;
        let fitting = rest.iter().take_while(|example| {
            sum += example.tokens.len();
            sum <= tokens
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        let values = evaluate(model, adapter, &Batch::new(now), &mut buffers);
        let mut values = values.into_iter().map(f64::from);
        all.extend(now.iter().map(|example| {
            let tokens = example.learnt();
            Score { row: example.row.clone(), nll: values.by_ref().take(tokens).sum(), tokens }
        }));
        rest = later;
    }
    Ok(all)
}

/// The logits after each token of a sequence: [tokens, vocabulary].
#[must_use]
pub fn logits(model: &Model, adapter: Option<&Adapter>, tokens: &[u32]) -> Vec<f32> {
    let example = Example { tokens: tokens.to_vec(), supervised: vec![false; tokens.len()], row: String::new() };
    let mut buffers = Buffers::default();
    let mut x = hidden(model, adapter, &Batch::new([&example]), &mut buffers);
    let (rows, width, vocabulary) = (tokens.len(), model.config().hidden_size, model.config().vocab_size);
    let mut normed = vec![0.0; x.len()];
    rms_norm(&x, &model.norm, model.config().norm_eps, &mut normed, &mut vec![0.0; rows]);
    x.resize(rows * vocabulary, 0.0);
    model.head().forward(View::new(&normed, rows, width), &mut ViewMut::new(&mut x, rows, vocabulary), &mut buffers);
    x
}
