//! NF4 (QLoRA, Dettmers et al. 2023): four bits a weight, the quantiles of a normal distribution, in blocks of 64 against
//! the greatest of each block. Bytes and values are those of bitsandbytes.
//!
//! ```text
//! w ≈ CODES[nibble] · scale(block)         the first weight of a pair is in the high nibble
//! scale = absmax                                            4.5   bits a weight
//! scale = SIGNED[code] · nested_absmax + offset             4.127 bits a weight (double quantization)
//! ```

use std::{ops::Range, sync::LazyLock};

use rayon::prelude::*;

use crate::dynamic::{Blockwise, SIGNED};

/// Weights that share a scale.
pub const BLOCK: usize = 64;

/// The values of the sixteen codes.
pub const CODES: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A frozen array in NF4.
#[derive(Debug, Clone, PartialEq)]
pub struct Nf4 {
    /// Two codes a byte.
    pub packed: Vec<u8>,
    /// Of each block.
    pub scales: Scales,
    /// Weights.
    pub len: usize,
}

/// The scales of blocks.
#[derive(Debug, Clone, PartialEq)]
pub enum Scales {
    /// In f32.
    Plain(Vec<f32>),
    /// In 8 bits, around their mean.
    Double {
        /// Scale minus offset.
        stored: Blockwise,
        /// Their mean.
        offset: f32,
    },
}

impl Scales {
    /// The scale of a block.
    #[must_use]
    pub fn of(&self, block: usize) -> f32 {
        match self {
            Self::Plain(scales) => scales[block],
            Self::Double { stored, offset } => stored.value(block, &SIGNED) + offset,
        }
    }
}

impl Nf4 {
    /// The nearest code of each weight.
    #[must_use]
    pub fn quantize(weights: &[f32], double: bool) -> Self {
        let scales: Vec<f32> =
            weights.par_chunks(BLOCK).map(|block| block.iter().fold(0.0f32, |most, w| most.max(w.abs()))).collect();
        let mut packed = vec![0; weights.len().div_ceil(2)];
        packed.par_chunks_mut(BLOCK / 2).zip(weights.par_chunks(BLOCK)).zip(&scales).for_each(
            |((bytes, block), scale)| {
                for (byte, pair) in bytes.iter_mut().zip(block.chunks(2)) {
                    *byte = code(pair[0], *scale) << 4 | pair.get(1).map_or(ZERO, |w| code(*w, *scale));
                }
            },
        );
        let scales = if double {
            let mean = scales.iter().map(|scale| f64::from(*scale)).sum::<f64>() / scales.len().max(1) as f64;
            let offset = mean as f32;
            let centred: Vec<f32> = scales.iter().map(|scale| scale - offset).collect();
            Scales::Double { stored: Blockwise::quantize(&centred, &SIGNED), offset }
        } else {
            Scales::Plain(scales)
        };
        Self { packed, scales, len: weights.len() }
    }

    /// The weights of a range.
    ///
    /// # Panics
    /// If the range leaves the array or is not as long as `out`.
    pub fn dequantize(&self, range: Range<usize>, out: &mut [f32]) {
        assert!(range.end <= self.len && range.len() == out.len(), "{range:?} of {} weights", self.len);
        let mut at = range.start;
        let mut rest = out;
        while !rest.is_empty() {
            let block = at / BLOCK;
            let count = rest.len().min((block + 1) * BLOCK - at);
            let (now, later) = rest.split_at_mut(count);
            self.dequantize_block(at, self.scales.of(block), now);
            at += count;
            rest = later;
        }
    }

    /// Weights of one block.
    fn dequantize_block(&self, at: usize, scale: f32, out: &mut [f32]) {
        if at.is_multiple_of(2) && out.len().is_multiple_of(2) {
            let pairs = &*PAIRS;
            for (out, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(&self.packed[at / 2..]) {
                let [high, low] = pairs[usize::from(*byte)];
                *out = [high * scale, low * scale];
            }
            return;
        }
        for (i, out) in out.iter_mut().enumerate() {
            let byte = self.packed[(at + i) / 2];
            let nibble = if (at + i).is_multiple_of(2) { byte >> 4 } else { byte & 15 };
            *out = CODES[usize::from(nibble)] * scale;
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let scales = match &self.scales {
            Scales::Plain(scales) => size_of_val(scales.as_slice()),
            Scales::Double { stored, .. } => stored.bytes(),
        };
        self.packed.len() + scales
    }
}

/// The code of 0, for the half byte after an odd number of weights.
const ZERO: u8 = 7;

/// Both values of every byte.
static PAIRS: LazyLock<[[f32; 2]; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| [CODES[byte >> 4], CODES[byte & 15]]));

/// The nearest code, the lower one of two that are equally near.
fn code(weight: f32, scale: f32) -> u8 {
    if scale == 0.0 {
        return ZERO;
    }
    let value = weight / scale;
    MIDDLES.iter().map(|middle| u8::from(value > *middle)).sum()
}

/// Halfway between neighbours.
static MIDDLES: LazyLock<[f32; 15]> = LazyLock::new(|| std::array::from_fn(|i| (CODES[i] + CODES[i + 1]) / 2.0));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_range_gives_the_same_weights() {
        let weights: Vec<f32> = (0..333).map(|i| (i as f32 * 0.37).sin()).collect();
        for double in [false, true] {
            let stored = Nf4::quantize(&weights, double);
            let mut all = vec![0.0; 333];
            stored.dequantize(0..333, &mut all);
            assert!(all.iter().zip(&weights).all(|(a, b)| (a - b).abs() < 0.17));
            for range in [0..1, 1..2, 63..65, 61..200, 5..333] {
                let mut part = vec![0.0; range.len()];
                stored.dequantize(range.clone(), &mut part);
                assert_eq!(part, all[range]);
            }
        }
        let mut zeros = [1.0; 3];
        Nf4::quantize(&[0.0; 3], false).dequantize(0..3, &mut zeros);
        assert_eq!(zeros, [0.0; 3]);
    }
}
