//! Orders of passages, drawn from a seed in a way that any language can repeat.

use sha2::{Digest, Sha256};

/// Numbers from SHA-256(seed ‖ counter), counter 8 bytes big-endian from 0, each the first 8 bytes big-endian.
pub(crate) struct Draw {
    seed: [u8; 32],
    counter: u64,
}

impl Draw {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0 }
    }

    /// Uniform in 0..bound, by rejecting numbers from the incomplete last range.
    fn below(&mut self, bound: u64) -> u64 {
        let whole = u64::MAX - u64::MAX % bound;
        loop {
            let digest = Sha256::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize();
            self.counter += 1;
            let number = digest[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            if number < whole {
                return number % bound;
            }
        }
    }

    /// An order of 0..n (Fisher and Yates, from the end).
    pub(crate) fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            let other = self.below(last as u64 + 1) as usize;
            order.swap(last, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_uniform_and_repeat() {
        let mut draw = Draw::new([7; 32]);
        let mut counts = std::collections::BTreeMap::<Vec<usize>, usize>::new();
        for _ in 0..6000 {
            *counts.entry(draw.order(3)).or_default() += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
        assert_eq!(Draw::new([7; 32]).order(9), Draw::new([7; 32]).order(9));
        assert_ne!(Draw::new([7; 32]).order(9), Draw::new([8; 32]).order(9));
    }
}
