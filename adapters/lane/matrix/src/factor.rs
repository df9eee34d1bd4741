//! [`Factor`]: one of the two thin matrices of a low-rank update, packed for the kernels of [`crate::kernel::Thin`].
//!
//! A step reads the factors of all its adapters once, beside the base's weights: for few rows they are memory traffic and
//! little else. So beside a quantized base they are bytes, with a scale for each block of [`BLOCK`] inputs of an output; the
//! activations stay in f32, so that what is lost is the rounding of the factor alone. In bytes, in the order of the inputs,
//! with G groups of 16 outputs: for every block 16 G scales in f16, then for each of its inputs 16 G signed bytes.

use half::f16;

use crate::{
    Form, Matrix, MatrixError,
    packed::{LANES, Line, PANEL, Packed},
};

/// Inputs that share a scale.
pub(crate) const BLOCK: usize = 32;

/// A [r, in] or B [out, r].
pub struct Factor(pub(crate) Kind);

pub(crate) enum Kind {
    /// In f32 or f16.
    Dense(Matrix),
    Bytes(Bytes),
}

/// Scaled bytes in panels.
pub(crate) struct Bytes {
    lines: Vec<Line>,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// A power of two that all scales are multiplied with, so that f16 holds them with all its digits.
    pub(crate) unit: f32,
}

impl Factor {
    /// Rows of numbers in f32 or f16.
    ///
    /// # Errors
    /// The numbers are not `outputs * inputs` many, or the form is a quantized one.
    pub fn dense(data: &[f32], outputs: usize, inputs: usize, form: Form) -> Result<Self, MatrixError> {
        let form = if form == Form::F16 { form } else { Form::F32 };
        Ok(Self(Kind::Dense(Matrix::quantize(data, outputs, inputs, form)?)))
    }

    /// Rows of finite numbers, each rounded to one of 255 steps of its block.
    ///
    /// # Errors
    /// The numbers are not `outputs * inputs` many.
    pub fn bytes(data: &[f32], outputs: usize, inputs: usize) -> Result<Self, MatrixError> {
        if data.len() != outputs * inputs || inputs == 0 {
            let (expected, found) = (outputs * inputs, data.len());
            return Err(MatrixError::Length { outputs, inputs, unit: "elements", expected, found });
        }
        Ok(Self(Kind::Bytes(Bytes::pack(data, outputs, inputs))))
    }

    /// Length of what comes out of it.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match &self.0 {
            Kind::Dense(matrix) => matrix.outputs(),
            Kind::Bytes(bytes) => bytes.outputs,
        }
    }

    /// Length of what goes in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match &self.0 {
            Kind::Dense(matrix) => matrix.inputs(),
            Kind::Bytes(bytes) => bytes.inputs,
        }
    }

    /// Bytes in memory, padding included.
    #[must_use]
    pub fn bytes_in_memory(&self) -> usize {
        match &self.0 {
            Kind::Dense(matrix) => matrix.bytes(),
            Kind::Bytes(bytes) => bytes.lines.len() * size_of::<Line>(),
        }
    }

    /// Row `i` as the kernels see it.
    ///
    /// # Panics
    /// If there is no such row or `out` is not as long as a row.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        match &self.0 {
            Kind::Dense(matrix) => matrix.row(i, out),
            Kind::Bytes(bytes) => bytes.row(i, out),
        }
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs().div_ceil(PANEL)
    }

    /// The lines of some panels, which lie one after the other.
    pub(crate) fn lines(&self, panels: std::ops::Range<usize>) -> &[Line] {
        match &self.0 {
            Kind::Dense(matrix) => matrix.packed.lines(panels),
            Kind::Bytes(bytes) => {
                let all = &bytes.lines;
                &all[all.len().min(panels.start * bytes.panel_lines(2))
                    ..all.len().min(panels.end * bytes.panel_lines(2))]
            }
        }
    }
}

impl std::fmt::Debug for Factor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Dense(matrix) => matrix.fmt(f),
            Kind::Bytes(bytes) => write!(f, "Factor({} x {}, bytes)", bytes.outputs, bytes.inputs),
        }
    }
}

impl Bytes {
    fn pack(data: &[f32], outputs: usize, inputs: usize) -> Self {
        let largest = largest(data);
        // The largest scale becomes about 1, where f16 has ten digits and fourteen octaves below it.
        let unit =
            if largest > 0.0 { 2.0_f32.powi((largest / 127.0).log2().ceil().clamp(-120.0, 120.0) as i32) } else { 1.0 };
        let mut packed = Self { lines: Vec::new(), outputs, inputs, unit };
        let rest = outputs % PANEL;
        let rest_lines = if rest == 0 { 0 } else { packed.panel_lines(rest.div_ceil(LANES)) };
        let full = packed.panel_lines(2);
        packed.lines = vec![Line::ZERO; outputs / PANEL * full + rest_lines];
        let mut square = [[0_i8; BLOCK]; LANES]; // [output, input]; outputs that fill up the group stay zero
        for (group, rows) in data.chunks(LANES * inputs).enumerate() {
            let (p, g) = (group / 2, group % 2);
            let groups = (outputs - p * PANEL).min(PANEL).div_ceil(LANES);
            let lines = &mut packed.lines[p * full..];
            let end = lines.len().min(full);
            let bytes = lines[..end].as_flattened_bytes();
            square.iter_mut().for_each(|row| row.fill(0));
            for first in (0..inputs).step_by(BLOCK) {
                let count = BLOCK.min(inputs - first);
                let block = &mut bytes[block_start(first, groups)..];
                let mut scales = [f16::ZERO; LANES];
                for ((row, square), scale) in rows.chunks_exact(inputs).zip(&mut square).zip(&mut scales) {
                    *scale = quantize(&row[first..first + count], unit, &mut square[..count]);
                }
                let at = g * 2 * LANES;
                block[at..at + 2 * LANES]
                    .as_chunks_mut::<2>()
                    .0
                    .iter_mut()
                    .zip(scales)
                    .for_each(|(to, scale)| *to = scale.to_le_bytes());
                for i in 0..count {
                    let at = (2 * groups + i * groups + g) * LANES;
                    let to: &mut [u8] = &mut block[at..at + LANES];
                    to.iter_mut().zip(&square).for_each(|(to, row)| *to = row[i].cast_unsigned());
                }
            }
        }
        packed
    }

