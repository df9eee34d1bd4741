//! [`Likelihood`]: how well a model predicts held-out text.

use std::{f64::consts::LN_2, iter::Sum};

use serde::{Deserialize, Serialize};

/// What a model's predictions of a text sum up to; sums over several texts are again one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Likelihood {
    /// Negative log-likelihood of the supervised tokens, in nats.
    pub nll: f64,
    /// Supervised tokens.
    pub tokens: usize,
    /// UTF-8 bytes of the text that those tokens stand for.
    pub bytes: usize,
}

impl Likelihood {
    /// exp(nll / tokens): the number of tokens among which the model hesitates. None without tokens.
    #[must_use]
    pub fn perplexity(&self) -> Option<f64> {
        (self.tokens > 0).then(|| (self.nll / self.tokens as f64).exp())
    }

    /// nll / ln 2 / bytes: comparable between models with different tokenizers. None without bytes.
    #[must_use]
    pub fn bits_per_byte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.nll / LN_2 / self.bytes as f64)
    }
}

impl Sum for Likelihood {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            nll: sum.nll + one.nll,
            tokens: sum.tokens + one.tokens,
            bytes: sum.bytes + one.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_guesses_among_eight_has_perplexity_eight() {
        let one = |tokens, bytes| Likelihood { nll: tokens as f64 * 8f64.ln(), tokens, bytes };
        let sum: Likelihood = [one(3, 6), one(5, 10)].into_iter().sum();
        assert!((sum.perplexity().unwrap() - 8.0).abs() < 1e-12);
        // Three bits a token, two bytes a token.
        assert!((sum.bits_per_byte().unwrap() - 1.5).abs() < 1e-12);
        assert_eq!(Likelihood::default().perplexity(), None);
        assert_eq!(Likelihood::default().bits_per_byte(), None);
    }
}
