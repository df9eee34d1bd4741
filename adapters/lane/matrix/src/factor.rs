//! The factors of low-rank updates, A [r, in] and B [out, r]: thin matrices.
//!
//! They lie in panels as other matrices do. In F32 and F16 the kernels of [`crate::kernel::Thin`] multiply them with x as it
//! lies; in I8 they are multiplied with the same bytes that quantized matrices are. An I8 panel is laid out as one of Q8_0,
//! but for two things: the scales are bf16, since factors are often smaller than what an f16 is exact about, and the last
//! block ends with the last four inputs.

use half::bf16;

use crate::{
    Arena, Form, MatrixError,
    activations::BLOCK,
    lines::Lines,
    matrix::{check_length, check_shape},
    packed::{LANES, Line, PANEL, Packed},
};

/// How a factor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorForm {
    /// As it is.
    F32,
    /// Rounded to f16, whose largest number is 65,504.
    F16,
    /// Signed bytes with a scale for each output and 32 inputs: an error of 1/254 of the largest of these at most. For
    /// updates of quantized matrices, with whose activations they are multiplied.
    I8,
}

/// A [r, in] or B [out, r] of an adapter, repacked for the kernels.
pub struct Factor {
    pub(crate) held: Held,
}

pub(crate) enum Held {
    Dense(Packed),
    Bytes(Bytes),
}

/// A matrix in I8.
pub(crate) struct Bytes {
    lines: Lines,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

impl Factor {
    /// Packs `data` [outputs, inputs].
    ///
    /// # Errors
    /// If `data` is not `outputs * inputs` long or `inputs` is 0.
    pub fn new(data: &[f32], outputs: usize, inputs: usize, form: FactorForm) -> Result<Self, MatrixError> {
        check_shape(Form::F32, inputs)?;
        check_length(outputs, inputs, "elements", outputs * inputs, data.len())?;
        let held = match form {
            FactorForm::F32 => Held::Dense(Packed::from_f32(data, outputs, inputs)),
            FactorForm::F16 => Held::Dense(Packed::f16_from_f32(data, outputs, inputs)),
            FactorForm::I8 => Held::Bytes(Bytes::new(data, outputs, inputs)),
        };
        Ok(Self { held })
    }

    /// Rows: what it gives for each input.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match &self.held {
            Held::Dense(packed) => packed.outputs,
            Held::Bytes(bytes) => bytes.outputs,
        }
    }

    /// Columns.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match &self.held {
            Held::Dense(packed) => packed.inputs,
            Held::Bytes(bytes) => bytes.inputs,
        }
    }

    /// How it is stored.
    #[must_use]
    pub fn form(&self) -> FactorForm {
        match &self.held {
            Held::Dense(packed) if packed.form == Form::F16 => FactorForm::F16,
            Held::Dense(_) => FactorForm::F32,
            Held::Bytes(_) => FactorForm::I8,
        }
    }

    /// Bytes in memory, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.held {
            Held::Dense(packed) => packed.bytes(),
            Held::Bytes(bytes) => size_of_val(&*bytes.lines),
        }
    }

    /// Moves the numbers into an arena.
    pub fn settle(&mut self, arena: &mut Arena) {
        arena.settle(match &mut self.held {
            Held::Dense(packed) => &mut packed.lines,
            Held::Bytes(bytes) => &mut bytes.lines,
        });
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs().div_ceil(PANEL)
    }

    /// The lines of a panel, and how many groups it has.
    pub(crate) fn panel(&self, p: usize) -> (&[Line], usize) {
        match &self.held {
            Held::Dense(packed) => (packed.panel(p).lines, packed.panel(p).groups),
            Held::Bytes(bytes) => {
                let panel = bytes.panel(p);
                (panel.lines, panel.groups)
            }
        }
    }

    /// Asks for a panel that will be wanted soon.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(crate) fn prefetch(&self, p: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in self.panel(p).0 {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            // SAFETY: a hint, which reads and writes nothing and is valid for any address.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).cast());
            }
        }
    }

    /// One row, as it is stored.
    ///
    /// # Panics
    /// If there is no such row or `out` is not as long as a row.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.outputs() && out.len() == self.inputs(), "row {row} of {self:?} into {}", out.len());
        match &self.held {
            Held::Dense(packed) => packed.row(row, out),
            Held::Bytes(bytes) => bytes.row(row, out),
        }
    }
}

impl std::fmt::Debug for Factor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Factor({} x {}, {:?})", self.outputs(), self.inputs(), self.form())
    }
}

/// A panel in I8. It has a record for each block of 32 inputs: for every four of them a line for each group, then a line of
/// scales. The last block may have fewer inputs, then zeros up to a multiple of four.
#[derive(Clone, Copy)]
pub(crate) struct BytesPanel<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) groups: usize,
    pub(crate) inputs: usize,
}

