//! [`Batch`]: sequences below one another, without padding. They share products and nothing else: attention stays inside a
//! sequence and positions begin at 0 in each, so packing needs nothing more.

use std::ops::Range;

use crate::{Example, TrainError};

/// Tokens of several sequences that go through the model together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// All tokens.
    pub(crate) tokens: Vec<u32>,
    /// Rows of each sequence.
    pub(crate) sequences: Vec<Range<usize>>,
    /// Rows whose next token is to be learnt, in order, with that token.
    pub(crate) targets: Vec<(usize, u32)>,
}

impl Batch {
    /// Sequences of any lengths.
    #[must_use]
    pub fn new<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Self {
        let mut batch = Self::default();
        for example in examples {
            let start = batch.tokens.len();
            batch.tokens.extend(&example.tokens);
            batch.sequences.push(start..batch.tokens.len());
            let learnt = example.tokens.iter().zip(&example.supervised).enumerate().skip(1);
            batch.targets.extend(learnt.filter(|(_, (_, on))| **on).map(|(i, (token, _))| (start + i - 1, *token)));
        }
        batch
    }

    /// Tokens of all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens to be learnt.
    #[must_use]
    pub fn supervised(&self) -> usize {
        self.targets.len()
    }

    /// The position of each token in its sequence.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.sequences.iter().flat_map(|sequence| 0..sequence.len())
    }
}

impl Example {
    /// Tokens that are learnt: those after the first that are supervised.
    #[must_use]
    pub fn learnt(&self) -> usize {
        self.supervised.iter().skip(1).filter(|on| **on).count()
    }

    /// Whether a model of this vocabulary and context can take it.
    ///
    /// # Errors
    /// [`TrainError::Example`], saying what does not fit.
    pub fn check(&self, vocabulary: usize, length: usize) -> Result<(), TrainError> {
        let refuse = |reason: String| Err(TrainError::Example { row: self.row.clone(), reason });
        if self.tokens.len() != self.supervised.len() {
            return refuse(format!(
                "{} tokens and {} marks of what is learnt",
                self.tokens.len(),
                self.supervised.len()
            ));
        }
        if self.tokens.len() > length {
            let tokens = self.tokens.len();
            return refuse(format!("{tokens} tokens do not fit into {length}: raise max_length, or shorten the row"));
        }
        if let Some(token) = self.tokens.iter().find(|token| **token as usize >= vocabulary) {
            return refuse(format!(
                "token {token} is not one of the base's {vocabulary}: use the base's own tokenizer"
            ));
        }
        Ok(())
    }
}
