//! [`Profile`]: where the time of all steps went, so that a benchmark needs no profiler.

use std::{
    ops::Sub,
    time::{Duration, Instant},
};

/// Time spent in the parts of all steps so far; what is left of a step is norms, activations and the KV cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Profile {
    /// Products with the base's matrices, where no token has adapters.
    pub matrices: Duration,
    /// Products with the base's matrices together with what adapters add to them: a thread does both in turn.
    pub adapted: Duration,
    /// Attention over keys and values.
    pub attention: Duration,
}

impl Sub for Profile {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            matrices: self.matrices.saturating_sub(earlier.matrices),
            adapted: self.adapted.saturating_sub(earlier.adapted),
            attention: self.attention.saturating_sub(earlier.attention),
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
