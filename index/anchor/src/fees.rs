//! What to offer for a place in a block (EIP-1559).
//!
//! ```text
//! price a unit of gas = min(max_fee, base fee of the block + tip)
//! first offer         : max_fee = 2 base + tip, so that it stays good while the base fee doubles
//! replacement         : tip and max_fee both an eighth higher than before; nodes ask for a tenth
//! ```

use serde::{Deserialize, Serialize};

use crate::config::GWEI;
use crate::error::{Error, Result};

/// An offer, in wei a unit of gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fees {
    /// Most to pay in all.
    pub(crate) max_fee: u64,
    /// Of it, for who makes the block.
    pub(crate) tip: u64,
}

impl Fees {
    /// The offer for a transaction now, never above `cap`.
    pub(crate) fn suggest(base: u64, tip: u64, cap: u64) -> Result<Fees> {
        if base >= cap {
            let (fee_gwei, max_fee_gwei) = (base.div_ceil(GWEI), cap / GWEI);
            return Err(Error::TooExpensive { fee_gwei, max_fee_gwei });
        }
        let tip = tip.min(cap - base);
        Ok(Fees { max_fee: base.saturating_mul(2).saturating_add(tip).min(cap), tip })
    }

    /// The offer that replaces this one; `None` when `cap` leaves no room for it.
    pub(crate) fn raised(self, now: Fees, cap: u64) -> Option<Fees> {
        let eighth_more = |fee: u64| fee.saturating_add(fee / 8).saturating_add(1);
        let tip = eighth_more(self.tip).max(now.tip);
        let max_fee = eighth_more(self.max_fee).max(now.max_fee).max(tip);
        (max_fee <= cap).then_some(Fees { max_fee, tip })
    }

    /// Most that so much gas can cost, in gwei, rounded up.
    pub(crate) fn most_gwei(self, gas: u64) -> u64 {
        gwei(u128::from(gas) * u128::from(self.max_fee))
    }
}

/// Wei in gwei, rounded up.
pub(crate) fn gwei(wei: u128) -> u64 {
    u64::try_from(wei.div_ceil(u128::from(GWEI))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_stay_below_the_cap() {
        assert_eq!(Fees::suggest(10, 3, 100).unwrap(), Fees { max_fee: 23, tip: 3 });
        assert_eq!(Fees::suggest(60, 3, 100).unwrap(), Fees { max_fee: 100, tip: 3 });
        assert_eq!(Fees::suggest(99, 3, 100).unwrap(), Fees { max_fee: 100, tip: 1 });
        assert!(matches!(Fees::suggest(100 * GWEI, 3, 100 * GWEI), Err(Error::TooExpensive { fee_gwei: 100, .. })));
    }

    #[test]
    fn replacements_are_a_tenth_higher_or_none() {
        let (mut fees, now, cap) = (Fees { max_fee: 20, tip: 0 }, Fees { max_fee: 22, tip: 2 }, 1000);
        let mut count = 0;
        while let Some(raised) = fees.raised(now, cap) {
            assert!(
                raised.max_fee * 10 >= fees.max_fee * 11 && raised.tip * 10 >= fees.tip * 11 && raised.tip > fees.tip
            );
            assert!(raised.max_fee <= cap && raised.tip <= raised.max_fee);
            fees = raised;
            count += 1;
        }
        assert!(count > 10 && fees.max_fee > cap / 2);
    }

    #[test]
    fn gwei_are_rounded_up() {
        assert_eq!((gwei(0), gwei(1), gwei(1_000_000_001)), (0, 1, 2));
        assert_eq!(Fees { max_fee: GWEI, tip: 0 }.most_gwei(48_805), 48_805);
    }
}
