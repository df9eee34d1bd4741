//! How good generated text is, and how well a model predicts a text: BLEU as sacreBLEU computes it, ROUGE as rouge-score
//! does, exact match, perplexity and bits per byte, with seeded bootstrap intervals for each.

mod bleu;
mod bootstrap;
mod exact;
mod likelihood;
mod porter;
mod rouge;

pub use bleu::{BleuScore, BleuStatistics, SIGNATURE, corpus_bleu, sentence_bleu};
pub use bootstrap::{Bootstrap, Difference, Estimate};
pub use exact::{exact_match, normalised_match};
pub use likelihood::Likelihood;
pub use porter::stem;
pub use rouge::{Prf, Rouge, RougeScorer};

/// What Python's `str.isspace` says of a character: Unicode's white space, and U+001C to U+001F.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}
