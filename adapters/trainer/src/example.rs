//! [`Example`]: one row of a data set, ready for training.

/// Tokens of one conversation or text, and which of them are to be learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// For each token whether the model is to learn to predict it; the first one is never predicted.
    pub supervised: Vec<bool>,
    /// Identity of the row it was made from.
    pub row: String,
}
