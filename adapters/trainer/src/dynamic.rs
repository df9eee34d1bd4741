//! Dynamic 8-bit numbers (Dettmers 2015, 2021): blocks of values against their greatest, in a code book that is fine near
//! zero. NF4's scales are stored so (double quantization), and the states of 8-bit AdamW. Values are those of bitsandbytes'
//! `create_dynamic_map` and `quantize_blockwise`.

use std::sync::LazyLock;

/// Values that share a scale.
pub const BLOCK: usize = 256;

/// The code book for values of both signs.
pub static SIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| code_book(true));
/// The code book for values that are never negative.
pub static UNSIGNED: LazyLock<[f32; 256]> = LazyLock::new(|| code_book(false));

/// Values in 8 bits each and a scale for every [`BLOCK`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Blockwise {
    /// Places in the code book.
    pub codes: Vec<u8>,
    /// The greatest magnitude of each block.
    pub scales: Vec<f32>,
}

impl Blockwise {
    /// All zeros.
    #[must_use]
    pub fn zeros(len: usize, book: &[f32; 256]) -> Self {
        Self { codes: vec![nearest(book, 0.0); len], scales: vec![0.0; len.div_ceil(BLOCK)] }
    }

    /// The nearest code of each value.
    #[must_use]
    pub fn quantize(values: &[f32], book: &[f32; 256]) -> Self {
        let mut all = Self::zeros(values.len(), book);
        let blocks = values.chunks(BLOCK).zip(all.codes.chunks_mut(BLOCK)).zip(&mut all.scales);
        blocks.for_each(|((values, codes), scale)| *scale = quantize_block(values, book, codes));
        all
    }

    /// The value at a place.
    #[must_use]
    pub fn value(&self, at: usize, book: &[f32; 256]) -> f32 {
        book[usize::from(self.codes[at])] * self.scales[at / BLOCK]
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.codes.len() + size_of_val(self.scales.as_slice())
    }
}

/// Quantizes one block and returns its scale.
pub(crate) fn quantize_block(values: &[f32], book: &[f32; 256], codes: &mut [u8]) -> f32 {
    let scale = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    for (code, value) in codes.iter_mut().zip(values) {
        *code = nearest(book, if scale == 0.0 { 0.0 } else { value / scale });
    }
    scale
}

/// The place of the nearest value.
fn nearest(book: &[f32; 256], value: f32) -> u8 {
    let above = book.partition_point(|code| *code < value).min(255);
    let below = above.saturating_sub(1);
    let place = if value - book[below] < book[above] - value { below } else { above };
    u8::try_from(place).expect("a place in 256")
}

/// Seven ranges, each ten times the one before; the finer a range, the fewer values.
fn code_book(signed: bool) -> [f32; 256] {
    let mut values = vec![0.0f32, 1.0];
    for i in 0..7 {
        let bounds = if signed { (1 << i) + 1 } else { (1 << (i + 1)) + 1 };
        let bound = |at: usize| linspace(0.1, 1.0, bounds, at);
        let power = 10f64.powi(i - 6);
        for at in 0..bounds - 1 {
            let mean = f64::from((bound(at) + bound(at + 1)) / 2.0);
            // Python multiplies a float32 tensor by a Python float: the product is rounded to float32.
            let value = mean as f32 * power as f32;
            values.push(value);
            if signed {
                values.push(-value);
            }
        }
    }
    values.sort_by(f32::total_cmp);
    values.try_into().expect("2 + 254 values")
}

/// As torch.linspace in float32: from both ends to the middle, each value rounded once.
fn linspace(start: f32, end: f32, steps: usize, at: usize) -> f32 {
    let step = (end - start) / (steps - 1) as f32;
    if at < steps / 2 { step.mul_add(at as f32, start) } else { (-step).mul_add((steps - 1 - at) as f32, end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_code_books_are_whole() {
        for (book, least) in [(&*SIGNED, -0.993), (&*UNSIGNED, 0.0)] {
            assert!(book.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(book.contains(&0.0) && book[255] == 1.0 && (book[0] - least).abs() < 1e-3);
        }
    }

    #[test]
    fn values_come_back_within_a_step() {
        let values: Vec<f32> = (0..600).map(|i| ((i * 37) % 101) as f32 * 0.01 - 0.5).collect();
        let stored = Blockwise::quantize(&values, &SIGNED);
        for (i, value) in values.iter().enumerate() {
            assert!((stored.value(i, &SIGNED) - value).abs() < 0.005, "{i}");
        }
        assert_eq!(stored.scales.len(), 3);
        assert_eq!(Blockwise::quantize(&[0.0; 3], &SIGNED), Blockwise::zeros(3, &SIGNED));
    }
}
