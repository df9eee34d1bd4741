//! Choosing tokens with OpenAI's sampling parameters, for both engines.
//!
//! A [`Sampler`] chooses the tokens of one answer. Its random numbers are a function of the seed, the answer's index and
//! the position, so the choice depends on nothing else that runs. Log-probabilities are those of the model, before any
//! parameter changes them. No step sorts the vocabulary.

mod nucleus;
mod scan;

use std::collections::HashMap;

use crate::Sampling;

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Its id.
    pub token: u32,
    /// ln P of the token, where asked for.
    pub logprob: Option<f32>,
    /// The most probable tokens with ln P, most probable first, where asked for.
    pub top: Vec<(u32, f32)>,
}

/// Why no token can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// NaN or infinity among the logits.
    #[error("the model computed logits that are not numbers; its weights may be damaged")]
    NotNumbers,
    /// Everything is forbidden by the constraint or by `logit_bias`.
    #[error("the constraint and logit_bias together allow no token")]
    NothingAllowed,
}

/// Memory that samplers of one thread share.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    candidates: nucleus::Candidates,
}

/// Chooses the tokens of one answer, one after the other.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    seed: u64,
    index: u64,
    /// Tokens chosen so far.
    position: u64,
    /// How often each token was chosen.
    counts: HashMap<u32, u32>,
}

impl Sampler {
    /// For answer `index` of a request. `seed` is the request's own, or one drawn for it: all its answers share it.
    #[must_use]
    pub fn new(sampling: Sampling, seed: u64, index: usize) -> Self {
        Self { sampling, seed, index: index as u64, position: 0, counts: HashMap::new() }
    }

    /// Chooses the next token from `logits: [vocabulary]`. Bit `t % 32` of `allowed[t / 32]` says whether token `t` may be
    /// chosen; none = all may.
    ///
    /// # Errors
    /// The logits are not numbers, or none may be chosen.
    pub fn choose(
        &mut self,
        logits: &[f32],
        allowed: Option<&[u32]>,
        scratch: &mut Scratch,
    ) -> Result<Chosen, SampleError> {
        let penalised = self.sampling.presence_penalty != 0.0 || self.sampling.frequency_penalty != 0.0;
        let adjusted = if allowed.is_some() || !self.sampling.logit_bias.is_empty() || penalised {
            self.adjust(logits, allowed, &mut scratch.logits);
            scratch.logits.as_slice()
        } else {
            logits
        };
        let highest = scan::highest(adjusted).ok_or(SampleError::NotNumbers)?;
        if highest == f32::NEG_INFINITY {
            return Err(SampleError::NothingAllowed);
        }
        // Below this, e^(x / T) tells no two different logits apart that matter: it is greedy.
        const COLDEST: f64 = 1e-5;
        let token = if self.sampling.temperature < COLDEST {
            scan::first(adjusted, highest)
        } else {
            let at = uniform(self.seed, self.index, self.position);
            nucleus::draw(adjusted, highest, &self.sampling, at, &mut scratch.candidates)
        };
        self.position += 1;
        if penalised {
            *self.counts.entry(token).or_default() += 1;
        }
        let (logprob, top) = match self.sampling.logprobs {
            Some(top) => {
                let (of_token, top) = logprobs(logits, token, top).ok_or(SampleError::NotNumbers)?;
                (Some(of_token), top)
            }
            None => (None, Vec::new()),
        };
        Ok(Chosen { token, logprob, top })
    }

    /// logits + bias − presence·[count > 0] − frequency·count, over generated tokens as OpenAI counts them.
    fn adjust(&self, logits: &[f32], allowed: Option<&[u32]>, adjusted: &mut Vec<f32>) {
        adjusted.clear();
        match allowed {
            None => adjusted.extend_from_slice(logits),
            Some(words) => {
                adjusted.resize(logits.len(), f32::NEG_INFINITY);
                for (word, (to, from)) in words.iter().zip(adjusted.chunks_mut(32).zip(logits.chunks(32))) {
                    let mut left = *word;
                    while left != 0 {
                        let bit = left.trailing_zeros() as usize;
                        if let (Some(to), Some(from)) = (to.get_mut(bit), from.get(bit)) {
                            *to = *from;
                        }
                        left &= left - 1;
                    }
                }
            }
        }
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = adjusted.get_mut(*token as usize) {
                *logit += bias;
            }
        }
        for (token, count) in &self.counts {
            if let Some(logit) = adjusted.get_mut(*token as usize) {
                *logit -= self.sampling.presence_penalty + self.sampling.frequency_penalty * *count as f32;
            }
        }
    }
}

/// A number from 0 to below 1 that depends on nothing but its arguments (SplitMix64's mixing, a round for each).
fn uniform(seed: u64, index: u64, position: u64) -> f64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    };
    let state = [index, position].iter().fold(mix(seed.wrapping_add(STEP)), |state, part| {
        mix(state ^ part.wrapping_add(1).wrapping_mul(STEP)).wrapping_add(STEP)
    });
    // 53 bits: what an f64 holds.
    (mix(state) >> 11) as f64 / (1_u64 << 53) as f64
}

