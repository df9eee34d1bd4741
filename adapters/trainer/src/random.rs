//! Numbers that depend on a key and a counter only: a mask can be drawn a second time, and a resumed run needs no state.

/// SplitMix64's mixing of 64 bits (Steele, Lea, Flood 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A stream of numbers for a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(STEP)))
    }

    /// The stream for one use out of many.
    pub(crate) fn with(self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number.wrapping_add(STEP))))
    }

    /// The number at a place of the stream.
    pub(crate) fn at(self, counter: u64) -> u64 {
        mix(self.0.wrapping_add(counter.wrapping_mul(STEP)))
    }

    /// Between -1 and 1.
    pub(crate) fn uniform(self, counter: u64) -> f32 {
        (self.at(counter) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// A permutation of 0..n.
    pub(crate) fn shuffled(self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            // The bias of the remainder is below n / 2^64.
            order.swap(i, (self.at(i as u64) % (i as u64 + 1)) as usize);
        }
        order
    }
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_keys_differ() {
        let key = Key::new(7);
        let mean = (0..100_000).map(|i| f64::from(key.uniform(i))).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((0..100_000).all(|i| (-1.0..1.0).contains(&key.uniform(i))));
        assert!(key.with(1) != key.with(2) && key.with(1).at(0) != key.with(2).at(0));
        let mut order = key.shuffled(1000);
        assert!(order != (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}
