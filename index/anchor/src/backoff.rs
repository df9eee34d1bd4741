//! How long to wait after failures.

use std::time::Duration;

use rand::Rng as _;

/// Twice as long after each failure, up to a minute, and up to a quarter more by chance, so that many gateways do not
/// come back to a node all at once.
pub(crate) fn delay(first: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST.max(first));
    doubled + doubled.mul_f64(rand::rng().random_range(0.0..0.25))
}

const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_minute() {
        let first = Duration::from_secs(5);
        for (failures, least) in [(1, 5), (2, 10), (4, 40), (5, 60), (500, 60)] {
            let waited = delay(first, failures);
            assert!(waited >= Duration::from_secs(least) && waited <= Duration::from_secs(least).mul_f64(1.25));
        }
    }
}
