//! GGML's quantized blocks as a GGUF file holds them: reading, and the reference quantizers.
//!
//! Q8_0, 32 weights in 34 bytes: f16 d, then 32 i8; w = d q.
//! Q4_K, 256 weights in 144 bytes: f16 d, f16 dmin, 12 bytes with eight 6-bit scales and minima, 128 bytes of nibbles;
//! in sub-block j of 32: w = (d scale_j) q - (dmin min_j). Source: ggml-common.h and ggml-quants.c of llama.cpp.

use half::f16;

/// A Q4_K super-block, taken apart.
pub(crate) struct Q4K {
    pub(crate) d: f16,
    pub(crate) dmin: f16,
    pub(crate) scales: [u8; 8],
    pub(crate) mins: [u8; 8],
    /// Values 0 to 15, in the order of the weights.
    pub(crate) q: [u8; 256],
}

impl Q4K {
    /// Reads 144 bytes.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let packed = &bytes[4..16];
        let (mut scales, mut mins) = ([0; 8], [0; 8]);
        for j in 0..4 {
            scales[j] = packed[j] & 63;
            mins[j] = packed[j + 4] & 63;
            // The upper two bits of scales and minima 4 to 7 sit above those of 0 to 3.
            scales[j + 4] = (packed[j + 8] & 15) | (packed[j] >> 6 << 4);
            mins[j + 4] = (packed[j + 8] >> 4) | (packed[j + 4] >> 6 << 4);
        }
        let mut q = [0; 256];
        for (pair, nibbles) in bytes[16..144].chunks_exact(32).enumerate() {
            // 32 bytes hold two sub-blocks: one in the low nibbles, the next in the high ones.
            for (i, byte) in nibbles.iter().enumerate() {
                q[pair * 64 + i] = byte & 15;
                q[pair * 64 + 32 + i] = byte >> 4;
            }
        }
        Self { d: half_at(bytes, 0), dmin: half_at(bytes, 2), scales, mins, q }
    }

    /// Appends the 144 bytes that [`Self::read`] reads.
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.d.to_le_bytes());
        bytes.extend(self.dmin.to_le_bytes());
        let (scales, mins) = (&self.scales, &self.mins);
        bytes.extend((0..4).map(|j| scales[j] | (scales[j + 4] >> 4 << 6)));
        bytes.extend((0..4).map(|j| mins[j] | (mins[j + 4] >> 4 << 6)));
        bytes.extend((0..4).map(|j| (scales[j + 4] & 15) | (mins[j + 4] << 4)));
        for pair in self.q.chunks_exact(64) {
            bytes.extend((0..32).map(|i| pair[i] | (pair[i + 32] << 4)));
        }
    }

    /// All weights, as [`Self::weight`] has them but in f32.
    pub(crate) fn decode(&self, numbers: &mut [f32]) {
        let (d, dmin) = (self.d.to_f32(), self.dmin.to_f32());
        for (j, (numbers, q)) in numbers.chunks_exact_mut(32).zip(self.q.chunks_exact(32)).enumerate() {
            let (scale, min) = (d * f32::from(self.scales[j]), dmin * f32::from(self.mins[j]));
            numbers.iter_mut().zip(q).for_each(|(number, q)| *number = scale * f32::from(*q) - min);
        }
    }

    /// w = (d scale) q - (dmin min)
    #[cfg(test)]
    pub(crate) fn weight(&self, i: usize) -> f64 {
        let (d, dmin) = (self.d.to_f64(), self.dmin.to_f64());
        d * f64::from(self.scales[i / 32]) * f64::from(self.q[i]) - dmin * f64::from(self.mins[i / 32])
    }
}

/// The f16 at a byte offset.
pub(crate) fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The 32 weights of a Q8_0 block.
pub(crate) fn from_q8_0(bytes: &[u8], numbers: &mut [f32]) {
    let d = half_at(bytes, 0).to_f32();
    numbers.iter_mut().zip(&bytes[2..]).for_each(|(number, q)| *number = d * f32::from(q.cast_signed()));
}

/// Quantizes to Q8_0 blocks: d = max|w| / 127, q = round(w / d).
pub(crate) fn to_q8_0(weights: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(weights.len() / 32 * 34);
    for block in weights.chunks_exact(32) {
        let d = block.iter().fold(0.0f32, |max, w| max.max(w.abs())) / 127.0;
        let inverse = if d > 0.0 { 1.0 / d } else { 0.0 };
        bytes.extend(f16::from_f32(d).to_le_bytes());
        bytes.extend(block.iter().map(|w| ((w * inverse).round() as i8).cast_unsigned()));
    }
    bytes
}

/// Quantizes to Q4_K super-blocks as llama.cpp does without an importance matrix.
pub(crate) fn to_q4_k(weights: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(weights.len() / 256 * 144);
    for block in weights.chunks_exact(256) {
        let fits: Vec<(f32, f32)> = block.chunks_exact(32).map(fit_scale_and_min).collect();
        let steps = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
        let max_scale = fits.iter().fold(0.0f32, |max, fit| max.max(fit.0));
        let max_min = fits.iter().fold(0.0f32, |max, fit| max.max(fit.1));
        let mut out = Q4K {
            d: f16::from_f32(max_scale / 63.0),
            dmin: f16::from_f32(max_min / 63.0),
            scales: std::array::from_fn(|j| (steps(max_scale) * fits[j].0).round_ties_even().min(63.0) as u8),
            mins: std::array::from_fn(|j| (steps(max_min) * fits[j].1).round_ties_even().min(63.0) as u8),
            q: [0; 256],
        };
        for (j, sub) in block.chunks_exact(32).enumerate() {
            let scale = out.d.to_f32() * f32::from(out.scales[j]);
            let min = out.dmin.to_f32() * f32::from(out.mins[j]);
            if scale == 0.0 {
                continue;
            }
            for (q, w) in out.q[j * 32..].iter_mut().zip(sub) {
                *q = ((w + min) / scale).round_ties_even().clamp(0.0, 15.0) as u8;
            }
        }
        out.write(&mut bytes);
    }
    bytes
}

