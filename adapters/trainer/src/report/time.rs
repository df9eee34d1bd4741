//! [`Times`]: where the time of a run goes, predicted before it starts and measured afterwards.

use serde::{Deserialize, Serialize};

/// Seconds by use.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Times {
    /// Reading the base.
    pub loading: f64,
    /// Optimizer steps.
    pub steps: f64,
    /// Evaluations between them.
    pub watching: f64,
    /// Likelihoods of base and adapter at the end.
    pub scoring: f64,
    /// Answers of base and adapter at the end; how long they get is the models' choice, so it is not predicted.
    pub answers: Option<f64>,
}

/// What was predicted, and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimeReport {
    /// Before the start; none for runs from before it was kept.
    pub predicted: Option<Times>,
    /// Of all parts of the run together, pauses left out; loading and evaluation are those of the last part.
    pub measured: Times,
}

impl Times {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.parts().iter().filter_map(|(_, seconds)| *seconds).sum()
    }

    /// Each use by name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, Option<f64>); 5] {
        let Self { loading, steps, watching, scoring, answers } = *self;
        [
            ("loading", Some(loading)),
            ("steps", Some(steps)),
            ("evaluations on the way", Some(watching)),
            ("likelihoods", Some(scoring)),
            ("answers", answers),
        ]
    }
}
