//! [`Profile`]: where the time of all steps went, so that a benchmark needs no profiler.

use std::{
    ops::Sub,
    time::{Duration, Instant},
};

/// Time spent in the parts of all steps so far; what is left of a step is norms, activations and the KV cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile {
    /// Products with the base's matrices; on tokens with adapters also the first factors of these.
    pub matrices: Duration,
    /// Attention over keys and values.
    pub attention: Duration,
    /// What else adapters cost.
    pub adapters: Duration,
}

impl Sub for Profile {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            matrices: self.matrices.saturating_sub(earlier.matrices),
            attention: self.attention.saturating_sub(earlier.attention),
            adapters: self.adapters.saturating_sub(earlier.adapters),
        }
    }
}

/// Adds the time of `work` to `spent`.
pub(crate) fn timed<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *spent += start.elapsed();
    result
}
