//! Choosing tokens: OpenAI's sampling parameters with a seed, which mistral.rs' own sampler does not have.
//!
//! A [`Chooser`] sits behind mistral.rs' hook for logits. It chooses the token itself, reports it, and returns logits
//! that leave the engine no other choice. So a seed gives the same tokens whatever else runs, and log-probabilities are
//! those of the model, before any parameter changes them.

use std::collections::HashMap;

use cairn_adapters::Sampling;
use mistralrs::{CustomLogitsProcessor, Tensor};
use mistralrs_candle::Error;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) token: u32,
    /// ln P of the token, where asked for.
    pub(crate) logprob: Option<f32>,
    /// The most probable tokens, most probable first.
    pub(crate) top: Vec<(u32, f32)>,
}

/// Chooses the tokens of one sequence.
pub(crate) struct Chooser {
    sampling: Sampling,
    chosen: UnboundedSender<Chosen>,
    /// Dropped with the sequence, which tells that the engine has let go of it.
    _alive: oneshot::Sender<()>,
    /// Guards the generator and the counts; the engine calls once a token.
    state: Mutex<State>,
}

struct State {
    random: StdRng,
    /// How often each token was generated.
    counts: HashMap<u32, u32>,
}

impl Chooser {
    /// Answer `index` of a request has its own stream of random numbers.
    pub(crate) fn new(
        sampling: Sampling,
        index: usize,
        chosen: UnboundedSender<Chosen>,
        alive: oneshot::Sender<()>,
    ) -> Self {
        let seed = sampling.seed.unwrap_or_else(rand::random);
        // A large odd step keeps the choices of neighbouring seeds apart.
        let seed = seed.wrapping_add((index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let state = Mutex::new(State { random: StdRng::seed_from_u64(seed), counts: HashMap::new() });
        Self { sampling, chosen, _alive: alive, state }
    }

    fn choose(&self, logits: &[f32]) -> Chosen {
        let mut state = self.state.lock();
        let adjusted = self.adjust(logits, &state.counts);
        let token = if self.sampling.temperature <= 0.0 {
            argmax(&adjusted)
        } else {
            let probabilities = truncated(&adjusted, &self.sampling);
            draw(&probabilities, state.random.random())
        };
        *state.counts.entry(token).or_default() += 1;
        let (logprob, top) = match self.sampling.logprobs {
            Some(top) => {
                let (of_token, top) = logprobs(logits, token, top);
                (Some(of_token), top)
            }
            None => (None, Vec::new()),
        };
        Chosen { token, logprob, top }
    }

    /// logits + bias − presence·[count > 0] − frequency·count, over generated tokens as OpenAI counts them.
    fn adjust(&self, logits: &[f32], counts: &HashMap<u32, u32>) -> Vec<f32> {
        let mut adjusted = logits.to_vec();
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = adjusted.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        for (token, count) in counts {
            if let Some(logit) = adjusted.get_mut(*token as usize) {
                *logit -= self.sampling.presence_penalty + self.sampling.frequency_penalty * *count as f32;
            }
        }
        adjusted
    }
}

impl CustomLogitsProcessor for Chooser {
    fn apply(&self, logits: &Tensor, _context: &[u32]) -> mistralrs::Result<Tensor> {
        let values: Vec<f32> = logits.to_vec1()?;
        if values.is_empty() || values.iter().any(|logit| logit.is_nan()) {
            return Err(Error::Msg(
                "the model computed logits that are not numbers; its weights may be damaged".into(),
            ));
        }
        let chosen = self.choose(&values);
        let mut only = vec![f32::NEG_INFINITY; values.len()];
        only[chosen.token as usize] = 0.0;
        // A receiver that is gone means that the request was cancelled; the engine notices by itself.
        let _ = self.chosen.send(chosen);
        Tensor::from_vec(only, logits.shape(), logits.device())
    }
}

fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
    best.map_or(0, |(token, _)| token as u32)
}

/// Tokens that may be drawn with their weights: temperature, then top_k, min_p, top_p.
fn truncated(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // The most probable token has weight 1.
    let weight = |logit: &f32| (f64::from(logit - highest) / sampling.temperature).exp();
    let mut weights: Vec<(u32, f64)> =
        logits.iter().map(weight).zip(0..).map(|(weight, token)| (token, weight)).collect();
    let by_weight = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if let Some(k) = sampling.top_k.map(|k| k.max(1)).filter(|k| *k < weights.len()) {
        weights.select_nth_unstable_by(k - 1, by_weight);
        weights.truncate(k);
        weights.sort_unstable_by_key(|(token, _)| *token);
    }
    if let Some(min_p) = sampling.min_p {
        weights.retain(|(_, weight)| *weight >= min_p.min(1.0));
    }
    if sampling.top_p < 1.0 {
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        // All tokens below this share hold less than 1 - top_p together, so none of them is needed: no need to sort them.
        let least = sum * (1.0 - sampling.top_p.max(0.0)) / weights.len() as f64;
        weights.retain(|(_, weight)| *weight >= least.min(1.0));
        weights.sort_unstable_by(by_weight);
        let mut cumulated = 0.0;
        let last = weights.iter().position(|(_, weight)| {
            cumulated += weight;
            cumulated >= sampling.top_p * sum
        });
        weights.truncate(last.map_or(weights.len(), |last| last + 1));
    }
    weights
}

/// The token at `at` (0 to 1) of the cumulated weights.
fn draw(weights: &[(u32, f64)], at: f64) -> u32 {
    let target = at * weights.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut cumulated = 0.0;
    for (token, weight) in weights {
        cumulated += weight;
        if cumulated > target {
            return *token;
        }
    }
    weights.last().map_or(0, |(token, _)| *token)
}

/// ln softmax of the token, and of the `top` most probable ones.
fn logprobs(logits: &[f32], token: u32, top: usize) -> (f32, Vec<(u32, f32)>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = f64::from(highest) + logits.iter().map(|it| f64::from(it - highest).exp()).sum::<f64>().ln();
    let logprob = |logit: f32| (f64::from(logit) - log_sum) as f32;
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let top = top.min(order.len());
    if top > 0 && top < order.len() {
        order.select_nth_unstable_by(top - 1, by_logit);
    }
    order.truncate(top);
    order.sort_unstable_by(by_logit);
    (logprob(logits[token as usize]), order.into_iter().map(|it| (it, logprob(logits[it as usize]))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(sampling: &Sampling, index: usize) -> Vec<u32> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let chooser = Chooser::new(sampling.clone(), index, sender, oneshot::channel().0);
        let logits: Vec<f32> = (0..50).map(|token| (token as f32 * 0.37).sin()).collect();
        for _ in 0..40 {
            let chosen = chooser.choose(&logits);
            chooser.chosen.send(chosen).unwrap();
        }
        std::iter::from_fn(|| receiver.try_recv().ok()).map(|chosen| chosen.token).collect()
    }

    #[test]
    fn a_seed_fixes_the_tokens_and_other_seeds_and_choices_differ() {
        let seeded = |seed| Sampling { seed: Some(seed), ..Sampling::default() };
        assert_eq!(tokens(&seeded(7), 0), tokens(&seeded(7), 0));
        assert_ne!(tokens(&seeded(7), 0), tokens(&seeded(8), 0));
        assert_ne!(tokens(&seeded(7), 0), tokens(&seeded(7), 1));
    }

    #[test]
    fn parameters_narrow_the_choice() {
        let logits = [3.0, 2.0, 1.0, 0.0];
        let kept = |sampling: Sampling| truncated(&logits, &sampling).len();
        assert_eq!(kept(Sampling::default()), 4);
        assert_eq!(kept(Sampling { top_k: Some(2), ..Sampling::default() }), 2);
        // e^-1 = 0.37 and e^-2 = 0.14 of the most probable.
        assert_eq!(kept(Sampling { min_p: Some(0.2), ..Sampling::default() }), 2);
        // Probabilities are 0.64, 0.24, 0.09, 0.03.
        assert_eq!(kept(Sampling { top_p: 0.7, ..Sampling::default() }), 2);
        assert_eq!(kept(Sampling { top_p: 0.0, ..Sampling::default() }), 1);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let sampling = Sampling { seed: Some(1), ..Sampling::default() };
        let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
        let chooser = Chooser::new(sampling, 0, sender, oneshot::channel().0);
        let first = (0..20_000).filter(|_| chooser.choose(&[1.0_f32.ln(), 3.0_f32.ln()]).token == 1).count();
        assert!((14_700..15_300).contains(&first), "{first} of 20,000, expected three in four");
    }

    #[test]
    fn penalties_count_what_was_generated() {
        let (sender, _receiver) = tokio::sync::mpsc::unbounded_channel();
        let sampling = Sampling { temperature: 0.0, presence_penalty: 1.5, ..Sampling::default() };
        let chooser = Chooser::new(sampling, 0, sender, oneshot::channel().0);
        assert_eq!([0, 1].map(|_| chooser.choose(&[2.0, 1.0]).token), [0, 1]);
    }

    #[test]
    fn logprobs_are_the_models_own() {
        let (of_token, top) = logprobs(&[1.0_f32.ln(), 3.0_f32.ln()], 0, 1);
        assert!((of_token - 0.25_f32.ln()).abs() < 1e-6);
        assert_eq!(top[0].0, 1);
        assert!((top[0].1 - 0.75_f32.ln()).abs() < 1e-6);
    }
}