/// The scale and the (negated) minimum that fit 32 weights best: `make_qkx2_quants` of ggml-quants.c with 15 levels.
///
/// Starts from the plain range, tries 20 neighbouring scales, solves the weighted least squares for each, keeps the best.
fn fit_scale_and_min(x: &[f32]) -> (f32, f32) {
    let mean_square = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let weight = |v: f32| mean_square.sqrt() + v.abs();
    let min = x.iter().fold(0.0f32, |a, v| a.min(*v));
    let max = x.iter().fold(x[0], |a, v| a.max(*v));
    if max <= min {
        return (0.0, -min);
    }
    let level = |inverse: f32, min: f32, v: f32| (inverse * (v - min)).round_ties_even().clamp(0.0, 15.0);
    let loss = |scale: f32, min: f32, inverse: f32, from: f32| -> f32 {
        x.iter().map(|v| weight(*v) * (scale * level(inverse, from, *v) + min - v).powi(2)).sum()
    };
    let inverse = 15.0 / (max - min);
    let mut best = (1.0 / inverse, min);
    let mut best_loss = loss(best.0, min, inverse, min);
    for step in 0..=20u8 {
        let inverse = (-1.0 + 0.1 * f32::from(step) + 15.0) / (max - min);
        let (mut sum_w, mut sum_x, mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for v in x {
            let (w, l) = (weight(*v), level(inverse, min, *v));
            sum_w += w;
            sum_x += w * v;
            sum_l += w * l;
            sum_l2 += w * l * l;
            sum_xl += w * l * v;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant <= 0.0 {
            continue;
        }
        let mut fit = ((sum_w * sum_xl - sum_x * sum_l) / determinant, (sum_l2 * sum_x - sum_l * sum_xl) / determinant);
        if fit.1 > 0.0 {
            fit = (sum_xl / sum_l2, 0.0);
        }
        let found = loss(fit.0, fit.1, inverse, min);
        if found < best_loss {
            (best, best_loss) = (fit, found);
        }
    }
    (best.0, -best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q8_0_block_by_hand() {
        let mut weights = [0.0f32; 32];
        weights[0] = -127.0;
        weights[1] = 0.5;
        weights[31] = 64.4;
        let bytes = to_q8_0(&weights);
        assert_eq!(bytes.len(), 34);
        assert_eq!(bytes[..2], [0x00, 0x3C]); // 1.0 in f16, little-endian
        assert_eq!((bytes[2], bytes[3], bytes[33]), (0x81, 1, 64));
    }

    #[test]
    fn a_q4_k_block_by_hand() {
        // d = 2, dmin = 0.5; scale and min of sub-block j chosen so that every bit field is in use.
        let mut bytes = vec![0x00, 0x40, 0x00, 0x38];
        // scales 0..3: 1, 2, 3, 63; upper bits of scales 4..7: 3, 2, 1, 0
        bytes.extend([0b11_000001, 0b10_000010, 0b01_000011, 0b00_111111]);
        // mins 0..3: 5, 6, 7, 8; upper bits of mins 4..7: 0, 1, 2, 3
        bytes.extend([0b00_000101, 0b01_000110, 0b10_000111, 0b11_001000]);
        // low nibbles: scales 4..7 = 4, 5, 6, 7; high nibbles: mins = 9, 10, 11, 12
        bytes.extend([0x94, 0xA5, 0xB6, 0xC7]);
        bytes.extend((0..128).map(|i| if i < 32 { 0xE3 } else { i as u8 }));
        let block = Q4K::read(&bytes);
        assert_eq!(block.scales, [1, 2, 3, 63, 0x34, 0x25, 0x16, 0x07]);
        assert_eq!(block.mins, [5, 6, 7, 8, 0x09, 0x1A, 0x2B, 0x3C]);
        assert_eq!(block.weight(0), 2.0 * 1.0 * 3.0 - 0.5 * 5.0); // low nibble of byte 0
        assert_eq!(block.weight(32), 2.0 * 2.0 * 14.0 - 0.5 * 6.0); // high nibble of byte 0
        assert_eq!(block.weight(64 + 3), 2.0 * 3.0 * 3.0 - 0.5 * 7.0); // low nibble of byte 35 = 0x23
        assert_eq!(block.weight(255), 2.0 * 7.0 * 7.0 - 0.5 * 60.0); // high nibble of byte 127 = 0x7F
        let mut again = Vec::new();
        block.write(&mut again);
        assert_eq!(again, bytes);
    }

    #[test]
    fn q4_k_stays_close() {
        let weights: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 40.0) * 0.01).collect();
        let bytes = to_q4_k(&weights);
        for (block, weights) in bytes.chunks_exact(144).zip(weights.chunks_exact(256)) {
            let block = Q4K::read(block);
            for (i, w) in weights.iter().enumerate() {
                // The range is 1.0: a level is 1/15 wide, its half the error of rounding, the rest that of the 6-bit scales.
                assert!((block.weight(i) - f64::from(*w)).abs() < 0.05, "weight {i}");
            }
        }
        // A constant block has no range: it must come back through scale or minimum, or as zero.
        for constant in [0.0f32, -0.25, 0.25] {
            let block = Q4K::read(&to_q4_k(&[constant; 256]));
            assert!((block.weight(17) - f64::from(constant)).abs() < 0.002, "{constant}");
        }
    }
}