impl Bytes {
    fn new(data: &[f32], outputs: usize, inputs: usize) -> Self {
        let full = panel_lines(inputs, 2);
        let rest =
            if outputs.is_multiple_of(PANEL) { 0 } else { panel_lines(inputs, groups(outputs, outputs / PANEL)) };
        let mut lines = vec![Line([ZERO; 64]); outputs / PANEL * full + rest];
        let mut bytes = [ZERO; BLOCK];
        for (o, row) in data.chunks_exact(inputs).enumerate() {
            let (p, g, lane) = (o / PANEL, o % PANEL / LANES, o % LANES);
            let groups = groups(outputs, p);
            let panel = &mut lines[p * full..];
            for (b, block) in row.chunks(BLOCK).enumerate() {
                let scale = quantize(block, &mut bytes[..block.len()]);
                bytes[block.len()..].fill(ZERO);
                let steps = block.len().div_ceil(4);
                let record = &mut panel[b * (8 * groups + 1)..][..steps * groups + 1];
                for (s, four) in bytes.chunks_exact(4).take(steps).enumerate() {
                    record[s * groups + g].0[4 * lane..][..4].copy_from_slice(four);
                }
                record[steps * groups].0[2 * (g * LANES + lane)..][..2].copy_from_slice(&scale.to_le_bytes());
            }
        }
        Self { lines: lines.into(), outputs, inputs }
    }

    pub(crate) fn panel(&self, p: usize) -> BytesPanel<'_> {
        let groups = groups(self.outputs, p);
        let lines = &self.lines[p * panel_lines(self.inputs, 2)..][..panel_lines(self.inputs, groups)];
        BytesPanel { lines, groups, inputs: self.inputs }
    }

    fn row(&self, row: usize, out: &mut [f32]) {
        let BytesPanel { lines, groups, inputs } = self.panel(row / PANEL);
        let (o, lane) = (row % PANEL, row % LANES);
        for (i, out) in out.iter_mut().enumerate() {
            let record = &lines[i / BLOCK * (8 * groups + 1)..];
            let steps = (inputs - i / BLOCK * BLOCK).min(BLOCK).div_ceil(4);
            let scales = &record[steps * groups].0;
            let scale = bf16::from_le_bytes([scales[2 * o], scales[2 * o + 1]]);
            let weight = record[i % BLOCK / 4 * groups + o / LANES].0[4 * lane + i % 4];
            *out = scale.to_f32() * (f32::from(weight) - 128.0);
        }
    }
}

/// A weight of 0: weights are unsigned, with 128 too much, as those of Q8_0.
const ZERO: u8 = 128;

/// Rounds numbers to multiples of a scale, which is theirs.
fn quantize(values: &[f32], to: &mut [u8]) -> bf16 {
    // Added to a small number it leaves that, rounded, in the low bits: so the compiler makes vectors of the loop.
    const ROUND: f32 = 12_582_912.0; // 1.5 2^23
    let most = f32::from_bits(values.iter().fold(0, |most, value| most.max(value.to_bits() & 0x7fff_ffff)));
    // Rounded away from zero, so that no multiple is above 127.
    let above = (most / 127.0).to_bits().saturating_add(0xffff) >> 16;
    let scale = bf16::from_bits(above as u16);
    let factor = 1.0 / scale.to_f32();
    if !scale.is_finite() || !factor.is_finite() {
        to.fill(ZERO); // all zero, or as good as that
        return bf16::ZERO;
    }
    to.iter_mut().zip(values).for_each(|(to, value)| *to = (value * factor + ROUND).to_bits() as u8 ^ ZERO);
    scale
}

/// Groups of a panel.
fn groups(outputs: usize, p: usize) -> usize {
    (outputs - p * PANEL).min(PANEL).div_ceil(LANES)
}

/// Lines of a panel in I8.
fn panel_lines(inputs: usize, groups: usize) -> usize {
    inputs.div_ceil(4) * groups + inputs.div_ceil(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_within_half_a_step_of_what_they_stand_for() {
        for (outputs, inputs) in [(1, 1), (16, 576), (17, 130), (40, 16), (72, 300)] {
            let value = |i: usize| (i as f32 * 0.7).sin() * [1.0, 1e-6, 3e4, 0.0][i / inputs % 4];
            let data: Vec<f32> = (0..outputs * inputs).map(value).collect();
            let factor = Factor::new(&data, outputs, inputs, FactorForm::I8).unwrap();
            let mut row = vec![f32::NAN; inputs];
            for (o, expected) in data.chunks_exact(inputs).enumerate() {
                factor.row(o, &mut row);
                for (row, expected) in row.chunks(BLOCK).zip(expected.chunks(BLOCK)) {
                    let most = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                    let step = most / 127.0 * (1.0 + 1.0 / 128.0);
                    let near = row.iter().zip(expected).all(|(row, expected)| (row - expected).abs() <= 0.5001 * step);
                    assert!(near, "row {o} of {outputs} x {inputs}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(matches!(Factor::new(&[], 1, 0, FactorForm::I8), Err(MatrixError::Shape { .. })));
        let error = Factor::new(&[0.0; 5], 2, 3, FactorForm::F16).unwrap_err();
        assert!(matches!(error, MatrixError::Length { expected: 6, found: 5, .. }), "{error}");
    }
}