/// ln softmax of the token, and of the `top` most probable ones.
fn logprobs(logits: &[f32], token: u32, top: usize) -> Option<(f32, Vec<(u32, f32)>)> {
    let highest = scan::highest(logits).filter(|highest| highest.is_finite())?;
    let log_sum = f64::from(highest) + scan::mass(logits, highest, 1.0).ln();
    let logprob = |logit: f32| ((f64::from(logit) - log_sum) as f32).min(0.0);
    let mut tops = Vec::new();
    scan::largest(logits, top, &mut tops);
    tops.sort_unstable_by(scan::by_value);
    Some((logprob(logits[token as usize]), tops.into_iter().map(|(token, logit)| (token, logprob(logit))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(sampling: &Sampling, seed: u64, index: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling.clone(), seed, index);
        let logits: Vec<f32> = (0..50).map(|token| (token as f32 * 0.37).sin()).collect();
        let mut scratch = Scratch::default();
        (0..40).map(|_| sampler.choose(&logits, None, &mut scratch).unwrap().token).collect()
    }

    #[test]
    fn a_seed_fixes_the_tokens_and_other_seeds_and_answers_differ() {
        let sampling = Sampling::default();
        assert_eq!(tokens(&sampling, 7, 0), tokens(&sampling, 7, 0));
        assert_ne!(tokens(&sampling, 7, 0), tokens(&sampling, 8, 0));
        assert_ne!(tokens(&sampling, 7, 0), tokens(&sampling, 7, 1));
    }

    #[test]
    fn random_numbers_are_even_and_independent_of_their_neighbours() {
        let mut bins = [0_u32; 16];
        let mut products = 0.0;
        for seed in 0..100 {
            for position in 0..1000 {
                let here = uniform(seed, 0, position);
                bins[(here * 16.0) as usize] += 1;
                products += (here - 0.5) * (uniform(seed, 1, position) - 0.5);
            }
        }
        // 6,250 expected; the standard deviation is 77. That of the mean product is 0.00026.
        assert!(bins.iter().all(|count| (5_900..6_600).contains(count)), "{bins:?}");
        assert!((products / 100_000.0_f64).abs() < 0.0015, "{products}");
    }

    #[test]
    fn draws_follow_the_distribution() {
        let mut sampler = Sampler::new(Sampling::default(), 1, 0);
        let (logits, mut scratch) = ([1.0_f32.ln(), 3.0_f32.ln()], Scratch::default());
        let ones = (0..20_000).filter(|_| sampler.choose(&logits, None, &mut scratch).unwrap().token == 1).count();
        assert!((14_700..15_300).contains(&ones), "{ones} of 20,000, expected three in four");
    }

    #[test]
    fn penalties_count_what_was_generated_and_bias_adds() {
        let sampling = Sampling { temperature: 0.0, presence_penalty: 1.5, ..Sampling::default() };
        let (mut sampler, mut scratch) = (Sampler::new(sampling, 1, 0), Scratch::default());
        assert_eq!([0, 1].map(|_| sampler.choose(&[2.0, 1.0], None, &mut scratch).unwrap().token), [0, 1]);
        let sampling = Sampling { temperature: 0.0, frequency_penalty: 0.4, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, 1, 0);
        let chosen = [0; 4].map(|_: i32| sampler.choose(&[2.0, 1.0], None, &mut scratch).unwrap().token);
        assert_eq!(chosen, [0, 0, 0, 1]);
        let bias = [(1, 5.0)].into();
        let sampling = Sampling { temperature: 0.0, logit_bias: bias, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, 1, 0);
        assert_eq!(sampler.choose(&[2.0, 1.0], None, &mut scratch).unwrap().token, 1);
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_tokens() {
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        let (mut sampler, mut scratch) = (Sampler::new(sampling, 1, 0), Scratch::default());
        let mut logits = vec![0.0; 100];
        logits[41] = 3.0;
        logits[97] = 3.0;
        assert_eq!(sampler.choose(&logits, None, &mut scratch).unwrap().token, 41);
    }

    #[test]
    fn only_allowed_tokens_are_chosen() {
        let logits: Vec<f32> = (0..70).map(|token| token as f32).collect();
        let mut scratch = Scratch::default();
        for temperature in [0.0, 1.0, 100.0] {
            let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::default() }, 1, 0);
            for _ in 0..200 {
                let token = sampler.choose(&logits, Some(&[1 << 3, 1 << 31, 0]), &mut scratch).unwrap().token;
                assert!(token == 3 || token == 63, "{token}");
            }
            assert_eq!(sampler.choose(&logits, Some(&[0, 0, 0]), &mut scratch), Err(SampleError::NothingAllowed));
        }
    }

    #[test]
    fn logits_that_are_not_numbers_are_refused() {
        let mut scratch = Scratch::default();
        for bad in [f32::NAN, f32::INFINITY] {
            let mut sampler = Sampler::new(Sampling::default(), 1, 0);
            assert_eq!(sampler.choose(&[1.0, bad, 2.0], None, &mut scratch), Err(SampleError::NotNumbers));
        }
    }

    #[test]
    fn logprobs_are_the_models_own() {
        let sampling =
            Sampling { temperature: 0.0, logit_bias: [(0, 9.0)].into(), logprobs: Some(1), ..Sampling::default() };
        let (mut sampler, mut scratch) = (Sampler::new(sampling, 1, 0), Scratch::default());
        let chosen = sampler.choose(&[1.0_f32.ln(), 3.0_f32.ln()], None, &mut scratch).unwrap();
        assert_eq!(chosen.token, 0);
        assert!((chosen.logprob.unwrap() - 0.25_f32.ln()).abs() < 1e-6);
        assert_eq!(chosen.top[0].0, 1);
        assert!((chosen.top[0].1 - 0.75_f32.ln()).abs() < 1e-6);
    }
}
