//! The factors of low-rank updates, A [r, in] and B [out, r]: thin matrices, which the kernels of [`crate::kernel::Thin`]
//! multiply with f32 activations.
//!
//! They lie in panels as other matrices do. In I8 a panel holds, for every [`CHUNK`] inputs or what is left of them, one
//! scale for each output as a bf16 (16 for a group), and then per input 16 signed bytes for each group.

use half::bf16;

use crate::{
    Form, MatrixError,
    kernel::CHUNK,
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
    /// Signed bytes with a scale for each output and 128 inputs: an error of 1/254 of the largest of these at most.
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
    lines: Vec<Line>,
    outputs: usize,
    inputs: usize,
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
            Held::Bytes(bytes) => size_of_val(bytes.lines.as_slice()),
        }
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs().div_ceil(PANEL)
    }

    /// The lines of a panel, and how many groups it has.
    pub(crate) fn panel(&self, p: usize) -> (&[Line], usize) {
        match &self.held {
            Held::Dense(packed) => (packed.panel(p).lines, packed.panel(p).groups),
            Held::Bytes(bytes) => {
                let groups = groups(bytes.outputs, p);
                let start = p * panel_lines(bytes.inputs, 2);
                (&bytes.lines[start..][..panel_lines(bytes.inputs, groups)], groups)
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

impl Bytes {
    fn new(data: &[f32], outputs: usize, inputs: usize) -> Self {
        let full = panel_lines(inputs, 2);
        let rest =
            if outputs.is_multiple_of(PANEL) { 0 } else { panel_lines(inputs, groups(outputs, outputs / PANEL)) };
        let mut lines = vec![Line::ZERO; outputs / PANEL * full + rest];
        let mut square = [[0i8; CHUNK]; LANES];
        for (group, rows) in data.chunks(LANES * inputs).enumerate() {
            let (p, g) = (group / 2, group % 2);
            let groups = groups(outputs, p);
            let panel = as_bytes(&mut lines[p * full..]);
            for (chunk, first) in (0..inputs).step_by(CHUNK).enumerate() {
                let length = CHUNK.min(inputs - first);
                let (scales, weights) = panel[chunk * chunk_bytes(CHUNK, groups)..].split_at_mut(scales_bytes(groups));
                for (lane, row) in rows.chunks_exact(inputs).enumerate() {
                    let scale = quantize(&row[first..first + length], &mut square[lane][..length]);
                    scales[2 * (g * LANES + lane)..][..2].copy_from_slice(&scale.to_le_bytes());
                }
                let lanes = rows.len() / inputs;
                for (i, weights) in weights.chunks_exact_mut(groups * LANES).take(length).enumerate() {
                    let weights = &mut weights[g * LANES..][..lanes];
                    weights.iter_mut().zip(&square).for_each(|(weight, row)| *weight = row[i].cast_unsigned());
                }
            }
        }
        Self { lines, outputs, inputs }
    }

    fn row(&self, row: usize, out: &mut [f32]) {
        let (p, o) = (row / PANEL, row % PANEL);
        let groups = groups(self.outputs, p);
        let byte = |at: usize| {
            let at = p * panel_lines(self.inputs, 2) * size_of::<Line>() + at;
            self.lines[at / size_of::<Line>()].0[at % size_of::<Line>()]
        };
        for (i, out) in out.iter_mut().enumerate() {
            let chunk = i / CHUNK * chunk_bytes(CHUNK, groups);
            let scale = bf16::from_le_bytes([byte(chunk + 2 * o), byte(chunk + 2 * o + 1)]);
            let weight = byte(chunk + scales_bytes(groups) + i % CHUNK * groups * LANES + o).cast_signed();
            *out = scale.to_f32() * f32::from(weight);
        }
    }
}

/// Rounds numbers to multiples of a scale, which is theirs.
fn quantize(values: &[f32], to: &mut [i8]) -> bf16 {
    // Added to a small number it leaves that, rounded, in the low bits: so the compiler makes vectors of the loop.
    const ROUND: f32 = 12_582_912.0; // 1.5 2^23
    let most = f32::from_bits(values.iter().fold(0, |most, value| most.max(value.to_bits() & 0x7fff_ffff)));
    // Rounded away from zero, so that no multiple is above 127.
    let above = (most / 127.0).to_bits().saturating_add(0xffff) >> 16;
    let scale = bf16::from_bits(above as u16);
    let factor = 1.0 / scale.to_f32();
    if !scale.is_finite() || !factor.is_finite() {
        to.fill(0); // all zero, or as good as that
        return bf16::ZERO;
    }
    to.iter_mut().zip(values).for_each(|(to, value)| *to = ((value * factor + ROUND).to_bits() as u8).cast_signed());
    scale
}

/// Groups of a panel.
fn groups(outputs: usize, p: usize) -> usize {
    (outputs - p * PANEL).min(PANEL).div_ceil(LANES)
}

/// Bytes of the scales of a chunk.
pub(crate) const fn scales_bytes(groups: usize) -> usize {
    2 * LANES * groups
}

/// Bytes of a chunk of so many inputs.
pub(crate) const fn chunk_bytes(inputs: usize, groups: usize) -> usize {
    scales_bytes(groups) + inputs * groups * LANES
}

/// Lines of a panel in I8.
fn panel_lines(inputs: usize, groups: usize) -> usize {
    let rest = if inputs.is_multiple_of(CHUNK) { 0 } else { chunk_bytes(inputs % CHUNK, groups) };
    (inputs / CHUNK * chunk_bytes(CHUNK, groups) + rest).div_ceil(size_of::<Line>())
}

/// Lines as the bytes they are.
#[allow(unsafe_code)]
fn as_bytes(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: a line is 64 bytes without padding.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
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
                for (row, expected) in row.chunks(CHUNK).zip(expected.chunks(CHUNK)) {
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