    /// Lines of a panel with so many groups.
    fn panel_lines(&self, groups: usize) -> usize {
        let bytes = self.inputs.div_ceil(BLOCK) * 2 * LANES * groups + self.inputs * LANES * groups;
        bytes.div_ceil(size_of::<Line>())
    }

    /// A panel's bytes and how many groups it has.
    pub(crate) fn panel(&self, p: usize) -> (&[Line], usize) {
        let groups = (self.outputs - p * PANEL).min(PANEL).div_ceil(LANES);
        (&self.lines[p * self.panel_lines(2)..][..self.panel_lines(groups)], groups)
    }

    fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.outputs && out.len() == self.inputs, "row {row} of {} x {}", self.outputs, self.inputs);
        let (lines, groups) = self.panel(row / PANEL);
        let (g, lane) = (row % PANEL / LANES, row % LANES);
        let byte = |at: usize| lines[at / 64].0[at % 64];
        for (i, out) in out.iter_mut().enumerate() {
            let block = block_start(i / BLOCK * BLOCK, groups);
            let scale = block + (g * LANES + lane) * 2;
            let scale = f16::from_le_bytes([byte(scale), byte(scale + 1)]).to_f32() * self.unit;
            let q = byte(block + (2 * groups + i % BLOCK * groups + g) * LANES + lane).cast_signed();
            *out = scale * f32::from(q);
        }
    }
}

/// Where the block that begins with an input lies in its panel.
pub(crate) fn block_start(first: usize, groups: usize) -> usize {
    first / BLOCK * groups * (2 + BLOCK) * LANES
}

/// The scale of a block, and its numbers in steps of that.
fn quantize(values: &[f32], unit: f32, steps: &mut [i8]) -> f16 {
    let scale = f16::from_f32(largest(values) / 127.0 / unit);
    let step = scale.to_f32() * unit;
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    for (step, value) in steps.iter_mut().zip(values) {
        // Added to 1.5 · 2^23 a number is rounded to an even integer, whose bits are then the last of the sum's.
        let sum = (value * inverse).clamp(-127.0, 127.0) + 12_582_912.0;
        *step = (sum.to_bits() as u8).cast_signed();
    }
    scale
}

/// The largest magnitude of finite numbers. Their bits are in the order of their magnitudes, and the largest of integers is
/// found by vector instructions.
fn largest(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().fold(0, |largest, value| largest.max(value.to_bits() & !(1 << 31))))
}

/// Lines as bytes.
trait Flat {
    fn as_flattened_bytes(&mut self) -> &mut [u8];
}

impl Flat for [Line] {
    fn as_flattened_bytes(&mut self) -> &mut [u8] {
        // SAFETY: a line is 64 bytes without padding, of which every value is valid.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), size_of_val(self))
        }
    }
}

impl Packed {
    fn lines(&self, panels: std::ops::Range<usize>) -> &[Line] {
        let full = if self.panels() > 0 { self.panel(0).lines.len() } else { 0 };
        let all = self.all_lines();
        &all[all.len().min(panels.start * full)..all.len().min(panels.end * full)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_off_by_half_a_step_of_its_block_at_most() {
        for (outputs, inputs) in [(16, 576), (5, 33), (49, 16), (576, 16), (33, 1), (1, 100)] {
            for size in [1.0, 1e-6, 3e4] {
                let value = |i: usize| ((i as f32 * 0.7).sin() + 0.01) * size * [1.0, 0.02][i / inputs % 2];
                let data: Vec<f32> = (0..outputs * inputs).map(value).collect();
                let factor = Factor::bytes(&data, outputs, inputs).unwrap();
                let mut row = vec![0.0; inputs];
                for (i, exact) in data.chunks(inputs).enumerate() {
                    factor.row(i, &mut row);
                    for (exact, found) in exact.chunks(BLOCK).zip(row.chunks(BLOCK)) {
                        let largest = exact.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                        // Half a step, and the rounding of the scale on the largest numbers.
                        let allowed = largest * (0.5 / 127.0 + 0.0006);
                        let off = exact.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(off <= allowed, "{outputs} x {inputs}, row {i}: off by {off}, {allowed} allowed");
                    }
                }
            }
        }
        let zeros = Factor::bytes(&[0.0; 64], 2, 32).unwrap();
        let mut row = [1.0; 32];
        zeros.row(1, &mut row);
        assert_eq!(row, [0.0; 32]);
        assert!(Factor::bytes(&[1.0; 3], 2, 2).is_err());
    }
}
