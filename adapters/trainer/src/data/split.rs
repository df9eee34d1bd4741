//! [`Split`]: training and validation rows, by a hash of each row's identity.
//!
//! A row's side depends on the seed and on its own identity only: rows that come or go later, or another order, move no other
//! row to the other side.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DataError;

/// How rows are split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitOptions {
    /// The part held out for validation: 0 for none, below 1.
    pub validation: f64,
    /// Another seed is another split.
    pub seed: u64,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self { validation: 0.1, seed: 42 }
    }
}

/// Places of rows, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Trained on.
    pub train: Vec<usize>,
    /// Held out.
    pub validation: Vec<usize>,
}

impl Split {
    /// Splits rows with these identities. With two rows or more and a part above 0, neither side is empty.
    ///
    /// # Errors
    /// [`DataError::Option`] where `validation` is not from 0 to below 1.
    pub fn new<'a>(ids: impl IntoIterator<Item = &'a str>, options: SplitOptions) -> Result<Self, DataError> {
        let SplitOptions { validation: share, seed } = options;
        if !(0.0..1.0).contains(&share) {
            let reason = "the part held out is at least 0 (none) and below 1: 0.1 holds out every tenth row";
            return Err(DataError::Option { option: "validation", value: share.to_string(), reason });
        }
        let places: Vec<f64> = ids.into_iter().map(|id| place(seed, id)).collect();
        let (mut validation, mut train): (Vec<usize>, Vec<usize>) =
            (0..places.len()).partition(|row| places[*row] < share);
        if share > 0.0 && places.len() > 1 {
            // Few rows may all fall on one side: the one nearest to the border goes to the other.
            let nearest = |a: &usize, b: &usize| (places[*a] - share).abs().total_cmp(&(places[*b] - share).abs());
            for swap in [false, true] {
                let (full, empty) = if swap { (&mut validation, &mut train) } else { (&mut train, &mut validation) };
                if empty.is_empty()
                    && let Some(row) = full.iter().copied().min_by(nearest)
                {
                    full.retain(|other| *other != row);
                    empty.push(row);
                }
            }
        }
        Ok(Self { train, validation })
    }
}

/// Even between 0 and 1.
fn place(seed: u64, id: &str) -> f64 {
    let hash = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(id).finalize();
    let first = hash[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    // The upper 53 bits are exact in a float.
    (first >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(ids: &[String], validation: f64, seed: u64) -> Split {
        Split::new(ids.iter().map(String::as_str), SplitOptions { validation, seed }).unwrap()
    }

    #[test]
    fn a_row_stays_on_its_side_and_the_parts_are_as_asked() {
        let ids: Vec<String> = (0..5000).map(|i| format!("row {i}")).collect();
        let all = split(&ids, 0.1, 42);
        assert!((450..550).contains(&all.validation.len()), "{}", all.validation.len());
        let mut both = [all.train.clone(), all.validation.clone()].concat();
        both.sort_unstable();
        assert!(both.into_iter().eq(0..5000));
        let half = split(&ids[2500..], 0.1, 42);
        let expected: Vec<usize> = all.validation.iter().filter(|row| **row >= 2500).map(|row| row - 2500).collect();
        assert_eq!(half.validation, expected);
        assert_ne!(split(&ids, 0.1, 43), all);
    }

    #[test]
    fn no_side_is_empty_unless_asked() {
        for n in 2..6 {
            let ids: Vec<String> = (0..n).map(|i| i.to_string()).collect();
            for share in [0.001, 0.5, 0.999] {
                let Split { train, validation } = split(&ids, share, 1);
                assert!(!train.is_empty() && !validation.is_empty() && train.len() + validation.len() == n);
            }
            assert!(split(&ids, 0.0, 1).validation.is_empty());
        }
        assert!(Split::new(["a"], SplitOptions { validation: 1.0, seed: 0 }).is_err());
        assert!(Split::new(["a"], SplitOptions { validation: f64::NAN, seed: 0 }).is_err());
    }
}
